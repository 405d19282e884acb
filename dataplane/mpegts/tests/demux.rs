//! The demultiplexer's rules, each in its situation.

mod common;

use codec::sink::Codec;
use common::{AUDIO, Bench, Event, PMT_PID, Pes, VIDEO, pat, pmt};
use penstock_mpegts::{Config, State};

fn pts(pts: u64) -> Pes {
    Pes { pts: Some(pts), ..Pes::default() }
}

fn bounded(pts: u64) -> Pes {
    Pes { pts: Some(pts), bounded: true, ..Pes::default() }
}

fn data(track: usize, fill: u8, length: usize) -> Event {
    Event::Data(track, vec![fill; length])
}

fn start(track: usize, pts: u64) -> Event {
    Event::Start(track, Some(pts), None)
}

mod tables {
    use super::*;

    #[test]
    fn states_in_their_order() {
        let mut bench = Bench::bare(Config::default());
        assert_eq!(bench.demuxer.state(), State::NoPat);
        bench.section(0, &pat(0, &[(7, PMT_PID), (8, 0x1001)]));
        assert_eq!(bench.demuxer.state(), State::NoPmt { program: 7 });
        bench.section(PMT_PID, &pmt(7, 0, VIDEO, &[]));
        assert_eq!(bench.demuxer.state(), State::NoTracks { program: 7 });
        bench.section(PMT_PID, &pmt(7, 1, VIDEO, &[(0x1B, VIDEO, &[])]));
        assert_eq!(bench.demuxer.state(), State::Playing { program: 7 });
        let numbers: Vec<u16> = bench.demuxer.programs().iter().map(|p| p.number).collect();
        assert_eq!(numbers, [7, 8]);
    }

    #[test]
    fn tracks_carry_type_pid_program_and_language() {
        let mut bench = Bench::bare(Config::default());
        bench.section(0, &pat(0, &[(7, PMT_PID)]));
        let language = [0x0A, 4, b'd', b'e', b'u', 0];
        let streams = [
            (0x1B, VIDEO, &[][..]),
            (0x0F, AUDIO, &language),
            (0x86, 0x102, &[]),
            (0xC3, 0x103, &[]),
        ];
        bench.section(PMT_PID, &pmt(7, 0, VIDEO, &streams));
        let told = bench.sink.tracks_told();
        let codecs: Vec<Codec> = told.iter().map(|track| track.codec).collect();
        let wanted = [Codec::H264, Codec::Aac, Codec::Scte35, Codec::Unknown];
        assert_eq!(codecs, wanted);
        assert_eq!((told[1].pid, told[1].stream_type), (AUDIO, 0x0F));
        assert_eq!((told[1].program, told[1].language), (7, Some(*b"deu")));
        assert_eq!(bench.demuxer.tracks(), told);
    }

    #[test]
    fn configured_program_is_followed() {
        let mut bench = Bench::bare(Config { program: Some(8) });
        bench.section(0, &pat(0, &[(7, PMT_PID), (8, 0x1001)]));
        bench.section(PMT_PID, &pmt(7, 0, VIDEO, &[(0x1B, VIDEO, &[])]));
        assert_eq!(bench.demuxer.state(), State::NoPmt { program: 8 });
        bench.section(0x1001, &pmt(8, 0, AUDIO, &[(0x0F, AUDIO, &[])]));
        assert_eq!(bench.sink.tracks_told()[0].program, 8);
    }

    #[test]
    fn configured_program_that_is_not_listed() {
        let mut bench = Bench::bare(Config { program: Some(9) });
        bench.section(0, &pat(0, &[(7, PMT_PID)]));
        assert_eq!(bench.demuxer.state(), State::NoProgram);
    }

    #[test]
    fn programs_may_share_the_pid_of_their_map_tables() {
        let mut bench = Bench::bare(Config { program: Some(8) });
        bench.section(0, &pat(0, &[(7, PMT_PID), (8, PMT_PID)]));
        let both =
            [pmt(7, 0, VIDEO, &[(0x1B, VIDEO, &[])]), pmt(8, 0, AUDIO, &[(0x0F, AUDIO, &[])])];
        bench.section(PMT_PID, &both.concat());
        assert_eq!(bench.sink.tracks_told()[0].pid, AUDIO);
        assert_eq!(bench.demuxer.counters().psi_changes, 0);
    }

    #[test]
    fn map_table_before_the_association_table_is_passed_over() {
        let mut bench = Bench::bare(Config::default());
        bench.section(PMT_PID, &pmt(1, 0, VIDEO, &[(0x1B, VIDEO, &[])]));
        assert_eq!(bench.demuxer.state(), State::NoPat);
        assert!(bench.events().is_empty());
    }

    #[test]
    fn wrong_crc_is_counted_and_not_applied() {
        let mut bench = Bench::new();
        let mut broken = pmt(1, 1, VIDEO, &[(0x24, VIDEO, &[])]);
        broken[12] ^= 1;
        bench.section(PMT_PID, &broken);
        assert!(bench.events().is_empty());
        assert_eq!(bench.demuxer.counters().psi_crc_errors, 1);
    }

    #[test]
    fn new_version_with_the_same_streams_keeps_the_open_unit() {
        let mut bench = Bench::new();
        bench.pes(VIDEO, pts(5), &[1; 170]);
        let swapped = [(0x0F, AUDIO, &[][..]), (0x1B, VIDEO, &[])];
        bench.section(PMT_PID, &pmt(1, 1, AUDIO, &swapped));
        let more = bench.writer.packet(VIDEO, false, &[1; 184], 0);
        bench.push(&more);
        assert_eq!(bench.events(), [start(0, 5), data(0, 1, 354)]);
        assert_eq!(bench.demuxer.counters().psi_changes, 1);
    }

    #[test]
    fn new_version_with_other_streams_lists_them_and_voids_units() {
        let mut bench = Bench::new();
        bench.pes(AUDIO, pts(5), &[1; 170]);
        let streams = [(0x0F, AUDIO, &[][..]), (0x24, 0x105, &[])];
        bench.section(PMT_PID, &pmt(1, 1, AUDIO, &streams));
        let more = bench.writer.packet(AUDIO, false, &[1; 184], 0);
        bench.push(&more);
        bench.pes(VIDEO, pts(6), &[2; 50]);
        bench.pes(AUDIO, pts(7), &[3; 50]);
        let events = bench.events();
        let Event::Tracks(tracks) = &events[2] else {
            panic!("{events:?}");
        };
        assert_eq!((tracks[0].pid, tracks[1].pid), (AUDIO, 0x105));
        assert_eq!(events[3..], [start(0, 7), data(0, 3, 50)]);
        assert_eq!(bench.demuxer.counters().ts_continuity_errors, 0);
    }

    #[test]
    fn same_version_with_other_bytes_is_followed() {
        let mut bench = Bench::new();
        bench.section(PMT_PID, &pmt(1, 0, VIDEO, &[(0x24, VIDEO, &[])]));
        assert_eq!(bench.sink.tracks_told()[0].codec, Codec::Hevc);
    }

    #[test]
    fn moved_map_table_keeps_units_while_it_says_the_same() {
        let mut bench = Bench::new();
        bench.pes(VIDEO, pts(5), &[1; 170]);
        bench.section(0, &pat(1, &[(1, 0x1005)]));
        let streams = [(0x1B, VIDEO, &[][..]), (0x0F, AUDIO, &[])];
        bench.section(0x1005, &pmt(1, 0, VIDEO, &streams));
        bench.section(PMT_PID, &pmt(1, 9, VIDEO, &[]));
        assert_eq!(bench.events(), [start(0, 5), data(0, 1, 170)]);
        assert_eq!(bench.demuxer.counters().psi_changes, 1);
    }

    #[test]
    fn dropped_program_ends_its_tracks() {
        let mut bench = Bench::new();
        bench.section(0, &pat(1, &[(2, 0x1005)]));
        assert_eq!(bench.events(), [Event::Tracks(vec![])]);
        assert_eq!(bench.demuxer.state(), State::NoPmt { program: 2 });
        bench.section(0x1005, &pmt(2, 0, VIDEO, &[(0x1B, VIDEO, &[])]));
        assert_eq!(bench.sink.tracks_told()[0].program, 2);
        bench.section(0, &pat(2, &[]));
        assert_eq!(bench.demuxer.state(), State::NoProgram);
    }

    #[test]
    fn followed_program_stays_wherever_it_stands_in_the_table() {
        let mut bench = Bench::new();
        bench.section(0, &pat(1, &[(2, 0x1005), (1, PMT_PID)]));
        assert_eq!(bench.demuxer.state(), State::Playing { program: 1 });
        assert!(bench.events().is_empty());
    }

    #[test]
    fn more_than_sixteen_streams_are_counted() {
        let mut bench = Bench::bare(Config::default());
        bench.section(0, &pat(0, &[(1, PMT_PID)]));
        let streams: Vec<_> = (0..40).map(|n| (0x1B, 0x200 + n, &[][..])).collect();
        bench.section(PMT_PID, &pmt(1, 0, VIDEO, &streams));
        assert_eq!(bench.sink.tracks_told().len(), 16);
        assert_eq!(bench.demuxer.counters().psi_tracks_unlisted, 24);
    }

    #[test]
    fn streams_on_pids_of_tables_and_null_packets_get_no_packets() {
        let mut bench = Bench::bare(Config::default());
        bench.section(0, &pat(0, &[(1, PMT_PID)]));
        let streams = [(0x1B, 0, &[][..]), (0x1B, 0x1FFF, &[]), (0x1B, PMT_PID, &[])];
        bench.section(PMT_PID, &pmt(1, 0, 0x1FFF, &streams));
        bench.events();
        for pid in [0, 0x1FFF, PMT_PID] {
            bench.pes(pid, pts(1), &[9; 100]);
        }
        assert!(bench.events().is_empty());
        bench.section(0, &pat(1, &[(3, 0x1005)]));
        assert_eq!(bench.demuxer.state(), State::NoPmt { program: 3 });
    }

    #[test]
    fn a_stream_listed_twice_is_one_track() {
        let mut bench = Bench::bare(Config::default());
        bench.section(0, &pat(0, &[(1, PMT_PID)]));
        let streams = [(0x1B, VIDEO, &[][..]), (0x24, VIDEO, &[])];
        bench.section(PMT_PID, &pmt(1, 0, VIDEO, &streams));
        assert_eq!(bench.sink.tracks_told().len(), 1);
    }

    #[test]
    fn gap_in_a_table_drops_the_open_section() {
        let mut bench = Bench::bare(Config::default());
        bench.section(0, &pat(0, &[(1, PMT_PID)]));
        let streams: Vec<_> = (0..16).map(|n| (6, 0x200 + n, &[0x05, 4, 1, 2, 3, 4][..])).collect();
        let mut long = vec![0];
        long.extend(pmt(1, 0, VIDEO, &streams));
        let packets = bench.writer.split(PMT_PID, &long, 184);
        let packets: Vec<&[u8]> = packets.chunks(188).collect();
        assert!(packets.len() > 1);
        bench.push(packets[0]);
        let again = bench.writer.split(PMT_PID, &long, 184);
        bench.writer.skip(PMT_PID, 1);
        bench.push(&again[188..]); // the rest, but of another copy
        assert!(bench.demuxer.tracks().is_empty());
        let whole = bench.writer.split(PMT_PID, &long, 184);
        bench.push(&whole);
        assert_eq!(bench.demuxer.tracks().len(), 16);
    }

    #[test]
    fn reset_forgets_the_stream() {
        let mut bench = Bench::new();
        bench.pes(VIDEO, pts(5), &[1; 100]);
        bench.demuxer.reset();
        assert_eq!(bench.demuxer.state(), State::Syncing);
        assert_eq!(*bench.demuxer.counters(), penstock_mpegts::Counters::default());
        bench.events();
        let nulls = bench.writer.nulls(5);
        bench.push(&nulls);
        bench.pes(VIDEO, pts(6), &[1; 100]);
        assert!(bench.events().is_empty(), "no track is known");
        let tables = bench.writer.tables();
        bench.push(&tables);
        bench.pes(VIDEO, pts(7), &[1; 100]);
        assert_eq!(bench.events()[1], start(0, 7));
    }
}

mod units {
    use super::*;

    #[test]
    fn unbounded_unit_ends_at_the_next_start_or_the_streams_end() {
        let mut bench = Bench::new();
        bench.pes(VIDEO, pts(5), &[1; 1000]);
        bench.pes(VIDEO, pts(6), &[2; 10]);
        bench.demuxer.finish(&mut bench.sink);
        let wanted = [start(0, 5), data(0, 1, 1000), start(0, 6), data(0, 2, 10), Event::End(0)];
        assert_eq!(bench.events(), wanted);
        assert_eq!(bench.demuxer.counters().pes_packets, 2);
    }

    #[test]
    fn bounded_unit_ends_by_its_length() {
        for length in [1, 170, 171, 1000] {
            let mut bench = Bench::new();
            bench.pes(AUDIO, bounded(5), &vec![1; length]);
            let wanted = [start(1, 5), data(1, 1, length), Event::End(1)];
            assert_eq!(bench.events(), wanted, "{length} bytes");
        }
    }

    #[test]
    fn empty_bounded_unit_starts_and_ends() {
        let mut bench = Bench::new();
        bench.pes(AUDIO, bounded(5), &[]);
        assert_eq!(bench.events(), [start(1, 5), Event::End(1)]);
    }

    #[test]
    fn header_may_lie_over_packets_at_every_byte() {
        let bytes = Pes { pts: Some(900), dts: Some(600), bounded: true }.bytes(0xE0, &[7; 300]);
        for first in 1..30 {
            let mut bench = Bench::new();
            let packets = bench.writer.split(VIDEO, &bytes, first);
            bench.push(&packets);
            let wanted = [Event::Start(0, Some(900), Some(600)), data(0, 7, 300), Event::End(0)];
            assert_eq!(bench.events(), wanted, "first packet with {first} bytes");
        }
        // Five bytes a packet: the header lies over four of them.
        let mut bench = Bench::new();
        for (number, chunk) in bytes.chunks(5).enumerate() {
            let packet = bench.writer.packet(VIDEO, number == 0, chunk, 0);
            bench.push(&packet);
        }
        assert_eq!(bench.sink.payload(0), [7; 300]);
    }

    #[test]
    fn bytes_before_the_first_start_are_passed_over() {
        let mut bench = Bench::new();
        let middle = bench.writer.packet(VIDEO, false, &[1; 184], 0);
        bench.push(&middle);
        bench.pes(VIDEO, pts(5), &[2; 10]);
        assert_eq!(bench.events(), [start(0, 5), data(0, 2, 10)]);
    }

    #[test]
    fn unit_shorter_than_its_length_has_a_gap() {
        let mut bench = Bench::new();
        let bytes = bounded(5).bytes(0xE0, &[1; 300]);
        let packets = bench.writer.split(VIDEO, &bytes[..250], 184);
        bench.push(&packets);
        bench.pes(VIDEO, pts(6), &[2; 10]);
        let wanted = [start(0, 5), data(0, 1, 236), Event::Gap(0), start(0, 6), data(0, 2, 10)];
        assert_eq!(bench.events(), wanted);
        assert_eq!(bench.demuxer.counters().pes_invalid, 1);
    }

    #[test]
    fn bytes_behind_the_length_go_on_without_a_stamp() {
        let mut bench = Bench::new();
        let mut bytes = bounded(5).bytes(0xE0, &[1; 100]);
        bytes.extend([2; 250]);
        let packets = bench.writer.split(VIDEO, &bytes, 184);
        bench.push(&packets);
        let wanted = [
            start(0, 5),
            data(0, 1, 100),
            Event::End(0),
            Event::Start(0, None, None),
            data(0, 2, 250),
        ];
        assert_eq!(bench.events(), wanted);
        assert_eq!(bench.demuxer.counters().pes_invalid, 1);
    }

    #[test]
    fn padding_behind_the_length_is_dropped() {
        let mut bench = Bench::new();
        let mut bytes = bounded(5).bytes(0xE0, &[1; 100]);
        bytes.resize(184, 0xFF);
        let packets = bench.writer.split(VIDEO, &bytes, 184);
        bench.push(&packets);
        let wanted = [start(0, 5), data(0, 1, 100), Event::End(0)];
        assert_eq!(bench.events(), wanted);
    }

    #[test]
    fn length_shorter_than_the_header_means_unbounded() {
        let mut bench = Bench::new();
        let mut bytes = pts(5).bytes(0xE0, &[1; 300]);
        bytes[5] = 3;
        let packets = bench.writer.split(VIDEO, &bytes, 184);
        bench.push(&packets);
        assert_eq!(bench.events(), [start(0, 5), data(0, 1, 300)]);
        assert_eq!(bench.demuxer.counters().pes_invalid, 1);
    }

    #[test]
    fn padding_stream_is_no_unit() {
        let mut bench = Bench::new();
        let padding = [&[0, 0, 1, 0xBE, 0, 4][..], &[0xFF; 4]].concat();
        let packets = bench.writer.split(VIDEO, &padding, 184);
        bench.push(&packets);
        assert!(bench.events().is_empty());
    }

    #[test]
    fn private_stream_2_has_a_unit_without_stamps() {
        let mut bench = Bench::new();
        let private = [&[0, 0, 1, 0xBF, 0, 4][..], &[9; 4]].concat();
        let packets = bench.writer.split(VIDEO, &private, 184);
        bench.push(&packets);
        let wanted = [Event::Start(0, None, None), data(0, 9, 4), Event::End(0)];
        assert_eq!(bench.events(), wanted);
    }

    #[test]
    fn no_start_code_means_no_unit() {
        let mut bench = Bench::new();
        let packets = bench.writer.split(VIDEO, &[1; 300], 184);
        bench.push(&packets);
        assert!(bench.events().is_empty());
        assert_eq!(bench.demuxer.counters().pes_invalid, 1);
    }

    #[test]
    fn bytes_lost_with_a_refused_header_are_a_gap_in_what_is_open() {
        let mut bench = Bench::new();
        bench.pes(VIDEO, pts(5), &[1; 10]);
        let packets = bench.writer.split(VIDEO, &[9; 300], 184);
        bench.push(&packets);
        bench.pes(VIDEO, pts(6), &[2; 10]);
        let wanted = [start(0, 5), data(0, 1, 10), Event::Gap(0), start(0, 6), data(0, 2, 10)];
        assert_eq!(bench.events(), wanted);
    }

    #[test]
    fn header_cut_by_the_next_start_is_counted() {
        let mut bench = Bench::new();
        let header = pts(5).bytes(0xE0, &[]);
        let packet = bench.writer.packet(VIDEO, true, &header[..8], 0);
        bench.push(&packet);
        bench.pes(VIDEO, pts(6), &[2; 10]);
        assert_eq!(bench.events(), [start(0, 6), data(0, 2, 10)]);
        assert_eq!(bench.demuxer.counters().pes_invalid, 1);
    }

    #[test]
    fn all_tracks_are_on_one_line_past_the_wrap() {
        const WRAP: u64 = 1 << 33;
        let mut bench = Bench::new();
        bench.pes(VIDEO, pts(WRAP - 1000), &[1; 10]);
        bench.pes(AUDIO, pts(WRAP - 5000), &[2; 10]);
        bench.pes(VIDEO, pts(2000), &[1; 10]);
        bench.pes(AUDIO, pts(WRAP - 3080), &[2; 10]);
        bench.pes(AUDIO, pts(760), &[2; 10]);
        let stamps: Vec<_> = [0, 1].map(|track| bench.sink.units(track)).concat();
        let stamps: Vec<u64> = stamps.iter().map(|unit| unit.0.unwrap()).collect();
        let wanted = [WRAP - 1000, WRAP + 2000, WRAP - 5000, WRAP - 3080, WRAP + 760];
        assert_eq!(stamps, wanted);
        assert_eq!(bench.demuxer.counters().timeline_jumps, 0);
    }

    #[test]
    fn jump_announced_on_the_clocks_pid_is_not_counted() {
        for (announced, jumps) in [(true, 0), (false, 1)] {
            let mut bench = Bench::new();
            bench.pes(VIDEO, pts(10_000_000), &[1; 10]);
            bench.pes(AUDIO, pts(10_000_000), &[1; 10]);
            if announced {
                let flagged = bench.writer.packet(VIDEO, false, &[1; 100], 0x80);
                bench.push(&flagged);
            }
            bench.pes(AUDIO, pts(90_000), &[1; 10]);
            bench.pes(VIDEO, pts(90_000), &[1; 10]);
            assert_eq!(bench.demuxer.counters().timeline_jumps, jumps);
        }
    }
}

mod damage {
    use super::*;

    #[test]
    fn duplicate_packet_is_dropped() {
        let mut bench = Bench::new();
        let packets = bench.writer.pes(VIDEO, pts(5), &[1; 400]);
        for packet in packets.chunks(188) {
            bench.push(packet);
            bench.push(packet);
        }
        assert_eq!(bench.events(), [start(0, 5), data(0, 1, 400)]);
        assert_eq!(bench.demuxer.counters().ts_duplicates, 3);
        assert_eq!(bench.demuxer.counters().ts_continuity_errors, 0);
    }

    #[test]
    fn counter_gap_marks_its_track_alone() {
        let mut bench = Bench::new();
        bench.pes(VIDEO, pts(5), &[1; 100]);
        bench.pes(AUDIO, pts(5), &[2; 100]);
        bench.writer.skip(VIDEO, 1);
        let more = bench.writer.packet(VIDEO, false, &[1; 184], 0);
        bench.push(&more);
        let more = bench.writer.packet(AUDIO, false, &[2; 184], 0);
        bench.push(&more);
        let events = bench.events();
        assert_eq!(events[4..], [Event::Gap(0), data(0, 1, 184), data(1, 2, 184)]);
        assert_eq!(bench.demuxer.counters().ts_continuity_errors, 1);
    }

    #[test]
    fn gap_in_a_header_waits_for_the_next_start() {
        let mut bench = Bench::new();
        let header = pts(5).bytes(0xE0, &[]);
        let packet = bench.writer.packet(VIDEO, true, &header[..8], 0);
        bench.push(&packet);
        bench.writer.skip(VIDEO, 1);
        let more = bench.writer.packet(VIDEO, false, &[1; 184], 0);
        bench.push(&more);
        assert!(bench.events().is_empty());
    }

    #[test]
    fn bounded_unit_with_a_gap_ends_at_the_next_start() {
        let mut bench = Bench::new();
        let packets = bench.writer.pes(VIDEO, bounded(5), &[1; 700]);
        bench.push(&packets[..188]);
        bench.push(&packets[376..]);
        bench.pes(VIDEO, bounded(6), &[2; 10]);
        let wanted = [
            start(0, 5),
            data(0, 1, 170),
            Event::Gap(0),
            data(0, 1, 346),
            start(0, 6),
            data(0, 2, 10),
            Event::End(0),
        ];
        assert_eq!(bench.events(), wanted);
    }

    #[test]
    fn bytes_of_a_unit_whose_start_is_missing_are_passed_over() {
        let mut bench = Bench::new();
        bench.pes(VIDEO, bounded(5), &[1; 170]);
        let packets = bench.writer.pes(VIDEO, pts(6), &[2; 700]);
        bench.push(&packets[188..]);
        bench.pes(VIDEO, bounded(7), &[3; 10]);
        let wanted = [
            start(0, 5),
            data(0, 1, 170),
            Event::End(0),
            Event::Gap(0),
            start(0, 7),
            data(0, 3, 10),
            Event::End(0),
        ];
        assert_eq!(bench.events(), wanted);
    }

    #[test]
    fn damaged_packet_is_dropped_and_missed() {
        let mut bench = Bench::new();
        let mut packets = bench.writer.pes(VIDEO, pts(5), &[1; 500]);
        packets[189] |= 0x80; // transport_error_indicator of the second
        bench.push(&packets);
        let wanted = [start(0, 5), data(0, 1, 170), Event::Gap(0), data(0, 1, 146)];
        assert_eq!(bench.events(), wanted);
        assert_eq!(bench.demuxer.counters().ts_transport_errors, 1);
    }

    #[test]
    fn scrambled_packets_give_no_unit() {
        let mut bench = Bench::new();
        bench.pes(VIDEO, pts(5), &[1; 10]);
        let mut packets = bench.writer.pes(VIDEO, pts(6), &[2; 500]);
        for packet in packets.chunks_mut(188) {
            packet[3] |= 0x80;
        }
        bench.push(&packets);
        bench.pes(VIDEO, pts(7), &[3; 10]);
        let wanted = [start(0, 5), data(0, 1, 10), Event::Gap(0), start(0, 7), data(0, 3, 10)];
        assert_eq!(bench.events(), wanted);
        assert_eq!(bench.demuxer.counters().ts_scrambled, 3);
    }

    #[test]
    fn malformed_packet_is_counted() {
        let mut bench = Bench::new();
        let mut packet = bench.writer.packet(VIDEO, false, &[1; 100], 0);
        packet[4] = 200;
        bench.push(&packet);
        assert_eq!(bench.demuxer.counters().ts_invalid, 1);
    }

    #[test]
    fn lost_datagrams_that_continuity_vouches_for_damage_nothing() {
        let mut bench = Bench::new();
        bench.pes(VIDEO, pts(5), &[1; 100]);
        bench.demuxer.lost(2, &mut bench.sink); // at most 14 packets
        let more = bench.writer.packet(VIDEO, false, &[1; 184], 0);
        bench.push(&more);
        assert_eq!(bench.events(), [start(0, 5), data(0, 1, 284)]);
    }

    #[test]
    fn lost_datagrams_that_can_hide_a_turn_of_the_counter_damage_at_once() {
        let mut bench = Bench::new();
        bench.pes(VIDEO, pts(5), &[1; 100]);
        bench.demuxer.lost(3, &mut bench.sink);
        assert_eq!(bench.events()[2..], [Event::Gap(0)]);
        let more = bench.writer.packet(VIDEO, false, &[1; 184], 0);
        bench.push(&more);
        assert_eq!(bench.events(), [data(0, 1, 184)], "told once");
    }

    #[test]
    fn losses_add_up_until_the_tracks_next_packet() {
        let mut bench = Bench::new();
        bench.pes(VIDEO, pts(5), &[1; 100]);
        bench.pes(AUDIO, pts(5), &[2; 100]);
        bench.demuxer.lost(2, &mut bench.sink);
        let more = bench.writer.packet(AUDIO, false, &[2; 184], 0);
        bench.push(&more);
        bench.events();
        bench.demuxer.lost(1, &mut bench.sink);
        assert_eq!(bench.events(), [Event::Gap(0)], "21 packets since video's last");
    }

    #[test]
    fn loss_before_a_track_begins_is_not_its_damage() {
        let mut bench = Bench::new();
        bench.demuxer.lost(100, &mut bench.sink);
        bench.pes(VIDEO, pts(5), &[1; 100]);
        assert_eq!(bench.events(), [start(0, 5), data(0, 1, 100)]);
    }

    #[test]
    fn unit_whose_end_may_be_lost_has_a_gap_at_the_streams_end() {
        let mut bench = Bench::new();
        bench.pes(VIDEO, pts(5), &[1; 100]);
        bench.pes(AUDIO, bounded(5), &[2; 100]);
        bench.demuxer.lost(1, &mut bench.sink);
        bench.demuxer.finish(&mut bench.sink);
        assert_eq!(bench.events()[5..], [Event::Gap(0), Event::End(0)]);
    }

    #[test]
    fn lost_bytes_inside_a_packet_never_join_two_halves() {
        let mut bench = Bench::new();
        let packets = bench.writer.pes(VIDEO, pts(5), &[1; 184 * 14]);
        bench.push(&packets[..6 * 188 + 100]);
        bench.demuxer.lost(1, &mut bench.sink);
        bench.push(&packets[7 * 188 + 100..]);
        let events = bench.events();
        assert_eq!(events[1], data(0, 1, 170 + 5 * 184));
        assert_eq!(events[2], Event::Gap(0));
        assert_eq!(events[3], data(0, 1, 184 * 14 - 170 - 7 * 184));
    }

    #[test]
    fn skipped_bytes_take_away_the_counters_word() {
        let mut bench = Bench::new();
        bench.pes(VIDEO, pts(5), &[1; 100]);
        bench.push(&[0; 188 * 16]);
        let mut more = bench.writer.packet(VIDEO, false, &[1; 184], 0).to_vec();
        more.extend(bench.writer.nulls(5));
        bench.push(&more);
        assert_eq!(bench.events()[2..], [Event::Gap(0), data(0, 1, 184)]);
        assert_eq!(bench.demuxer.counters().ts_sync_losses, 1);
    }
}
