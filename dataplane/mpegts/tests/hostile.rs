//! Senders that mean no good, and streams cut in every way.

mod common;

use common::{AUDIO, Bench, Event, PMT_PID, Pes, Recorder, VIDEO, Writer, pat, pmt};
use penstock_mpegts::{Config, Demuxer};
use proptest::prelude::*;

#[test]
fn packets_on_all_8192_pids() {
    let mut bench = Bench::new();
    for pid in 0..8192 {
        let packet = bench.writer.packet(pid, true, &[0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0, 9], 0);
        bench.push(&packet);
    }
    assert_eq!(bench.demuxer.counters().ts_packets, 8192 + 7 + 2);
    let units = bench.sink.units(0).len() + bench.sink.units(1).len();
    assert_eq!(units, 2, "one on each track, none elsewhere");
}

#[test]
fn map_table_that_changes_with_each_packet() {
    let mut bench = Bench::new();
    for version in 0..2000u16 {
        let stream_type = if version % 2 == 0 { 0x24 } else { 0x1B };
        let number = u8::try_from(version % 32).unwrap();
        bench.section(PMT_PID, &pmt(1, number, VIDEO, &[(stream_type, VIDEO, &[])]));
        bench.pes(VIDEO, Pes::default(), &[1; 50]);
    }
    assert_eq!(bench.demuxer.counters().psi_changes, 2000);
    assert_eq!(bench.sink.units(0).len(), 2000);
}

#[test]
fn association_table_that_changes_with_each_packet() {
    let mut bench = Bench::new();
    for version in 0..2000u16 {
        let number = u8::try_from(version % 32).unwrap();
        bench.section(0, &pat(number, &[(1 + version % 3, PMT_PID + version % 5)]));
    }
    assert!(bench.demuxer.counters().psi_changes <= 2000);
}

#[test]
fn unit_that_never_ends_is_handed_on_piece_by_piece() {
    let mut bench = Bench::new();
    bench.pes(VIDEO, Pes::default(), &[1; 100]);
    bench.events();
    for _ in 0..5000 {
        let packet = bench.writer.packet(VIDEO, false, &[1; 184], 0);
        bench.push(&packet);
        assert_eq!(bench.events().len(), 1);
    }
}

#[test]
fn start_on_each_packet() {
    let mut bench = Bench::new();
    for _ in 0..1000 {
        let packet = bench.writer.packet(VIDEO, true, &[0, 0, 1], 0);
        bench.push(&packet);
    }
    assert!(bench.events().is_empty());
    assert_eq!(bench.demuxer.counters().pes_invalid, 999);
}

#[test]
fn adaptation_fields_only() {
    let mut bench = Bench::new();
    for _ in 0..1000 {
        let mut packet = bench.writer.packet(VIDEO, false, &[], 0x90);
        packet[3] = 0x20; // no payload, the counter stands still
        bench.push(&packet);
    }
    assert!(bench.events().is_empty());
}

#[test]
fn loss_of_any_size_is_no_loop() {
    let mut bench = Bench::new();
    bench.pes(VIDEO, Pes::default(), &[1; 100]);
    for _ in 0..100 {
        bench.demuxer.lost(u32::MAX, &mut bench.sink);
    }
    assert_eq!(bench.sink.gaps(), 100);
}

/// Two tracks with units of all kinds, damage included.
fn stream(sizes: &[(bool, bool, usize)]) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut out = writer.nulls(1);
    out.extend(writer.tables());
    for (number, &(video, bounded, size)) in (0u64..).zip(sizes) {
        let pid = if video { VIDEO } else { AUDIO };
        let pes = Pes { pts: Some(number * 3000), dts: None, bounded };
        out.extend(writer.pes(pid, pes, &vec![7; size]));
        if size % 97 == 0 {
            writer.skip(pid, 3);
        }
        if size % 89 == 0 {
            out.truncate(out.len() - 50);
        }
    }
    out
}

fn demux<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Event> {
    let mut demuxer = Demuxer::new(Config::default());
    let mut sink = Recorder::default();
    pieces.for_each(|piece| demuxer.push(piece, &mut sink));
    demuxer.finish(&mut sink);
    sink.take()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cut_into_pushes_gives_the_same_calls(
        sizes in proptest::collection::vec((any::<bool>(), any::<bool>(), 0..2000usize), 1..12),
        cuts in proptest::collection::vec(0..3000usize, 1..40),
    ) {
        let bytes = stream(&sizes);
        let whole = demux(std::iter::once(bytes.as_slice()));
        let mut rest = bytes.as_slice();
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            let (piece, behind) = rest.split_at((*cut + 1).min(rest.len()));
            pieces.push(piece);
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(demux(pieces.into_iter()), whole);
    }

    #[test]
    fn datagrams_lost_anywhere_leave_only_true_units_without_gap(
        sizes in proptest::collection::vec((any::<bool>(), any::<bool>(), 1..4000usize), 4..20),
        lost in proptest::collection::vec(0..60usize, 1..6),
    ) {
        let sizes: Vec<_> = sizes.iter().map(|&(v, b, size)| (v, b, size / 2 * 2 + 1)).collect();
        let bytes = marked_stream(&sizes);
        let mut demuxer = Demuxer::new(Config::default());
        let mut sink = Recorder::default();
        for (number, datagram) in bytes.chunks(1316).enumerate() {
            // The first holds the tables.
            if number > 0 && lost.contains(&number) {
                demuxer.lost(1, &mut sink);
            } else {
                demuxer.push(datagram, &mut sink);
            }
        }
        demuxer.finish(&mut sink);
        check_clean_units(&sink.take(), &sizes);
    }
}

/// Each unit's bytes all are its number, so that a mixed or short unit shows.
fn marked_stream(sizes: &[(bool, bool, usize)]) -> Vec<u8> {
    let mut writer = Writer::default();
    let mut out = writer.tables();
    for (number, &(video, bounded, size)) in (0u8..).zip(sizes) {
        let pid = if video { VIDEO } else { AUDIO };
        let pes = Pes { pts: Some(u64::from(number)), dts: None, bounded };
        out.extend(writer.pes(pid, pes, &vec![number; size]));
    }
    out
}

fn check_clean_units(events: &[Event], sizes: &[(bool, bool, usize)]) {
    let mut open: [Option<(u8, usize, bool)>; 2] = [None; 2];
    let close = |unit: Option<(u8, usize, bool)>| {
        if let Some((number, length, true)) = unit {
            assert_eq!(length, sizes[usize::from(number)].2, "unit {number}");
        }
    };
    for event in events {
        match event {
            Event::Start(track, pts, _) => {
                close(open[*track].take());
                let number = u8::try_from(pts.unwrap()).unwrap();
                open[*track] = Some((number, 0, true));
            }
            Event::Data(track, data) => {
                let (number, length, clean) = open[*track].as_mut().unwrap();
                assert!(!*clean || data.iter().all(|byte| byte == number));
                *length += data.len();
            }
            Event::Gap(track) => {
                // An ended unit is complete; what is open is not.
                if let Some((_, _, clean)) = open[*track].as_mut() {
                    *clean = false;
                }
            }
            Event::End(track) => close(open[*track].take()),
            Event::Tracks(_) => {}
        }
    }
    open.into_iter().for_each(close);
}
