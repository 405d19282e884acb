//! `ingestion.backpressure`

use std::time::Duration;

use super::super::BackpressureConfig;
use super::super::schema::Backpressure;
use super::{Error, MS, SECOND, lasting, refuse};

pub(super) fn backpressure(section: &Backpressure) -> Result<BackpressureConfig, Error> {
    // A stream at its full rate that waits for retransmissions uses two thirds of its slots: less
    // than that is no shortage.
    let config = BackpressureConfig {
        enabled: section.enabled.unwrap_or(true),
        low_permille: watermark("low_watermark", section.low_watermark, 600)?,
        medium_permille: watermark("medium_watermark", section.medium_watermark, 700)?,
        high_permille: watermark("high_watermark", section.high_watermark, 800)?,
        critical_permille: watermark("critical_watermark", section.critical_watermark, 900)?,
        response_window: lasting(
            "ingestion.backpressure.response_window",
            section.response_window,
            500 * MS,
            Duration::ZERO..=60 * SECOND,
        )?,
    };
    let marks = [
        ("low_watermark", config.low_permille),
        ("medium_watermark", config.medium_permille),
        ("high_watermark", config.high_permille),
        ("critical_watermark", config.critical_permille),
    ];
    for pair in marks.windows(2) {
        let [(lower, low), (upper, high)] = [pair[0], pair[1]];
        if low >= high {
            return refuse(
                &format!("ingestion.backpressure.{upper}"),
                format!(
                    "{} is not above {lower} {}; allowed are rising values from low to critical",
                    share(high),
                    share(low)
                ),
            );
        }
    }
    Ok(config)
}

fn watermark(key: &str, value: Option<f64>, default: u16) -> Result<u16, Error> {
    let Some(value) = value else { return Ok(default) };
    if !(value > 0.0 && value <= 1.0) {
        return refuse(
            &format!("ingestion.backpressure.{key}"),
            format!("{value} is out of range; allowed are shares above 0 and up to 1"),
        );
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000")]
    let permille = (value * 1_000.0).round() as u16;
    Ok(permille)
}

fn share(permille: u16) -> f64 {
    f64::from(permille) / 1_000.0
}
