//! Evidence of an attempt in, a verdict out: which fault of the catalogue, who told it, how sure that is.
//!
//! [`classify`] asks in this order, and the first that knows decides:
//!
//! 1. what broke without an answer (`transport`), and what SOCKS said (`socks`);
//! 2. Outgate's own word: its field, its reason phrase, its sentence (`own`);
//! 3. the rules of the provider, if it is configured, known by its host, or shows itself (`foreign`, over [`providers`]);
//! 4. `Proxy-Status` of anybody (`proxy_status`);
//! 5. who can have said it on this way and shows signs of it: the target (`origin`, `challenge`) or a proxy (`generic`).
//!
//! What came through a tunnel is the target's, whatever its fields say: nobody on the way could have stripped a forgery. On a
//! forwarded request a target's answer may carry any field, so the proxy's word counts only from a proxy that is known to
//! strip forgeries, or that is known to mark all its own.
//!
//! [`providers`]: crate::providers

mod breakage;
mod challenge;
mod evidence;
mod foreign;
mod generic;
mod origin;
mod own;
mod pasted;
mod proxy_status;
mod retry_after;
mod sentence;
mod socks;
mod transport;
mod verdict;

pub use breakage::{Breakage, Foreign, Manner, Phase};
pub use evidence::{BODY, Evidence, Fields, SocksSaid, Way};
pub use pasted::Pasted;
pub use proxy_status::Member;
pub use retry_after::retry_after;
pub use verdict::{Confidence, Provenance, Scope, Verdict, Wait};

use crate::providers::Providers;

/// The members of an answer's `Proxy-Status`, read tolerantly: the first is closest to the target.
pub fn proxy_status_members(headers: Fields<'_>) -> Vec<Member> {
    proxy_status::members(headers.all("Proxy-Status"))
}

/// What the attempt came to.
pub fn classify(evidence: &Evidence<'_>, providers: &Providers) -> Verdict {
    let Some(status) = evidence.status else {
        return match (evidence.breakage, evidence.socks) {
            (Some(breakage), _) => transport::broke(evidence, breakage),
            (None, Some(said)) => socks::said(evidence, said),
            (None, None) => Verdict::fine(Provenance::Proxy, "nothing is known of it but that it was tried"),
        };
    };
    let mut verdict = answered(evidence, status, providers);
    match evidence.breakage {
        // The answer had begun well and broke.
        Some(breakage) if verdict.is_fine() => verdict = transport::broke(evidence, breakage),
        _ => {}
    }
    if let Some(wait) = retry_after(evidence.headers) {
        verdict.wait = Some(wait);
    }
    verdict
}

/// What an answer means.
fn answered(evidence: &Evidence<'_>, status: u16, providers: &Providers) -> Verdict {
    if let Some(verdict) = own::said(evidence) {
        return verdict;
    }
    let known = foreign::known(evidence, providers);
    if let Some(verdict) = known.as_ref().and_then(|known| foreign::said(evidence, status, known, providers)) {
        return verdict;
    }
    match evidence.way {
        Way::Direct => origin::said(evidence, status, Confidence::Certain, "nobody else can have written it"),
        Way::Tunnelled => match foreign::who_opens_tunnels(evidence, providers) {
            Some(title) => {
                let sign = format!("through a tunnel, but it has a field of {title}, who opens TLS: configure it if it is yours");
                origin::said(evidence, status, Confidence::Likely, &sign)
            }
            None => origin::said(evidence, status, Confidence::Certain, "it came through the tunnel"),
        },
        Way::Connect | Way::Socks => proxy_status::said(evidence, status)
            .unwrap_or_else(|| generic::said(evidence, status, Confidence::Certain, providers)),
        Way::Forwarded => forwarded(evidence, status, known.as_ref(), providers),
    }
}

/// An answer that both can have written, and of which the provider's rules did not say.
fn forwarded(evidence: &Evidence<'_>, status: u16, known: Option<&foreign::Known<'_>>, providers: &Providers) -> Verdict {
    if let Some(provider) = known.map(|known| known.provider).filter(|provider| provider.promises_marks() && status != 407) {
        let sign = format!("what {} says itself has a field of its own, and this has none", provider.title());
        return origin::said(evidence, status, Confidence::Documented, &sign);
    }
    if status < 400 {
        return origin::said(evidence, status, Confidence::Likely, "a success");
    }
    if let Some(verdict) = proxy_status::said(evidence, status) {
        return verdict;
    }
    match origin::author(evidence, status) {
        origin::Author::Site(sign) => origin::said(evidence, status, Confidence::Likely, &sign),
        origin::Author::Proxy => generic::said(evidence, status, Confidence::Likely, providers),
        origin::Author::Unknown => {
            if let Some(verdict) = origin::challenged(evidence, status, Confidence::Likely) {
                return verdict;
            }
            let by_proxy = generic::said(evidence, status, Confidence::Likely, providers);
            // Words of a proxy's trade decide; so does a gateway's own trouble, which web sites seldom leave without a sign.
            if by_proxy.confidence <= Confidence::Likely && generic::by_words(evidence, status, providers)
                || matches!(status, 402 | 502 | 504)
            {
                return by_proxy;
            }
            let by_target = origin::said(evidence, status, Confidence::Guess, "nothing shows who said it");
            if by_target.is_fine() { by_target } else { by_target.or(&by_proxy.fits) }
        }
    }
}
