//! What can be wrong with a datagram.

/// Why a datagram or a part of it does not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// shorter than its header or than its fields say
    #[error("shorter than its header or than its fields say")]
    Truncated,
    /// not version 2
    #[error("not version 2")]
    BadVersion,
    /// padding of zero bytes or beyond the payload
    #[error("padding of zero bytes or beyond the payload")]
    BadPadding,
    /// an RTCP packet where RTP was expected, or the reverse
    #[error("an RTCP packet where RTP was expected, or the reverse")]
    WrongKind,
    /// compound RTCP packet that starts neither with a report nor with feedback
    #[error("compound RTCP packet that starts neither with a report nor with feedback")]
    NotAReport,
    /// a field has a value that its clause forbids
    #[error("{0} has a value that its clause forbids")]
    Forbidden(&'static str),
}
