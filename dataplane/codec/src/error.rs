//! Why bytes did not parse.

/// What was wrong with a parameter set, header or message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// The bytes end inside a field.
    #[error("the bytes end inside a field")]
    Truncated,
    /// An Exp-Golomb code stands for more than 2^32 - 2.
    #[error("an Exp-Golomb code has more than 31 leading zeros")]
    ExpGolomb,
    /// The named field has a value that its clause forbids or that no decoder accepts.
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
    /// The NAL unit is not of the type that was asked for.
    #[error("the NAL unit is of another type")]
    WrongType,
    /// A sequence parameter set that was never received is referred to.
    #[error("sequence parameter set {0} is unknown")]
    UnknownSps(u8),
    /// A picture parameter set that was never received is referred to.
    #[error("picture parameter set {0} is unknown")]
    UnknownPps(u8),
    /// There is no header of this coding here.
    #[error("no syncword")]
    NoSync,
}
