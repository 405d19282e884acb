//! The reader's end.
use std::path::Path;
use std::time::Duration;

use crate::{Directory, Error, GopReader};

/// A connection to the dataplane.
#[derive(Debug)]
pub struct Link {}
impl Link {
    /// Connects; every later request waits at most `timeout` for its answer.
    pub fn connect(_path: &Path, _timeout: Duration) -> Result<Self, Error> {
        todo!()
    }
    /// The directory, mapped and checked.
    pub fn directory(&mut self) -> Result<Directory, Error> {
        todo!()
    }
    /// The frames of a stream, from the oldest.
    pub fn ring(&mut self, _stream_id: &str) -> Result<GopReader, Error> {
        todo!()
    }
    /// Ends a stream and keeps its id out for `block`.
    pub fn terminate(&mut self, _stream_id: &str, _block: Duration) -> Result<(), Error> {
        todo!()
    }
}
