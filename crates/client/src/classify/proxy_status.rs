//! `Proxy-Status` (RFC 9209) of anybody, read tolerantly: as much of it as can be read, and never an error.
//!
//! The strict grammar of structured fields drops a whole field for one bad character. What is wanted here is the opposite: in
//! the wild `error` is a String as often as a Token, strings end without their quote, keys have capitals, and
//! `received-status` holds the status that the proxy made up itself. Hence a reader of our own.

use std::borrow::Cow;

use outgate_faults::{ErrorType, Slug};

use crate::classify::{Confidence, Evidence, Provenance, Verdict, Way, sentence};

/// The most members that are read.
const MOST_MEMBERS: usize = 16;
/// The most parameters of one member that are read.
const MOST_PARAMETERS: usize = 32;

/// What one hop said: the first member is the one closest to the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// The hop's name.
    pub hop: String,
    parameters: Vec<(String, String)>,
}

impl Member {
    /// The first value of a parameter.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// What it says went wrong.
    pub fn error(&self) -> Option<&str> {
        self.parameter("error").filter(|error| !error.is_empty())
    }

    /// The status that it received from the hop before it.
    pub fn received_status(&self) -> Option<u16> {
        self.parameter("received-status")?.parse().ok()
    }
}

/// The members of the field's values, in their order.
pub(super) fn members<'a>(values: impl IntoIterator<Item = Cow<'a, str>>) -> Vec<Member> {
    let mut members = Vec::new();
    for value in values {
        for item in pieces(&value, ',').into_iter().take(MOST_MEMBERS - members.len().min(MOST_MEMBERS)) {
            let mut parts = pieces(item, ';').into_iter();
            let hop = unquoted(parts.next().unwrap_or_default());
            let parameters = parts.take(MOST_PARAMETERS).filter_map(|part| {
                let (key, value) = part.split_once('=').unwrap_or((part, "?1"));
                let key = key.trim().to_ascii_lowercase();
                (!key.is_empty()).then(|| (key, unquoted(value)))
            });
            let member = Member { hop, parameters: parameters.collect() };
            if member != Member::default() {
                members.push(member);
            }
        }
    }
    members
}

/// Cuts at `separator` outside of quotes. A quote that never closes ends with the text.
fn pieces(text: &str, separator: char) -> Vec<&str> {
    let (mut pieces, mut begin, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => {
                pieces.push(text[begin..at].trim());
                begin = at + c.len_utf8();
            }
            _ => {}
        }
    }
    pieces.push(text[begin..].trim());
    pieces
}

/// A string without its quotes and escapes, anything else as it stands.
fn unquoted(text: &str) -> String {
    let text = text.trim();
    let Some(inner) = text.strip_prefix('"') else { return text.to_owned() };
    let (mut plain, mut escaped) = (String::with_capacity(inner.len()), false);
    for c in inner.chars() {
        match c {
            _ if escaped => {
                plain.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => break,
            _ => plain.push(c),
        }
    }
    plain
}

/// What `Proxy-Status` makes of the answer. `None` if it says nothing, or nothing that helps.
pub(crate) fn said(evidence: &Evidence<'_>, status: u16) -> Option<Verdict> {
    let members = members(evidence.headers.all("Proxy-Status"));
    let nearest = members.last()?;
    let position = members.iter().rposition(|member| member.error().is_some());
    // A hop that received a status passes on what somebody before it said; an error in front of it is from the target's side,
    // if nothing in between told of it. One that says both of itself found the error in what it received.
    let passed_on = nearest.error().is_none() && nearest.received_status().is_some();
    if passed_on && evidence.way == Way::Forwarded {
        return None;
    }
    let member = &members[position?];
    let error = member.error()?;
    let exit_found_it = position? + 1 < members.len();
    let provenance = if exit_found_it { Provenance::Exit } else { Provenance::Proxy };
    let details = member.parameter("details").unwrap_or_default();
    let why = format!("Proxy-Status of {:?} says error={error}", member.hop);
    let (slug, fits, confidence) = match sentence::of(details) {
        Some(slug) => (slug, vec![slug], Confidence::Likely),
        None => {
            let fits = meant_by(error, member, status);
            (*fits.first()?, fits, Confidence::Likely)
        }
    };
    let said = (!details.is_empty()).then(|| outgate_faults::fact::render(details));
    let exit = exit_found_it.then(|| outgate_faults::fact::render(&member.hop));
    Some(Verdict { said, exit, ..Verdict::new(slug, provenance, confidence, why).or(&fits) })
}

/// Whether the nearest hop says that it passed on what it received, without an error of its own.
pub(crate) fn says_passed_on(evidence: &Evidence<'_>) -> Option<u16> {
    let members = members(evidence.headers.all("Proxy-Status"));
    let nearest = members.last()?;
    if nearest.error().is_some() { None } else { nearest.received_status() }
}

/// The faults that an error type stands for, the likeliest first. The status tells those apart that share a type.
fn meant_by(error: &str, member: &Member, status: u16) -> Vec<Slug> {
    use Slug::*;
    let error = error.trim().to_ascii_lowercase().replace('-', "_");
    let Some(kind) = ErrorType::parse(&error) else {
        return match error.as_str() {
            // Of a draft that came after the RFC.
            "incremental_refused" => vec![MethodUnsupported],
            _ => Vec::new(),
        };
    };
    let status = member.parameter("status-code").and_then(|code| code.parse().ok()).unwrap_or(status);
    match kind {
        ErrorType::DnsTimeout => vec![DnsTimeout],
        ErrorType::DnsError => match member.parameter("rcode").map(str::to_ascii_uppercase).as_deref() {
            Some("NXDOMAIN" | "NOERROR" | "3") => vec![DnsNotFound],
            Some(_) => vec![DnsFailed],
            None => vec![DnsNotFound, DnsFailed],
        },
        ErrorType::DestinationNotFound => vec![DnsNotFound, TargetUnreachable],
        ErrorType::DestinationUnavailable => vec![NoExit, TargetUnreachable],
        ErrorType::DestinationIpProhibited => vec![TargetPrivate, TargetMetadata, TargetDenied],
        ErrorType::DestinationIpUnroutable => vec![TargetUnreachable],
        ErrorType::ConnectionRefused => vec![TargetRefused],
        ErrorType::ConnectionTerminated => vec![TargetReset, ExitLost, ExitRefused, SessionLost],
        ErrorType::ConnectionTimeout => vec![ConnectTimeout, ExitTimeout],
        ErrorType::ConnectionReadTimeout | ErrorType::HttpResponseTimeout => vec![ResponseTimeout],
        ErrorType::ConnectionWriteTimeout => vec![ResponseTimeout, ConnectTimeout],
        ErrorType::ConnectionLimitReached => match status {
            429 | 453 => vec![ThreadsExceeded, RateLimited],
            _ => vec![Overloaded, ThreadsExceeded],
        },
        ErrorType::TlsProtocolError | ErrorType::TlsAlertReceived => vec![TlsHandshakeFailed],
        ErrorType::TlsCertificateError => vec![TlsCertificateInvalid],
        ErrorType::HttpRequestError => match status {
            407 => vec![CredentialsWrong, CredentialsMissing, CredentialsMalformed],
            408 => vec![RequestTimeout],
            414 => vec![UriTooLong],
            417 => vec![ExpectationFailed],
            429 => vec![RateLimited],
            431 => vec![HeaderTooLarge],
            454 => vec![CountryInvalid, ModifierUnknown, StateInvalid, CityInvalid, SessionInvalid, TargetingUnsupported],
            455 => vec![TtlInvalid],
            501 => vec![MethodUnsupported],
            505 => vec![VersionUnsupported],
            _ => vec![MalformedRequest, MalformedTarget, WrongProtocol, HttpsNeedsConnect],
        },
        ErrorType::HttpRequestDenied => match status {
            402 | 452 => vec![BandwidthExhausted],
            407 | 401 => vec![CredentialsWrong, CredentialsMissing, SourceDenied, KeySuspended],
            429 => vec![RateLimited, AuthThrottled],
            453 => vec![ThreadsExceeded],
            _ => vec![TargetDenied, PortDenied, KeyBlocked, PoolDenied, CountryDenied],
        },
        ErrorType::HttpResponseIncomplete => vec![ResponseIncomplete],
        ErrorType::HttpResponseHeaderSectionSize
        | ErrorType::HttpResponseHeaderSize
        | ErrorType::HttpResponseTrailerSectionSize
        | ErrorType::HttpResponseTrailerSize => vec![ResponseHeaderTooLarge],
        ErrorType::HttpResponseBodySize
        | ErrorType::HttpResponseTransferCoding
        | ErrorType::HttpResponseContentCoding
        | ErrorType::HttpProtocolError => vec![ResponseMalformed],
        ErrorType::HttpUpgradeFailed => vec![UpgradeFailed],
        ErrorType::ProxyInternalResponse => match status {
            503 => vec![Draining, LedgerUnavailable, Overloaded],
            _ => vec![Internal],
        },
        ErrorType::ProxyInternalError | ErrorType::ProxyConfigurationError => vec![Internal],
        ErrorType::ProxyLoopDetected => vec![LoopDetected],
    }
}

#[cfg(test)]
mod tests {
    use super::{Member, meant_by, members};
    use outgate_faults::{ErrorType, Slug};
    use std::borrow::Cow;

    fn read(value: &str) -> Vec<Member> {
        members([Cow::Borrowed(value)])
    }

    #[test]
    fn well_formed_members() {
        let read =
            read(r#"exit-1; error=dns_error; rcode="NXDOMAIN"; details="no, \"such\" name; really", gw;received-status=502"#);
        assert_eq!(read.len(), 2);
        assert_eq!(
            (read[0].hop.as_str(), read[0].error(), read[0].parameter("rcode")),
            ("exit-1", Some("dns_error"), Some("NXDOMAIN"))
        );
        assert_eq!(read[0].parameter("details"), Some("no, \"such\" name; really"));
        assert_eq!((read[1].hop.as_str(), read[1].error(), read[1].received_status()), ("gw", None, Some(502)));
    }

    #[test]
    fn what_is_really_sent() {
        let brd = read(r#"brd.superproxy.io; received-status=407; error="http_request_denied"; details="client_10000: Invalid""#);
        assert_eq!((brd[0].error(), brd[0].received_status()), (Some("http_request_denied"), Some(407)));
        assert_eq!(read("gw ; Error = dns_timeout ;details=\"never closed")[0].error(), Some("dns_timeout"));
        assert_eq!(read("gw; error=dns_timeout;; ;x")[0].parameter("x"), Some("?1"));
        assert_eq!(read("\"a hop\"; error=\"x\\\"y\"")[0].error(), Some("x\"y"));
        assert!(read("").is_empty() && read(" , ,").is_empty());
    }

    #[test]
    fn floods_are_bounded() {
        assert_eq!(read(&"a,".repeat(10_000)).len(), super::MOST_MEMBERS);
        let many = format!("a{}", ";b=1".repeat(10_000));
        assert_eq!(read(&many)[0].parameters.len(), super::MOST_PARAMETERS);
    }

    #[test]
    fn every_type_stands_for_something() {
        for kind in ErrorType::ALL {
            let fits = meant_by(kind.token(), &Member::default(), kind.recommended_status());
            assert!(!fits.is_empty(), "{kind}");
        }
        // Ours are among what their own type stands for.
        for slug in Slug::ALL {
            if let Some(kind) = slug.row().error_type.filter(|_| slug.row().seen == outgate_faults::Seen::Gateway) {
                let dns = matches!(slug, Slug::DnsNotFound | Slug::DnsFailed);
                let fits = meant_by(kind.token(), &Member::default(), slug.row().status);
                assert!(dns || slug_is_close(*slug, &fits), "{slug}: {fits:?}");
            }
        }
    }

    /// Among the fits, or of the layer and status of one of them: a type is coarser than the catalogue.
    fn slug_is_close(slug: Slug, fits: &[Slug]) -> bool {
        fits.iter().any(|fit| *fit == slug || (fit.row().layer == slug.row().layer && fit.row().status == slug.row().status))
            || matches!(slug, Slug::ClientTlsFailed)
    }
}
