//! Words: what the two ends tell each other, as JSON payloads of control frames.
//!
//! Unknown members are ignored so that either end may be newer. Every text that arrives is bounded by the frame's
//! length; texts we send are cut to fit.

use std::{fmt, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::frame::{self, Kind, MAX_CONTROL, Violation};

/// The protocol's name in `Sec-WebSocket-Protocol`.
pub const PROTOCOL: &str = "outgate-link.1";
/// Version told in [`Hello`].
pub const VERSION: u16 = 1;

/// What an exit says of itself, first of all.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Hello {
    /// Protocol version ([`VERSION`]).
    pub version: u16,
    /// Program and its version (`outgate/0.1.0`).
    pub agent: String,
    /// Pool it wants to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// ISO 3166-1 alpha-2, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// ISO 3166-2 subdivision without the country, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// City.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// Autonomous system number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// Name for people (a host name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Most tunnels it carries at once on this link.
    pub max_tunnels: u32,
    /// Most tunnels it carries at once on all its links together; unset by exits older than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnels_in_all: Option<u32>,
    /// How long it may take to change its address when asked to, in milliseconds; unset: it can't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_ms: Option<u32>,
    /// What became of the last [`Rotate`]: its answer may have been lost with the link it came by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<Rotated>,
    /// The name of the gateway that says this, when it is one and offers its exits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// The gateway's yes to [`Hello`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Welcome {
    /// The exit's id in the ledger.
    pub exit_id: String,
    /// The gateway's name.
    pub gateway: String,
    /// The exit pings this often, in milliseconds.
    pub heartbeat_ms: u32,
    /// Silence of this length means a dead peer, in milliseconds.
    pub dead_ms: u32,
}

/// Why a link ends (or never begins).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Goodbye {
    /// A word for programs: `revoked`, `draining`, `protocol`, `replaced`, …
    pub slug: String,
    /// A sentence for people.
    pub text: String,
}

impl Goodbye {
    /// A goodbye from its two parts.
    #[must_use]
    pub fn new(slug: impl Into<String>, text: impl Into<String>) -> Goodbye {
        Goodbye { slug: slug.into(), text: cut(text.into(), 512) }
    }
}

/// The exit is asked to change the address it leaves from.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rotate {
    /// Comes back in [`Rotated`].
    pub id: String,
}

/// What became of a [`Rotate`]. That the address is another one now is the gateway's to find out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rotated {
    /// The question's.
    pub id: String,
    /// Did the exit's hook say that it worked?
    pub ok: bool,
    /// Why it did not, for the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// An exit that a gateway offers to another one; said again when any of it changes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Offer {
    /// Its id in the ledger.
    pub exit: String,
    /// The pool it serves.
    pub pool: String,
    /// Where it is: country, state, city, as [`Hello`] spells them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// State.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// City.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// Autonomous system number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// Carrier or provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    /// Its share of the traffic against that of the others.
    pub weight: u16,
    /// Most tunnels at once; unset is no cap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tunnels: Option<u32>,
    /// Whether it takes tunnels now.
    pub standing: Standing,
    /// Its agent's name and version.
    #[serde(default)]
    pub agent: String,
    /// Connected since, in Unix seconds.
    #[serde(default)]
    pub since: i64,
}

/// Whether an exit takes tunnels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It does.
    #[default]
    Usable,
    /// It failed too often: none but those of sessions that keep to it.
    Aside,
    /// None at all; the open ones may finish.
    Draining,
}

/// What the gateway at the other end tells of its exits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// An exit is there, or has changed.
    Offer(Offer),
    /// The exit with this id is gone.
    Withdraw(String),
}

/// `Withdraw` as sent.
#[derive(Serialize, Deserialize)]
pub(crate) struct WithdrawWire {
    pub(crate) exit: String,
}

/// Between gateways: which of the asked one's exits a tunnel goes through.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Through {
    /// The exit's id.
    pub exit: String,
    /// What the echo target is to answer, when it is the target: the exit dials back to the gateway that holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<String>,
}

/// A tunnel asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Connect {
    /// The request's id, for both ends' logs.
    pub request_id: String,
    /// Name or address of the target.
    pub host: String,
    /// Port of the target.
    pub port: u16,
    /// How long the exit may take to answer.
    pub deadline: Option<Duration>,
    /// The target is the gateway's own echo: the exit dials back to the gateway it is linked to.
    pub echo: bool,
    /// Through which exit, when it is a gateway that is asked; unset for an exit.
    pub through: Option<Through>,
}

/// What the exit reports of a target that accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connected {
    /// The address it really connected to.
    pub address: SocketAddr,
    /// Time spent resolving.
    pub dns: Duration,
    /// Time spent connecting.
    pub connect: Duration,
}

/// A fault on the wire: its slug, its facts, and what only the operator's log may see.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Refusal {
    /// The fault's slug.
    pub slug: String,
    /// The facts of its sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<(String, String)>,
    /// For the operator's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Refusal {
    /// A refusal without facts.
    #[must_use]
    pub fn new(slug: impl Into<String>) -> Refusal {
        Refusal { slug: slug.into(), facts: Vec::new(), detail: None }
    }

    /// The same with a word for the operator's log.
    #[must_use]
    pub fn with_detail(mut self, detail: impl fmt::Display) -> Refusal {
        self.detail = Some(detail.to_string());
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.slug)
    }
}

/// Why a tunnel was broken off.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ResetReason {
    /// The fault's slug, if it has one (`target_reset`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// For the operator's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl ResetReason {
    /// A reason with a slug.
    #[must_use]
    pub fn new(slug: impl Into<String>) -> ResetReason {
        ResetReason { slug: Some(slug.into()), detail: None }
    }

    /// The same with a word for the operator's log.
    #[must_use]
    pub fn with_detail(mut self, detail: impl fmt::Display) -> ResetReason {
        self.detail = Some(detail.to_string());
        self
    }
}

impl fmt::Display for ResetReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tunnel reset: {}", self.slug.as_deref().unwrap_or("no reason given"))
    }
}

impl std::error::Error for ResetReason {}

/// Why a link is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkEnd {
    /// This side closed it.
    Closed(Goodbye),
    /// The peer said goodbye.
    Goodbye(Goodbye),
    /// The connection ended without a goodbye.
    PeerClosed,
    /// Nothing was heard for the dead interval.
    Dead,
    /// The peer broke the protocol.
    Protocol(String),
    /// The connection failed.
    Io(std::io::ErrorKind),
    /// The task that drove the link was dropped.
    Dropped,
}

impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkEnd::Closed(why) => write!(f, "closed: {}", why.slug),
            LinkEnd::Goodbye(why) => {
                write!(f, "the peer said goodbye: {} ({})", why.slug, why.text)
            }
            LinkEnd::PeerClosed => write!(f, "the peer closed the connection"),
            LinkEnd::Dead => write!(f, "the peer fell silent"),
            LinkEnd::Protocol(why) => write!(f, "protocol error: {why}"),
            LinkEnd::Io(kind) => write!(f, "connection failed: {kind}"),
            LinkEnd::Dropped => write!(f, "the link's task ended"),
        }
    }
}

impl std::error::Error for LinkEnd {}

/// `Connect` as sent: the asker's own receive window rides along.
#[derive(Serialize, Deserialize)]
pub(crate) struct ConnectWire {
    request_id: String,
    host: String,
    port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    echo: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    through: Option<Through>,
    pub(crate) window: u32,
}

impl ConnectWire {
    /// `None` when a part is too long to be said.
    pub(crate) fn new(connect: &Connect, window: u32) -> Option<ConnectWire> {
        (connect.host.len() <= 1024 && connect.request_id.len() <= 256).then(|| ConnectWire {
            request_id: connect.request_id.clone(),
            host: connect.host.clone(),
            port: connect.port,
            deadline_ms: connect.deadline.map(|d| d.as_millis().try_into().unwrap_or(u64::MAX)),
            echo: connect.echo,
            through: connect.through.clone(),
            window,
        })
    }

    pub(crate) fn into_connect(self) -> Connect {
        Connect {
            request_id: self.request_id,
            host: self.host,
            port: self.port,
            deadline: self.deadline_ms.map(Duration::from_millis),
            echo: self.echo,
            through: self.through,
        }
    }
}

/// `Connected` as sent: times in µs, and the answerer's receive window.
#[derive(Serialize, Deserialize)]
pub(crate) struct ConnectedWire {
    address: SocketAddr,
    dns_us: u64,
    connect_us: u64,
    pub(crate) window: u32,
}

impl ConnectedWire {
    pub(crate) fn new(connected: &Connected, window: u32) -> ConnectedWire {
        let micros = |d: Duration| d.as_micros().try_into().unwrap_or(u64::MAX);
        ConnectedWire { address: connected.address, dns_us: micros(connected.dns), connect_us: micros(connected.connect), window }
    }

    pub(crate) fn connected(&self) -> Connected {
        Connected {
            address: self.address,
            dns: Duration::from_micros(self.dns_us),
            connect: Duration::from_micros(self.connect_us),
        }
    }
}

/// Cuts what would not fit a control frame; a log text may lose its tail, a slug never comes near the limit.
pub(crate) trait Fit: Sized {
    fn fit(self) -> Self;
}

impl Fit for Refusal {
    fn fit(mut self) -> Refusal {
        self.facts.truncate(16);
        self.facts = self.facts.into_iter().map(|(name, value)| (plain(cut(name, 32)), plain(cut(value, 128)))).collect();
        Refusal { slug: plain(cut(self.slug, 64)), facts: self.facts, detail: self.detail.map(|detail| plain(cut(detail, 512))) }
    }
}

impl Fit for ResetReason {
    fn fit(self) -> ResetReason {
        ResetReason {
            slug: self.slug.map(|slug| plain(cut(slug, 64))),
            detail: self.detail.map(|detail| plain(cut(detail, 512))),
        }
    }
}

impl Fit for Rotated {
    fn fit(self) -> Rotated {
        Rotated { id: plain(cut(self.id, 64)), ok: self.ok, why: self.why.map(|why| plain(cut(why, 512))) }
    }
}

impl Fit for Offer {
    fn fit(self) -> Offer {
        let label = |text: Option<String>| text.map(|text| plain(cut(text, 128)));
        Offer {
            exit: plain(cut(self.exit, 64)),
            pool: plain(cut(self.pool, 64)),
            country: label(self.country),
            state: label(self.state),
            city: label(self.city),
            // 100 characters at enrolment, of four bytes at most.
            carrier: self.carrier.map(|carrier| plain(cut(carrier, 400))),
            agent: plain(cut(self.agent, 128)),
            ..self
        }
    }
}

impl Fit for Goodbye {
    fn fit(self) -> Goodbye {
        Goodbye { slug: plain(cut(self.slug, 64)), text: plain(cut(self.text, 512)) }
    }
}

/// Appends a JSON control frame; `false` (and nothing appended) when it would be longer than [`MAX_CONTROL`].
pub(crate) fn encode_json(out: &mut Vec<u8>, kind: Kind, tunnel: u32, word: &impl Serialize) -> bool {
    let start = out.len();
    frame::encode_header(out, kind, tunnel, 0);
    // Plain structs of strings and numbers always serialise; a failure would only leave the length at zero.
    let written = serde_json::to_writer(&mut *out, word).is_ok();
    let length = out.len() - start - frame::HEADER;
    if !written || length > MAX_CONTROL {
        out.truncate(start);
        return false;
    }
    let first = ((kind as u32) << 24) | length as u32;
    out[start..start + 4].copy_from_slice(&first.to_be_bytes());
    true
}

pub(crate) fn decode_json<'a, T: Deserialize<'a>>(kind: Kind, payload: &'a [u8]) -> Result<T, Violation> {
    serde_json::from_slice(payload).map_err(|_| Violation::Malformed(kind))
}

fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Control characters would grow sixfold in JSON and can forge log lines.
fn plain(text: String) -> String {
    if text.chars().any(char::is_control) { text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_refusal_fits() {
        let long = "\u{1}\"ä".repeat(4000);
        let refusal = Refusal { slug: long.clone(), facts: vec![(long.clone(), long.clone()); 99], detail: Some(long) };
        let mut out = Vec::new();
        assert!(encode_json(&mut out, Kind::Refused, 1, &refusal.fit()), "fits");
        let frame = frame::decode(&mut out.into()).expect("whole").expect("one");
        let back: Refusal = decode_json(Kind::Refused, &frame.payload).expect("parses");
        assert_eq!(back.facts.len(), 16);
    }

    #[test]
    fn what_does_not_fit_leaves_nothing() {
        let mut out = vec![1, 2, 3];
        assert!(!encode_json(&mut out, Kind::Goodbye, 0, &Goodbye { slug: "x".repeat(9000), text: String::new() }));
        assert_eq!(out, [1, 2, 3]);
    }

    #[test]
    fn newer_peers_may_say_more() {
        let hello: Hello =
            decode_json(Kind::Hello, br#"{"version":1,"agent":"x","max_tunnels":4,"moon":"full"}"#).expect("parses");
        assert_eq!(hello.max_tunnels, 4);
    }
}
