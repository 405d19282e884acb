//! Senders of other makers, started as their users start them. Modules are named by situation.

mod handshakes;
mod many;
mod media;
mod senders;
