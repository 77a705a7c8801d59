//! What broke without an answer, or in the middle of one.

use outgate_faults::fact::Seconds;
use outgate_faults::{Retry, Slug, raise};

use crate::classify::{Breakage, Confidence, Evidence, Manner, Phase, Provenance, Verdict, Way};

/// What may be behind a tunnel or an answer that was cut: by then nobody can tell in-band.
const CUT: &[Slug] = &[
    Slug::TargetReset,
    Slug::ResponseIncomplete,
    Slug::ExitLost,
    Slug::BandwidthExhausted,
    Slug::KeyRevoked,
    Slug::KeySuspended,
    Slug::KeyBlocked,
    Slug::Draining,
];

/// What broke between us and a target that was asked without a proxy.
fn direct(evidence: &Evidence<'_>, breakage: &Breakage) -> Verdict {
    let host = evidence.host();
    let port = evidence.target.strip_prefix(host).unwrap_or_default().trim_start_matches(':');
    let certain = |fault, why: &str| Verdict::raised(fault, Provenance::Transport, Confidence::Certain, why);
    match (breakage.phase, &breakage.manner) {
        (Phase::Tls | Phase::TargetTls, manner) => target_tls(evidence, manner),
        (Phase::Dns, Manner::TimedOut(_)) => certain(raise::dns_timeout(host), "no resolver answered in time"),
        (Phase::Dns, _) | (_, Manner::NotFound) => {
            certain(raise::dns_not_found(host, "no address"), "the target's name does not resolve here")
        }
        (_, Manner::Refused) => certain(raise::target_refused(host, port), "the target refused the connection"),
        (Phase::Tcp, Manner::TimedOut(after)) => {
            certain(raise::connect_timeout(host, port, Seconds(*after)), "the target took no connection in time")
        }
        (_, Manner::TimedOut(after)) => {
            certain(raise::response_timeout(host, Seconds(*after)), "the target did not answer in time")
        }
        (Phase::Tcp, Manner::Other(_)) | (_, Manner::Unreachable) => {
            certain(raise::target_unreachable(host, port), "there is no route to the target")
        }
        (_, Manner::Closed) => certain(raise::response_incomplete(host), "the target closed the connection too early"),
        (_, Manner::Foreign(foreign)) => {
            let what = format!("it speaks {}", foreign.name());
            certain(raise::response_malformed(host, what), "what came is no HTTP")
        }
        (_, Manner::Reset | Manner::Other(_) | Manner::Certificate(_) | Manner::TlsProtocol(_)) => {
            certain(raise::target_reset(host, port), "the target reset the connection")
        }
    }
}

/// What `breakage` means.
pub(crate) fn broke(evidence: &Evidence<'_>, breakage: &Breakage) -> Verdict {
    use Confidence::{Certain, Likely};
    use Provenance::Transport;
    if evidence.way == Way::Direct {
        return direct(evidence, breakage);
    }
    let Breakage { phase, manner } = breakage;
    let proxy = evidence.proxy;
    let tls = |what: &str, confidence| {
        Verdict::raised(raise::proxy_tls_failed(proxy, what), Transport, confidence, format!("TLS with the proxy: {what}"))
    };
    match (phase, manner) {
        (Phase::TargetTls, manner) => target_tls(evidence, manner),
        (Phase::Dns, Manner::TimedOut(_)) => {
            let fault = raise::proxy_dns_failed(proxy);
            let verdict = Verdict::raised(fault, Transport, Certain, "no resolver answered for the proxy's name in time");
            // The name may be right: only the resolver was slow.
            Verdict { retry: Retry::Backoff, ..verdict }
        }
        (Phase::Dns, manner) => {
            let why = format!("the proxy's name does not resolve: {}", told(manner));
            Verdict::raised(raise::proxy_dns_failed(proxy), Transport, Certain, why)
        }
        (_, Manner::Foreign(foreign)) => {
            let why = format!("{} came where the proxy's answer was due", foreign.name());
            Verdict::raised(raise::proxy_not_a_proxy(proxy), Transport, Certain, why)
        }
        (_, Manner::NotFound) => Verdict::raised(raise::proxy_dns_failed(proxy), Transport, Certain, "no such name"),
        (_, Manner::Refused) => {
            Verdict::raised(raise::proxy_refused(proxy), Transport, Certain, "the connection to the proxy was refused")
        }
        (_, Manner::Unreachable) => {
            Verdict::raised(raise::proxy_unreachable(proxy), Transport, Certain, "there is no route to the proxy")
        }
        (_, Manner::Certificate(what)) => tls(&format!("the proxy's certificate: {what}"), Certain),
        (_, Manner::TlsProtocol(what)) => tls(what, Certain),
        // Ports that take no TLS mostly close when they see its first bytes.
        (Phase::Tls, Manner::Closed) => tls("the connection was closed in the handshake", Likely),
        (Phase::Ask, Manner::TimedOut(after)) => {
            let why = "the request was sent, and no answer came in time: the proxy, or what it waits for";
            let fault = raise::proxy_timeout(proxy, Seconds(*after));
            Verdict::raised(fault, Transport, Likely, why).or(&[Slug::ResponseTimeout, Slug::ExitTimeout, Slug::ConnectTimeout])
        }
        (Phase::Body | Phase::Tunnel, Manner::TimedOut(after)) => {
            let fault = raise::proxy_timeout(proxy, Seconds(*after));
            let why = "silence in the middle: the target, the exit or the proxy";
            Verdict::raised(fault, Transport, Likely, why).or(&[Slug::ResponseTimeout])
        }
        (Phase::Tcp | Phase::Tls, Manner::TimedOut(after)) => {
            let why = "the proxy's address does not answer in time";
            Verdict::raised(raise::proxy_timeout(proxy, Seconds(*after)), Transport, Certain, why)
        }
        (Phase::Body | Phase::Tunnel, Manner::Reset | Manner::Closed | Manner::Other(_)) => {
            let why = format!("{} in the middle, where nobody can say why any more", told(manner));
            Verdict::raised(raise::proxy_reset(proxy), Transport, Likely, why).or(CUT)
        }
        (Phase::Tcp, Manner::Other(what)) => {
            let why = format!("the connection to the proxy could not be made: {what}");
            Verdict::raised(raise::proxy_unreachable(proxy), Transport, Likely, why)
        }
        (Phase::Ask, Manner::Closed) => {
            let why = "the proxy closed the connection instead of answering: a restart, or a port of another protocol";
            Verdict::raised(raise::proxy_reset(proxy), Transport, Likely, why).or(&[Slug::ProxyNotAProxy])
        }
        (_, Manner::Reset | Manner::Closed | Manner::Other(_)) => {
            let why = format!("{} before the proxy answered", told(manner));
            Verdict::raised(raise::proxy_reset(proxy), Transport, Certain, why)
        }
    }
}

/// TLS inside the tunnel: the proxy takes no part in it, unless it is one that should not be there.
fn target_tls(evidence: &Evidence<'_>, manner: &Manner) -> Verdict {
    use Confidence::{Certain, Likely};
    let host = evidence.host();
    let failed =
        |confidence, why: String| Verdict::raised(raise::tls_handshake_failed(host), Provenance::Origin, confidence, why);
    match manner {
        Manner::Certificate(what) => {
            let why = format!("the certificate shown for the target: {what}");
            Verdict::raised(raise::tls_certificate_invalid(host, what), Provenance::Origin, Certain, why)
        }
        Manner::TlsProtocol(what) => failed(Certain, format!("TLS with the target: {what}")),
        Manner::Foreign(foreign) => failed(Certain, format!("the target speaks {} where TLS was due", foreign.name())),
        other => {
            let why = format!("{} in the TLS handshake with the target", told(other));
            failed(Likely, why).or(&[Slug::TargetReset, Slug::ExitLost, Slug::ProxyReset])
        }
    }
}

fn told(manner: &Manner) -> String {
    match manner {
        Manner::NotFound => "no such name".to_owned(),
        Manner::Refused => "a refusal".to_owned(),
        Manner::Unreachable => "no route".to_owned(),
        Manner::TimedOut(_) => "silence".to_owned(),
        Manner::Reset => "a reset".to_owned(),
        Manner::Closed => "a close".to_owned(),
        Manner::Certificate(what) | Manner::TlsProtocol(what) | Manner::Other(what) => what.clone(),
        Manner::Foreign(foreign) => foreign.name().to_owned(),
    }
}
