//! Lists that may be longer than a message: they are told page by page, in the order of their ids.

use serde::Serialize;

/// Bytes of the entries on one page: with the rest of the answer they fit a message.
const PAGE_BYTES_MAX: usize = 7_000;

/// Entries in the order of their ids, as many as fit a message.
#[derive(Debug)]
pub struct Page<T> {
    entries: Vec<T>,
    bytes: usize,
    more: bool,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), bytes: 0, more: false }
    }
}

impl<T: Serialize> Page<T> {
    /// Puts an entry on the page; false when it is full: the others are on the next one.
    pub fn push(&mut self, entry: T) -> bool {
        let bytes = serde_json::to_vec(&entry).map_or(usize::MAX, |json| json.len() + 1);
        if self.bytes.saturating_add(bytes) > PAGE_BYTES_MAX {
            self.more = true;
            return false;
        }
        self.bytes += bytes;
        self.entries.push(entry);
        true
    }

    pub(super) fn into_parts(self) -> (Vec<T>, bool) {
        (self.entries, self.more)
    }
}
