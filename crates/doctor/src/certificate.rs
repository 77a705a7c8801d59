//! What a certificate says of itself: issuer, subject, dates. Only looked at; nothing is believed because of it.

use jiff::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;

/// The parts of an X.509 certificate that tell people whose it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Certificate {
    /// Who signed it: common name, else organisation.
    pub(crate) issuer: String,
    /// Whom it is for, as it says itself; modern ones leave it empty.
    pub(crate) subject: String,
    /// From when on it holds.
    pub(crate) not_before: Option<Timestamp>,
    /// Until when.
    pub(crate) not_after: Option<Timestamp>,
}

impl Certificate {
    /// Reads the DER of RFC 5280, section 4.1, as far as the dates.
    pub(crate) fn read(der: &[u8]) -> Option<Certificate> {
        let (_, certificate, _) = element(der)?;
        let (_, signed, _) = element(certificate)?;
        let mut rest = signed;
        // [0] is the version, which version 1 leaves out.
        if let (0xa0, _, after) = element(rest)? {
            rest = after;
        }
        let (_, _, rest) = element(rest)?; // serial number
        let (_, _, rest) = element(rest)?; // signature algorithm
        let (_, issuer, rest) = element(rest)?;
        let (_, validity, rest) = element(rest)?;
        let (_, subject, _) = element(rest)?;
        let (before_tag, before, rest) = element(validity)?;
        let (after_tag, after, _) = element(rest)?;
        Some(Certificate {
            issuer: name(issuer),
            subject: name(subject),
            not_before: time(before_tag, before),
            not_after: time(after_tag, after),
        })
    }
}

/// Tag, contents, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // A length in up to four bytes: more is no certificate.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// The common name of a distinguished name, else its organisation.
fn name(mut sets: &[u8]) -> String {
    const COMMON_NAME: &[u8] = &[0x55, 4, 3];
    const ORGANISATION: &[u8] = &[0x55, 4, 10];
    let (mut common, mut organisation) = (None, None);
    while let Some((_, set, rest)) = element(sets) {
        sets = rest;
        let Some((_, pair, _)) = element(set) else { break };
        let Some((_, kind, value)) = element(pair) else { break };
        let Some((_, value, _)) = element(value) else { break };
        let text = || crate::proxy_url::printable(&String::from_utf8_lossy(value));
        match kind {
            COMMON_NAME => common = Some(text()),
            ORGANISATION => organisation = Some(text()),
            _ => {}
        }
    }
    common.or(organisation).unwrap_or_default()
}

/// `UTCTime` or `GeneralizedTime`, both in the forms that RFC 5280, section 4.1.2.5, allows.
fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        0x17 => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i16 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        0x18 => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i8>().ok();
    let day = civil::DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_forms() {
        let cases: &[(u8, &str, Option<&str>)] = &[
            (0x17, "010203040506Z", Some("2001-02-03T04:05:06Z")),
            (0x17, "991231235959Z", Some("1999-12-31T23:59:59Z")),
            (0x18, "40960101000000Z", Some("4096-01-01T00:00:00Z")),
            (0x17, "0102030405Z", None),
            (0x17, "01ü203040506Z", None),
            (0x02, "010203040506Z", None),
        ];
        for (tag, text, read) in cases {
            assert_eq!(time(*tag, text.as_bytes()).map(|t| t.to_string()).as_deref(), *read, "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        let junk: &[&[u8]] = &[&[], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x02, 0x30, 0x00], b"-----BEGIN"];
        for der in junk {
            assert_eq!(Certificate::read(der), None, "{der:?}");
        }
    }
}
