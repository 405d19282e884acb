//! What a caller's SRT StreamID says, and the public id of its stream.
//!
//! ```text
//!  live/cam1                                     plain text: the id
//!  #!::r=live/cam1,m=publish,s=KEY,u=ann         the form of the SRT draft, appendix B
//! ```
//!
//! `s` (in the draft: a session id) is where a publish key is presented.

use std::net::IpAddr;

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
    /// is not `#!::` and key=value pairs
    #[error("is not `#!::` and key=value pairs")]
    Malformed,
    /// asks for another mode than m=publish; this listener takes publishers
    #[error("asks for another mode than m=publish; this listener takes publishers")]
    NotPublish,
    /// asks for another type than t=stream
    #[error("asks for another type than t=stream")]
    NotStream,
}

/// What a StreamID says. Keys that are absent are `None`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wish<'a> {
    /// `r`, or the plain text: the public id. `None`: it is to be derived.
    pub(crate) resource: Option<&'a str>,
    /// `u`
    pub(crate) user: Option<&'a str>,
    /// `h`
    pub(crate) host: Option<&'a str>,
    /// `s`: a secret where a publish key is asked for.
    pub(crate) session: Option<&'a str>,
}

impl std::fmt::Debug for Wish<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wish")
            .field("resource", &self.resource)
            .field("user", &self.user)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// Reads a StreamID.
pub(crate) fn parse(stream_id: &[u8]) -> Result<Wish<'_>, Error> {
    if stream_id.len() > shm::STREAM_ID_BYTES_MAX {
        return Err(Error::TooLong);
    }
    let printable = |byte: &u8| (0x20..0x7f).contains(byte);
    if !stream_id.iter().all(printable) {
        return Err(Error::NotPrintable);
    }
    let text = std::str::from_utf8(stream_id).map_err(|_| Error::NotPrintable)?;
    match text.strip_prefix("#!:").map(|rest| rest.strip_prefix(':')) {
        None => Ok(Wish { resource: named(text), ..Wish::default() }),
        Some(Some(pairs)) => parse_pairs(pairs),
        // The nested form `#!:{` of the draft.
        Some(None) => Err(Error::Malformed),
    }
}

/// Comma-separated `key=value` pairs; of a key that comes twice the first counts, keys that nobody
/// knows are the caller's own.
fn parse_pairs(pairs: &str) -> Result<Wish<'_>, Error> {
    let mut wish = Wish::default();
    let (mut mode, mut kind) = (None, None);
    for pair in pairs.split(',').filter(|pair| !pair.trim().is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(Error::Malformed)?;
        let place = match key.trim() {
            "r" => &mut wish.resource,
            "u" => &mut wish.user,
            "h" => &mut wish.host,
            "s" => &mut wish.session,
            "m" => &mut mode,
            "t" => &mut kind,
            "" => return Err(Error::Malformed),
            _ => continue,
        };
        *place = place.or_else(|| named(value));
    }
    if kind.is_some_and(|kind| kind != "stream") {
        return Err(Error::NotStream);
    }
    // The draft's default is `request`; at a listener that takes publishers only, it is to publish.
    if mode.is_some_and(|mode| mode != "publish") {
        return Err(Error::NotPublish);
    }
    Ok(wish)
}

fn named(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !text.is_empty())
}

/// Today's form of derived ids, `srt_YYYYMMDD_HHMMSS_NNN` in UTC.
pub(crate) const DERIVED_ID_DEFAULT: &str = "srt_{date}_{time}_{number}";
const PLACEHOLDERS: [&str; 5] = ["{date}", "{time}", "{number}", "{listener}", "{source}"];

/// What is wrong with a template of derived ids.
pub(crate) fn check_template(template: &str) -> Result<(), String> {
    if !template.contains("{number}") {
        return Err(format!("`{template}` has no {{number}}; two ids could be the same"));
    }
    let bare = PLACEHOLDERS.iter().fold(template.to_owned(), |text, name| text.replace(name, ""));
    if bare.contains(['{', '}']) {
        let allowed = PLACEHOLDERS.join(", ");
        return Err(format!("`{template}` has an unknown placeholder; allowed are {allowed}"));
    }
    let printable = bare.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if !printable || template.len() > 256 || template.trim() != template {
        return Err("allowed are up to 256 printable ASCII characters".to_owned());
    }
    Ok(())
}

/// Ids for callers without one.
#[derive(Debug, Default)]
pub(crate) struct DerivedIds {
    last: u16,
}

impl DerivedIds {
    /// The next id after a template that was checked.
    pub(crate) fn next(&mut self, template: &str, listener: &str, source: IpAddr) -> String {
        self.last = self.last % 999 + 1;
        let stamp = stamp(clock::unix_nanos() / 1_000_000_000);
        let (date, time) = stamp.split_once('_').expect("a stamp is date and time");
        template
            .replace("{date}", date)
            .replace("{time}", time)
            .replace("{number}", &format!("{:03}", self.last))
            .replace("{listener}", listener)
            .replace("{source}", &source.to_string())
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

    fn resource(stream_id: &[u8]) -> Result<Option<&str>, Error> {
        parse(stream_id).map(|wish| wish.resource)
    }

    #[test]
    fn plain_text_is_the_id() {
        assert_eq!(resource(b"live/cam 1"), Ok(Some("live/cam 1")));
        assert_eq!(resource(b"r=x,m=request"), Ok(Some("r=x,m=request")));
        assert_eq!(resource(b"../../etc/passwd"), Ok(Some("../../etc/passwd")));
        assert_eq!(resource(b""), Ok(None));
        assert_eq!(resource(b"  "), Ok(None));
    }

    #[test]
    fn access_control_form_names_its_parts() {
        let wish = parse(b"#!::u=ann,r=live/cam1,h=example.org,s=k3y=,t=stream,m=publish,x=y");
        let expected = Wish {
            resource: Some("live/cam1"),
            user: Some("ann"),
            host: Some("example.org"),
            session: Some("k3y="),
        };
        assert_eq!(wish, Ok(expected));
        assert_eq!(resource(b"#!::m=publish"), Ok(None));
        assert_eq!(resource(b"#!::"), Ok(None));
        assert_eq!(resource(b"#!::r=a,r=b,"), Ok(Some("a")), "the first counts");
    }

    #[test]
    fn without_a_mode_a_caller_publishes() {
        assert_eq!(resource(b"#!::r=x"), Ok(Some("x")));
        assert_eq!(resource(b"#!::r=x,m="), Ok(Some("x")));
    }

    #[test]
    fn other_modes_and_types_are_refused() {
        for mode in ["request", "bidirectional", "Publish"] {
            let text = format!("#!::r=x,m={mode}");
            assert_eq!(resource(text.as_bytes()), Err(Error::NotPublish), "{mode}");
        }
        for kind in ["file", "auth"] {
            let text = format!("#!::r=x,t={kind},m=publish");
            assert_eq!(resource(text.as_bytes()), Err(Error::NotStream), "{kind}");
        }
    }

    #[test]
    fn what_is_no_pair_is_refused() {
        for text in ["#!::live", "#!::=x", "#!::r=a,b", "#!:{r:x}", "#!:"] {
            assert_eq!(resource(text.as_bytes()), Err(Error::Malformed), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_shown_is_refused() {
        assert_eq!(resource(b"a\0b"), Err(Error::NotPrintable));
        assert_eq!(resource("caf\u{e9}".as_bytes()), Err(Error::NotPrintable));
        assert_eq!(resource(&[b'a'; 513]), Err(Error::TooLong));
        assert!(resource(&[b'a'; 512]).is_ok());
    }

    #[test]
    fn derived_ids_are_dated_and_numbered() {
        assert_eq!(stamp(951_827_696), "20000229_123456");
        assert_eq!(stamp(0), "19700101_000000");
        let mut ids = DerivedIds::default();
        let source = IpAddr::from([10, 0, 0, 1]);
        let mut next = |template| ids.next(template, "main", source);
        let (first, second) = (next(DERIVED_ID_DEFAULT), next(DERIVED_ID_DEFAULT));
        assert!(first.starts_with("srt_") && first.len() == "srt_20000229_123456_001".len());
        assert!(first.ends_with("_001") && second.ends_with("_002"));
        assert_eq!(next("{listener}/{source}/{number}"), "main/10.0.0.1/003");
    }

    #[test]
    fn templates_are_checked() {
        assert_eq!(check_template(DERIVED_ID_DEFAULT), Ok(()));
        for (template, named) in [("live", "{number}"), ("{number}{user}", "{source}")] {
            let problem = check_template(template).expect_err("refused");
            assert!(problem.contains(named), "{problem}");
        }
    }
}
