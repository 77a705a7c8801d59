//! The log of attempts: time, proxy, exit, target, code, response headers, number. Nothing secret is in it.

use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use outgate_faults::Slug;

use crate::classify::Provenance;

/// One attempt, as it is logged.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it began, UTC.
    pub at: Timestamp,
    /// Its number within the request, from 1.
    pub number: u32,
    /// The proxy's name, without credentials.
    pub proxy: String,
    /// The session that it asked for.
    pub session: Option<String>,
    /// The exit that the proxy named.
    pub exit: Option<String>,
    /// `host:port`.
    pub target: String,
    /// The status that came back, from the proxy or the target.
    pub status: Option<u16>,
    /// What went wrong; none if nothing did.
    pub slug: Option<Slug>,
    /// Who said so.
    pub provenance: Option<Provenance>,
    /// How long limits had held it before it began.
    pub waited: Duration,
    /// How long it took.
    pub took: Duration,
    /// The answer's header fields, bounded, without secrets.
    pub headers: Vec<(String, String)>,
}

/// Fields whose value is somebody's secret: the name stays, the value goes.
const SECRET: &[&str] =
    &["set-cookie", "set-cookie2", "authorization", "proxy-authorization", "authentication-info", "proxy-authentication-info"];

/// The most fields of an answer that an attempt keeps.
const MOST_FIELDS: usize = 64;

/// The most bytes of a value that an attempt keeps.
const LONGEST_VALUE: usize = 512;

/// An answer's fields as an attempt keeps them: at most 64, each value at most 512 bytes of one printable line, cookies and
/// credentials without their values.
pub fn headers(fields: &HeaderMap) -> Vec<(String, String)> {
    fields
        .iter()
        .take(MOST_FIELDS)
        .map(|(name, value)| {
            let name = name.as_str();
            let value = if SECRET.contains(&name) { "(not kept)".to_owned() } else { printable(value.as_bytes()) };
            (name.to_owned(), value)
        })
        .collect()
}

fn printable(bytes: &[u8]) -> String {
    bytes.iter().take(LONGEST_VALUE).map(|&byte| if (b' '..=b'~').contains(&byte) { char::from(byte) } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_VALUE, MOST_FIELDS, headers};
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn no_secret_and_no_flood_gets_into_the_log() {
        let mut fields = HeaderMap::new();
        fields.insert("set-cookie", HeaderValue::from_static("sid=secret"));
        fields.insert("retry-after", HeaderValue::from_static("3"));
        fields.insert("x-long", HeaderValue::from_str(&"x".repeat(5000)).unwrap());
        fields.insert("x-odd", HeaderValue::from_bytes(b"a\xffb").unwrap());
        for n in 0..200 {
            fields.append("x-many", HeaderValue::from(n));
        }
        let kept = headers(&fields);
        let of = |name: &str| kept.iter().find(|(kept, _)| kept == name).map(|(_, value)| value.as_str());
        assert_eq!(of("set-cookie"), Some("(not kept)"));
        assert_eq!(of("retry-after"), Some("3"));
        assert_eq!(of("x-long").map(str::len), Some(LONGEST_VALUE));
        assert_eq!(of("x-odd"), Some("a?b"));
        assert_eq!(kept.len(), MOST_FIELDS);
    }
}
