//! Splice information (SCTE 35): sections on a PID of their own, each a unit.
//!
//! The sections carry no stamp: a unit is stamped with the program's clock as it stood when the
//! section was complete, as FFmpeg does. Times in the sections are not read, and encrypted ones are
//! handed on as they are.

use codec::sink::{Sink, Timestamps};

use crate::{
    crc::crc32,
    packet::{PID_NULL, Packet},
    psi::{Assembled, Assembler},
    track::{Output, Track},
};

/// Longest section: three bytes and a length of 4,093.
const SECTION_BYTES_MAX: usize = 4096;
/// splice_info_section.
const TABLE_ID: u8 = 0xFC;
/// Tracks whose sections may lie over packets at a time; more of them share.
const TABLES: usize = 4;

#[derive(Debug)]
struct Table {
    pid: u16,
    assembler: Assembler<SECTION_BYTES_MAX>,
}

/// The sections that are being put together.
#[derive(Debug)]
pub(crate) struct Splices(Box<[Table]>);

impl Splices {
    pub(crate) fn new() -> Self {
        let table = |_| Table { pid: PID_NULL, assembler: Assembler::new() };
        Self((0..TABLES).map(table).collect())
    }

    pub(crate) fn reset(&mut self) {
        for table in &mut self.0 {
            table.pid = PID_NULL;
            table.assembler.drop_open();
        }
    }

    /// Bytes of the PID are missing.
    pub(crate) fn gap(&mut self, pid: u16) {
        for table in self.0.iter_mut().filter(|table| table.pid == pid) {
            table.assembler.drop_open();
        }
    }

    /// Takes the payload of a packet that follows the one before. `clock` is the program's last
    /// reference in 27 MHz ticks.
    pub(crate) fn packet<S: Sink + ?Sized>(
        &mut self,
        packet: &Packet<'_>,
        clock: Option<u64>,
        track: &mut Track,
        out: &mut Output<'_, S>,
    ) {
        let Some(table) = self.0.get_mut(out.index % TABLES) else { return };
        if table.pid != packet.header.pid() {
            table.pid = packet.header.pid();
            table.assembler.drop_open();
        }
        let start = packet.header.unit_start();
        table.assembler.push(start, packet.payload, &mut |assembled| match assembled {
            Assembled::Section(section) if section.first() != Some(&TABLE_ID) => {}
            Assembled::Section(section) if crc32(section) == 0 => {
                let pts = clock.map(|clock| clock / 300);
                let placed = out.timeline.place(&mut track.time, pts, None, false);
                let stamps = Timestamps { dts: None, ..placed.stamps };
                out.sink.unit_start(out.index, stamps);
                out.sink.unit_data(out.index, section);
                out.sink.unit_end(out.index);
            }
            Assembled::Section(_) => out.counters.psi_crc_errors += 1,
            Assembled::Malformed => out.counters.psi_invalid += 1,
        });
    }
}
