//! A session, its detection and its table allocate nothing after they are made.

use std::net::SocketAddr;

use assert_no_alloc::{AllocDisabler, assert_no_alloc};
use codec::sink::{Sink, Timestamps, TrackConfig};
use memory::{Datagram, Slab, Time};
use rtp::Output;
use rtp::format::{Encoding, Format};
use rtp::packet::{Kind, Packet};
use rtp::payload::ParameterSets;
use rtp::session::{Room, Session, SessionConfig, TrackSetup};
use rtp::table::Table;

mod common;

#[cfg(debug_assertions)]
#[global_allocator]
static ALLOCATOR: AllocDisabler = AllocDisabler;

/// Counts and forgets.
#[derive(Default)]
struct Count {
    bytes: usize,
    sent: usize,
}

impl Sink for Count {
    fn tracks(&mut self, _: &[TrackConfig]) {}
    fn unit_start(&mut self, _: usize, _: Timestamps) {}
    fn unit_data(&mut self, _: usize, bytes: &[u8]) {
        self.bytes += bytes.len();
    }
    fn unit_end(&mut self, _: usize) {}
    fn gap(&mut self, _: usize) {}
}

impl Output for Count {
    fn transmit(&mut self, _: (usize, usize), _: SocketAddr, packet: &[u8]) {
        self.sent += packet.len();
    }
    fn input(&mut self, _: Time, _: Time) {}
    fn deliver_ts(&mut self, payload: &[u8], _: Time, _: Time) {
        self.bytes += payload.len();
    }
    fn ts_lost(&mut self, _: u32) {}
}

#[test]
fn packets_losses_reports_and_requests_allocate_nothing() {
    let sets = ParameterSets::EMPTY;
    let source = SocketAddr::from(([127, 0, 0, 1], 4_000));
    let mut session = Session::new(&Room { fec: true, ..Room::default() });
    let mut table = Table::new(8, 16, [1, 2]);
    let slab = Slab::new(1_024).unwrap();
    for (name, encoding) in [
        ("h264_gstreamer", None),
        ("h264_ffmpeg", Some(Encoding::H264 { sets, depth: 0 })),
        ("hevc_gstreamer_ap", Some(Encoding::Hevc { sets, has_order: false, depth: 0 })),
        // Numbers are read where there are none: NAL units wait and go in any order.
        ("hevc_gstreamer", Some(Encoding::Hevc { sets, has_order: true, depth: 4 })),
        ("aac_gstreamer", None),
        ("opus_ffmpeg", None),
        ("ts_gstreamer", None),
    ] {
        let records = common::capture(name);
        let payload_type = records.iter().find(|r| r.is_rtp()).unwrap().bytes[1] & 0x7f;
        let format = encoding.map(|encoding| Format::video(payload_type, encoding));
        let mut config = SessionConfig::default();
        config.tracks[0] = Some(TrackSetup { format, ..TrackSetup::default() });
        config.feedback.nack = true;
        config.feedback.pli = true;
        let mut out = Count::default();
        assert_no_alloc(|| {
            session.open(&config, Time::ZERO);
            let mut now = Time::ZERO;
            for (at, record) in records.iter().enumerate() {
                now = now.max(record.arrival);
                while session.next_timeout() <= now {
                    session.handle_timeout(now, &mut out);
                }
                if Kind::of(&record.bytes) == Kind::Rtcp {
                    session.handle_rtcp(now, None, 0, source, &record.bytes, &mut out);
                    continue;
                }
                let datagram = Datagram::copy_from(&slab, &record.bytes).unwrap();
                if at % 13 == 9 {
                    let _ = table.arrive(source, Packet::new(datagram, now).unwrap(), now);
                } else {
                    session.handle_rtp(now, now, 0, source, datagram, &mut out);
                }
            }
            session.close(now, &mut out);
        });
        assert!(out.bytes > 1_000 && out.sent > 0, "{name}");
        assert!(session.stats().packets_lost > 0, "{name} {:#?}", session.stats());
    }
}
