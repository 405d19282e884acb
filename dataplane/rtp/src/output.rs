//! Where a session's results go.

use std::net::SocketAddr;

use codec::sink::Sink;
use memory::Time;

/// Takes what a session gives. Elementary streams go to it as to any [`Sink`]; the track indices
/// are those of the session's tracks.
pub trait Output: Sink {
    /// Send this RTCP packet of a track's leg to that address of its sender.
    fn transmit(&mut self, of: (usize, usize), to: SocketAddr, packet: &[u8]);
    /// What is pushed next came at `arrival` and is due at `due`: at once when nothing was missing
    /// before it, else when the hole was filled or given up.
    fn input(&mut self, arrival: Time, due: Time);
    /// A transport stream's packets, in order.
    fn deliver_ts(&mut self, payload: &[u8], arrival: Time, due: Time);
    /// So many packets of a transport stream are missing here.
    fn ts_lost(&mut self, packets: u32);
}
