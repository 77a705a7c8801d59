//! Passes plain requests on: each as often as the engine allows, with the answer's beginning looked at before it goes back.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, UPGRADE, VIA};
use http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use outgate_client::classify::Provenance;
use outgate_client::connect::Target;
use outgate_client::engine::{Body as Repeatable, Repeat};
use outgate_faults::{OWN_HEADERS, raise, success_headers};
use outgate_records::Stage;
use tokio::time::Instant;

use crate::attempts::{self, Ended, Tried};
use crate::body::{self, Body, OpenEnd};
use crate::client_io::ClientIo;
use crate::exchange::{self, Answer, Asked, Scheme};
use crate::relay::Relay;
use crate::telling::{Trouble, tell};
use crate::tunnel::{self, Wishes, ask};
use crate::visit::Visit;

/// What is a connection's and not a message's (RFC 9110, section 7.6.1, and what programs send beside it).
const HOP_BY_HOP: [&str; 8] =
    ["connection", "proxy-connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "proxy-authorization"];

/// Passes one request on and answers it.
pub(crate) async fn forward(
    mut visit: Visit,
    mut request: Request<Incoming>,
    target: Target,
    scheme: Scheme,
    wishes: Wishes,
    open: OpenEnd,
) -> Response<Body> {
    let relay = visit.relay.clone();
    visit.kind = outgate_meter::Kind::Forward;
    if names(request.headers(), VIA.as_str(), &relay.settings.name) {
        return tell(&mut visit, Trouble::own(raise::loop_detected("its own name is in Via")));
    }
    if relay.is_own(&target) {
        return tell(&mut visit, Trouble::own(raise::loop_detected("the target is this relay itself")));
    }
    let upgrade = wants_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let (mut parts, incoming) = request.into_parts();
    clean(&mut parts.headers, upgrade.is_some());
    add_via(&mut parts.headers, &relay);
    // A relay reads the body anyway: a target's leave to send it would come too late to mean anything.
    parts.headers.remove(http::header::EXPECT);

    let until = Instant::now() + relay.settings.deadline;
    let (begun, rest) = match incoming.is_end_stream() {
        true => (Bytes::new(), None),
        false => match body::begin(incoming, relay.settings.body, until).await {
            Ok(begun) => begun,
            // Whoever breaks off its own request waits for no answer.
            Err(_) => return tell(&mut visit, Trouble::own(raise::malformed_request("the body broke off"))),
        },
    };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let mut ask = ask(&relay, parts.method.as_str(), &target, &wishes);
    if parts.headers.contains_key("idempotency-key") {
        ask.repeat = Repeat::Recognised;
    }
    if rest.is_some() {
        ask.body = Repeatable::Streamed;
    }
    let asked = Asked { method: parts.method.clone(), path, target, scheme, parts, wishes };
    let sent = Rc::new(Cell::new(0));
    let mut rest = rest;
    let mut send = || Body::streamed(begun.clone(), rest.take()).counted(sent.clone());

    visit.stage = Stage::Dial;
    let ended = if let Some(rule) = relay.settings.bypass.find(&asked.target) {
        visit.bypass = Some(rule.text().to_owned());
        match tunnel::open(&mut visit, &asked.target, &asked.wishes).await {
            Ok(opened) => {
                let last = exchange::direct(&relay, &mut visit, &asked, opened.stream, send()).await;
                Ended { last: Some(last), refusal: None }
            }
            Err(trouble) => return tell(&mut visit, trouble),
        }
    } else {
        attempts::make(&relay, &mut visit, ask, async |visit, plan| exchange::once(&relay, visit, plan, &asked, send()).await)
            .await
    };
    visit.moved(sent.get(), 0);
    match ended {
        // What a target says of itself goes back as it came; what a proxy says is told in the relay's own words.
        Ended { last: Some(Tried { got: Some(answer), verdict, proxy_status, .. }), .. }
            if verdict.as_ref().is_none_or(|verdict| verdict.provenance == Provenance::Origin) =>
        {
            visit.fault = verdict.as_ref().map(|verdict| crate::telling::fault_of(verdict, visit.proxy.as_deref()));
            pass_on(visit, answer, proxy_status.as_deref(), upgrade, open)
        }
        ended => {
            let trouble = Trouble::of(&relay, &visit, ended);
            tell(&mut visit, trouble)
        }
    }
}

/// Gives an answer to the program.
fn pass_on(
    mut visit: Visit,
    answer: Answer,
    proxy_status: Option<&str>,
    upgrade: Option<OnUpgrade>,
    open: OpenEnd,
) -> Response<Body> {
    let relay = visit.relay.clone();
    let Answer { response, body, upgrade: theirs } = answer;
    let (mut parts, ()) = response.into_parts();
    let switches = parts.status == 101 && upgrade.is_some();
    clean(&mut parts.headers, switches);
    let from_gateway = ["x-outgate-exit", "x-outgate-country", "x-outgate-session", "x-outgate-session-moved"];
    for own in OWN_HEADERS {
        let named_by_gateway = visit.exit.is_some() && from_gateway.iter().any(|name| own.eq_ignore_ascii_case(name));
        if !named_by_gateway {
            parts.headers.remove(*own);
        }
    }
    add_via(&mut parts.headers, &relay);
    own_fields(&mut parts.headers, &visit, proxy_status, Some(parts.status.as_u16()));
    visit.stage = Stage::Relay;
    visit.status = Some(parts.status.as_u16());
    visit.answered();
    let idle = relay.settings.idle;
    if let (true, Some(ours), Some(theirs)) = (switches, upgrade, theirs) {
        let switched = Response::from_parts(parts, Body::whole(Bytes::new()));
        tokio::task::spawn_local(join(visit, ours, theirs));
        return switched;
    }
    Response::from_parts(parts, body.watched(visit, idle, open))
}

/// After a 101 the two connections are one tunnel.
async fn join(mut visit: Visit, ours: OnUpgrade, theirs: OnUpgrade) {
    let (Ok(ours), Ok(theirs)) = (ours.await, theirs.await) else { return };
    let idle = visit.relay.settings.idle;
    let Some(client) = client_of(ours) else { return };
    crate::carry::carry(&mut visit, client, TokioIo::new(theirs), idle).await;
}

/// The program's connection behind an upgrade, with what was read of it too early.
pub(crate) fn client_of(upgraded: Upgraded) -> Option<ClientIo> {
    let parts = upgraded.downcast::<TokioIo<ClientIo>>().ok()?;
    Some(parts.io.into_inner().after(parts.read_buf.to_vec()))
}

/// What this hop adds to an answer.
pub(crate) fn own_fields(fields: &mut HeaderMap, visit: &Visit, proxy_status: Option<&str>, received: Option<u16>) {
    let name = &visit.relay.settings.name;
    let mut add = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            fields.insert(HeaderName::from_static(name), value);
        }
    };
    add("proxy-status", &success_headers(proxy_status, [], name, received));
    add("x-outgate-request-id", &visit.id);
    if let Some(rule) = &visit.bypass {
        add("x-outgate-bypass", rule);
    }
    if visit.attempts > 1 {
        add("x-outgate-attempts", &visit.attempts.to_string());
    }
}

fn add_via(fields: &mut HeaderMap, relay: &Relay) {
    if let Ok(value) = HeaderValue::from_str(&format!("1.1 {}", relay.settings.name)) {
        fields.append(VIA, value);
    }
}

/// Whether a list field names this.
fn names(fields: &HeaderMap, field: &str, name: &str) -> bool {
    let values = fields.get_all(field).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|member| member.split_whitespace().nth(1) == Some(name))
}

fn wants_upgrade(fields: &HeaderMap) -> bool {
    let values = fields.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    fields.contains_key(UPGRADE)
        && values.flat_map(|value| value.split(',')).any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
}

/// Takes off what is the connection's. A request to switch protocols keeps the two fields that say so.
fn clean(fields: &mut HeaderMap, keeps_upgrade: bool) {
    let listed: Vec<String> = fields
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let upgrade = fields.get(UPGRADE).filter(|_| keeps_upgrade).cloned();
    for name in listed.iter().map(String::as_str).chain(HOP_BY_HOP) {
        fields.remove(name);
    }
    if let Some(upgrade) = upgrade {
        fields.insert(UPGRADE, upgrade);
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}
