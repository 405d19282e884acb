//! The protocol around the routes: versions, limits, clients that misbehave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use axum::body::Body;
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;

use crate::support::{PATIENCE, System, assert_error_shape};

fn connect(system: &System) -> TcpStream {
    let stream = TcpStream::connect(system.served.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Status line, headers and body of one HTTP/1.1 exchange on a connection of its own.
fn exchange(system: &System, request: &str) -> String {
    let mut stream = connect(system);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn header(answer: &str, name: &str) -> Option<String> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    let line =
        head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

type Http2 = hyper::client::conn::http2::SendRequest<Body>;

/// An HTTP/2 connection by prior knowledge, and when it ended.
async fn http2(
    address: SocketAddr,
) -> (hyper::Result<Http2>, Option<tokio::task::JoinHandle<hyper::Result<()>>>) {
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    match hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await {
        Ok((client, connection)) => (Ok(client), Some(tokio::spawn(connection))),
        Err(error) => (Err(error), None),
    }
}

fn get(address: SocketAddr, path: &str) -> Request<Body> {
    Request::get(format!("http://{address}{path}")).body(Body::empty()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_by_prior_knowledge_and_http1_share_the_port() {
    let system = tokio::task::spawn_blocking(System::start).await.unwrap();
    let (client, _ended) = http2(system.served.address).await;
    let mut client = client.unwrap();
    for path in ["/live", "/api/v1/streams"] {
        let answer = client.send_request(get(system.served.address, path)).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, hyper::Version::HTTP_2));
    }
    let answer = client.send_request(get(system.served.address, "/nowhere")).await.unwrap();
    assert_eq!(answer.status().as_u16(), 404);
    let body = axum::body::to_bytes(Body::new(answer.into_body()), 1 << 16).await.unwrap();
    assert_error_shape(&serde_json::from_slice::<Value>(&body).unwrap());
    tokio::task::spawn_blocking(move || {
        let answer =
            exchange(&system, "GET /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_can_be_switched_off() {
    let yaml = "server: {enable_http2: false}";
    let system = tokio::task::spawn_blocking(|| System::with(yaml, 1)).await.unwrap();
    let (client, _ended) = http2(system.served.address).await;
    if let Ok(mut client) = client {
        assert!(client.send_request(get(system.served.address, "/live")).await.is_err());
    }
    tokio::task::spawn_blocking(move || drop(system)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_connection_is_closed() {
    let yaml = "server: {max_idle_timeout: 200ms}";
    let system = tokio::task::spawn_blocking(|| System::with(yaml, 1)).await.unwrap();
    let (client, ended) = http2(system.served.address).await;
    let mut client = client.unwrap();
    client.send_request(get(system.served.address, "/live")).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, ended.unwrap()).await;
    assert!(ended.is_ok(), "the connection stays open");
    tokio::task::spawn_blocking(move || drop(system)).await.unwrap();
}

#[test]
fn answers_carry_a_request_id_and_are_not_sniffed() {
    let system = System::start();
    let answer = exchange(&system, "GET /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(!header(&answer, "x-request-id").unwrap().is_empty());
    assert_eq!(header(&answer, "x-content-type-options").as_deref(), Some("nosniff"));
    let own =
        "GET /nowhere HTTP/1.1\r\nhost: x\r\nx-request-id: my-id-7\r\nconnection: close\r\n\r\n";
    assert_eq!(header(&exchange(&system, own), "x-request-id").as_deref(), Some("my-id-7"));
}

#[test]
fn a_wrong_method_is_answered_with_what_is_allowed() {
    let system = System::start();
    let request = "PUT /api/v1/streams/a HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let allow = header(&exchange(&system, request), "allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("DELETE"), "{allow}");
}

#[test]
fn a_body_beyond_the_limit_is_413() {
    let system = System::start();
    let answer = exchange(
        &system,
        "DELETE /api/v1/streams/a HTTP/1.1\r\nhost: x\r\ncontent-length: 65537\r\nconnection: close\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_error_shape(&body);
    assert_eq!(body["code"], "body_too_large");
}

/// Sends `bytes` one at a time until the server ends the connection.
fn trickle(system: &System, bytes: &[u8]) {
    let mut stream = connect(system);
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let started = Instant::now();
    let mut endless = bytes.iter().chain(std::iter::repeat(&b'x'));
    let mut answer = [0; 1024];
    loop {
        assert!(started.elapsed() < PATIENCE, "the slow client is still connected");
        if stream.write_all(&[*endless.next().unwrap()]).is_err() {
            return;
        }
        match stream.read(&mut answer) {
            Ok(0) => return,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Ok(_) | Err(_) => {}
        }
    }
}

#[test]
fn a_client_that_trickles_its_headers_is_cut() {
    let system = System::with("server: {read_timeout: 300ms}", 1);
    trickle(&system, b"GET /live HTTP/1.1\r\nhost: x\r\nx-slow: ");
}

#[test]
fn a_client_that_trickles_the_http2_preface_is_cut() {
    let system = System::with("server: {read_timeout: 300ms}", 1);
    trickle(&system, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

#[test]
fn a_client_that_says_nothing_is_cut() {
    let system = System::with("server: {read_timeout: 300ms}", 1);
    let mut stream = connect(&system);
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn silent_clients_beyond_the_limit_keep_nobody_out() {
    let system = System::with("server: {max_connections: 4}", 1);
    let silent: Vec<TcpStream> = (0..64).map(|_| connect(&system)).collect();
    for _ in 0..8 {
        let answer =
            exchange(&system, "GET /live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    drop(silent);
}

#[test]
fn headers_beyond_the_limit_are_refused() {
    let system = System::start();
    let long = "y".repeat(64 << 10);
    let answer =
        exchange(&system, &format!("GET /live HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n"));
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
}
