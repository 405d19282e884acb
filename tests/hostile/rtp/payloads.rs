//! Payloads of H.264 that never end, never begin, or are larger than anything may be.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Result, ensure};
use penstock_tests::generate::h264::{Paff, paff};
use penstock_tests::rtp::h264::{self, END, START};
use penstock_tests::witness::figures;
use shm::StreamSnapshot;
use shm::counters::StreamCounter as S;

use super::{Header, Target, beside_witnesses, of};

const ID: &str = "given/h264";
/// As the configuration has it.
const FRAME_BYTES_MAX: u64 = 1 << 20;
/// Of the header of a fragment in the middle.
const MIDDLE: u8 = 0x00;

/// The sender of the session `given/h264`.
struct Sender<'a> {
    target: &'a Target,
    socket: UdpSocket,
    sequence: u16,
    timestamp: u32,
}

impl<'a> Sender<'a> {
    fn new(target: &'a Target) -> Result<Self> {
        let socket = target.socket(Ipv4Addr::LOCALHOST, target.h264)?;
        Ok(Self { target, socket, sequence: 65_000, timestamp: 1_000 })
    }

    fn send(&mut self, marker: bool, payload: &[u8]) -> Result<()> {
        let Self { sequence, timestamp, .. } = *self;
        let header = Header { marker, payload_type: 96, sequence, timestamp, ssrc: 9 };
        self.socket.send(&header.packet(payload))?;
        self.sequence = sequence.wrapping_add(1);
        Ok(())
    }

    /// Sends so many of what `payload` makes.
    fn flood(
        &mut self,
        count: u32,
        mut payload: impl FnMut(&mut Self, u32) -> (bool, Vec<u8>),
    ) -> Result<()> {
        self.target.flood(count, |number| {
            let (marker, payload) = payload(self, number);
            self.send(marker, &payload)
        })
    }

    /// Sends two groups of good pictures; the second is whole whatever came before the first.
    fn good(&mut self) -> Result<()> {
        let units = paff(&Paff { frames: 16, ..Paff::default() });
        let start = self.timestamp.wrapping_add(3_600);
        for packet in h264::packets(&units, 1_200) {
            self.timestamp = start.wrapping_add(u32::try_from(packet.ticks)?);
            self.send(packet.marker, &packet.payload)?;
        }
        Ok(())
    }

    /// All its packets have found their place, and good pictures are published again.
    fn is_well_again(&mut self, sent: u32) -> Result<StreamSnapshot> {
        let taken = |it: &StreamSnapshot| it.counter(S::PacketsReceived);
        self.target.counted(sent.into(), |target| Ok(taken(&target.stream(ID)?)))?;
        let before = self.target.stream(ID)?.counter(S::FramesKey);
        self.good()?;
        // The first picture of a group may be that which the attack left open.
        self.target.wait_stream(ID, "good pictures", |it| it.counter(S::FramesKey) > before)?;
        self.target.memory_is_bounded()?;
        self.target.stream(ID)
    }
}

/// A unit was cut at the largest frame, and nothing of it was published.
fn is_cut(stream: &StreamSnapshot) -> Result<()> {
    ensure!(stream.counter(S::UnitsCut) >= 1, "{}", figures(stream));
    ensure!(stream.counter(S::FrameBytes) < 2 * FRAME_BYTES_MAX, "{}", figures(stream));
    Ok(())
}

/// A fragment of an IDR slice.
fn fragment(head: u8, bytes: usize) -> Vec<u8> {
    let mut payload = vec![0x7c, head | 5];
    payload.resize(bytes, 0x55);
    payload
}

#[test]
fn a_fragmented_unit_without_end_is_cut_at_the_largest_frame() -> Result<()> {
    const SENT: u32 = 6_000;
    beside_witnesses(|target| {
        let mut sender = Sender::new(target)?;
        sender.flood(SENT, |_, number| {
            let head = if number == 0 { START } else { MIDDLE };
            (false, fragment(head, 1_000))
        })?;
        is_cut(&sender.is_well_again(SENT)?)
    })
}

#[test]
fn fragments_without_start_are_counted_one_by_one() -> Result<()> {
    const SENT: u32 = 6_000;
    beside_witnesses(|target| {
        let mut sender = Sender::new(target)?;
        sender.flood(SENT, |sender, number| {
            sender.timestamp = number * 3_000;
            (true, fragment(MIDDLE, 300))
        })?;
        let stream = sender.is_well_again(SENT)?;
        let fragments = stream.counter(S::FragmentsInvalid);
        ensure!(fragments >= u64::from(SENT) / 2, "{fragments} of {SENT}: {}", figures(&stream));
        Ok(())
    })
}

#[test]
fn a_timestamp_that_never_changes_and_markers_that_never_come_end_at_the_largest_frame()
-> Result<()> {
    const SENT: u32 = 6_000;
    beside_witnesses(|target| {
        let mut sender = Sender::new(target)?;
        // Slices that begin no picture, a kilobyte each, behind one that does.
        sender.flood(SENT, |_, number| {
            let first = if number == 0 { 0x88 } else { 0x44 };
            let mut slice = vec![0x65, first];
            slice.resize(1_000, 0x55);
            (false, slice)
        })?;
        is_cut(&sender.is_well_again(SENT)?)
    })
}

#[test]
fn frames_larger_than_the_largest_are_not_published() -> Result<()> {
    const FRAMES: u32 = 4;
    const EACH: u32 = 1_400;
    beside_witnesses(|target| {
        let mut sender = Sender::new(target)?;
        sender.flood(FRAMES * EACH, |sender, number| {
            let place = number % EACH;
            sender.timestamp = 1_000 + number / EACH * 3_600;
            let head = match place {
                0 => START,
                place if place == EACH - 1 => END,
                _ => MIDDLE,
            };
            (place == EACH - 1, fragment(head, 1_000))
        })?;
        let stream = sender.is_well_again(FRAMES * EACH)?;
        assert_eq!(stream.counter(S::UnitsCut), u64::from(FRAMES), "{}", figures(&stream));
        let whole = of(&stream, &[S::FramesPublished]) - of(&stream, &[S::FramesDamaged]);
        ensure!(whole <= 32, "{whole} pictures of 32 good ones: {}", figures(&stream));
        Ok(())
    })
}

#[test]
fn units_of_nothing_and_of_the_forbidden_bit_are_counted_as_invalid() -> Result<()> {
    const SENT: u32 = 6_000;
    beside_witnesses(|target| {
        let mut sender = Sender::new(target)?;
        sender.flood(SENT, |sender, number| {
            sender.timestamp = number;
            let payload = match number % 5 {
                // A kind that is none, the forbidden bit, an aggregate that breaks off, a fragment of
                // an aggregate, and a slice without a header.
                0 => vec![0x1f, 1, 2, 3],
                1 => vec![0xe5, 0x88, 1, 2],
                2 => vec![0x78, 0xff, 0xff, 1],
                3 => vec![0x7c, START | 24, 1, 2],
                _ => vec![0x65],
            };
            (number % 2 == 0, payload)
        })?;
        let stream = sender.is_well_again(SENT)?;
        let invalid = stream.counter(S::PayloadsInvalid);
        ensure!(invalid >= u64::from(SENT), "{invalid} of {SENT}: {}", figures(&stream));
        Ok(())
    })
}
