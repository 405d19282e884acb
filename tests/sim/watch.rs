//! What must hold of the frames that a reader sees, and of the counters.

use std::hash::{Hash, Hasher};

use anyhow::{Context, Result, bail, ensure};
use penstock_engine::simulation::Simulated;
use penstock_tests::conservation;
use shm::counters::{StreamCounter as S, WorkerCounter as W};
use shm::{Directory, Frame, GopReader, Next, SeekFrom};

use crate::publisher::Publisher;

/// A reader of one publisher's frames that believes nothing.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    reader: Option<GopReader>,
    /// The ring's generation that was read last.
    generation: u64,
    /// A clean frame that is only the beginning of its unit. Legitimate as the last one before a
    /// goodbye, when the packets behind it were lost: nothing tells that they are missing.
    cut: Option<u32>,
    cuts: u32,
    buffer: Vec<u8>,
    last: Option<u32>,
    /// Clean frames: number, time of publication.
    pub(crate) clean: Vec<(u32, u64)>,
    pub(crate) damaged: u64,
    /// Clean frames that are not what was sent: bits were flipped where nobody can find it.
    pub(crate) forged: u64,
}

impl Watch {
    /// Looks for the stream when it has not been found, or begins anew.
    pub(crate) fn attach(&mut self, engine: &Simulated, publisher: &Publisher) {
        if self.reader.is_none() {
            let reader = engine.reader(&publisher.id);
            self.reader = reader.filter(|reader| reader.generation() != self.generation);
            self.generation = self.reader.as_ref().map_or(self.generation, GopReader::generation);
        }
    }

    /// Goes back to the oldest frame, as no reader should.
    pub(crate) fn rewind(&mut self) {
        if let Some(reader) = &mut self.reader {
            reader.seek(SeekFrom::Oldest);
        }
    }

    /// Reads and judges every new frame.
    pub(crate) fn read(&mut self, publisher: &Publisher) -> Result<()> {
        while let Some(reader) = &mut self.reader {
            match reader.next(&mut self.buffer)? {
                Next::Empty => break,
                Next::Ended => {
                    self.reader = None;
                    self.cuts += u32::from(self.cut.take().is_some());
                    ensure!(
                        self.cuts <= publisher.goodbyes,
                        "{}: a unit cut off by the end of its session is marked clean",
                        publisher.id
                    );
                }
                Next::Overrun { lost } => bail!("{}: overrun by {lost} frames", publisher.id),
                Next::Frame(frame) => self
                    .judge(&frame, publisher)
                    .with_context(|| format!("{}: {frame:?}", publisher.id))?,
            }
        }
        Ok(())
    }

    fn judge(&mut self, frame: &Frame, publisher: &Publisher) -> Result<()> {
        ensure!(self.cut.is_none(), "the frame before it is cut off and marked clean");
        if frame.is_damaged() {
            self.damaged += 1;
            return Ok(());
        }
        let flipped = publisher.to_listener.changed > 0 && !publisher.is_authenticated();
        let encoder = &publisher.encoder;
        let number = encoder.units().number_of(&self.buffer);
        let unit = number.map(|number| encoder.units().unit(number));
        let whole = unit.as_ref() == Some(&self.buffer);
        if !whole && unit.as_ref().is_some_and(|unit| unit.starts_with(&self.buffer)) {
            self.cut = number;
            return Ok(());
        }
        let Some(number) = number.filter(|_| whole) else {
            ensure!(
                flipped,
                "marked clean, and not what was sent: {}",
                difference(number, unit.as_deref().unwrap_or_default(), &self.buffer)
            );
            self.forged += 1;
            return Ok(());
        };
        ensure!(number < encoder.next(), "unit {number} was never sent");
        ensure!(
            self.last.is_none_or(|last| last < number),
            "unit {number} after {:?}: twice, or out of order",
            self.last
        );
        if !flipped {
            let pts = frame.pts.map(|pts| pts % (1 << 33));
            ensure!(pts == Some(encoder.pts(number)), "unit {number} has PTS {pts:?}");
            ensure!(frame.is_key() == encoder.units().is_key(number), "key flag of {number}");
        }
        self.last = Some(number);
        self.clean.push((number, frame.published_ns));
        Ok(())
    }

    /// The run so far, as a number.
    pub(crate) fn digest(&self, hasher: &mut impl Hasher) {
        (&self.clean, self.damaged, self.forged).hash(hasher);
    }
}

/// Where a frame differs from the unit that it says it is.
fn difference(number: Option<u32>, unit: &[u8], frame: &[u8]) -> String {
    let same = |(a, b): (&u8, &u8)| a == b;
    let front = unit.iter().zip(frame).take_while(|pair| same(*pair)).count();
    let back = unit.iter().rev().zip(frame.iter().rev()).take_while(|pair| same(*pair)).count();
    format!(
        "unit {number:?} has {} bytes, the frame {}, of which {front} in front and {back} behind are right",
        unit.len(),
        frame.len()
    )
}

/// Every datagram and packet has its place among the counters.
pub(crate) fn conserved(directory: &Directory) -> Result<()> {
    let workers = directory.workers();
    let all = |counter| workers.iter().map(|worker| worker.counter(counter)).sum::<u64>();
    for never in [W::SessionsPanicked, W::SendErrors, W::SendsDropped] {
        ensure!(all(never) == 0, "{}: {}", never.label(), all(never));
    }
    conservation::check(directory)
}

/// What a stream counted, as far as anything was.
pub(crate) fn figures(directory: &Directory, id: &str) -> String {
    let Some(stream) = directory.stream(id) else { return "it is not listed".into() };
    let told = S::ALL.iter().map(|it| (it.label(), stream.counter(*it)));
    let told = told.filter(|(_, count)| *count > 0);
    let told: Vec<_> = told.map(|(label, count)| format!("{label} {count}")).collect();
    format!("{:?}, {}", stream.info.state, told.join(", "))
}
