//! The four built-in dialects. Each is a `match` without a wildcard, so that a new slug needs a decision in all of them.

use crate::dialect::Telling;
use crate::{Slug, standard_phrase};
use std::borrow::Cow;

/// The status with its own phrase and the fault's sentence.
fn plain(status: u16) -> Telling {
    Telling { status, reason: Cow::Borrowed(standard_phrase(status)), body: None }
}

/// The status with its own phrase and a fixed body.
fn fixed(status: u16, body: &'static str) -> Telling {
    Telling { body: Some(Cow::Borrowed(body)), ..plain(status) }
}

/// The status with a phrase of the dialect and a fixed body.
fn named(status: u16, reason: &'static str, body: &'static str) -> Telling {
    Telling { reason: Cow::Borrowed(reason), ..fixed(status, body) }
}

/// The default: each row's own status.
pub(crate) fn outgate(slug: Slug) -> Telling {
    plain(slug.row().status)
}

/// Registered statuses only; which of ours are unregistered is known, so this one is a function of the status.
pub(crate) fn rfc(slug: Slug) -> Telling {
    plain(match slug.row().status {
        402 => 403,
        453 => 429,
        454 | 455 => 400,
        registered => registered,
    })
}

/// Seven statuses, and what the document tells clients to do on each: 400, 402, 403 and 407 are never retried, 429 with
/// backoff, 502 after 5 to 30 s, 504 "but consider the target". A slug therefore stands where that advice is right for it.
pub(crate) fn atlasvpn(slug: Slug) -> Telling {
    use Slug::*;
    match slug {
        MalformedRequest | MalformedTarget | RequestTimeout | UriTooLong | ExpectationFailed | HeaderTooLarge
        | MethodUnsupported | VersionUnsupported | WrongProtocol | ClientTlsFailed | HttpsNeedsConnect => plain(400),
        // A mistake in the user name's modifiers is the client's, and no login helps against it.
        ModifierUnknown | ModifierRepeated | CountryInvalid | StateInvalid | CityInvalid | SessionInvalid
        | TargetingUnsupported | TtlInvalid => plain(400),
        BandwidthExhausted => plain(402),
        KeyBlocked | PortDenied | TargetPrivate | TargetMetadata | TargetDenied | PoolDenied | CountryDenied => plain(403),
        // Never retried, and the target (the proxy itself) is one that may not be asked for.
        LoopDetected => plain(403),
        CredentialsMissing | CredentialsMalformed | CredentialsWrong | KeyExpired | KeyRevoked | KeySuspended | SourceDenied => {
            fixed(407, "Invalid or expired access token")
        }
        // The advice of 429 is theirs: wait with growing delays.
        AuthThrottled | RateLimited | ThreadsExceeded => plain(429),
        Internal | Overloaded | Draining | LedgerUnavailable => plain(502),
        NoExit | ExitLost | ExitRefused | SessionLost => plain(502),
        DnsNotFound
        | DnsFailed
        | TargetRefused
        | TargetUnreachable
        | TargetReset
        | ResponseIncomplete
        | ResponseMalformed
        | ResponseHeaderTooLarge
        | UpgradeFailed
        | TlsHandshakeFailed
        | TlsCertificateInvalid => plain(502),
        ExitTimeout | DnsTimeout | ConnectTimeout | ResponseTimeout => plain(504),
        ProxyDnsFailed | ProxyRefused | ProxyUnreachable | ProxyReset | ProxyTlsFailed | ProxyNotAProxy => plain(502),
        ProxyTimeout => plain(504),
        TargetUnauthorized | TargetForbidden | TargetChallenged | TargetRateLimited | TargetUnavailable | TargetGatewayError
        | TargetError => passed_through(slug),
    }
}

/// Ten statuses. 4xx are for a person to correct, 502 and 503 are retried with backoff, so what a retry cannot change must not
/// become one of those: policy denials are 400 with our own sentence.
pub(crate) fn proxies_fo(slug: Slug) -> Telling {
    use Slug::*;
    match slug {
        MalformedRequest | MalformedTarget | RequestTimeout | UriTooLong | HeaderTooLarge | MethodUnsupported
        | VersionUnsupported | WrongProtocol | ClientTlsFailed | HttpsNeedsConnect => plain(400),
        ExpectationFailed => plain(417),
        CredentialsMissing | CredentialsMalformed | CredentialsWrong | KeyExpired | KeyRevoked | KeySuspended | SourceDenied => {
            fixed(407, "Incorrect username or password")
        }
        // "Username or password is wrong, or your targeting modifiers contain an unrecognised value."
        ModifierUnknown | ModifierRepeated | PoolDenied | SessionInvalid | TargetingUnsupported => {
            fixed(407, "Incorrect username or password")
        }
        KeyBlocked | PortDenied | TargetPrivate | TargetMetadata | TargetDenied | CountryDenied | LoopDetected => plain(400),
        BandwidthExhausted => fixed(452, "exceeded bandwidth limit"),
        ThreadsExceeded => fixed(453, "exceeded threads limit"),
        CountryInvalid => named(454, "Invalid Country Code", "invalid country code"),
        StateInvalid => named(454, "Invalid State Code", "invalid state code"),
        CityInvalid => named(454, "Invalid City Code", "invalid city code"),
        TtlInvalid => fixed(455, "invalid ttl"),
        Internal => plain(500),
        // There is no 429; 503 with Retry-After carries the same advice.
        AuthThrottled | RateLimited | Overloaded | Draining | LedgerUnavailable => plain(503),
        NoExit | ExitLost | ExitRefused | SessionLost | ExitTimeout => plain(502),
        DnsNotFound
        | DnsFailed
        | DnsTimeout
        | TargetRefused
        | TargetUnreachable
        | TargetReset
        | ConnectTimeout
        | ResponseTimeout
        | ResponseIncomplete
        | ResponseMalformed
        | ResponseHeaderTooLarge
        | UpgradeFailed
        | TlsHandshakeFailed
        | TlsCertificateInvalid => plain(502),
        ProxyDnsFailed | ProxyRefused | ProxyUnreachable | ProxyTimeout | ProxyReset | ProxyTlsFailed | ProxyNotAProxy => {
            plain(502)
        }
        TargetUnauthorized | TargetForbidden | TargetChallenged | TargetRateLimited | TargetUnavailable | TargetGatewayError
        | TargetError => passed_through(slug),
    }
}

/// The target's own status: no dialect changes what a target says.
fn passed_through(slug: Slug) -> Telling {
    plain(slug.row().status)
}
