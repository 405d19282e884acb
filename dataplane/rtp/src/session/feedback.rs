//! What a session sends: reports, requests, goodbyes.
//!
//! Each track is an RTP session of its own to its sender (RFC 3550, 5.2), and so is each leg of one
//! with SMPTE ST 2022-7: each hears of its own source, at its own address. What is asked for is asked
//! for once, on the first leg that is heard.

use std::net::SocketAddr;
use std::time::Duration;

use memory::Time;

use super::leg::LEGS_MAX;
use super::track::Track;
use super::{PAUSED_AFTER, Session, SessionConfig};
use crate::clock::TrackClock;
use crate::output::Output;
use crate::rtcp::ReportBlock;
use crate::rtcp::write::Writer;

/// Between two requests for a key picture.
const KEY_REQUEST_INTERVAL: Duration = Duration::from_millis(500);
/// Requests for one loss.
const KEY_REQUESTS_MAX: u32 = 10;

impl Session {
    /// RTCP of the sender came from there.
    pub(super) fn note_rtcp_peer(&mut self, track: Option<usize>, leg: usize, peer: SocketAddr) {
        let tracks = self.tracks.iter_mut().take(self.tracks_len).enumerate();
        for (_, of) in tracks.filter(|(index, _)| track.is_none_or(|track| track == *index)) {
            if let Some(path) = of.legs.get_mut(leg) {
                path.rtcp = Some(peer);
            }
        }
    }

    /// Asks for lost packets that are due.
    pub(super) fn ask_again<O: Output>(&mut self, now: Time, out: &mut O) {
        for index in 0..self.tracks_len {
            let Some(track) = self.tracks.get_mut(index) else { return };
            let (Some(media), true) = (track.ssrc, track.nacks.next_timeout() <= now) else {
                continue;
            };
            let mut writer = compound(&self.config, None);
            let asked = writer.nack(self.config.ssrc, media, track.nacks.due(now));
            self.stats.nacks_sent += u64::from(asked);
            self.send_once(index, now, &writer, out);
        }
    }

    /// Asks for a key picture until one comes.
    pub(super) fn ask_key<O: Output>(&mut self, now: Time, out: &mut O) {
        if now < self.key_request_at {
            return;
        }
        if self.key_requests == 0 {
            self.fir_number = self.fir_number.wrapping_add(1);
        }
        let mut keys = 0;
        for index in 0..self.tracks_len {
            let track = self.tracks.get_mut(index).filter(|track| track.is_video());
            let Some(track) = track else { continue };
            track.needs_key = false;
            keys += track.counters.keys;
            let Some(media) = track.ssrc else { continue };
            let mut writer = compound(&self.config, None);
            if self.config.feedback.pli {
                writer.picture_loss(self.config.ssrc, media);
            } else {
                writer.full_intra_request(self.config.ssrc, media, self.fir_number);
            }
            self.stats.key_requests_sent += 1;
            self.send_once(index, now, &writer, out);
        }
        if self.key_requests == 0 {
            self.keys_seen = keys;
        }
        self.key_requests += 1;
        let again = self.key_requests < KEY_REQUESTS_MAX && keys <= self.keys_seen;
        self.key_request_at = if again { now + KEY_REQUEST_INTERVAL } else { Time::NEVER };
    }

    pub(super) fn send_report<O: Output>(&mut self, now: Time, out: &mut O) {
        for index in 0..self.tracks_len {
            for leg in 0..LEGS_MAX {
                let (Some(track), Some(clock)) =
                    (self.tracks.get_mut(index), self.clocks.get(index))
                else {
                    return;
                };
                if let Some(peer) = track.rtcp_peer(leg) {
                    let writer = compound(&self.config, block(track, leg, clock, now));
                    self.send((index, leg), peer, &writer, out);
                }
            }
        }
        let (since, bytes_before) = self.reported;
        let micros = u64::try_from(now.since(since).as_micros()).unwrap_or(u64::MAX).max(1);
        let bits = self.stats.bytes_received.saturating_sub(bytes_before).saturating_mul(8);
        let bandwidth = bits.saturating_mul(1_000_000) / micros;
        self.reported = (now, self.stats.bytes_received);
        self.report_at = now + self.interval.next(2, 1, bandwidth);
    }

    /// Tells all senders that nobody listens any more.
    pub(super) fn say_goodbye<O: Output>(&mut self, out: &mut O) {
        let mut writer = compound(&self.config, None);
        writer.goodbye(self.config.ssrc);
        for index in 0..self.tracks_len {
            for leg in 0..LEGS_MAX {
                if let Some(peer) = self.rtcp_peer(index, leg) {
                    self.send((index, leg), peer, &writer, out);
                }
            }
        }
    }

    /// Sends on the first of a track's legs that is heard.
    fn send_once<O: Output>(&mut self, index: usize, now: Time, writer: &Writer, out: &mut O) {
        let Some(track) = self.tracks.get(index) else { return };
        let mut peers = (0..LEGS_MAX).filter_map(|leg| Some((leg, track.rtcp_peer(leg)?)));
        let heard = |leg: usize| {
            let leg = track.legs.get(leg);
            leg.is_some_and(|leg| now.since(leg.heard_at) < PAUSED_AFTER)
        };
        let to = peers.clone().find(|(leg, _)| heard(*leg)).or_else(|| peers.next());
        if let Some((leg, peer)) = to {
            self.send((index, leg), peer, writer, out);
        }
    }

    fn send<O: Output>(
        &mut self,
        (track, leg): (usize, usize),
        peer: SocketAddr,
        writer: &Writer,
        out: &mut O,
    ) {
        self.interval.packet(writer.as_bytes().len());
        self.stats.rtcp_sent += 1;
        out.transmit((track, leg), peer, writer.as_bytes());
    }
}

/// What every compound packet begins with: a report, of a source or of none, and our name (RFC 3550,
/// 6.1).
fn compound(config: &SessionConfig, block: Option<ReportBlock>) -> Writer {
    let mut writer = Writer::default();
    writer.receiver_report(config.ssrc, block.into_iter());
    let (name, len) = &config.cname;
    writer.canonical_name(config.ssrc, name.get(..usize::from(*len)).unwrap_or_default());
    writer
}

/// What is reported of a track's leg; nothing before its source is proven there.
fn block(track: &mut Track, leg: usize, clock: &TrackClock, now: Time) -> Option<ReportBlock> {
    let ssrc = track.ssrc?;
    let reception = track.legs.get_mut(leg)?.source.as_mut()?.report();
    let delay = track.report_at.map_or(0, |at| {
        u32::try_from((now.since(at).as_nanos() << 16) / 1_000_000_000).unwrap_or(u32::MAX)
    });
    Some(ReportBlock {
        ssrc,
        fraction_lost: reception.fraction_lost,
        cumulative_lost: reception.cumulative_lost,
        extended_highest: reception.extended_highest,
        jitter: reception.jitter,
        last_report: if track.report_at.is_some() { clock.last_report() } else { 0 },
        delay,
    })
}
