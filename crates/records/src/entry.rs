//! A record as it is written: the schema.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use outgate_faults::{Fault, Layer, Slug};
use serde::{Serialize, Serializer};

/// The version of the schema. Within one, fields may be added; none changes its meaning or goes away.
pub const SCHEMA: u8 = 1;

/// How far a request came: the verbs of the way through, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Its head is read.
    #[default]
    Read,
    /// Whoever asks is found out.
    Identify,
    /// Policy and plan are looked at.
    Admit,
    /// The way out is chosen.
    Choose,
    /// The target is connected to.
    Dial,
    /// The client is told of a tunnel.
    Accept,
    /// Bytes go by.
    Relay,
    /// It is over.
    Settle,
}

/// Everything that a record says of one request.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// When it began.
    pub time: Timestamp,
    /// Its id, which the client was told.
    pub request_id: &'a str,
    /// The trace that the client said it belongs to (W3C Trace Context): 32 hex digits.
    pub trace_id: Option<&'a str>,
    /// The key's id, once it is known.
    pub key: Option<&'a str>,
    /// The client's address.
    pub client: &'a str,
    /// What the client spoke.
    pub protocol: &'a str,
    /// The method; empty if none was understood.
    pub method: &'a str,
    /// Host and port that it asked for; empty if none was understood.
    pub target: &'a str,
    /// The address that was connected to.
    pub address: Option<&'a str>,
    /// The pool.
    pub pool: Option<&'a str>,
    /// The exit.
    pub exit: Option<&'a str>,
    /// The gateway that the exit is linked to, when it is another one.
    pub gateway: Option<&'a str>,
    /// The upstream proxy that a relay went through; without credentials.
    pub proxy: Option<&'a str>,
    /// The exit's country.
    pub country: Option<&'a str>,
    /// The session's name.
    pub session: Option<&'a str>,
    /// The exit that the session was with before.
    pub session_moved: Option<&'a str>,
    /// The rule by which a relay used no upstream.
    pub bypass: Option<&'a str>,
    /// What went wrong; none is `ok`.
    pub trouble: Option<Trouble<'a>>,
    /// How far it came.
    pub stage: Stage,
    /// The status that the client got, if it got one.
    pub status: Option<u16>,
    /// The body that the client got, where it is another text than the trouble's sentence.
    pub told: Option<&'a str>,
    /// Who or what ended it, when no fault did.
    pub ended_by: Option<&'a str>,
    /// Bytes from the client to the target.
    pub bytes_up: u64,
    /// Bytes from the target to the client.
    pub bytes_down: u64,
    /// Exits or connections that were tried.
    pub attempts: u16,
    /// How long the steps took.
    pub times: Times,
    /// From its beginning to its end.
    pub total: Duration,
    /// The tries one by one; written when there were several.
    pub tries: &'a [Try],
}

/// What went wrong, in both texts.
#[derive(Clone, Debug)]
pub struct Trouble<'a> {
    /// Its row of the catalogue.
    pub slug: Slug,
    /// The client's sentence.
    pub sentence: Cow<'a, str>,
    /// What only the operator is told.
    pub detail: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Fault> for Trouble<'a> {
    fn from(fault: &'a Fault) -> Self {
        Self { slug: fault.slug(), sentence: fault.sentence().into(), detail: fault.detail().map(Cow::Borrowed) }
    }
}

/// How long the steps took. They do not add up to the total: a tunnel's life is in none of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// Waiting for admission and for exits to come back, before anything was dialed.
    pub queue: Duration,
    /// Resolving the target's name.
    pub dns: Duration,
    /// Connecting to the target.
    pub connect: Duration,
    /// The client's TLS handshake with this hop; with the first request of a connection.
    pub tls: Option<Duration>,
    /// From the whole head to the answer: a tunnel's 200, the target's response head, or a fault.
    pub setup: Option<Duration>,
    /// From the request as sent to the first byte of the target's answer.
    pub first_byte: Option<Duration>,
}

/// One of several tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// The exit that was asked.
    pub exit: Option<String>,
    /// The upstream proxy that was asked; without credentials.
    pub proxy: Option<String>,
    /// `ok`, a slug, or `outrun` where another try was faster.
    pub outcome: Cow<'static, str>,
    /// The status that came, if one did.
    pub status: Option<u16>,
    /// When it began, from the request's beginning on.
    pub at: Duration,
    /// How long it took.
    pub took: Duration,
}

impl Entry<'_> {
    /// The layer of what went wrong.
    pub fn layer(&self) -> Option<Layer> {
        self.trouble.as_ref().map(|trouble| trouble.slug.row().layer)
    }
}

/// The line as it is written. `time` is written by the recorder, which knows the second already.
#[derive(Serialize)]
pub(crate) struct Line<'a> {
    v: u8,
    time: &'a str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    client: &'a str,
    protocol: &'a str,
    method: &'a str,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_moved: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bypass: Option<&'a str>,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<&'a str>,
    stage: Stage,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_by: Option<&'a str>,
    bytes_up: u64,
    bytes_down: u64,
    attempts: u16,
    ms: Steps,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tries: &'a [Try],
    #[serde(skip_serializing_if = "Option::is_none")]
    sentence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Steps {
    queue: Millis,
    dns: Millis,
    connect: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    setup: Option<Millis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte: Option<Millis>,
    total: Millis,
}

/// Milliseconds with three digits behind the point.
struct Millis(Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0.as_micros() as f64 / 1000.0)
    }
}

impl Serialize for Try {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            exit: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            proxy: Option<&'a str>,
            outcome: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            status: Option<u16>,
            at: Millis,
            ms: Millis,
        }
        let Self { exit, proxy, outcome, status, at, took } = self;
        let (exit, proxy) = (exit.as_deref(), proxy.as_deref());
        Line { exit, proxy, outcome, status: *status, at: Millis(*at), ms: Millis(*took) }.serialize(serializer)
    }
}

impl<'a> Line<'a> {
    /// An entry's line; `time` is the entry's, as text.
    pub(crate) fn new(entry: &'a Entry<'a>, time: &'a str) -> Self {
        let trouble = entry.trouble.as_ref();
        Self {
            v: SCHEMA,
            time,
            request_id: entry.request_id,
            trace_id: entry.trace_id,
            key: entry.key,
            client: entry.client,
            protocol: entry.protocol,
            method: entry.method,
            target: entry.target,
            address: entry.address,
            pool: entry.pool,
            exit: entry.exit,
            gateway: entry.gateway,
            proxy: entry.proxy,
            country: entry.country,
            session: entry.session,
            session_moved: entry.session_moved,
            bypass: entry.bypass,
            outcome: trouble.map_or("ok", |t| t.slug.name()),
            layer: entry.layer().map(Layer::name),
            stage: entry.stage,
            status: entry.status,
            ended_by: entry.ended_by,
            bytes_up: entry.bytes_up,
            bytes_down: entry.bytes_down,
            attempts: entry.attempts,
            ms: Steps {
                queue: Millis(entry.times.queue),
                dns: Millis(entry.times.dns),
                connect: Millis(entry.times.connect),
                tls: entry.times.tls.map(Millis),
                setup: entry.times.setup.map(Millis),
                first_byte: entry.times.first_byte.map(Millis),
                total: Millis(entry.total),
            },
            tries: if entry.tries.len() > 1 { entry.tries } else { &[] },
            sentence: trouble.map(|t| t.sentence.as_ref()),
            told: entry.told,
            detail: trouble.and_then(|t| t.detail.as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::record::Record;

    fn tries() -> [Try; 2] {
        let one = Try {
            exit: Some("e1".into()),
            proxy: Some("p1".into()),
            outcome: "exit_refused".into(),
            status: Some(502),
            at: Duration::from_micros(1500),
            took: Duration::from_millis(2),
        };
        [one.clone(), one]
    }

    /// Everything that can be said at once.
    fn full<'a>(tries: &'a [Try]) -> Entry<'a> {
        let ms = Duration::from_millis;
        Entry {
            time: "2026-11-21T18:00:00.123Z".parse().unwrap(),
            request_id: "id",
            trace_id: Some("trace"),
            key: Some("key"),
            client: "192.0.2.1",
            protocol: "http",
            method: "CONNECT",
            target: "example.com:443",
            address: Some("192.0.2.2:443"),
            pool: Some("pool"),
            exit: Some("exit"),
            gateway: Some("gateway"),
            proxy: Some("proxy"),
            bypass: Some("bypass"),
            country: Some("us"),
            session: Some("session"),
            session_moved: Some("before"),
            trouble: Some(Trouble { slug: Slug::DnsFailed, sentence: "sentence".into(), detail: Some("detail".into()) }),
            stage: Stage::Dial,
            status: Some(502),
            told: Some("told"),
            ended_by: Some("client"),
            bytes_up: 1,
            bytes_down: 2,
            attempts: 3,
            times: Times {
                queue: ms(1),
                dns: ms(2),
                connect: ms(3),
                tls: Some(ms(4)),
                setup: Some(ms(5)),
                first_byte: Some(Duration::from_micros(6789)),
            },
            total: ms(7),
            tries,
        }
    }

    fn written(entry: &Entry<'_>) -> Value {
        serde_json::to_value(Line::new(entry, "2026-11-21T18:00:00.123Z")).unwrap()
    }

    #[test]
    fn the_documentation_has_every_field_and_no_other() {
        let line = written(&full(&tries()));
        let mut names = BTreeSet::new();
        for (name, value) in line.as_object().unwrap() {
            names.insert(name.clone());
            let inner = value.as_object().or_else(|| value.get(0)?.as_object());
            names.extend(inner.into_iter().flatten().map(|(inner, _)| format!("{name}.{inner}")));
        }
        let text = include_str!("../../../docs/records.md");
        let schema = text.split("## ").find(|part| part.starts_with("The schema, version 1\n")).unwrap();
        let cells = schema.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
        let documented: BTreeSet<String> = cells
            .flat_map(|cell| cell.split('`').filter(|name| name.starts_with(char::is_alphabetic)))
            .map(str::to_owned)
            .collect();
        assert_eq!(names, documented);
        assert_eq!(line["v"], SCHEMA);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let tries = tries();
        for entry in [full(&tries), Entry { tries: &tries[..1], trouble: None, told: None, ..full(&[]) }] {
            let line = written(&entry);
            let record = Record::parse(line.to_string().as_bytes()).unwrap();
            assert_eq!(serde_json::to_value(&record).unwrap(), line);
        }
        let one = written(&Entry { tries: &tries[..1], ..full(&[]) });
        assert!(one["tries"].is_null(), "one try is the request itself");
        assert_eq!(written(&full(&[]))["ms"]["first_byte"], 6.789);
    }
}
