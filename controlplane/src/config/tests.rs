use super::*;

fn parse(yaml: &str) -> Result<Config, Error> {
    Config::parse(yaml, [])
}

fn with(variables: &[(&str, &str)]) -> Result<Config, Error> {
    Config::parse("", variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
}

fn refusal(yaml: &str) -> (String, String) {
    match parse(yaml) {
        Err(Error::Config { key, message }) => (key, message),
        other => panic!("{yaml:?} gave {other:?}"),
    }
}

#[test]
fn the_embedded_default_listens_on_loopback_with_metrics_beside_the_api() {
    let config = parse("").unwrap();
    assert_eq!(config.http_address().unwrap().to_string(), "127.0.0.1:8080");
    assert_eq!(config.metrics_address(), None);
    assert!(config.metrics_beside_api());
    assert_eq!(config.metrics.path, "/metrics");
    assert_eq!(config.dataplane_socket, Path::new(SOCKET_DEFAULT));
    assert_eq!(parse("# only a comment\n---\n").unwrap(), config);
}

#[test]
fn a_complete_file_of_another_system_is_accepted_as_it_stands() {
    let yaml = include_str!("../../tests/vectors/reference-config.yaml");
    let config = parse(yaml).unwrap();
    assert_eq!(config.inert, Vec::<String>::new());
    assert_eq!(config.http_address(), parse("").unwrap().http_address());
}

#[test]
fn every_key_of_the_main_spelling_parses_and_those_without_effect_are_named() {
    let config = parse(
        "server: {http3_port: 8443, tls_cert_file: a, tls_key_file: b, read_timeout: 30s,
                  write_timeout: 30s, shutdown_timeout: 10s, http_port: 8081, enable_http: true,
                  enable_http2: true, https_redirect: false, debug_endpoints: true,
                  max_incoming_streams: 5000, max_incoming_uni_streams: 1000, max_idle_timeout: 30s}
redis: {addresses: ['localhost:6379'], password: '', db: 0, max_retries: 3, dial_timeout: 5s,
        read_timeout: 3s, write_timeout: 3s, pool_size: 100, min_idle_conns: 10}
logging: {level: info, format: json, output: stdout, max_size: 100, max_backups: 5, max_age: 30}
metrics: {enabled: true, path: /metrics, port: 9090}
registry: {redis_addr: 'localhost:6379', redis_password: '', redis_db: 0, ttl: 1h,
           heartbeat_interval: 10s, heartbeat_timeout: 30s, cleanup_interval: 60s,
           max_streams_per_source: 5}
ingestion: {anything: goes}
dataplane: {socket: /tmp/x.sock, workers: auto}",
    )
    .unwrap();
    assert_eq!(config.server.http_port, 8081);
    assert_eq!(config.metrics_address().unwrap().port(), 9090);
    assert_eq!(config.dataplane_socket, Path::new("/tmp/x.sock"));
    for key in ["server.http3_port", "redis.addresses", "registry.ttl", "logging.max_size"] {
        assert!(config.inert.iter().any(|inert| inert == key), "{key} is not named");
    }
    for key in ["server.http_port", "metrics.port", "logging.level", "server.max_idle_timeout"] {
        assert!(!config.inert.iter().any(|inert| inert == key), "{key} acts");
    }
}

#[test]
fn unknown_keys_and_sections_are_refused_by_name_with_what_is_allowed() {
    let (key, message) = refusal("server: {http_prot: 1}");
    assert_eq!(key, "server.http_prot");
    assert!(message.contains("http_port") && message.contains("listen_addr"), "{message}");
    let (key, message) = refusal("sever: {http_port: 1}");
    assert_eq!(key, "sever");
    assert!(message.contains("server, metrics"), "{message}");
}

#[test]
fn values_of_the_wrong_kind_or_range_are_refused_by_name() {
    for (yaml, key) in [
        ("server: {http_port: 0}", "server.http_port"),
        ("server: {http_port: 65536}", "server.http_port"),
        ("server: {http_port: -1}", "server.http_port"),
        ("server: {http_port: many}", "server.http_port"),
        ("server: {enable_http: perhaps}", "server.enable_http"),
        ("server: {read_timeout: 30}", "server.read_timeout"),
        ("server: {read_timeout: 0s}", "server.read_timeout"),
        ("server: {listen_addr: localhost}", "server.listen_addr"),
        ("server: [1, 2]", "server"),
        ("metrics: {path: metrics}", "metrics.path"),
        ("metrics: {path: /health}", "metrics.path"),
        ("logging: {level: loud}", "logging.level"),
        ("logging: {format: xml}", "logging.format"),
        ("dataplane: {socket: 7}", "dataplane.socket"),
        ("server: {enable_http: false}", "server.enable_http"),
    ] {
        assert_eq!(refusal(yaml).0, key, "{yaml}");
    }
}

#[test]
fn what_is_not_a_yaml_map_is_refused() {
    for yaml in ["- a\n- b", "server: {", "server: {}\nserver: {}", "word"] {
        assert!(matches!(parse(yaml), Err(Error::Yaml(_))), "{yaml:?}");
    }
}

#[test]
fn an_address_beyond_loopback_needs_open_and_the_refusal_says_how_to_mend_it() {
    for address in ["0.0.0.0", "'::'", "192.0.2.1"] {
        let (key, message) = refusal(&format!("server: {{listen_addr: {address}}}"));
        assert_eq!(key, "server.listen_addr");
        assert!(message.contains("server.open: true"), "{message}");
        assert!(parse(&format!("server: {{listen_addr: {address}, open: true}}")).is_ok());
    }
    assert!(parse("server: {listen_addr: '::1'}").is_ok());
    assert!(parse("server: {listen_addr: '::ffff:127.0.0.1'}").is_ok());
    let metrics_only = "server: {enable_http: false, listen_addr: 0.0.0.0}\nmetrics: {port: 9090}";
    assert_eq!(refusal(metrics_only).0, "server.listen_addr");
}

#[test]
fn variables_override_the_file() {
    let config = Config::parse(
        "server: {http_port: 1}\nmetrics:\n",
        [
            ("PENSTOCK_SERVER_HTTP_PORT".to_owned(), "9000".to_owned()),
            ("PENSTOCK_METRICS_ENABLED".to_owned(), "false".to_owned()),
            ("PENSTOCK_SERVER_SHUTDOWN_TIMEOUT".to_owned(), "3s".to_owned()),
            ("PENSTOCK_DATAPLANE_SOCKET".to_owned(), "/tmp/d.sock".to_owned()),
        ],
    )
    .unwrap();
    assert_eq!(config.server.http_port, 9000);
    assert!(!config.metrics.enabled);
    assert_eq!(config.server.shutdown_timeout, Duration::from_secs(3));
    assert_eq!(config.dataplane_socket, Path::new("/tmp/d.sock"));
}

#[test]
fn a_misspelt_variable_of_an_own_section_is_refused_and_others_are_left_alone() {
    assert!(matches!(
        with(&[("PENSTOCK_SERVER_PROT", "1")]),
        Err(Error::Config { key, .. }) if key == "server.prot"
    ));
    with(&[("PENSTOCK_URL", "x"), ("PENSTOCK_INGESTION_SRT_PORT", "1"), ("HOME", "/")]).unwrap();
}

#[test]
fn metrics_share_the_api_port_unless_another_is_set() {
    assert_eq!(parse("metrics: {port: 8080}").unwrap().metrics_address(), None);
    assert!(!parse("metrics: {port: 9090}").unwrap().metrics_beside_api());
    assert!(!parse("metrics: {enabled: false}").unwrap().metrics_beside_api());
    assert_eq!(parse("metrics: {enabled: false, port: 9090}").unwrap().metrics_address(), None);
}
