//! The receive window, against tables and against a plain model.

use std::collections::BTreeSet;

use memory::Slab;

use super::*;

const TOP: u32 = Sequence::MASK;

fn seq(value: u32) -> Sequence {
    Sequence::new(value)
}

struct Fixture {
    slab: Slab,
    window: Window,
}

impl Fixture {
    fn at(base: u32) -> Self {
        let mut window = Window::new(64);
        window.reset(seq(base), 64);
        Self { slab: Slab::new(128).unwrap(), window }
    }

    fn insert(&mut self, value: u32) -> Inserted {
        let datagram = Datagram::copy_from(&self.slab, &value.to_be_bytes()).unwrap();
        self.window.insert(seq(value), datagram, Time::ZERO)
    }

    fn ready(&mut self) -> Option<Result<u32, u32>> {
        Some(match self.window.ready()? {
            Ready::Packet(datagram) => {
                Ok(u32::from_be_bytes(datagram.payload().try_into().unwrap()))
            }
            Ready::GivenUp(count) => Err(count),
        })
    }

    fn losses(&self) -> Vec<(u32, u32)> {
        self.window.losses().map(|loss| (loss.first.value(), loss.last.value())).collect()
    }
}

fn range(first: u32, last: u32) -> SequenceRange {
    SequenceRange::new(seq(first), seq(last)).unwrap()
}

#[test]
fn a_gap_is_one_range_and_filling_it_shrinks_splits_and_removes_it() {
    for base in [10, TOP - 4] {
        let at = |n: u32| base.wrapping_add(n) & TOP;
        let mut f = Fixture::at(base);
        assert_eq!(f.insert(at(9)), Inserted::Gap(9));
        assert_eq!(f.losses(), [(at(0), at(8))]);
        assert_eq!(f.insert(at(4)), Inserted::Recovered);
        assert_eq!(f.losses(), [(at(0), at(3)), (at(5), at(8))]);
        assert_eq!(f.insert(at(5)), Inserted::Recovered);
        assert_eq!(f.insert(at(8)), Inserted::Recovered);
        assert_eq!(f.insert(at(3)), Inserted::Recovered);
        assert_eq!(f.losses(), [(at(0), at(2)), (at(6), at(7))]);
        assert_eq!(f.insert(at(6)), Inserted::Recovered);
        assert_eq!(f.insert(at(7)), Inserted::Recovered);
        assert_eq!(f.losses(), [(at(0), at(2))]);
        assert_eq!(f.insert(at(7)), Inserted::Duplicate);
        assert_eq!(f.insert(at(10)), Inserted::Next);
        assert_eq!(f.ready(), None);
        assert!(f.window.pass());
        assert!(f.window.pass());
        assert!(f.window.pass());
        for n in 3..=10 {
            assert_eq!(f.ready(), Some(Ok(at(n))));
        }
        assert_eq!(f.ready(), None);
        assert_eq!(f.window.held(), 0);
        assert_eq!(f.slab.free(), f.slab.capacity());
    }
}

#[test]
fn a_hole_that_is_given_up_lets_what_is_behind_it_go() {
    let mut f = Fixture::at(TOP);
    f.insert(1);
    assert_eq!(f.window.give_up(), Some(range(TOP, 0)));
    assert_eq!(f.ready(), Some(Ok(1)));
    assert_eq!(f.window.give_up(), None);
}

#[test]
fn only_the_hole_at_the_base_can_be_given_up() {
    let mut f = Fixture::at(0);
    f.insert(1);
    f.insert(3);
    assert!(f.window.pass());
    assert_eq!(f.window.give_up(), None, "1 is held");
    assert_eq!(f.ready(), Some(Ok(1)));
    assert_eq!(f.window.give_up(), Some(range(2, 2)));
}

#[test]
fn what_the_sender_gives_up_is_not_waited_for() {
    let mut f = Fixture::at(0);
    f.insert(10);
    assert_eq!(f.window.drop_range(range(2, 4)), 3);
    assert_eq!(f.losses(), [(0, 1), (5, 9)]);
    assert_eq!(f.window.drop_range(range(0, 5)), 3);
    assert_eq!(f.losses(), [(6, 9)]);
    assert_eq!(f.ready(), Some(Err(6)));
    assert_eq!(f.ready(), None);
    assert_eq!(f.insert(3_000 & 63), Inserted::Gap(45));
}

#[test]
fn a_packet_that_comes_although_given_up_by_the_sender_is_taken() {
    let mut f = Fixture::at(0);
    f.insert(10);
    f.window.drop_range(range(2, 4));
    assert_eq!(f.insert(3), Inserted::Unexpected);
    f.window.drop_range(range(0, 20));
    assert_eq!(f.ready(), Some(Err(3)));
    assert_eq!(f.ready(), Some(Ok(3)));
    assert_eq!(f.ready(), Some(Err(6)));
    assert_eq!(f.ready(), Some(Ok(10)));
    assert_eq!(f.ready(), Some(Err(10)), "what was to come, too");
    assert_eq!(f.window.base(), seq(21));
}

#[test]
fn a_drop_request_reaches_no_further_than_the_window_nor_behind_a_gap() {
    let table = [
        // range, end afterwards, lost afterwards
        ((0, 5), 11, vec![(6, 9)]),
        ((TOP - 100, TOP), 11, vec![(0, 9)]),
        ((TOP - 100, 3), 11, vec![(4, 9)]),
        ((11, 30), 31, vec![(0, 9)]),
        ((12, 30), 11, vec![(0, 9)]),
        ((5, 10_000), 64, vec![(0, 4)]),
        ((5, 5 + (1 << 30) - 1), 64, vec![(0, 4)]),
        ((TOP, (1 << 30) - 2), 64, vec![]),
        ((10_000, 20_000), 11, vec![(0, 9)]),
        ((1 << 29, (1 << 30) + 5), 11, vec![(0, 9)]),
    ];
    for ((first, last), end, losses) in table {
        let mut f = Fixture::at(0);
        f.insert(10);
        f.window.drop_range(range(first, last));
        assert_eq!(f.window.end(), seq(end), "{first}-{last}");
        assert_eq!(f.losses(), losses, "{first}-{last}");
    }
}

#[test]
fn a_full_loss_list_refuses_packets_that_would_lengthen_it() {
    let mut window = Window::new(512);
    window.reset(seq(0), 512);
    let slab = Slab::new(512).unwrap();
    let mut insert = |value: u32| {
        let datagram = Datagram::copy_from(&slab, &[0]).unwrap();
        window.insert(seq(value), datagram, Time::ZERO)
    };
    for n in 1..=63 {
        assert_eq!(insert(n * 2), Inserted::Gap(if n == 1 { 2 } else { 1 }));
    }
    assert_eq!(insert(130), Inserted::Gap(3));
    assert_eq!(insert(132), Inserted::NoRoom);
    assert_eq!(insert(128), Inserted::NoRoom, "would split the last range");
    assert_eq!(insert(127), Inserted::Recovered);
    assert_eq!(insert(131), Inserted::Next);
    assert_eq!(insert(3), Inserted::Recovered);
    assert_eq!(insert(133), Inserted::Gap(1));
}

#[test]
fn clearing_frees_every_slot() {
    let mut f = Fixture::at(TOP - 3);
    for value in [TOP, 0, 5, 9] {
        f.insert(value);
    }
    assert_eq!(f.window.clear(), 4);
    assert_eq!(f.slab.free(), f.slab.capacity());
    assert!(!f.window.has_losses());
    assert_eq!(f.window.base(), f.window.end());
}

/// What the window should know, said plainly: offsets from the first base.
struct Model {
    base: u32,
    end: u32,
    held: BTreeSet<u32>,
    lost: BTreeSet<u32>,
}

/// Random packets and arbitrary drop ranges, half of them absurd: the window always agrees with
/// the model and never leaves `[base, base + limit]`.
#[test]
fn agrees_with_a_plain_model_whatever_comes() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: u32| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        u32::try_from((seed >> 33) % u64::from(below)).unwrap()
    };
    for start in [0, TOP - 100, TOP / 2, 1 << 30] {
        let mut f = Fixture::at(start);
        let mut model = Model { base: 0, end: 0, held: BTreeSet::new(), lost: BTreeSet::new() };
        for _ in 0..30_000 {
            step(&mut f, &mut model, start, &mut random);
            check(&f, &model, start);
        }
        assert!(model.base > 10_000, "it got somewhere");
    }
}

fn step(f: &mut Fixture, model: &mut Model, start: u32, random: &mut impl FnMut(u32) -> u32) {
    match random(8) {
        0 => {
            let first = start.wrapping_add(model.base).wrapping_add(random(200)).wrapping_sub(60);
            let first = if random(2) == 0 { random(1 << 31) } else { first & TOP };
            let last = match random(3) {
                0 => random(1 << 31),
                // Nearly half the sequence space, where distances change sign.
                1 => first.wrapping_add((1 << 30) - 1 - random(80)) & TOP,
                _ => (first + random(80)) & TOP,
            };
            let Some(range) = SequenceRange::new(seq(first), seq(last)) else { return };
            f.window.drop_range(range);
            let place = |n: &u32| range.contains(seq(start.wrapping_add(*n)));
            let reach = (model.base..model.base + 64).filter(place).max();
            if let Some(reach) = reach
                && (model.base..=model.end).any(|n| place(&n))
            {
                model.end = model.end.max(reach + 1);
                model.lost.retain(|n| !place(n));
            }
        }
        1 => {
            if let Some(range) = f.window.give_up() {
                for _ in 0..range.count() {
                    assert!(model.lost.remove(&model.base));
                    model.base += 1;
                }
            }
        }
        2 => drain(f, model, start),
        _ => {
            let n = model.base + random(64);
            let expected = if model.held.contains(&n) {
                Inserted::Duplicate
            } else if n > model.end {
                Inserted::Gap(n - model.end)
            } else if n == model.end {
                Inserted::Next
            } else if model.lost.contains(&n) {
                Inserted::Recovered
            } else {
                Inserted::Unexpected
            };
            let inserted = f.insert(start.wrapping_add(n) & TOP);
            assert_eq!(inserted, expected);
            if inserted != Inserted::Duplicate {
                model.lost.extend(model.end..n);
                model.lost.remove(&n);
                model.end = model.end.max(n + 1);
                model.held.insert(n);
            }
        }
    }
}

fn drain(f: &mut Fixture, model: &mut Model, start: u32) {
    while let Some(ready) = f.ready() {
        match ready {
            Ok(value) => {
                assert_eq!(value, start.wrapping_add(model.base) & TOP);
                assert!(model.held.remove(&model.base));
                model.base += 1;
            }
            Err(count) => {
                for _ in 0..count {
                    assert!(!model.held.contains(&model.base) && !model.lost.contains(&model.base));
                    model.base += 1;
                }
            }
        }
    }
    assert!(model.base == model.end || model.lost.contains(&model.base));
}

fn check(f: &Fixture, model: &Model, start: u32) {
    let window = &f.window;
    assert_eq!(window.base(), seq(start.wrapping_add(model.base)));
    assert_eq!(window.end(), seq(start.wrapping_add(model.end)));
    assert!((0..=64).contains(&window.end().offset_from(window.base())));
    assert_eq!(window.held() as usize, model.held.len());
    assert_eq!(f.slab.capacity() - f.slab.free(), window.held());
    let absent = (model.end - model.base) as usize - model.held.len();
    assert_eq!(window.absent() as usize, absent);
    let lost: BTreeSet<u32> = window
        .losses()
        .flat_map(|loss| {
            let first = loss.first.offset_from(seq(start)).cast_unsigned();
            first..=loss.last.offset_from(seq(start)).cast_unsigned()
        })
        .collect();
    assert_eq!(lost, model.lost);
    // The first held packet is looked for behind the first hole; right behind the base only
    // after what is ready has been taken.
    if model.lost.contains(&model.base) {
        let first = window.first_held().map(|(sequence, _)| sequence);
        assert_eq!(first, model.held.first().map(|n| seq(start.wrapping_add(*n))));
    }
}
