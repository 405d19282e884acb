//! Sender reports that came before their source sent.

use std::net::IpAddr;

use memory::Time;

use super::TRACKS_MAX;
use crate::rtcp::SenderInfo;

#[derive(Debug, Clone, Copy)]
struct Report {
    ssrc: u32,
    host: IpAddr,
    info: SenderInfo,
    at: Time,
}

/// As many as there may be tracks. Anybody may send one: it is used when a source has proven itself
/// that comes from the same host.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EarlyReports {
    places: [Option<Report>; TRACKS_MAX],
    /// The place that gives way next.
    next: usize,
}

impl EarlyReports {
    /// Keeps a report: in the place of the same source's, else of the oldest.
    pub(super) fn keep(&mut self, ssrc: u32, host: IpAddr, info: SenderInfo, at: Time) {
        let same = |report: &Report| (report.ssrc, report.host) == (ssrc, host);
        let own = self.places.iter().position(|place| place.as_ref().is_some_and(same));
        let at_place = own.unwrap_or_else(|| {
            let next = (self.next + 1) % TRACKS_MAX;
            std::mem::replace(&mut self.next, next)
        });
        if let Some(place) = self.places.get_mut(at_place) {
            *place = Some(Report { ssrc, host, info, at });
        }
    }

    /// The report of a source and when it came.
    pub(super) fn take(&mut self, ssrc: u32, host: IpAddr) -> Option<(SenderInfo, Time)> {
        let same = |report: &mut Report| (report.ssrc, report.host) == (ssrc, host);
        let report = self.places.iter_mut().find_map(|place| place.take_if(same))?;
        Some((report.info, report.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(number: u8) -> IpAddr {
        [192, 0, 2, number].into()
    }

    fn info(timestamp: u32) -> SenderInfo {
        SenderInfo { timestamp, ..SenderInfo::default() }
    }

    #[test]
    fn a_report_is_its_hosts_only_and_the_last_one_counts() {
        let mut early = EarlyReports::default();
        early.keep(8, host(1), info(1), Time::from_micros(1));
        early.keep(8, host(2), info(2), Time::from_micros(2));
        early.keep(8, host(1), info(3), Time::from_micros(3));
        assert_eq!(early.take(8, host(3)), None);
        assert_eq!(early.take(8, host(1)), Some((info(3), Time::from_micros(3))));
        assert_eq!(early.take(8, host(1)), None);
        assert_eq!(early.take(8, host(2)), Some((info(2), Time::from_micros(2))));
    }

    #[test]
    fn the_oldest_gives_way() {
        let mut early = EarlyReports::default();
        for ssrc in 0..6 {
            early.keep(ssrc, host(1), info(ssrc), Time::ZERO);
        }
        let kept: Vec<bool> = (0..6).map(|ssrc| early.take(ssrc, host(1)).is_some()).collect();
        assert_eq!(kept, [false, false, true, true, true, true]);
    }
}
