//! A sender of RTP that does well: the clip in real time as a transport stream (RFC 2250), with a
//! goodbye at its end.

use std::net::{Ipv4Addr, UdpSocket};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use penstock_tests::clip::Clip;
use penstock_tests::publisher::PAYLOAD_BYTES;
use penstock_tests::system::Tap;
use penstock_tests::witness::figures;
use shm::counters::{StreamCounter, WorkerCounter};

use super::{Header, Target, WITNESS, WITNESS_SSRC, counter};

pub(super) struct RtpWitness {
    tap: Tap,
    sending: JoinHandle<Result<()>>,
}

/// One source at the shared port.
pub(super) struct Sender {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    ssrc: u32,
}

impl Sender {
    pub(super) fn new(target: &Target, from: Ipv4Addr, ssrc: u32) -> Result<Self> {
        let rtp = target.socket(from, target.port)?;
        Ok(Self { rtp, rtcp: target.socket(from, target.rtcp_port)?, ssrc })
    }

    /// The same source, for another thread.
    pub(super) fn again(&self) -> Result<Self> {
        Ok(Self { rtp: self.rtp.try_clone()?, rtcp: self.rtcp.try_clone()?, ssrc: self.ssrc })
    }

    /// Sends the clip when its packets are due.
    pub(super) fn send(&self, bytes: &[u8], bits_per_second: u64) -> Result<()> {
        let start = Instant::now();
        for (number, payload) in (0_u64..).zip(bytes.chunks(PAYLOAD_BYTES)) {
            let bits = number * PAYLOAD_BYTES as u64 * 8;
            let due = Duration::from_nanos(bits * 1_000_000_000 / bits_per_second);
            std::thread::sleep(due.saturating_sub(start.elapsed()));
            let [.., a, b] = number.to_be_bytes();
            let ticks = u32::try_from(due.as_micros() * 9 / 100)?;
            let header = Header {
                payload_type: 33,
                // Over the wrap.
                sequence: u16::from_be_bytes([a, b]).wrapping_sub(200),
                timestamp: ticks.wrapping_sub(90_000),
                ssrc: self.ssrc,
                ..Header::default()
            };
            self.rtp.send(&header.packet(payload))?;
        }
        self.rtcp.send(&super::control::goodbye(self.ssrc))?;
        Ok(())
    }
}

impl RtpWitness {
    /// Starts sending and waits until its stream is active.
    pub(super) fn start(target: &Target, clip: &Clip) -> Result<Self> {
        let tap = target.system.frames_of(WITNESS)?;
        let sender = Sender::new(target, Ipv4Addr::LOCALHOST, WITNESS_SSRC)?;
        let (bytes, rate) = (clip.bytes.clone(), clip.bits_per_second());
        let sending = std::thread::spawn(move || sender.send(&bytes, rate));
        let what = "the witness of RTP is active";
        target.system.wait_stream(WITNESS, what, |stream| stream["status"] == "active")?;
        Ok(Self { tap, sending })
    }

    /// Waits for its end: every frame must have arrived whole, but for packets that the kernel
    /// dropped.
    pub(super) fn lost_nothing(self, target: &Target, clip: &Clip) -> Result<()> {
        let sent = self.sending.join().map_err(|_| anyhow::anyhow!("the witness panicked"))?;
        sent.context("the witness of RTP could not send")?;
        let frames = self.tap.frames()?;
        let stream = target.stream(WITNESS)?;
        let dropped = counter(&target.system, WorkerCounter::KernelDrops)?;
        let lost = stream.counter(StreamCounter::PacketsSkippedTooLate);
        ensure!(
            lost <= dropped,
            "{lost} packets lost, {dropped} dropped by the kernel: {}",
            figures(&stream)
        );
        assert_eq!(stream.counter(StreamCounter::Connections), 1, "it was cut off");
        if lost > 0 {
            clip.clean_frames_are_true(&frames)?;
            return Ok(());
        }
        clip.is_whole(&frames).with_context(|| format!("the witness of RTP: {}", figures(&stream)))
    }
}
