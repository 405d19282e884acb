//! `ingestion.authorization`.

use super::{Error, SECOND, lasting, refuse, within};
use crate::config::{Authorization, schema};

const AT: &str = "ingestion.authorization";

/// `None` without a URL: then nobody is asked.
pub(super) fn authorization(keys: &schema::Authorization) -> Result<Option<Authorization>, Error> {
    let authorization = Authorization {
        timeout: lasting(
            "ingestion.authorization.timeout",
            keys.timeout,
            2 * SECOND,
            SECOND / 20..=30 * SECOND,
        )?,
        unavailable: keys.unavailable.unwrap_or_default(),
        outstanding_max: within(
            "ingestion.authorization.max_outstanding",
            keys.max_outstanding,
            256,
            1..=1_024,
        )?,
    };
    let Some(url) = keys.url.as_deref() else {
        let others = keys.timeout.is_some()
            || keys.unavailable.is_some()
            || keys.max_outstanding.is_some()
            || keys.token.is_some();
        return if others { refuse(AT, "url is missing; nobody would be asked") } else { Ok(None) };
    };
    let is_http = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    if !is_http {
        return refuse(&format!("{AT}.url"), "not an address as http://127.0.0.1:9000/publish");
    }
    Ok(Some(authorization))
}
