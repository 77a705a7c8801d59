//! What a program is told when its request failed: the fault, who found it, and every hop on the way.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use hyper::ext::ReasonPhrase;
use outgate_client::classify::{Provenance, Verdict};
use outgate_client::engine::{NoAttempt, Refusal};
use outgate_faults::{Answer, Dialect, DialectSpec, Fault, FaultSpec, Layer, Slug, Teller, append_member, raise, success_member};

use crate::attempts::Ended;
use crate::body::Body;
use crate::relay::Relay;
use crate::visit::Visit;

/// How the relay spells faults of upstreams that it logs in to: as a gateway does, but that a login which they refuse is no 407. The
/// program did not log in and can't: a 407 would make it ask its user for a password that the relay has no use for.
pub(crate) fn dialect() -> Result<Dialect, String> {
    let auth = Slug::ALL.iter().filter(|slug| slug.row().layer == Layer::Auth);
    let fault = |slug: &Slug| {
        // The one that is the relay's own: who may use it.
        let status = if *slug == Slug::SourceDenied { 403 } else { 502 };
        FaultSpec { slug: *slug, status: Some(status), body: None, reason: None }
    };
    let spec = DialectSpec {
        name: "relay".to_owned(),
        base: Dialect::outgate(),
        reason: None,
        close: None,
        statuses: Vec::new(),
        faults: auth.map(fault).collect(),
    };
    Dialect::custom(spec).map_err(|problems| problems.join("; "))
}

/// A request that failed: its fault, and what other hops said of themselves.
pub(crate) struct Trouble {
    pub(crate) fault: Fault,
    /// The status that the hop before this one gave.
    received: Option<u16>,
    proxy_status: Option<String>,
}

impl Trouble {
    /// A fault that the relay itself finds.
    pub(crate) fn own(fault: Fault) -> Self {
        Self { fault, received: None, proxy_status: None }
    }

    /// What attempts came to that gave nothing to pass on.
    pub(crate) fn of<T>(relay: &Relay, visit: &Visit, ended: Ended<T>) -> Self {
        let attempts = visit.attempts.max(1);
        match (ended.refusal, ended.last) {
            (refusal, Some(tried)) => {
                let Some(verdict) = tried.verdict else { return Self::own(raise::internal()) };
                let fault = fault_of(&verdict, visit.proxy.as_deref()).with_attempts(attempts);
                let fault = match verdict.wait {
                    Some(wait) => fault.with_retry_after(wait.after(tried.date.unwrap_or(relay.clock.now().wall))),
                    None => fault,
                };
                let fault = match refusal.and_then(|refusal| refusal.until) {
                    Some(until) => fault.with_retry_after(until.saturating_sub(relay.clock.now().clock)),
                    None => fault,
                };
                // A status that nobody on the way gave is none that was received.
                let received = tried.status.filter(|_| verdict.provenance != Provenance::Transport);
                Self { fault, received, proxy_status: tried.proxy_status }
            }
            (Some(refusal), None) => Self::own(refused(relay, visit, refusal)),
            (None, None) => Self::own(raise::internal().with_detail("the engine allowed no attempt and did not say why")),
        }
    }
}

/// The fault of a verdict: the user's end's own, or what the proxy told.
pub(crate) fn fault_of(verdict: &Verdict, proxy: Option<&str>) -> Fault {
    let fault = match (&verdict.fault, verdict.slug) {
        (Some(fault), _) => fault.clone(),
        (None, Some(slug)) => {
            Fault::told_by_another(slug, format_args!("{} ({})", verdict.sentence(), proxy.unwrap_or("upstream")))
        }
        (None, None) => raise::internal(),
    };
    let id = verdict.request_id.as_deref().map(|id| format!("; its request id is {id}")).unwrap_or_default();
    fault.with_detail(format_args!("{} says so, {}: {}{id}", verdict.provenance, verdict.confidence, verdict.why))
}

/// What is told when the engine let nothing go.
fn refused(relay: &Relay, visit: &Visit, refusal: Refusal) -> Fault {
    let wait = refusal.until.map(|until| until.saturating_sub(relay.clock.now().clock));
    let again = wait.map(|wait| format!("; asked again in {} s", wait.as_secs().max(1))).unwrap_or_default();
    let slug = refusal.slug.unwrap_or(match refusal.why {
        NoAttempt::Deadline | NoAttempt::TooLong => Slug::ExitTimeout,
        NoAttempt::NoProxy => Slug::NoExit,
        NoAttempt::Remembered | NoAttempt::CircuitOpen => Slug::TargetUnavailable,
    });
    let why = match refusal.why {
        NoAttempt::Remembered => "answered from memory",
        NoAttempt::CircuitOpen => "answered at once",
        NoAttempt::TooLong => "not waited for",
        NoAttempt::Deadline | NoAttempt::NoProxy => "not tried",
    };
    let fault = Fault::told_by_another(slug, format_args!("{} ({why}{again})", refusal.cause));
    let fault = fault.with_detail(format_args!("{why} for {}", visit.target));
    match wait {
        Some(wait) => fault.with_retry_after(wait.max(Duration::from_secs(1))),
        None => fault,
    }
}

/// Tells a program over HTTP. Consumes the trouble: nothing is told twice.
pub(crate) fn tell(visit: &mut Visit, trouble: Trouble) -> Response<Body> {
    let relay = visit.relay.clone();
    let Trouble { fault, received, proxy_status } = trouble;
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let teller = Teller { hop: &relay.settings.name, request_id: &visit.id, realm: "outgate", date: &date, docs_url: None };
    // Where programs log in themselves, they are to be asked for it.
    let asks = relay.links.iter().any(|link| Some(&link.settings.name) == visit.proxy.as_ref() && !link.logs_in_itself());
    let as_a_gateway = Dialect::outgate();
    let dialect = if asks && fault.slug() != Slug::SourceDenied { &as_a_gateway } else { &relay.dialect };
    let answer = fault.answer(dialect, &teller);
    let status = status_of(&fault, &answer);
    let mut response = Response::new(Body::whole(Bytes::from(answer.body.clone())));
    *response.status_mut() = status;
    if let Ok(reason) = ReasonPhrase::try_from(reason(&answer, status)) {
        response.extensions_mut().insert(reason);
    }
    let fields = response.headers_mut();
    for (name, value) in &answer.headers {
        // Who said it keeps its place in front; the error is named once, by whoever found it.
        let value = match (*name, &proxy_status) {
            ("Proxy-Status", Some(before)) => append_member(Some(before), &success_member(&relay.settings.name, received)),
            _ => value.clone(),
        };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value)) {
            fields.insert(name, value);
        }
    }
    if visit.method == "CONNECT" {
        // Bytes that were meant for the tunnel may be on their way: they are no request.
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    visit.failed(fault, Some(status.as_u16()));
    response
}

/// The dialect's status. The origin layer's rows have what the *target* would have said; where the relay says it in the
/// target's place (an open circuit, a remembered refusal), it says that it is a gateway.
fn status_of(fault: &Fault, answer: &Answer) -> StatusCode {
    let status = if fault.row().layer == Layer::Origin { 503 } else { answer.status };
    StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY)
}

fn reason(answer: &Answer, status: StatusCode) -> Vec<u8> {
    if status.as_u16() == answer.status {
        answer.reason.clone().into_bytes()
    } else {
        format!("{} ({})", outgate_faults::standard_phrase(status.as_u16()), answer.slug).into_bytes()
    }
}
