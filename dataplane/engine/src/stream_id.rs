//! The public id of a stream, from what a caller sent as its SRT StreamID.

use crate::clock;

/// Why a StreamID is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// longer than 512 bytes
    #[error("longer than 512 bytes")]
    TooLong,
    /// holds bytes that are not printable ASCII
    #[error("holds bytes that are not printable ASCII")]
    NotPrintable,
    /// asks to read (m=request); this listener takes publishers
    #[error("asks to read (m=request); this listener takes publishers")]
    NotPublish,
}

/// The public id: the resource `r` of the access-control form `#!::r=…,m=publish`, else the text
/// as it stands. `None` when the caller named nothing and the id is to be derived.
pub(crate) fn public_id(stream_id: &[u8]) -> Result<Option<&str>, Error> {
    if stream_id.len() > shm::STREAM_ID_BYTES_MAX {
        return Err(Error::TooLong);
    }
    let printable = |byte: &u8| (0x20..0x7f).contains(byte);
    if !stream_id.iter().all(printable) {
        return Err(Error::NotPrintable);
    }
    let text = std::str::from_utf8(stream_id).map_err(|_| Error::NotPrintable)?;
    let id = match text.strip_prefix("#!::") {
        Some(pairs) => resource(pairs)?,
        None => text,
    };
    Ok(Some(id.trim()).filter(|id| !id.is_empty()))
}

/// `r` of comma-separated `key=value` pairs (SRT draft, appendix B).
fn resource(pairs: &str) -> Result<&str, Error> {
    let value = |name: &str| {
        pairs.split(',').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)
    };
    if matches!(value("m"), Some((_, "request"))) {
        return Err(Error::NotPublish);
    }
    Ok(value("r").map_or("", |(_, resource)| resource))
}

/// Ids for callers without one: `srt_YYYYMMDD_HHMMSS_NNN` in UTC.
#[derive(Debug, Default)]
pub(crate) struct DerivedIds {
    last: u16,
}

impl DerivedIds {
    pub(crate) fn next(&mut self) -> String {
        self.last = self.last % 999 + 1;
        format!("srt_{}_{:03}", stamp(clock::unix_nanos() / 1_000_000_000), self.last)
    }
}

/// `YYYYMMDD_HHMMSS` of seconds since 1970, by the civil-from-days rule of the proleptic
/// Gregorian calendar.
fn stamp(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}_{:02}{:02}{:02}",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_the_id() {
        assert_eq!(public_id(b"live/cam 1"), Ok(Some("live/cam 1")));
        assert_eq!(public_id(b""), Ok(None));
        assert_eq!(public_id(b"  "), Ok(None));
    }

    #[test]
    fn access_control_form_names_its_resource() {
        assert_eq!(public_id(b"#!::u=ann,r=live/cam1,m=publish"), Ok(Some("live/cam1")));
        assert_eq!(public_id(b"#!::m=publish"), Ok(None));
        assert_eq!(public_id(b"#!::r=x,m=request"), Err(Error::NotPublish));
    }

    #[test]
    fn what_cannot_be_shown_is_refused() {
        assert_eq!(public_id(b"a\0b"), Err(Error::NotPrintable));
        assert_eq!(public_id("caf\u{e9}".as_bytes()), Err(Error::NotPrintable));
        assert_eq!(public_id(&[b'a'; 513]), Err(Error::TooLong));
    }

    #[test]
    fn derived_ids_are_dated_and_numbered() {
        assert_eq!(stamp(951_827_696), "20000229_123456");
        assert_eq!(stamp(0), "19700101_000000");
        let mut ids = DerivedIds::default();
        let (first, second) = (ids.next(), ids.next());
        assert!(first.ends_with("_001") && second.ends_with("_002"));
    }
}
