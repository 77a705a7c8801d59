//! What a status means when a proxy nobody knows said it.

use outgate_faults::{Slug, raise};

use crate::classify::{Confidence, Evidence, Provenance, Verdict};

/// What a proxy means by `status`.
pub(crate) fn proxy_said(evidence: &Evidence<'_>, status: u16) -> Verdict {
    use Confidence::{Guess, Likely};
    use Slug::*;
    let (slug, confidence) = match status {
        200..=299 => return Verdict::fine(Provenance::Proxy, format!("the proxy answered {status}")),
        400 => (MalformedRequest, Likely),
        401 => (CredentialsWrong, Likely),
        402 | 452 => (BandwidthExhausted, Likely),
        403 => (TargetDenied, Likely),
        407 => (CredentialsWrong, Likely),
        408 => (RequestTimeout, Likely),
        414 => (UriTooLong, Likely),
        417 => (ExpectationFailed, Likely),
        429 => (RateLimited, Likely),
        431 => (HeaderTooLarge, Likely),
        453 => (ThreadsExceeded, Likely),
        454 => (CountryInvalid, Guess),
        455 => (TtlInvalid, Likely),
        490 | 525 => (NoExit, Likely),
        501 => (MethodUnsupported, Guess),
        503 => (Overloaded, Likely),
        504 => (ConnectTimeout, Guess),
        505 => (VersionUnsupported, Likely),
        500 => (Internal, Likely),
        502 => (TargetUnreachable, Guess),
        _ if (400..500).contains(&status) => (MalformedRequest, Guess),
        _ if (500..600).contains(&status) => (Internal, Guess),
        // A redirection, or something that is no status: no proxy answers so.
        _ => {
            let why = format!("no proxy answers {status}");
            return Verdict::raised(raise::proxy_not_a_proxy(evidence.proxy), Provenance::Transport, Likely, why);
        }
    };
    Verdict::new(slug, Provenance::Proxy, confidence, format!("a proxy's {status}"))
}
