//! Steps 3 and 4: a neutral target and the real one, each past the proxy and through it.

use outgate_client::classify::Confidence;
use outgate_client::connect::Upstream;
use outgate_faults::{Layer, Slug};

use crate::blame::{Speaker, Suspect};
use crate::chart::Chart;
use crate::checks::Check;
use crate::diagnosis::{Diagnosis, Harm, Whose};
use crate::exchange::{self, Ended, Exchange};
use crate::look::{Doubt, Shown};
use crate::proxy_url::printable;
use crate::reach::{is_portal, portal};
use crate::report::{Finding, State};
use crate::site::{Security, Site};
use crate::thresholds::Phase;

pub(crate) async fn neutral_direct(chart: &mut Chart<'_>) -> Finding {
    let site = &chart.case.neutral;
    let direct = exchange::direct(site, &chart.means).await;
    let finding = told_direct(Check::NeutralDirect, site, &direct);
    chart.neutral_direct = Some(direct);
    finding
}

pub(crate) async fn target_direct(chart: &mut Chart<'_>) -> Finding {
    let Some(site) = &chart.case.target else { return no_target(Check::TargetDirect) };
    let direct = exchange::direct(site, &chart.means).await;
    let finding = told_direct(Check::TargetDirect, site, &direct);
    chart.target_direct = Some(direct);
    finding
}

/// A direct request that fails is no fault of the proxy's, so nothing depends on it; it is what the proxied one is compared with.
fn told_direct(check: Check, site: &Site, direct: &Exchange) -> Finding {
    let says = format!("{site} {}", direct.words());
    let time = direct.time(Phase::Total);
    if let Some(reply) = direct.reply()
        && site.security == Security::Clear
        && is_portal(reply, site.target.host())
    {
        let sentence = "this machine's network answers with a page of its own: a captive portal".to_owned();
        return Finding::new(check, State::Remark, says).time(time).points_to(portal(sentence));
    }
    let state = if direct.is_good() { State::Good } else { State::Remark };
    Finding::new(check, state, says).time(time)
}

fn no_target(check: Check) -> Finding {
    Finding::new(check, State::NotNeeded, "no target was given (--target URL)")
}

pub(crate) async fn neutral_proxied(chart: &mut Chart<'_>) -> Finding {
    let site = &chart.case.neutral;
    let (Some(upstream), Some(proxied)) = (chart.upstream(), &chart.neutral) else {
        return Finding::new(Check::NeutralProxied, State::Skipped, "nothing was asked");
    };
    let direct = chart.neutral_direct.as_ref();
    let finding = Finding::new(Check::NeutralProxied, State::Good, told(site, proxied)).time(proxied.time(Phase::Total));
    if proxied.is_good() {
        return finding;
    }
    let suspect = Suspect { chart, upstream, site, proxied, direct };
    if !direct.is_some_and(Exchange::is_good) && suspect.verdict().0 != Speaker::Proxy {
        // A neutral target that answers nobody tells nothing about the proxy.
        return Finding { state: State::Remark, ..finding }
            .detail("it fails past the proxy as well, so it says nothing about the proxy");
    }
    let diagnosis = suspect.diagnose().await;
    let no_way_out = diagnosis.fault.is_some_and(|slug| matches!(slug.row().layer, Layer::Target | Layer::Exit | Layer::Gateway));
    let names = diagnosis.fault.is_some_and(|slug| matches!(slug, Slug::DnsFailed | Slug::DnsNotFound | Slug::DnsTimeout));
    let overloaded = diagnosis.fault.is_some_and(|slug| slug.row().layer == Layer::Gateway && slug != Slug::Internal);
    let finding = Finding { state: State::Bad, ..finding };
    // What the proxy itself names needs no other name.
    let certain = diagnosis.confidence == Confidence::Certain;
    if no_way_out && !certain && !names && !overloaded && direct.is_some_and(Exchange::is_good) {
        return finding.points_to(Diagnosis {
            name: "no_way_out",
            sentence: format!("the proxy reaches not even a neutral target: {}", diagnosis.sentence),
            next: "The proxy itself works, its way out does not: a parent proxy, an exit pool or a firewall behind it. Only its operator \
                   can repair that; look at its status page, and give the answer above and the time in UTC."
                .to_owned(),
            whose: Whose::Operator,
            ..diagnosis
        });
    }
    finding.points_to(diagnosis)
}

pub(crate) async fn target_proxied(chart: &mut Chart<'_>) -> Finding {
    let Some(site) = &chart.case.target else { return no_target(Check::TargetProxied) };
    let Some(upstream) = chart.upstream().cloned() else {
        return Finding::new(Check::TargetProxied, State::Skipped, "nothing was asked");
    };
    let proxied = exchange::through(&upstream, site, &chart.means).await;
    let finding = compared(chart, &upstream, site, &proxied).await;
    let suspect = Suspect { chart, upstream: &upstream, site, proxied: &proxied, direct: chart.target_direct.as_ref() };
    let called = suspect.verdict().1.slug;
    chart.refined = called.zip(finding.diagnosis.as_ref().and_then(|diagnosis| diagnosis.fault));
    chart.target = Some(proxied);
    finding
}

async fn compared(chart: &Chart<'_>, upstream: &Upstream, site: &Site, proxied: &Exchange) -> Finding {
    let direct = chart.target_direct.as_ref();
    let finding = Finding::new(Check::TargetProxied, State::Good, told(site, proxied)).time(proxied.time(Phase::Total));
    if proxied.is_good() {
        return match direct {
            Some(direct) if !direct.is_good() => finding.detail(format!("only through the proxy: past it, {}", direct.words())),
            _ => finding,
        };
    }
    let status = |exchange: &Exchange| match &exchange.ended {
        Ended::Answered(reply) => Some(reply.status),
        _ => None,
    };
    let suspect = Suspect { chart, upstream, site, proxied, direct };
    let same = direct.is_some_and(|direct| status(direct).is_some() && status(direct) == status(proxied));
    if same && suspect.verdict().0 == Speaker::Target && status(proxied).is_some_and(|status| status < 500 && status != 403) {
        return Finding { state: State::Remark, ..finding }.detail("the same past the proxy: it is what this target answers");
    }
    Finding { state: State::Bad, ..finding }.points_to(suspect.diagnose().await)
}

/// What was asked and how it ended, with what the proxy says of the exit.
fn told(site: &Site, exchange: &Exchange) -> String {
    let exit = exchange.field("X-Outgate-Exit").map(|exit| format!(", exit {}", printable(exit))).unwrap_or_default();
    let id = exchange.field("X-Outgate-Request-Id").filter(|_| !exchange.is_good());
    let id = id.map(|id| format!(", request id {}", printable(id))).unwrap_or_default();
    format!("{site} {}{exit}{id}", exchange.words())
}

/// Who answers for the target: the certificate that was shown through the proxy, against the one past it.
pub(crate) fn certificate(chart: &Chart<'_>) -> Finding {
    let pairs = [
        (&chart.target, &chart.target_direct, chart.case.target.as_ref()),
        (&chart.neutral, &chart.neutral_direct, Some(&chart.case.neutral)),
    ];
    let found = pairs.iter().find_map(|(proxied, direct, site)| {
        let shown = proxied.as_ref()?.shown.as_ref()?;
        Some((shown, direct.as_ref().and_then(|direct| direct.shown.as_ref()), (*site)?))
    });
    let Some((shown, direct, site)) = found else {
        return Finding::new(Check::Certificate, State::NotNeeded, "no https target was reached through the proxy");
    };
    judged(site, shown, direct)
}

fn judged(site: &Site, shown: &Shown, direct: Option<&Shown>) -> Finding {
    let host = site.target.host();
    let issuer = &shown.certificate.issuer;
    let Some(doubt) = shown.doubt else {
        let finding = Finding::new(Check::Certificate, State::Good, format!("believed, signed by \"{issuer}\""));
        return match direct {
            Some(direct) if direct.der != shown.der && direct.certificate.issuer != *issuer => finding.detail(format!(
                "past the proxy it is another, signed by \"{}\"; big sites have several",
                direct.certificate.issuer
            )),
            _ => finding,
        };
    };
    let says = format!("the certificate for {host} {}; it is signed by \"{issuer}\"", doubt.words());
    let finding = Finding::new(Check::Certificate, State::Bad, &says);
    let intercepted = |whose: Whose, more: &str| {
        let sentence = format!("somebody on the way opens TLS: {says}{more}");
        let next = "Whoever signs such certificates reads and can change everything, passwords included. If it is a proxy you want for \
                    that (mitmproxy, a company's inspection, an unlocker), give its authority to your client; if not, don't send anything \
                    through it.";
        Diagnosis::own("intercepted", Some(Slug::TlsCertificateInvalid), whose, sentence, next)
    };
    match direct {
        Some(direct) if direct.der == shown.der => {
            let sentence = format!("{says}, and it is the same past the proxy");
            let advice = match doubt {
                Doubt::Expired | Doubt::NotYetValid => {
                    "Compare this machine's clock first; if it is right, the target has to renew it."
                }
                _ => "The target has to be given a certificate that clients believe, or your client its authority.",
            };
            finding.points_to(
                Diagnosis::fault(Slug::TlsCertificateInvalid, Confidence::Certain, sentence).of(Whose::Target).advising(advice),
            )
        }
        Some(direct) if direct.doubt.is_none() => finding.points_to(intercepted(
            Whose::Operator,
            &format!("; past the proxy it is signed by \"{}\"", direct.certificate.issuer),
        )),
        Some(direct) if direct.certificate.issuer == *issuer => {
            finding.points_to(intercepted(Whose::YourNetwork, ", and the same authority signs past the proxy"))
        }
        Some(_) | None => finding.points_to(intercepted(Whose::Operator, "").likely()),
    }
}

/// Whether this machine's resolver and the proxy's lead to the same place. Only looked at where the answers differ: the proxy
/// doesn't say which address it took.
pub(crate) async fn names(chart: &Chart<'_>) -> Finding {
    let good = |says: &str| Finding::new(Check::Names, State::NotNeeded, says);
    let (Some(site), Some(proxied), Some(direct)) = (&chart.case.target, &chart.target, &chart.target_direct) else {
        return good("no target was asked both ways");
    };
    let Some(upstream) = chart.upstream() else { return good("there is no proxy to ask") };
    let addresses = site.addresses().await;
    let Some(address) = addresses.first() else {
        return good("the target has no name to resolve, or this machine can't resolve it");
    };
    let kind = |exchange: &Exchange| match (&exchange.ended, &exchange.shown) {
        (Ended::Answered(reply), shown) => Some((reply.status, shown.as_ref().map(|shown| shown.der.clone()))),
        _ => None,
    };
    let (by_name, past) = (kind(proxied), kind(direct));
    let list: Vec<String> = addresses.iter().take(4).map(ToString::to_string).collect();
    let here = format!("{} is {} here", site.target.host(), list.join(", "));
    if by_name.is_none() || by_name == past {
        return Finding::new(Check::Names, State::Good, here);
    }
    let by_address = exchange::through(upstream, &site.at_address(*address), &chart.means).await;
    if kind(&by_address) != past || past.is_none() {
        return Finding::new(
            Check::Names,
            State::Good,
            format!("{here}; asked for that address the proxy brings the same answer"),
        );
    }
    let sentence = format!(
        "{here}, and the proxy goes somewhere else by that name: asked for {address} it gets what this machine gets, asked for the \
         name something else"
    );
    let next = "Compare `dig` here with the proxy's resolver: a stale or filtered name, split DNS, or a CDN that answers by country. \
                Where it matters, give the proxy the address.";
    Finding::new(Check::Names, State::Remark, &sentence).points_to(
        Diagnosis::own("dns_differs", None, Whose::Operator, sentence, next).likely().harming(if proxied.is_good() {
            Harm::Impaired
        } else {
            Harm::Broken
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::Certificate;

    fn shown(der: u8, issuer: &str, doubt: Option<Doubt>) -> Shown {
        Shown { der: vec![der], certificate: Certificate { issuer: issuer.to_owned(), ..Certificate::default() }, doubt }
    }

    #[test]
    fn whose_certificate_it_is() {
        let unknown = Some(Doubt::UnknownIssuer);
        let cases = [
            (shown(1, "Good CA", None), Some(shown(1, "Good CA", None)), None),
            (shown(1, "Good CA", None), Some(shown(2, "Other CA", None)), None),
            (shown(9, "mitm", unknown), Some(shown(1, "Good CA", None)), Some(("intercepted", Whose::Operator))),
            (shown(9, "mitm", unknown), Some(shown(8, "mitm", unknown)), Some(("intercepted", Whose::YourNetwork))),
            (shown(9, "self", unknown), Some(shown(9, "self", unknown)), Some(("tls_certificate_invalid", Whose::Target))),
            (shown(9, "mitm", unknown), None, Some(("intercepted", Whose::Operator))),
        ];
        let site = Site::read("https://example.com/").expect("a URL");
        for (through, past, expected) in cases {
            let finding = judged(&site, &through, past.as_ref());
            let said = finding.diagnosis.as_ref().map(|diagnosis| (diagnosis.name, diagnosis.whose));
            assert_eq!(said, expected, "{through:?} {past:?}");
        }
    }
}
