//! Bounded rings from one thread to one other: commands to a worker, reports from it.
//!
//! A thin layer over `rtrb` that keeps the two ways the house uses it: single items, and batches
//! that publish the index once (an item alone costs two to four times an item of a batch of 32).
//! A full ring gives the item back; nothing here blocks or allocates after [`channel`].
//!
//! ```
//! use penstock_memory::spsc;
//!
//! let (mut producer, mut consumer) = spsc::channel(4);
//! assert_eq!(producer.push_batch(&mut (0..10)), 4);
//! let mut sum = 0;
//! assert_eq!(consumer.pop_batch(32, |item: i32| sum += item), 4);
//! assert_eq!(sum, 0 + 1 + 2 + 3);
//! ```

use rtrb::RingBuffer;

/// A ring of `capacity` items: the end that writes and the end that reads.
pub fn channel<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let (producer, consumer) = RingBuffer::new(capacity);
    (Producer(producer), Consumer(consumer))
}

/// The end that writes.
#[derive(Debug)]
pub struct Producer<T>(rtrb::Producer<T>);

impl<T> Producer<T> {
    /// Appends `item`, or gives it back when the ring is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        self.0.push(item).map_err(|rtrb::PushError::Full(item)| item)
    }

    /// Appends items until `items` ends or the ring is full, and shows them to the reader all at
    /// once. Answers how many; what does not fit stays in `items`.
    pub fn push_batch(&mut self, items: &mut impl Iterator<Item = T>) -> usize {
        let slots = self.0.slots();
        self.0.write_chunk_uninit(slots).map_or(0, |chunk| chunk.fill_from_iter(items))
    }

    /// How many items fit now.
    pub fn free(&self) -> usize {
        self.0.slots()
    }

    /// Whether the reader is gone, so that nothing will take what is appended.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }
}

/// The end that reads.
#[derive(Debug)]
pub struct Consumer<T>(rtrb::Consumer<T>);

impl<T> Consumer<T> {
    /// Takes the oldest item, if there is one.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop().ok()
    }

    /// Takes up to `max` items, oldest first, and frees their room all at once. Answers how many.
    pub fn pop_batch(&mut self, max: usize, f: impl FnMut(T)) -> usize {
        let count = self.0.slots().min(max);
        let Ok(chunk) = self.0.read_chunk(count) else {
            return 0;
        };
        chunk.into_iter().for_each(f);
        count
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.0.slots()
    }

    /// Whether no item waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the writer is gone, so that nothing will follow what waits.
    pub fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_full_ring_gives_the_item_back() {
        let (mut producer, mut consumer) = channel(1);
        producer.push(1).unwrap();
        assert_eq!(producer.push(2), Err(2));
        assert_eq!(consumer.pop(), Some(1));
        assert_eq!(consumer.pop(), None);
        producer.push(2).unwrap();
    }

    #[test]
    fn a_batch_takes_no_more_than_fits_and_leaves_the_rest() {
        let (mut producer, mut consumer) = channel(3);
        let mut items = 1..=5;
        assert_eq!(producer.push_batch(&mut items), 3);
        assert_eq!(items.next(), Some(4));
        assert_eq!(producer.free(), 0);
        let mut got = Vec::new();
        assert_eq!(consumer.pop_batch(2, |item| got.push(item)), 2);
        assert_eq!(consumer.len(), 1);
        assert_eq!(got, [1, 2]);
    }

    #[test]
    fn a_lost_end_is_seen() {
        let (producer, consumer) = channel::<u8>(1);
        assert!(!producer.is_abandoned());
        drop(consumer);
        assert!(producer.is_abandoned());
        let (producer, consumer) = channel::<u8>(1);
        drop(producer);
        assert!(consumer.is_abandoned());
    }

    #[test]
    fn items_cross_threads_in_order() {
        let count = if cfg!(miri) { 50 } else { 10_000 };
        let (mut producer, mut consumer) = channel(7);
        let writer = thread::spawn(move || {
            let mut items = (0..count).peekable();
            while items.peek().is_some() {
                if producer.push_batch(&mut items) == 0 {
                    thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < count {
            let taken = consumer.pop_batch(5, |item| {
                assert_eq!(item, next);
                next += 1;
            });
            if taken == 0 {
                thread::yield_now();
            }
        }
        writer.join().unwrap();
        assert!(consumer.is_empty());
    }
}
