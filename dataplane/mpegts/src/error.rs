//! Why bytes did not parse.

/// Why a packet, section or PES header was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The packet does not begin with the sync byte.
    #[error("the packet does not begin with 0x47")]
    NoSyncByte,
    /// `adaptation_field_control` is the reserved value 0.
    #[error("adaptation_field_control is reserved")]
    AdaptationControl,
    /// The adaptation field is longer than the packet allows.
    #[error("the adaptation field of {0} bytes does not fit")]
    AdaptationLength(u8),
    /// The section is shorter than its header and CRC, or its length field disagrees.
    #[error("the section's length is wrong")]
    SectionLength,
    /// A field of the section contradicts the standard.
    #[error("the section's syntax is wrong")]
    SectionSyntax,
    /// The section's CRC-32 does not match.
    #[error("the section's CRC is wrong")]
    SectionCrc,
    /// The PES packet does not begin with 00 00 01.
    #[error("no PES start code")]
    PesStartCode,
}
