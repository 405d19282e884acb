use super::*;

const FFMPEG: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=No Name\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
a=tool:libavformat 59.27.100\r\nm=video 5004 RTP/AVP 96\r\nb=AS:200\r\na=rtpmap:96 H264/90000\r\n\
a=fmtp:96 packetization-mode=1; sprop-parameter-sets=Z2QADKzZQ0R+eEAAAAMAQAAADAPFCmWA,aOvjyyLA; profile-level-id=64000C\r\n\
m=audio 5006 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/48000/2\r\n\
a=fmtp:97 profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3; config=119056E500\r\n";

fn one(media: &str) -> Result<Description, SdpError> {
    Description::parse(&format!("v=0\r\no=- 0 0 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n{media}"))
}

fn first(media: &str) -> Format {
    one(media).unwrap().media[0].setup.format.unwrap()
}

#[test]
fn ffmpegs_description_gives_both_tracks_with_their_parameters() {
    let description = Description::parse(FFMPEG).unwrap();
    let [video, audio] = &description.media[..] else { panic!("{description:?}") };
    assert_eq!((video.port, video.rtcp_port), (5_004, 5_005));
    assert_eq!(video.address, Some("127.0.0.1".parse().unwrap()));
    let format = video.setup.format.unwrap();
    let Encoding::H264 { sets, depth: 0 } = format.encoding else { panic!() };
    assert_eq!((format.payload_type, format.clock_hz), (96, 90_000));
    let nals: Vec<_> = codec::annexb::nal_units(sets.as_bytes()).map(|nal| nal[0]).collect();
    assert_eq!(nals, [0x67, 0x68]);
    let format = audio.setup.format.unwrap();
    assert_eq!((format.clock_hz, format.channels), (48_000, 2));
    assert_eq!(format.configuration(), [0x11, 0x90, 0x56, 0xe5, 0]);
    assert!(matches!(format.encoding, Encoding::Aac { parameters: AacParameters::HBR, .. }));
}

#[test]
fn all_encodings_are_known_by_their_names() {
    for (map, codec) in [
        ("H264/90000", codec::sink::Codec::H264),
        ("AVC/90000", codec::sink::Codec::H264),
        ("h265/90000", codec::sink::Codec::Hevc),
        ("HEVC/90000", codec::sink::Codec::Hevc),
        ("AV1/90000", codec::sink::Codec::Av1),
        ("jxsv/90000", codec::sink::Codec::JpegXs),
        ("MP2T/90000", codec::sink::Codec::Unknown),
        ("mpeg4-generic/48000/2", codec::sink::Codec::Aac),
        ("MP4A-LATM/48000/2", codec::sink::Codec::Aac),
        ("opus/48000/2", codec::sink::Codec::Opus),
        ("L16/44100/2", codec::sink::Codec::L16),
        ("L24/48000/8", codec::sink::Codec::L24),
        ("PCMA/8000", codec::sink::Codec::Pcma),
        ("PCMU/8000", codec::sink::Codec::Pcmu),
    ] {
        let format = format(100, map, "").unwrap();
        assert_eq!(format.codec(), codec, "{map}");
        assert!(map.contains(&format.clock_hz.to_string()));
    }
    assert_eq!(format(100, "L24/48000/8", "").unwrap().block_bytes(), 24);
    let error = format(100, "theora/90000", "").unwrap_err().to_string();
    assert!(error.contains("theora") && error.contains("mpeg4-generic"), "{error}");
}

#[test]
fn unsupported_parameters_are_named_with_what_is_allowed() {
    for (map, parameters, words) in [
        ("H264/90000", "packetization-mode=3", ["packetization-mode=3", "0, 1 or 2"]),
        (
            "H264/90000",
            "packetization-mode=2;sprop-interleaving-depth=65",
            ["interleaving-depth=65", "0 to 64"],
        ),
        ("H265/90000", "tx-mode=MRST", ["tx-mode=MRST", "SRST"]),
        ("H265/90000", "sprop-depack-buf-nalus=99", ["nalus=99", "0 to 64"]),
        ("mpeg4-generic/8000", "mode=CELP-vbr", ["mode=CELP-vbr", "AAC-hbr"]),
        ("mpeg4-generic/48000", "maxDisplacement=5", ["maxDisplacement=5", "0"]),
        ("mpeg4-generic/48000", "sizelength=90", ["sizeLength=90", "0 to 32"]),
        ("MP4A-LATM/48000", "cpresent=0;config=ff", ["config=ff", "StreamMuxConfig"]),
        ("jxsv/90000", "packetmode=2", ["packetmode=2", "0 or 1"]),
    ] {
        let media =
            format!("m=video 5004 RTP/AVP 96\r\na=rtpmap:96 {map}\r\na=fmtp:96 {parameters}\r\n");
        let error = one(&media).unwrap_err().to_string();
        assert!(error.starts_with("m=video 5004: a=fmtp:96: "), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

#[test]
fn media_that_are_not_supported_are_left_out_unless_nothing_remains() {
    let video = "m=video 5004 RTP/AVP 98 96\r\na=rtpmap:96 H264/90000\r\na=rtpmap:98 VP8/90000\r\n";
    let audio = "m=audio 5006 RTP/AVP 97\r\na=rtpmap:97 speex/16000\r\n";
    let description = one(&format!("{video}{audio}")).unwrap();
    assert_eq!(description.media.len(), 1);
    assert_eq!(description.media[0].setup.format.unwrap().payload_type, 96);
    assert!(description.left_out[0].contains("speex"));
    let error = one(audio).unwrap_err().to_string();
    assert!(error.contains("m=audio 5006: a=rtpmap:97: \"speex\""), "{error}");
    assert!(one("").unwrap_err().to_string().contains("no m= line"));
    let unused = one(&format!("m=audio 0 RTP/AVP 0\r\n{video}")).unwrap();
    assert!(unused.left_out[0].contains("port 0"), "{unused:?}");
    assert!(matches!(Description::parse("hello"), Err(SdpError::Syntax(_))));
    let description = one(&format!("m=video 1 RTP/AVP 99\r\n{video}")).unwrap();
    assert!(description.left_out[0].contains("payload type 99 is dynamic"));
}

#[test]
fn encrypted_media_are_refused_by_their_profile() {
    for profile in ["RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF"] {
        let error = one(&format!("m=video 5004 {profile} 33\r\n")).unwrap_err().to_string();
        assert!(error.contains(profile) && error.contains("allowed are RTP/AVP"), "{error}");
    }
    let data =
        "m=application 5006 UDP/DTLS/SCTP webrtc-datachannel\r\nm=video 5004 RTP/AVPF 33\r\n";
    assert_eq!(one(data).unwrap().left_out.len(), 1);
}

#[test]
fn static_payload_types_need_no_map() {
    assert_eq!(first("m=video 5004 RTP/AVP 33\r\n").encoding, Encoding::MpegTs);
    assert_eq!(first("m=audio 5004 RTP/AVP 0\r\n").encoding, Encoding::Pcmu);
}

#[test]
fn ports_feedback_retransmission_and_size_are_read() {
    let description = one(concat!(
        "m=video 5004 RTP/AVPF 96 97\r\nc=IN IP4 232.1.1.1/64\r\na=rtpmap:96 H264/90000\r\n",
        "a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96;rtx-time=200\r\na=rtcp-fb:96 nack\r\n",
        "a=rtcp-fb:* nack pli\r\na=rtcp-fb:96 ccm fir\r\na=rtcp:5010\r\na=ssrc: 4711 cname:x\r\n",
        "a=framesize:96 1920-1080\r\na=framerate:29.97\r\n",
        "a=source-filter: incl IN IP4 232.1.1.1 192.0.2.7\r\n",
    ))
    .unwrap();
    let medium = &description.media[0];
    assert_eq!((medium.port, medium.rtcp_port), (5_004, 5_010));
    assert_eq!(medium.address, Some("232.1.1.1".parse().unwrap()));
    assert_eq!(medium.source, Some("192.0.2.7".parse().unwrap()));
    assert_eq!(medium.feedback, Feedback { nack: true, pli: true, fir: true });
    assert_eq!(medium.setup.rtx, Some(Association { payload_type: 97, original: 96 }));
    assert_eq!(medium.setup.ssrc, Some(4_711));
    assert_eq!((medium.frame_size, medium.frame_rate), (Some((1_920, 1_080)), Some(29.97)));
    let muxed = one("m=video 5004 RTP/AVP 96\r\na=rtcp-mux\r\na=rtpmap:96 AV1/90000\r\n").unwrap();
    assert_eq!(muxed.media[0].rtcp_port, 5_004);
}

#[test]
fn duplicated_media_are_two_legs() {
    let description = one(concat!(
        "a=group:DUP one two\r\n",
        "m=video 5004 RTP/AVP 33\r\na=mid:one\r\nm=video 5006 RTP/AVP 33\r\na=mid:two\r\n",
    ))
    .unwrap();
    assert_eq!(description.media[0].leg_of, None);
    assert_eq!(description.media[1].leg_of, Some(0));
}

#[test]
fn hevc_sets_and_order_numbers() {
    let format = format(
        96,
        "H265/90000",
        "sprop-vps=QAEMAf//AWAAAAMAkAAAAwAAAwBdlZgJ;sprop-sps=QgEBAWAAAAMAkAAAAwAAAwBdoAKAgC0WWVmkkyuaAgAAAwACAAADAGQQ;sprop-pps=RAHBc9CJ;sprop-max-don-diff=1",
    )
    .unwrap();
    let Encoding::Hevc { sets, has_order: true, depth: 0 } = format.encoding else { panic!() };
    let kinds: Vec<_> = codec::annexb::nal_units(sets.as_bytes()).map(|nal| nal[0] >> 1).collect();
    assert_eq!(kinds, [32, 33, 34]);
}

#[test]
fn parameter_sets_of_careless_cameras() {
    for (text, kinds) in [
        ("AAAAAWdCAB/aAUAW,AAAAAWjOPIA=", vec![7, 8]),
        ("Z0IAH9oBQBYAAAAAAWjOPIA=", vec![7, 8]),
        ("Z0IAH9oBQBYAAAA=,aM48gA==,", vec![7, 8]),
        ("Z0IAH9oBQBY", vec![7]),
        ("!!!,####", vec![]),
        ("ABCD", vec![]),
        ("", vec![]),
    ] {
        let parameters = format!("sprop-parameter-sets={text}");
        let Encoding::H264 { sets, depth: 0 } =
            format(96, "H264/90000", &parameters).unwrap().encoding
        else {
            panic!()
        };
        let found: Vec<_> =
            codec::annexb::nal_units(sets.as_bytes()).map(|nal| nal[0] & 0x1f).collect();
        assert_eq!(found, kinds, "{text}");
    }
    let huge = "Z0IA".repeat(2_000);
    format(96, "H264/90000", &format!("sprop-parameter-sets={huge}")).unwrap();
}

#[test]
fn aac_parameters_and_frame_lengths() {
    let parameters = |text: &str| match format(97, "mpeg4-generic/48000", text).unwrap().encoding {
        Encoding::Aac { parameters, .. } => parameters,
        other => panic!("{other:?}"),
    };
    assert_eq!(parameters("mode=AAC-lbr"), AacParameters::LBR);
    assert_eq!(parameters("config=1190").samples, 1_024);
    assert_eq!(parameters("config=1194").samples, 960);
    assert_eq!(parameters("config=2B098800").samples, 1_024);
    assert_eq!(parameters("config=1190;constantDuration=960").samples, 960);
    let fixed = parameters("mode=generic;constantSize=100");
    assert_eq!((fixed.size_bits, fixed.constant_size), (0, 100));
}

#[test]
fn latm_with_and_without_its_configuration() {
    let parse = |text: &str| format(97, "MP4A-LATM/48000/2", text).map(|format| format.encoding);
    assert_eq!(parse("cpresent=1"), Ok(Encoding::Latm { config: None }));
    let Ok(Encoding::Latm { config: Some(config) }) = parse("cpresent=0;config=40002320") else {
        panic!()
    };
    assert_eq!((config.format.sample_rate, config.format.channels, config.units), (48_000, 2, 1));
    assert!(parse("cpresent=0").is_err());
}

#[test]
fn every_cut_of_a_description_is_survived() {
    for len in 0..FFMPEG.len() {
        let _ = Description::parse(&FFMPEG[..len]);
    }
}
