//! What the relay answers itself: its status for people and programs, its metrics, the certificate of its authority.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use outgate_faults::raise;
use outgate_meter::Format;
use serde_json::{Value, json};

use crate::body::{Body, OpenEnd};
use crate::relay::Relay;
use crate::telling::{Trouble, tell};
use crate::visit::Visit;

/// Answers a request for the relay itself: one without a host in its request line.
pub(crate) fn answer(mut visit: Visit, request: &Request<Incoming>) -> Response<Body> {
    let relay = visit.relay.clone();
    visit.is_own();
    visit.target = request.uri().path().chars().take(200).collect();
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response =
            page(visit, "text/plain", "only GET and HEAD are answered here\n".to_owned(), StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            let format = Format::asked_by(request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()));
            let text = relay.metrics(format);
            page(visit, format.content_type(), text, StatusCode::OK)
        }
        "/status.json" => page(visit, "application/json", format!("{:#}\n", status(&relay)), StatusCode::OK),
        "/" | "/status" => page(visit, "text/html; charset=utf-8", html(&relay), StatusCode::OK),
        _ => tell(
            &mut visit,
            Trouble::own(raise::malformed_target(
                "a path without a host is for the relay itself: /status, /status.json, /metrics",
            )),
        ),
    }
}

fn page(mut visit: Visit, kind: &'static str, text: String, status: StatusCode) -> Response<Body> {
    let idle = visit.relay.settings.idle;
    visit.status = Some(status.as_u16());
    let mut response = Response::new(Body::whole(Bytes::from(text)).watched(visit, idle, OpenEnd::default()));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    // Nothing on it is loaded or run.
    fields.insert(
        "content-security-policy",
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    response
}

/// How the relay stands, as JSON.
pub(crate) fn status(relay: &Relay) -> Value {
    let upstreams: Vec<Value> = relay
        .links
        .iter()
        .map(|link| {
            let health = link.health();
            json!({
                "name": link.settings.name,
                "tier": link.settings.tier,
                "weight": link.settings.weight,
                "provider": link.settings.provider,
                "attempts": health.attempts,
                "ok": health.ok,
                "failed": health.failed,
                "last": health.last,
            })
        })
        .collect();
    let total = relay.meters.snapshot().total();
    json!({
        "name": relay.settings.name,
        "version": env!("CARGO_PKG_VERSION"),
        "since": relay.since.to_string(),
        "draining": relay.is_draining(),
        "in_flight": relay.in_flight.get(),
        "requests": total.requests(),
        "failed": total.failed(),
        "records_dropped": relay.records_dropped(),
        "bypass": relay.settings.bypass.0.iter().map(crate::bypass::Rule::text).collect::<Vec<_>>(),
        "upstreams": upstreams,
    })
}

/// The same for people.
fn html(relay: &Relay) -> String {
    let mut rows = String::new();
    for link in &relay.links {
        let health = link.health();
        let failed: Vec<String> = health.failed.iter().map(|(slug, count)| format!("{slug} {count}")).collect();
        let last = health.last.as_ref().map_or("none yet".to_owned(), |last| {
            let sentence = last.sentence.as_deref().map(|sentence| format!(": {sentence}")).unwrap_or_default();
            format!("{} {}{sentence}", last.at.strftime("%H:%M:%S UTC"), last.outcome)
        });
        let cells = [
            link.settings.name.clone(),
            link.settings.tier.to_string(),
            link.settings.weight.to_string(),
            health.attempts.to_string(),
            health.ok.to_string(),
            if failed.is_empty() { "none".to_owned() } else { failed.join(", ") },
            last,
        ];
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        // Writing to a String can't fail.
        let _ = writeln!(rows, "<tr>{cells}</tr>");
    }
    let total = relay.meters.snapshot().total();
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><meta http-equiv=refresh content=5>\n\
         <title>{name}</title><style>:root{{color-scheme:light dark}}body{{font:1rem/1.5 system-ui,sans-serif;margin:1rem auto;max-width:72rem;padding:0 1rem}}\
         table{{border-collapse:collapse;display:block;overflow-x:auto}}td,th{{border:1px solid;padding:.2rem .6rem;text-align:left}}</style>\n\
         <main><h1>{name}</h1><p>{requests} requests, {failed} of them failed, {flight} in flight.</p>\n\
         <table><caption>Upstreams</caption><tr><th scope=col>Upstream<th scope=col>Tier<th scope=col>Weight<th scope=col>Attempts\
         <th scope=col>Well<th scope=col>Failed<th scope=col>Last</tr>\n{rows}</table>\n\
         <p>For programs: <a href=/status.json>/status.json</a>, <a href=/metrics>/metrics</a>.</p></main></html>\n",
        name = escaped(&relay.settings.name),
        requests = total.requests(),
        failed = total.failed(),
        flight = relay.in_flight.get(),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
