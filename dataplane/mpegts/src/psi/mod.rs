//! Program specific information (H.222.0 2.4.4): sections, the program association table and
//! the program map table.

mod pat;
mod pmt;
mod section;

pub use pat::{Change, Pat, Program};
pub use pmt::{Elementary, ElementaryIter, Pmt};
pub use section::{SECTION_BYTES_MAX, Section};

pub(crate) use section::{Assembled, Assembler};
