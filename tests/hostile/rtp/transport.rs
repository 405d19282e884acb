//! Transport streams, over RTP and without, whose tables are a flood.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Result, ensure};
use penstock_tests::generate::mux::{Muxer, Program, Stream, section};
use penstock_tests::witness::figures;
use shm::StreamSnapshot;
use shm::counters::StreamCounter as S;

use super::{Header, Target, beside_witnesses, of};

const PIDS: u16 = 8_192;
/// Packets of a transport stream in a datagram.
const PER_DATAGRAM: usize = 7;
const PACKET_BYTES: usize = 188;

/// Sends the same to `given/ts` and `given/raw`.
struct Senders<'a> {
    target: &'a Target,
    over_rtp: UdpSocket,
    raw: UdpSocket,
    sent: u32,
}

impl<'a> Senders<'a> {
    fn new(target: &'a Target) -> Result<Self> {
        let socket = |port| target.socket(Ipv4Addr::LOCALHOST, port);
        Ok(Self { target, over_rtp: socket(target.ts)?, raw: socket(target.raw)?, sent: 0 })
    }

    fn send(&mut self, stream: &[u8]) -> Result<()> {
        let chunks: Vec<&[u8]> = stream.chunks(PER_DATAGRAM * PACKET_BYTES).collect();
        let mut number = self.sent;
        let count = u32::try_from(chunks.len())?;
        self.target.flood(2 * count, |turn| {
            let chunk = chunks[usize::try_from(turn / 2)?];
            if turn % 2 == 0 {
                self.raw.send(chunk)?;
                return Ok(());
            }
            let [.., a, b] = number.to_be_bytes();
            let header = Header {
                payload_type: 33,
                sequence: u16::from_be_bytes([a, b]),
                timestamp: number * 90,
                ssrc: 33,
                ..Header::default()
            };
            number += 1;
            self.over_rtp.send(&header.packet(chunk))?;
            Ok(())
        })?;
        self.sent = number;
        Ok(())
    }

    /// Both streams, once all that was sent has found its place.
    fn settled(&self) -> Result<[StreamSnapshot; 2]> {
        for id in ["given/ts", "given/raw"] {
            let taken = |target: &Target| Ok(of(&target.stream(id)?, &[S::PacketsDelivered]));
            self.target.counted(self.sent.into(), taken)?;
        }
        self.target.memory_is_bounded()?;
        Ok([self.target.stream("given/ts")?, self.target.stream("given/raw")?])
    }
}

/// A packet of that PID that begins a PES packet.
fn begins(pid: u16, continuity: u8) -> [u8; PACKET_BYTES] {
    let [high, low] = pid.to_be_bytes();
    let mut packet = [0xff; PACKET_BYTES];
    packet[..4].copy_from_slice(&[0x47, 0x40 | high, low, 0x10 | continuity & 15]);
    packet[4..13].copy_from_slice(&[0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0]);
    packet
}

#[test]
fn every_pid_there_is_and_a_thousand_programs_take_no_memory() -> Result<()> {
    beside_witnesses(|target| {
        let mut senders = Senders::new(target)?;
        // A table of more programs than are listed, whose first has more streams than are.
        let mut muxer = Muxer::new(Vec::new());
        let streams = (0..180).map(|number| Stream::h264(0x100 + number)).collect();
        let first = Program { streams, ..Program::single(Vec::new()) };
        let mut association = Vec::new();
        for number in 1..=250_u16 {
            association.extend(number.to_be_bytes());
            association.extend((0xe000 | (first.pmt_pid + number - 1)).to_be_bytes());
        }
        muxer.section(0, &section(0, 1, 0, &association));
        let association = muxer.take();
        muxer.programs_mut().push(first);
        muxer.tables();
        let tables = muxer.take();
        for round in 0..3 {
            let mut stream = association.clone();
            for pid in 0..PIDS {
                // The tables' own would be cut by it.
                if pid != 0 {
                    stream.extend(begins(pid, round));
                }
                if pid % 1_000 == 7 {
                    stream.extend(&tables);
                }
            }
            senders.send(&stream)?;
        }
        for stream in senders.settled()? {
            let packets = stream.counter(S::TsPackets);
            ensure!(packets > 3 * u64::from(PIDS) - 100, "{packets} packets: {}", figures(&stream));
            ensure!(stream.counter(S::PsiProgramsUnlisted) > 0, "{}", figures(&stream));
            ensure!(stream.counter(S::PsiTracksUnlisted) > 0, "{}", figures(&stream));
        }
        Ok(())
    })
}

#[test]
fn a_map_table_that_changes_with_each_packet_is_followed_and_takes_no_memory() -> Result<()> {
    const CHANGES: u8 = 255;
    beside_witnesses(|target| {
        let mut senders = Senders::new(target)?;
        for round in 0..8 {
            let mut stream = Vec::new();
            let mut muxer = Muxer::new(vec![Program::single(vec![Stream::h264(0x100)])]);
            for change in 0..CHANGES {
                let program = &mut muxer.programs_mut()[0];
                program.version = change & 31;
                let pid = 0x100 + u16::from(change) + round;
                program.streams = if change % 2 == 0 {
                    vec![Stream::h264(pid), Stream::aac(pid + 1)]
                } else {
                    vec![Stream::hevc(pid)]
                };
                muxer.tables();
                stream.extend(muxer.take());
                stream.extend(begins(pid, change));
            }
            senders.send(&stream)?;
        }
        for stream in senders.settled()? {
            let changes = stream.counter(S::PsiChanges);
            ensure!(
                changes > 8 * u64::from(CHANGES) / 2,
                "{changes} changes: {}",
                figures(&stream)
            );
        }
        Ok(())
    })
}
