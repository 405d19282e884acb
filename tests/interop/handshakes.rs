//! Handshakes that are not those of a live sender: each is refused with its reason, and the
//! listener goes on.

use anyhow::{Result, ensure};
use penstock_tests::process::eventually;
use penstock_tests::publisher::Publisher;
use penstock_tests::raw::{RawCaller, block, hello, hello_with, message};
use penstock_tests::system::{Options, PATIENCE, Penstock};
use shm::counters::{ConductorCounter, WorkerCounter};
use srt::handshake::{extension, field, flag};

#[test]
fn what_is_not_served_is_refused_with_its_reason() -> Result<()> {
    let system = Penstock::start(&Options::default())?;
    let key = [block(extension::KMREQ, &[0x1220_2901; 10]), hello(120, "cam")].concat();
    let long = format!("#!::r=cam,m=request,u={}", "x".repeat(400));
    let text = u32::from_be_bytes(*b"elif");
    for (what, code, extensions) in [
        ("key material", 1_011, key),
        ("no HSREQ", 1_004, Vec::new()),
        ("stream mode", 1_012, hello_with(flag::TSBPDSND | flag::STREAM, 120, "cam")),
        ("congestion control of files", 1_013, [hello(120, ""), block(6, &[text])].concat()),
        ("a packet filter", 1_014, [hello(120, ""), block(extension::FILTER, &[text])].concat()),
        ("a group", 1_015, [hello(120, ""), block(extension::GROUP, &[1, 2])].concat()),
        ("a reader", 2_405, hello(120, &long)),
        ("control characters in the StreamID", 2_400, hello(120, "cam\u{7}")),
        ("an extension cut short", 1_004, [hello(120, ""), vec![0, 5, 0, 9, 1, 2, 3, 4]].concat()),
    ] {
        let caller = RawCaller::new(system.srt_address(), 5)?;
        let conclusion = caller.conclusion(caller.cookie()?);
        assert_eq!(caller.refusal(&conclusion, &extensions)?, Some(code), "{what}");
    }
    Publisher::connect(system.srt_address(), "cam", 1)?;
    assert_eq!(system.directory()?.conductor().counter(ConductorCounter::Accepted), 1);
    system.stop()
}

#[test]
fn a_caller_of_version_4_is_told_so() -> Result<()> {
    let system = Penstock::start(&Options::default())?;
    let caller = RawCaller::new(system.srt_address(), 5)?;
    let mut conclusion = caller.conclusion(caller.cookie()?);
    conclusion.version = 4;
    // In version 4 the field tells the kind of socket: 2 is datagrams.
    conclusion.extension = 2;
    assert_eq!(caller.refusal(&conclusion, &[])?, Some(1_008));
    conclusion.version = 5;
    conclusion.extension = field::HSREQ;
    assert_eq!(caller.refusal(&conclusion, &hello(120, ""))?, None, "version 5 is served");
    system.stop()
}

#[test]
fn garbage_for_a_handshake_is_counted_and_never_answered() -> Result<()> {
    let system = Penstock::start(&Options::default())?;
    let caller = RawCaller::new(system.srt_address(), 5)?;
    let whole = message(&caller.conclusion(1), &hello(120, "cam"));
    let mut wave = caller.induction();
    wave.kind = srt::handshake::Kind::WaveAHand;
    let mut garbage = vec![vec![0x80; 16], vec![0; 64], message(&wave, &[])];
    // To id 0, but of another type than a handshake: keepalive, ACK, unknown.
    garbage.extend([1_u8, 2, 99].map(|kind| [&[0x80, kind], &[0; 62][..]].concat()));
    garbage.extend((17..64).map(|len| whole[..len].to_vec()));
    for datagram in &mut garbage {
        if let Some(id) = datagram.get_mut(12..16) {
            id.fill(0);
        }
        caller.send(datagram)?;
    }
    let wanted = garbage.len() as u64;
    eventually("all are counted", PATIENCE, || {
        let directory = system.directory()?;
        let count: u64 =
            directory.workers().iter().map(|it| it.counter(WorkerCounter::DroppedInvalid)).sum();
        ensure!(count <= wanted, "{count} counted of {wanted}");
        Ok((count == wanted).then_some(()))
    })?;
    assert_eq!(caller.receive(), None, "an answer");
    caller.cookie()?;
    system.stop()
}

#[test]
fn stream_ids_of_every_form_name_the_stream() -> Result<()> {
    let system = Penstock::start(&Options::default())?;
    let address = system.srt_address();
    let mut publishers = Vec::new();
    for (seed, (sent, id)) in (1..).zip([
        ("plain", "plain"),
        ("with/a/path", "with/a/path"),
        ("#!::r=named,m=publish,u=me", "named"),
        ("#!::u=me,r=with/path", "with/path"),
        ("some text, with: marks & all", "some text, with: marks & all"),
    ]) {
        publishers.push(Publisher::connect(address, sent, seed)?);
        let stream = system.wait_stream(id, sent, |_| true)?;
        assert_eq!(stream["id"], id);
    }
    publishers.push(Publisher::connect(address, "", 90)?);
    publishers.push(Publisher::connect(address, "", 91)?);
    let derived = eventually("two derived ids", PATIENCE, || {
        let list = system.get("/api/v1/streams")?;
        let streams = list["streams"].as_array().map_or(&[][..], Vec::as_slice);
        let ids = streams.iter().filter_map(|stream| stream["id"].as_str());
        let derived: Vec<String> =
            ids.filter(|id| id.starts_with("srt_")).map(str::to_owned).collect();
        Ok((derived.len() == 2).then_some(derived))
    })?;
    ensure!(derived[0] != derived[1], "derived ids {derived:?}");
    drop(publishers);
    system.stop()
}

#[test]
fn both_sides_get_the_longer_latency() -> Result<()> {
    let options = Options {
        srt: "    max_bandwidth: 10000000\n    latency: 200ms\n".into(),
        ..Options::default()
    };
    let system = Penstock::start(&options)?;
    for (number, (asked, agreed)) in (1..).zip([(0, 200), (199, 200), (201, 201), (900, 900)]) {
        let caller = RawCaller::new(system.srt_address(), number)?;
        let conclusion = caller.conclusion(caller.cookie()?);
        let id = format!("cam{number}");
        assert_eq!(caller.refusal(&conclusion, &hello(asked, &id))?, None);
        let stream = system.wait_stream(&id, "listed", |_| true)?;
        let told = &stream["stats"]["connection_stats"]["delivery_delay_ms"];
        assert_eq!(told.as_f64(), Some(f64::from(agreed)), "{asked} ms were asked for");
    }
    system.stop()
}
