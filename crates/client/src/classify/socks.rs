//! What the bytes of SOCKS5 say: one for the login, one for the request, and each stands for several faults.

use outgate_faults::{Seen, Slug, raise, socks5_reply};

use crate::classify::{Confidence, Evidence, Provenance, SocksSaid, Verdict};

/// What a SOCKS5 server's last word means.
pub(crate) fn said(evidence: &Evidence<'_>, said: SocksSaid) -> Verdict {
    use Confidence::{Guess, Likely};
    let target = Provenance::Proxy;
    match said {
        SocksSaid::Login(0) | SocksSaid::Reply(0) => Verdict::fine(Provenance::Proxy, "SOCKS5 says that it succeeded"),
        SocksSaid::TooLong => {
            let why = "user name or password are longer than the 255 bytes that SOCKS5 has room for";
            Verdict::new(Slug::CredentialsMalformed, Provenance::Transport, Confidence::Certain, why)
        }
        SocksSaid::NoMethod => {
            let why = "the SOCKS5 server takes none of the offered ways to log in";
            Verdict::new(Slug::CredentialsMissing, Provenance::Proxy, Likely, why)
        }
        SocksSaid::Login(status) => {
            let why = format!("SOCKS5 refused the login with status {status:02x}");
            // A key that is blocked is refused here too, though its login is right.
            Verdict::new(Slug::CredentialsWrong, Provenance::Proxy, Likely, why).or(&of_layer_auth()).or(&[Slug::KeyBlocked])
        }
        SocksSaid::Reply(byte) => {
            let why = |meaning: &str| format!("SOCKS5 replied {byte:02x}: {meaning}");
            let fits = replied_with(byte);
            match byte {
                1 => Verdict::new(Slug::Internal, target, Guess, why("general failure")),
                2 => Verdict::new(Slug::TargetDenied, target, Guess, why("not allowed by the ruleset")),
                3 => Verdict::new(Slug::TargetUnreachable, target, Likely, why("network unreachable")),
                4 => Verdict::new(Slug::TargetUnreachable, target, Guess, why("host unreachable")),
                5 => Verdict::new(Slug::TargetRefused, target, Likely, why("connection refused")),
                6 => Verdict::new(Slug::ConnectTimeout, target, Likely, why("TTL expired")),
                7 => Verdict::new(Slug::MethodUnsupported, target, Likely, why("command not supported")),
                8 => Verdict::new(Slug::MalformedTarget, target, Likely, why("address type not supported")),
                _ => {
                    let fault = raise::proxy_not_a_proxy(evidence.proxy);
                    Verdict::raised(fault, Provenance::Transport, Likely, why("no reply that RFC 1928 knows"))
                }
            }
            .or(&fits)
        }
    }
}

/// Every fault that the catalogue answers with this byte.
pub(crate) fn replied_with(byte: u8) -> Vec<Slug> {
    let told = |slug: &Slug| slug.row().seen == Seen::Gateway && socks5_reply(*slug) == byte;
    Slug::ALL.iter().copied().filter(told).collect()
}

fn of_layer_auth() -> Vec<Slug> {
    let auth = |slug: &Slug| slug.row().layer == outgate_faults::Layer::Auth;
    Slug::ALL.iter().copied().filter(auth).collect()
}
