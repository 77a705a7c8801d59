//! A request as a trace tells it: one span, and one for each of its steps.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, status::StatusCode};
use outgate_records::{Entry, Stage};

use crate::environment::Encoding;
use crate::ids::{self, Parent};
use crate::message::{encoded, nanos, number, scope, text};

/// The context of a span came from elsewhere, and that is known (`SpanFlags`).
const SAMPLED: u32 = 1;
const KNOWS_WHETHER_REMOTE: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// The spans of a request that ended; the first is the request itself.
pub(crate) fn spans(entry: &Entry<'_>, trace: [u8; 16], parent: Option<Parent>) -> Vec<Span> {
    let mut told = Told { entry, trace, began: nanos(entry.time), spans: Vec::with_capacity(4) };
    told.request(parent);
    let times = &entry.times;
    let mut at = Duration::ZERO;
    if entry.stage >= Stage::Dial {
        told.step("queue", SpanKind::Internal, at, times.queue, Vec::new());
        at = times.queue;
    }
    if entry.tries.is_empty() {
        if !times.dns.is_zero() {
            told.step("dns", SpanKind::Client, at, times.dns, Vec::new());
        }
        if !times.connect.is_zero() {
            let address = entry.address.map(|address| text("network.peer.address", address));
            told.step("connect", SpanKind::Client, at + times.dns, times.connect, address.into_iter().collect());
        }
    }
    for one in entry.tries {
        let exit = one.exit.as_deref().map(|exit| text("outgate.exit", exit));
        let proxy = one.proxy.as_deref().map(|proxy| text("outgate.proxy", proxy));
        let mut attributes: Vec<KeyValue> = exit.into_iter().chain(proxy).collect();
        attributes.push(text("outgate.outcome", &one.outcome));
        told.step("try", SpanKind::Client, one.at, one.took, attributes);
    }
    let Some(setup) = times.setup else { return told.spans };
    if let Some(first_byte) = times.first_byte {
        told.step("first byte", SpanKind::Client, setup.saturating_sub(first_byte), first_byte.min(setup), Vec::new());
    }
    if entry.stage >= Stage::Relay && entry.total > setup {
        told.step("relay", SpanKind::Internal, setup, entry.total - setup, Vec::new());
    }
    told.spans
}

struct Told<'a> {
    entry: &'a Entry<'a>,
    trace: [u8; 16],
    /// Nanoseconds since 1970.
    began: u64,
    spans: Vec<Span>,
}

impl Told<'_> {
    fn request(&mut self, parent: Option<Parent>) {
        let entry = self.entry;
        let name = if entry.method.is_empty() { entry.protocol } else { entry.method };
        let status = entry.trouble.as_ref().map(|trouble| Status {
            message: trouble.sentence.to_string(),
            // What the client did wrong is no error of a server's span.
            code: if trouble.slug.row().status >= 500 { StatusCode::Error } else { StatusCode::Unset } as i32,
        });
        let remote = parent.map_or(0, |_| REMOTE);
        let span = Span {
            parent_span_id: parent.map(|parent| parent.span.to_vec()).unwrap_or_default(),
            flags: SAMPLED | KNOWS_WHETHER_REMOTE | remote,
            status,
            attributes: attributes(entry),
            ..self.span(name, SpanKind::Server, Duration::ZERO, entry.total)
        };
        self.spans.push(span);
    }

    fn step(&mut self, name: &str, kind: SpanKind, at: Duration, took: Duration, attributes: Vec<KeyValue>) {
        let span = Span {
            parent_span_id: ids::span(self.entry.request_id, 0).to_vec(),
            flags: SAMPLED | KNOWS_WHETHER_REMOTE,
            attributes,
            ..self.span(name, kind, at, took)
        };
        self.spans.push(span);
    }

    fn span(&self, name: &str, kind: SpanKind, at: Duration, took: Duration) -> Span {
        let start = self.began.saturating_add(at.as_nanos() as u64);
        Span {
            trace_id: self.trace.to_vec(),
            span_id: ids::span(self.entry.request_id, self.spans.len() as u64).to_vec(),
            name: name.to_owned(),
            kind: kind as i32,
            start_time_unix_nano: start,
            end_time_unix_nano: start.saturating_add(took.as_nanos() as u64),
            ..Span::default()
        }
    }
}

/// Names of the semantic conventions where there is one, else our own.
fn attributes(entry: &Entry<'_>) -> Vec<KeyValue> {
    let mut all = vec![
        text("outgate.request_id", entry.request_id),
        text("client.address", entry.client),
        text("network.protocol.name", entry.protocol),
        text("outgate.outcome", entry.trouble.as_ref().map_or("ok", |trouble| trouble.slug.name())),
        number("outgate.bytes_up", entry.bytes_up),
        number("outgate.bytes_down", entry.bytes_down),
        number("outgate.attempts", entry.attempts.into()),
    ];
    if !entry.method.is_empty() {
        all.push(text("http.request.method", entry.method));
    }
    if let Some((host, port)) = entry.target.rsplit_once(':') {
        all.push(text("server.address", host.trim_matches(['[', ']'])));
        all.extend(port.parse().ok().map(|port| number("server.port", port)));
    }
    all.extend(entry.status.map(|status| number("http.response.status_code", status.into())));
    if let Some(trouble) = &entry.trouble {
        all.push(text("error.type", trouble.slug.name()));
        all.push(text("outgate.layer", trouble.slug.row().layer.name()));
    }
    let words = [
        ("outgate.key", entry.key),
        ("outgate.pool", entry.pool),
        ("outgate.exit", entry.exit),
        ("outgate.gateway", entry.gateway),
        ("outgate.proxy", entry.proxy),
        ("outgate.country", entry.country),
        ("outgate.session", entry.session),
        ("outgate.ended_by", entry.ended_by),
    ];
    all.extend(words.into_iter().filter_map(|(key, word)| Some(text(key, word?))));
    all
}

/// A message of many requests' spans.
pub(crate) fn message(requests: Vec<Vec<Span>>, resource: Resource, encoding: Encoding) -> Bytes {
    let scope_spans =
        vec![ScopeSpans { scope: Some(scope()), spans: requests.into_iter().flatten().collect(), ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }];
    encoded(&ExportTraceServiceRequest { resource_spans }, encoding)
}
