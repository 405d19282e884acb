//! AV1 as FFmpeg and GStreamer send it, and AV1 and JPEG XS by packetizers of the tests, written from the formats'
//! texts. The AV1 streams are those of libaom and SVT-AV1; the JPEG XS pictures are bytes between the
//! codestream's first and last marker.
#![allow(clippy::cast_possible_truncation, reason = "tests make bytes of numbers")]

mod common;

use std::time::Duration;

use common::{Receiver, Record, capture, timestamps, vector};
use memory::Time;
use rtp::format::{Encoding, Format};
use rtp::packet::Header;

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % end
    }
}

fn leb128(bytes: &[u8]) -> (usize, usize) {
    let len = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let value = bytes[..len].iter().rev().fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
    (value, len)
}

/// The temporal units of a stream of OBUs with sizes: each OBU with its header.
fn temporal_units(bytes: &[u8]) -> Vec<Vec<&[u8]>> {
    let (mut rest, mut units) = (bytes, Vec::new());
    while let Some(first) = rest.first() {
        let (size, used) = leb128(&rest[1..]);
        let (obu, after) = rest.split_at(1 + used + size);
        rest = after;
        match first >> 3 & 15 {
            2 => units.push(Vec::new()),
            _ => units.last_mut().unwrap().push(obu),
        }
    }
    units
}

/// An OBU without its size field.
fn bare(obu: &[u8]) -> Vec<u8> {
    let (_, used) = leb128(&obu[1..]);
    [&[obu[0] & !2][..], &obu[1 + used..]].concat()
}

fn push_leb128(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Packets of a temporal unit: elements of any length in packets of any number of them.
fn av1_payloads(obus: &[&[u8]], random: &mut Random) -> Vec<Vec<u8>> {
    let starts_sequence = obus[0][0] >> 3 & 15 == 1;
    let mut elements: Vec<(Vec<u8>, bool, bool)> = Vec::new();
    for obu in obus {
        let bytes = bare(obu);
        let mut rest = &bytes[..];
        let mut continues = false;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(1 + random.below(400)));
            elements.push((part.to_vec(), continues, !after.is_empty()));
            continues = true;
            rest = after;
        }
    }
    let (mut payloads, mut at) = (Vec::new(), 0);
    while at < elements.len() {
        // An element that goes on is the last of its packet.
        let mut count = 1;
        while !elements[at + count - 1].2 && at + count < elements.len() && random.below(2) == 0 {
            count += 1;
        }
        let counted = count <= 3 && random.below(2) == 0;
        let packet = &elements[at..at + count];
        let mut head = if counted { (count as u8) << 4 } else { 0 };
        head |= if packet[0].1 { 0x80 } else { 0 };
        head |= if packet[count - 1].2 { 0x40 } else { 0 };
        head |= if starts_sequence && at == 0 { 0x08 } else { 0 };
        let mut payload = vec![head];
        for (number, (bytes, ..)) in packet.iter().enumerate() {
            if !counted || number + 1 < count {
                push_leb128(&mut payload, bytes.len());
            }
            payload.extend_from_slice(bytes);
        }
        payloads.push(payload);
        at += count;
    }
    payloads
}

fn record(sequence: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Record {
    let header =
        Header { marker, payload_type: 96, sequence, timestamp, ssrc: 4, ..Header::default() };
    let arrival = Time::from_micros(1_000_000 + u64::from(sequence) * 1_000);
    Record { port: 0, arrival, bytes: [&header.encode()[..], payload].concat() }
}

fn records(units: impl Iterator<Item = (u32, Vec<Vec<u8>>)>) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for (timestamp, payloads) in units {
        for (at, payload) in payloads.iter().enumerate() {
            let sequence = 65_400u16.wrapping_add(records.len() as u16);
            let mut record = record(sequence, timestamp, at + 1 == payloads.len(), payload);
            record.arrival = Time::from_micros(1_000_000 + records.len() as u64 * 1_000);
            records.push(record);
        }
    }
    records
}

fn receive(records: &[Record], encoding: Option<Encoding>) -> Receiver {
    let mut receiver = Receiver::new(encoding.map(|encoding| Format::video(96, encoding)));
    records.iter().for_each(|record| receiver.put(record));
    receiver.pass(Time::from_micros(1_000_000) + Duration::from_secs(20));
    receiver.finish();
    receiver
}

#[test]
fn av1_comes_out_obu_by_obu_however_it_is_cut() {
    let source = vector("av1.src.obu");
    let units = temporal_units(&source);
    assert_eq!(units.len(), 50);
    for seed in 0..20 {
        let mut random = Random(seed);
        let cut = (0..)
            .map(|at| at * 3_600)
            .zip(units.iter().map(|obus| av1_payloads(obus, &mut random)));
        let records = records(cut);
        let encoding = (seed > 0).then_some(Encoding::Av1);
        let receiver = receive(&records, encoding);
        assert_eq!(receiver.tracks()[0].codec, codec::sink::Codec::Av1, "the first is detected");
        let frames = receiver.frames();
        assert_eq!(frames.len(), 50);
        for (frame, (at, obus)) in frames.iter().zip((0u64..).zip(&units)) {
            assert!(!frame.damaged && frame.ended);
            assert_eq!((frame.pts, &frame.bytes), (at * 3_600, &obus.concat()));
        }
    }
}

/// What FFmpeg and GStreamer sent, and what they sent from. SVT-AV1 codes frames that are not shown
/// at first.
const SENT: [(&str, &str); 4] = [
    ("av1_ffmpeg", "av1.src.obu"),
    ("av1_gstreamer", "av1.src.obu"),
    ("av1_svt_ffmpeg", "av1_svt.src.obu"),
    ("av1_svt_gstreamer", "av1_svt.src.obu"),
];

#[test]
fn av1_of_real_senders_comes_out_obu_by_obu() {
    for (name, source) in SENT {
        let source = vector(source);
        let units = temporal_units(&source);
        let packets: Vec<Record> = capture(name).into_iter().filter(Record::is_rtp).collect();
        for encoding in [None, Some(Encoding::Av1)] {
            let receiver = receive(&packets, encoding);
            assert_eq!(receiver.tracks()[0].codec, codec::sink::Codec::Av1, "{name}");
            let frames = receiver.frames();
            assert_eq!((frames.len(), units.len()), (50, 50), "{name}");
            for (at, (frame, obus)) in frames.iter().zip(&units).enumerate() {
                assert!(!frame.damaged && frame.ended, "{name}, frame {at}");
                assert_eq!(frame.bytes, obus.concat(), "{name}, frame {at}");
                assert_eq!(frame.pts, frames[0].pts + 3_600 * at as u64, "{name}");
            }
        }
    }
}

#[test]
fn whichever_packet_of_a_real_sender_is_lost_only_its_unit_of_av1_is_torn() {
    for (name, source) in SENT {
        let source = vector(source);
        let units = temporal_units(&source);
        let packets: Vec<Record> = capture(name).into_iter().filter(Record::is_rtp).collect();
        let times = timestamps(&packets);
        let unit_of = |record: &Record| {
            let timestamp = Header::parse(&record.bytes).unwrap().timestamp;
            times.iter().position(|time| *time == timestamp).unwrap()
        };
        let known = packets.iter().position(|record| unit_of(record) == 4).unwrap();
        for lost in known..packets.len() {
            let mut kept = packets.clone();
            let torn = unit_of(&kept.remove(lost));
            let receiver = receive(&kept, Some(Encoding::Av1));
            let clean: Vec<_> = receiver.frames().iter().filter(|frame| !frame.damaged).collect();
            let whole: Vec<_> = (0..units.len()).filter(|unit| *unit != torn).collect();
            assert_eq!(clean.len(), whole.len(), "{name} without packet {lost}, of unit {torn}");
            for (frame, unit) in clean.iter().zip(whole) {
                assert_eq!(frame.bytes, units[unit].concat(), "{name} without {lost}");
            }
        }
    }
}

/// What comes of the AV1 stream without the packets that `loses` picks, by their units:
/// which units came clean, and which of them have all their packets.
fn av1_with_losses(seed: u64, mut loses: impl FnMut(u32) -> bool) -> (Vec<usize>, Vec<usize>) {
    let source = vector("av1.src.obu");
    let units = temporal_units(&source);
    let mut random = Random(seed);
    let payloads: Vec<_> = units.iter().map(|obus| av1_payloads(obus, &mut random)).collect();
    let records = records((0..).map(|at| at * 3_600).zip(payloads));
    let mut whole = vec![true; units.len()];
    let mut kept = Vec::new();
    for record in &records {
        let unit = Header::parse(&record.bytes).unwrap().timestamp / 3_600;
        if loses(unit) {
            whole[unit as usize] = false;
        } else {
            kept.push(record.clone());
        }
    }
    let receiver = receive(&kept, Some(Encoding::Av1));
    let clean = receiver.frames().iter().filter(|frame| !frame.damaged).map(|frame| {
        let number = (frame.pts / 3_600) as usize;
        assert_eq!(frame.bytes, units[number].concat(), "a hole in {number} is told as clean");
        number
    });
    (clean.collect(), (0..units.len()).filter(|unit| whole[*unit]).collect())
}

#[test]
fn av1_units_without_a_single_loss_in_them_are_clean_and_no_others() {
    for seed in 0..60 {
        let mut random = Random(seed + 1_000);
        let mut before = false;
        // Until the pace is known, a loss leaves more in doubt.
        let (clean, whole) = av1_with_losses(seed, |unit| {
            before = unit > 3 && !before && random.below(30) == 0;
            before
        });
        assert_eq!(clean, whole, "seed {seed}");
    }
}

#[test]
fn av1_with_losses_in_a_row_tells_no_holes_as_clean() {
    let (mut clean, mut whole) = (0, 0);
    for seed in 0..60 {
        let mut random = Random(seed + 2_000);
        let mut left = 0;
        let (told, complete) = av1_with_losses(seed, |unit| {
            if unit > 3 && random.below(40) == 0 {
                left = 1 + random.below(4);
            }
            left = usize::saturating_sub(left, 1);
            left > 0
        });
        assert!(told.iter().all(|unit| complete.contains(unit)), "seed {seed}");
        (clean, whole) = (clean + told.len(), whole + complete.len());
    }
    // The unit behind several that are missing may be in doubt.
    assert!(clean * 100 >= whole * 97, "{clean} of {whole}");
}

/// A picture: SOC, bytes, EOC.
fn picture(number: usize, random: &mut Random) -> Vec<u8> {
    let len = 3_000 + random.below(3_000);
    let body = (0..len).map(|_| random.below(256) as u8);
    [0xff, 0x10].into_iter().chain(body).chain([number as u8, 0xff, 0x11]).collect()
}

/// RFC 9134, 4.3. `slices` is the length of the slices, none in codestream mode.
fn xs_payloads(
    picture: &[u8],
    number: usize,
    interlace: u32,
    slices: Option<usize>,
    shuffled: bool,
) -> Vec<Vec<u8>> {
    let units: Vec<&[u8]> = match slices {
        None => vec![picture],
        Some(len) => {
            let (head, rest) = picture.split_at(100);
            std::iter::once(head).chain(rest.chunks(len)).collect()
        }
    };
    let mut payloads = Vec::new();
    for (at, unit) in units.iter().enumerate() {
        let parts: Vec<&[u8]> = unit.chunks(900).collect();
        for (p, part) in parts.iter().enumerate() {
            let last = p + 1 == parts.len();
            let sep = if slices.is_none() { p >> 11 } else { at.checked_sub(1).unwrap_or(0x7ff) };
            let word = u32::from(!shuffled) << 31
                | u32::from(slices.is_some()) << 30
                | u32::from(last) << 29
                | interlace << 27
                | (number as u32 & 31) << 22
                | (sep as u32) << 11
                | p as u32 & 0x7ff;
            payloads.push([&word.to_be_bytes()[..], part].concat());
        }
    }
    payloads
}

#[test]
fn jpeg_xs_comes_out_picture_by_picture_in_both_modes_and_scans() {
    for (slices, interlaced) in
        [(None, false), (None, true), (Some(700), false), (Some(1_900), true)]
    {
        let mut random = Random(9);
        let pictures: Vec<_> = (0..30).map(|number| picture(number, &mut random)).collect();
        let cut = pictures.iter().enumerate().map(|(number, picture)| {
            let interlace = if interlaced { 2 + number as u32 % 2 } else { 0 };
            (number as u32 * 1_501, xs_payloads(picture, number, interlace, slices, false))
        });
        let records = records(cut);
        for encoding in [None, Some(Encoding::JpegXs)] {
            let receiver = receive(&records, encoding);
            assert_eq!(receiver.tracks()[0].codec, codec::sink::Codec::JpegXs);
            let frames = receiver.frames();
            assert!(frames.iter().all(|frame| !frame.damaged && frame.ended));
            assert!(frames.iter().map(|frame| &frame.bytes).eq(&pictures));
        }
        for skip in (2..records.len()).step_by(7) {
            let mut kept = records.clone();
            let lost = Header::parse(&kept.remove(skip).bytes).unwrap().timestamp;
            let receiver = receive(&kept, Some(Encoding::JpegXs));
            for frame in receiver.frames() {
                assert_eq!(frame.damaged, frame.pts == u64::from(lost), "without packet {skip}");
            }
        }
    }
}

#[test]
fn jpeg_xs_slices_in_any_order_are_put_right() {
    let mut random = Random(2);
    let pictures: Vec<_> = (0..20).map(|number| picture(number, &mut random)).collect();
    let cut = pictures.iter().enumerate().map(|(number, picture)| {
        let mut payloads = xs_payloads(picture, number, 0, Some(700), true);
        // The marked packet stays the last, as it is sent.
        for at in (1..payloads.len() - 1).rev() {
            payloads.swap(at, random.below(at + 1));
        }
        (number as u32 * 3_600, payloads)
    });
    let receiver = receive(&records(cut), Some(Encoding::JpegXs));
    assert!(receiver.frames().iter().all(|frame| !frame.damaged));
    assert!(receiver.frames().iter().map(|frame| &frame.bytes).eq(&pictures));
}
