//! Opens a tunnel: past the upstreams where a rule says so, else through one of them, as often as the engine allows.

use std::time::Instant;

use http::HeaderMap;
use outgate_client::classify::classify;
use outgate_client::classify::{Evidence, Way};
use outgate_client::connect::{self, ConnectReply, Credentials, Failed, Reply, Stream, Target, Tunnel, Why};
use outgate_client::engine::{Ask, Sent, Session, attempt};
use outgate_faults::{Fault, raise};
use outgate_records::Stage;

use crate::attempts::{self, Plan, Tried};
use crate::relay::Relay;
use crate::telling::{Trouble, fault_of};
use crate::visit::Visit;

/// What a program wishes beside its target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// The exit it keeps to.
    pub(crate) session: Option<String>,
    /// A login of its own, for upstreams without one in the settings.
    pub(crate) brought: Option<Credentials>,
}

/// An open tunnel and what its hops said of themselves.
pub(crate) struct Opened {
    pub(crate) stream: Stream,
    pub(crate) proxy_status: Option<String>,
    /// The exit, its country and its session as an Outgate gateway names them: passed on as they came.
    pub(crate) named: Vec<(&'static str, String)>,
}

/// Opens a tunnel for a program.
pub(crate) async fn open(visit: &mut Visit, target: &Target, wishes: &Wishes) -> Result<Opened, Trouble> {
    let relay = visit.relay.clone();
    visit.stage = Stage::Dial;
    if let Some(rule) = relay.settings.bypass.find(target) {
        visit.bypass = Some(rule.text().to_owned());
        return direct(&relay, visit, target).await;
    }
    let ask = ask(&relay, "CONNECT", target, wishes);
    let ended = attempts::make(&relay, visit, ask, async |visit, plan| once(&relay, visit, plan, target, wishes).await).await;
    match ended.last {
        Some(Tried { got: Some(opened), .. }) => Ok(opened),
        _ => Err(Trouble::of(&relay, visit, ended)),
    }
}

/// What the engine is asked.
pub(crate) fn ask(relay: &Relay, method: &str, target: &Target, wishes: &Wishes) -> Ask {
    let deadline = relay.clock.now().clock + relay.settings.deadline;
    let mut ask = Ask::new(method, target.host(), target.port(), deadline);
    if let Some(session) = &wishes.session {
        ask.session = Session::Kept(session.clone());
    }
    ask
}

/// One attempt to open a tunnel through an upstream.
pub(crate) async fn once(relay: &Relay, visit: &mut Visit, plan: &Plan, target: &Target, wishes: &Wishes) -> Tried<Opened> {
    let link = &relay.links[plan.proxy.0];
    let upstream = link.asked(plan.session.as_deref(), wishes.brought.as_ref());
    let deadline = plan.deadline.min(Instant::now() + relay.settings.setup);
    let via = format!("1.1 {}", relay.settings.name);
    match connect::open(&upstream, target, &[("Via", &via)], deadline).await {
        Ok(Tunnel { stream, reply, address, timings }) => {
            visit.address = Some(address.to_string());
            visit.took(&timings);
            opened(visit, stream, &reply)
        }
        Err(failed) => {
            visit.address = failed.address.map(|address| address.to_string());
            visit.took(&failed.timings);
            refused(relay, link, &failed, upstream.scheme(), target)
        }
    }
}

fn opened(visit: &mut Visit, stream: Stream, reply: &Reply) -> Tried<Opened> {
    let named = reply.http().map(named).unwrap_or_default();
    let of = |name: &str| named.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    visit.exit = of("X-Outgate-Exit");
    visit.country = of("X-Outgate-Country");
    let proxy_status = reply.http().and_then(|reply| proxy_status(&reply.header_map()));
    Tried {
        exit: visit.exit.clone(),
        proxy_status: proxy_status.clone(),
        got: Some(Opened { stream, proxy_status, named }),
        verdict: None,
        sent: Sent::Nothing,
        status: reply.http().map(|reply| reply.status),
        headers: reply.http().map(|reply| attempt::headers(&reply.header_map())).unwrap_or_default(),
        date: None,
    }
}

/// An attempt that opened none.
pub(crate) fn refused<T>(
    relay: &Relay,
    link: &crate::upstreams::Link,
    failed: &Failed,
    scheme: connect::Scheme,
    target: &Target,
) -> Tried<T> {
    let providers = &*relay.settings.providers;
    let target = target.to_string();
    let evidence = failed.evidence(scheme, &link.authority, &target);
    let verdict = match &failed.why {
        Why::TargetName(_) => failed.verdict(scheme, &link.authority, &target, providers),
        _ => classify(&Evidence { provider: link.provider(providers), ..evidence }, providers),
    };
    let reply = match &failed.why {
        Why::Refused(reply) => Some(reply),
        Why::Broken(_) | Why::Socks(_) | Why::TargetName(_) => None,
    };
    let headers = reply.map(ConnectReply::header_map).unwrap_or_default();
    Tried {
        got: None,
        exit: verdict.exit.clone(),
        verdict: Some(link.judged(verdict)),
        sent: Sent::Nothing,
        status: reply.map(|reply| reply.status),
        proxy_status: proxy_status(&headers),
        date: date(&headers),
        headers: attempt::headers(&headers),
    }
}

/// A connection to the target itself.
async fn direct(relay: &Relay, visit: &mut Visit, target: &Target) -> Result<Opened, Trouble> {
    if relay.is_own(target) {
        return Err(Trouble::own(raise::loop_detected("the target is this relay itself")));
    }
    visit.attempts = 1;
    match connect::direct(target, Instant::now() + relay.settings.setup).await {
        Ok(reached) => {
            visit.address = Some(reached.address.to_string());
            visit.took(&reached.timings);
            Ok(Opened { stream: reached.stream, proxy_status: None, named: Vec::new() })
        }
        Err(failed) => Err(Trouble::own(unreached(relay, target, &failed))),
    }
}

/// What broke on the way to a target that no proxy was asked for.
fn unreached(relay: &Relay, target: &Target, failed: &Failed) -> Fault {
    let target = target.to_string();
    let breakage = match &failed.why {
        Why::Broken(breakage) => Some(breakage),
        // Nobody was asked who could refuse.
        Why::Refused(_) | Why::Socks(_) | Why::TargetName(_) => None,
    };
    let verdict = classify(&Evidence { breakage, ..Evidence::of(Way::Direct, "", &target) }, &relay.settings.providers);
    fault_of(&verdict, None).with_detail(failed)
}

/// What a gateway of ours names in the answer that opens a tunnel.
fn named(reply: &ConnectReply) -> Vec<(&'static str, String)> {
    let names = ["X-Outgate-Exit", "X-Outgate-Country", "X-Outgate-Session", "X-Outgate-Session-Moved"];
    names.into_iter().filter_map(|name| Some((name, reply.header(name)?.to_owned()))).collect()
}

/// All `Proxy-Status` fields as one list.
pub(crate) fn proxy_status(headers: &HeaderMap) -> Option<String> {
    let values: Vec<&str> = headers.get_all("proxy-status").iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// The time by the clock that wrote an answer.
pub(crate) fn date(headers: &HeaderMap) -> Option<jiff::Timestamp> {
    let text = headers.get(http::header::DATE)?.to_str().ok()?;
    jiff::Timestamp::try_from(httpdate::parse_http_date(text).ok()?).ok()
}
