//! What to do about a fault that another make of proxy told: the catalogue's fixes name commands that only Outgate has.

use outgate_faults::{Layer, Slug};

use crate::diagnosis::Diagnosis;
use crate::exchange::Exchange;

/// The same diagnosis with advice that fits whose proxy it is.
pub(crate) fn fitting(diagnosis: Diagnosis, exchange: &Exchange) -> Diagnosis {
    let outgate = exchange.field("X-Outgate-Request-Id").is_some();
    match diagnosis.fault {
        // Advice of the doctor's own knows nothing of anybody's commands.
        Some(slug) if !outgate && diagnosis.next == slug.row().fix => match elsewhere(slug) {
            Some(next) => diagnosis.advising(next),
            None => diagnosis,
        },
        _ => diagnosis,
    }
}

/// What to do at any proxy; nothing where the catalogue's own words do.
fn elsewhere(slug: Slug) -> Option<&'static str> {
    Some(match (slug.row().layer, slug) {
        (_, Slug::PortDenied) => {
            "Use a port that the proxy allows, mostly 80 and 443, or have its operator allow this one (SSL_ports in squid, ConnectPort \
             in tinyproxy)."
        }
        (Layer::Auth, Slug::SourceDenied) => {
            "Have this machine's address put on the proxy's allowlist, or send from an address that is on it. A VPN, a new line or a \
             new machine changes it silently."
        }
        (Layer::Auth, _) => {
            "See where the credentials are managed whether they are still valid, and copy them again. Don't retry unchanged: it is \
             refused again, and many proxies lock out who guesses."
        }
        (Layer::Policy, _) => {
            "The proxy's rules or your plan don't allow this target: ask its operator, or take another proxy for it. Another exit or \
             another try changes nothing."
        }
        (Layer::Plan, Slug::BandwidthExhausted) => {
            "The plan's traffic is used up: look at its usage where it is managed, raise it, or wait until its period begins anew."
        }
        (Layer::Plan, _) => {
            "Send less at once or fewer requests per second, honour Retry-After, or raise the plan. Raise nothing if other programs use \
             the same account: stop them."
        }
        (Layer::Targeting, _) => {
            "Compare the words in the user name (country, city, session…) with the provider's documentation: one of them it does not \
             know or does not have."
        }
        (Layer::Gateway, _) => {
            "Wait for Retry-After or some seconds and try again; look at the proxy's status page. If it stays, tell its operator the \
             time in UTC and the answer."
        }
        (Layer::Exit, _) => {
            "Ask for another country, pool or session, or wait 5 to 30 seconds: at the moment the proxy has no exit that fits or \
             answers."
        }
        (Layer::Client | Layer::Target | Layer::Transport | Layer::Origin, _) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_advice_for_others_names_our_commands() {
        for slug in Slug::ALL.iter().copied() {
            let advice = elsewhere(slug).unwrap_or(slug.row().fix);
            let ours = ["`outgate keys", "`outgate plans", "`outgate exits", "`outgate usage", "quickstart"];
            assert!(!ours.iter().any(|words| advice.contains(words)), "{slug}: {advice}");
        }
    }
}
