//! Packets that come twice, and packets that others restore.
//!
//! SMPTE ST 2022-7 sends every packet on two paths: the legs of a track, merged by sequence number in
//! its reorder window (the first copy counts, the second is redundant). SMPTE ST 2022-1 sends packets
//! that restore lost ones: [`fec`].

pub mod fec;
