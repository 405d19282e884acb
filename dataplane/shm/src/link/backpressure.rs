//! What can be done about a stream's backpressure.

use serde::{Deserialize, Serialize};

use super::CommandError;

/// What an operator asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BackpressureAction {
    /// Act as if memory were so short, in thousandths, until reset.
    SetPressure {
        /// 0 to 1,000.
        permille: u16,
    },
    /// Go by what is measured again.
    Reset,
    /// Give up the oldest closed group of pictures.
    DropGop,
}

impl BackpressureAction {
    /// The largest pressure.
    pub const PERMILLE_MAX: u16 = 1_000;

    /// Refuses what is out of bounds.
    pub(super) fn check(self) -> Result<(), CommandError> {
        match self {
            Self::SetPressure { permille } if permille > Self::PERMILLE_MAX => {
                let message =
                    format!("a pressure of {permille} thousandths; allowed are 0 to 1000");
                Err(CommandError::new(CommandError::INVALID, message))
            }
            _ => Ok(()),
        }
    }
}
