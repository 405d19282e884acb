//! Senders of other makers, started as their users start them. Modules are named by situation.

mod distance;
mod encryption;
mod handshakes;
mod many;
mod matrix;
mod media;
mod senders;
