//! What can be wrong with a datagram.

/// Why a datagram or a part of it does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// shorter than its header or its fixed fields
    #[error("shorter than its header or its fixed fields")]
    Truncated,
    /// control packet of unknown type
    #[error("control packet of unknown type")]
    UnknownControl,
    /// range of sequence numbers that ends before it starts
    #[error("range of sequence numbers that ends before it starts")]
    ReversedRange,
    /// not a handshake that a listener serves
    #[error("not a handshake that a listener serves")]
    NotAHandshake,
    /// initial sequence number of more than 31 bits
    #[error("initial sequence number of more than 31 bits")]
    BadInitialSequence,
    /// handshake extension that is cut off or too short for its type
    #[error("handshake extension that is cut off or too short for its type")]
    BadExtension,
    /// StreamID of more than 512 bytes
    #[error("StreamID of more than 512 bytes")]
    StreamIdTooLong,
    /// key material of the wrong layout
    #[error("key material of the wrong layout")]
    BadKeyMaterial,
    /// key material for a cipher that is not known
    #[error("key material for a cipher that is not known")]
    UnsupportedCipher,
    /// keys wrapped with another passphrase
    #[error("keys wrapped with another passphrase")]
    WrongSecret,
}
