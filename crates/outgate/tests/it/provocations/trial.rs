//! A fault by any way in: the question as each way puts it, and what must come back by what the catalogue says.
//!
//! A *scene* sets a fault up once and puts its questions to a [`Trial`], which asks them by each of its ways. What must come back
//! is computed from the catalogue: status and body in the dialect, fields, for SOCKS5 the reply byte. What a way can't carry
//! follows from [`Way::carries`], nothing else.

use std::collections::BTreeSet;

use outgate_faults::{Layer, Row, Slug, socks5_reply};
use outgate_testkit::doors::{Doors, OPERATORS};
use outgate_testkit::h2_client::{H2Client, H2Stream};
use outgate_testkit::patience::until;
use outgate_testkit::socks::{self, Said};
use outgate_testkit::wire::{Credentials, Ending, Expect, Reply, Wire};
use serde_json::Value;

use super::outputs::Provoked;
use crate::blind;

/// How a request is put in HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    /// CONNECT: a tunnel.
    Connect,
    /// `GET http://…`: passed on, its answer read.
    Forward,
}

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Http1(Form),
    Http1OverTls(Form),
    Http2(Form),
    Socks5,
    /// HTTP/1.1 at a door that tells faults in this dialect.
    Dialect(&'static str, Form),
}

impl Way {
    /// The way that tests take unless they are about ways.
    pub(crate) const PLAIN: &[Self] = &[Self::Http1(Form::Connect), Self::Http1(Form::Forward)];
    /// All others, in the default dialect.
    pub(crate) const OTHERS: &[Self] = Self::EVERY.split_at(5).0;
    /// In every other dialect.
    pub(crate) const DIALECTS: &[Self] = Self::EVERY.split_at(5).1;
    /// Both.
    pub(crate) const EVERY: &[Self] = &[
        Self::Http1OverTls(Form::Connect),
        Self::Http1OverTls(Form::Forward),
        Self::Http2(Form::Connect),
        Self::Http2(Form::Forward),
        Self::Socks5,
        Self::Dialect("rfc", Form::Connect),
        Self::Dialect("rfc", Form::Forward),
        Self::Dialect("atlasvpn", Form::Connect),
        Self::Dialect("atlasvpn", Form::Forward),
        Self::Dialect("proxies.fo", Form::Connect),
        Self::Dialect("proxies.fo", Form::Forward),
        Self::Dialect(OPERATORS, Form::Connect),
        Self::Dialect(OPERATORS, Form::Forward),
    ];

    /// Whether the gateway reads the target's answers on this way, instead of carrying what it can't read.
    pub(crate) fn forwards(self) -> bool {
        matches!(
            self,
            Self::Http1(Form::Forward)
                | Self::Http1OverTls(Form::Forward)
                | Self::Http2(Form::Forward)
                | Self::Dialect(_, Form::Forward)
        )
    }

    /// Whether a fault of this row can be met and told on this way.
    pub(crate) fn carries(self, row: &Row) -> bool {
        // What is wrong with an HTTP answer is seen only where one is read.
        let in_an_answer = row.layer == Layer::Target && row.error_type.is_some_and(|kind| kind.token().starts_with("http_"));
        self.forwards() || !in_an_answer
    }

    /// As records name it.
    fn protocol(self) -> &'static str {
        match self {
            Self::Http1(_) | Self::Dialect(..) => "http",
            Self::Http1OverTls(_) => "https",
            Self::Http2(_) => "h2",
            Self::Socks5 => "socks5",
        }
    }

    /// Asks for `target` (`host:port`) on a connection of its own.
    pub(crate) async fn ask(self, doors: &Doors, credentials: Option<Credentials<'_>>, target: &str) -> Told {
        match self {
            Self::Http1(form) => {
                let wire = Wire::connect(doors.proxy()).await.expect("the gateway listens");
                over_http1(wire, form, credentials, target).await
            }
            Self::Dialect(name, form) => {
                let wire = Wire::connect(doors.in_dialect(name)).await.expect("the gateway listens");
                over_http1(wire, form, credentials, target).await
            }
            Self::Http1OverTls(form) => over_http1(doors.over_tls(&["http/1.1"]).await, form, credentials, target).await,
            Self::Http2(form) => {
                let mut client = doors.over_h2().await;
                let (reply, stream) = client.ask(over_http2(form, credentials, target)).await.expect("an answer");
                Told::Http2(reply, Box::new((client, stream)))
            }
            Self::Socks5 => {
                let (host, port) = target.rsplit_once(':').expect("host:port");
                let request = socks::request(socks::CONNECT, host, port.parse().expect("a port"));
                let (said, wire) = socks::ask(doors.proxy(), credentials, &request).await.expect("it says something");
                Told::Socks5(said, wire)
            }
        }
    }
}

async fn over_http1(mut wire: Wire, form: Form, credentials: Option<Credentials<'_>>, target: &str) -> Told {
    let authorization = credentials.map(|credentials| credentials.header_line()).unwrap_or_default();
    let (line, expect) = match form {
        Form::Connect => (format!("CONNECT {target}"), Expect::Tunnel),
        Form::Forward => (format!("GET http://{target}/"), Expect::Body),
    };
    let request = format!("{line} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
    wire.send(request.as_bytes()).await.expect("the gateway reads");
    let reply = wire.reply(expect).await.unwrap_or_else(|error| panic!("{error} to {line}"));
    Told::Http1(reply, wire)
}

fn over_http2(form: Form, credentials: Option<Credentials<'_>>, target: &str) -> http::Request<()> {
    let request = match form {
        Form::Connect => http::Request::connect(target),
        Form::Forward => http::Request::get(format!("http://{target}/")),
    };
    let value = credentials.map(|credentials| credentials.field_value());
    let request = value.into_iter().fold(request, |request, value| request.header("proxy-authorization", value));
    request.body(()).expect("a well-formed request")
}

/// What came back, and the connection it came on.
pub(crate) enum Told {
    Http1(Reply, Wire),
    Http2(Reply, Box<(H2Client, H2Stream)>),
    Socks5(Said, Wire),
}

impl Told {
    fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Http1(reply, _) | Self::Http2(reply, _) => Some(reply),
            Self::Socks5(..) => None,
        }
    }

    /// The first bytes that come through a tunnel.
    async fn at_least(&mut self, length: usize) -> Vec<u8> {
        match self {
            Self::Http1(_, wire) | Self::Socks5(_, wire) => wire.exactly(length).await.expect("the tunnel is open"),
            Self::Http2(_, open) => open.1.at_least(length).await.to_vec(),
        }
    }

    /// How a tunnel ends.
    async fn ending(self) -> Ending {
        match self {
            Self::Http1(_, mut wire) | Self::Socks5(_, mut wire) => wire.drain(|_| {}).await.expect("an end"),
            Self::Http2(_, mut open) => open.1.ending().await.1,
        }
    }
}

/// Asks by some ways, and remembers what was seen.
pub(crate) struct Trial {
    ways: &'static [Way],
    covered: BTreeSet<(Slug, Way)>,
    /// The records of SOCKS5 requests that were found: each belongs to one request.
    found: BTreeSet<String>,
}

impl Trial {
    pub(crate) fn by(ways: &'static [Way]) -> Self {
        Self { ways, covered: BTreeSet::new(), found: BTreeSet::new() }
    }

    pub(crate) fn ways(&self) -> &'static [Way] {
        self.ways
    }

    /// Whether the fault was seen to come of it by this way.
    pub(crate) fn covers(&self, slug: Slug, way: Way) -> bool {
        self.covered.contains(&(slug, way))
    }

    /// Asks as the first key with these modifiers; `expected` must come of it.
    pub(crate) async fn ask(&mut self, doors: &Doors, modifiers: &str, target: &str, expected: &Provoked) {
        let user = doors.user(modifiers);
        self.ask_as(doors, Some(doors.credentials(&user)), target, expected).await;
    }

    /// Asks as somebody, or as nobody; `expected` must come of it.
    pub(crate) async fn ask_as(&mut self, doors: &Doors, who: Option<Credentials<'_>>, target: &str, expected: &Provoked) {
        for way in self.ways.iter().filter(|way| way.carries(expected.slug.row())) {
            self.ask_by(*way, doors, who, target, expected).await;
        }
    }

    /// Asks by one way.
    pub(crate) async fn ask_by(
        &mut self,
        way: Way,
        doors: &Doors,
        who: Option<Credentials<'_>>,
        target: &str,
        expected: &Provoked,
    ) {
        let told = way.ask(doors, who, target).await;
        let (id, slug) = self.outcome(way, doors, &told).await;
        assert_eq!(slug, expected.slug.name(), "by {way:?} to {target}");
        self.check(way, doors, &told, &id, expected).await;
    }

    /// Asks by each way again and again until it is refused for this reason, which is then told from the sentence.
    pub(crate) async fn ask_until(
        &mut self,
        doors: &Doors,
        who: Credentials<'_>,
        target: &str,
        slug: Slug,
        expected: impl Fn(&str) -> Provoked,
    ) {
        for way in self.ways.iter().filter(|way| way.carries(slug.row())) {
            let (told, id) = loop {
                let told = way.ask(doors, Some(who), target).await;
                // Its record is written at its end.
                let open = told.reply().map_or(matches!(told, Told::Socks5(Said::Reply(0), _)), |reply| reply.status == 200);
                if open {
                    continue;
                }
                let (id, seen) = self.outcome(*way, doors, &told).await;
                if seen == slug.name() {
                    break (told, id);
                }
            };
            let sentence = doors.record(&id).await["sentence"].as_str().expect("a fault has a sentence").to_owned();
            self.check(*way, doors, &told, &id, &expected(&sentence)).await;
        }
    }

    /// Opens a tunnel by each way that carries one, reads what comes first, lets `then` happen, and sees it cut.
    pub(crate) async fn cut(&mut self, doors: &Doors, target: &str, first: &[u8], then: impl Fn(), expected: &Provoked) {
        let user = doors.user("");
        for way in self.ways.iter().filter(|way| !way.forwards()) {
            let mut told = way.ask(doors, Some(doors.credentials(&user)), target).await;
            let id = told.reply().map(|reply| reply.header("X-Outgate-Request-Id").expect("it has one").to_owned());
            assert!(told.at_least(first.len()).await.starts_with(first), "{way:?}");
            then();
            assert_eq!(told.ending().await, Ending::Reset, "{way:?}: a clean end would look complete");
            let id = match id {
                Some(id) => id,
                None => self.record(doors).await["request_id"].as_str().expect("it has one").to_owned(),
            };
            let status = (*way != Way::Socks5).then_some(200);
            let record = expected.check_record(doors, &id, status).await;
            assert_eq!(record["protocol"], way.protocol(), "{record}");
            self.covered.insert((expected.slug, *way));
        }
    }

    /// The request's id, and the slug that was told; where there is no room for either, the record says them.
    async fn outcome(&mut self, way: Way, doors: &Doors, told: &Told) -> (String, String) {
        match told.reply() {
            Some(reply) => {
                let field = |name| reply.header(name).unwrap_or_else(|| panic!("{way:?}: no {name} in {reply:?}"));
                (field("X-Outgate-Request-Id").to_owned(), field("X-Proxy-Error").to_owned())
            }
            None => {
                let record = self.record(doors).await;
                let text = |name: &str| record[name].as_str().expect("a string").to_owned();
                (text("request_id"), text("outcome"))
            }
        }
    }

    /// The record of the latest SOCKS5 request.
    async fn record(&mut self, doors: &Doors) -> Value {
        let id = |record: &Value| record["request_id"].as_str().unwrap_or_default().to_owned();
        let found = &self.found;
        let record = until("the record of a SOCKS5 request", || {
            let records = doors.records().into_iter().chain(doors.auth_records());
            records.filter(|record| record["protocol"] == "socks5" && record["outcome"] != "ok").find(|r| !found.contains(&id(r)))
        })
        .await;
        self.found.insert(id(&record));
        record
    }

    async fn check(&mut self, way: Way, doors: &Doors, told: &Told, id: &str, expected: &Provoked) {
        let record = match told {
            Told::Http1(reply, _) if matches!(way, Way::Dialect(..)) => {
                let Way::Dialect(name, _) = way else { unreachable!("it was one") };
                expected.check_told_in(&blind::dialect(name), doors, reply).await
            }
            Told::Http1(reply, _) | Told::Http2(reply, _) => {
                assert!(reply.version == if matches!(way, Way::Http2(_)) { "HTTP/2" } else { "HTTP/1.1" }, "{way:?}");
                expected.check(doors, reply).await
            }
            Told::Socks5(said, _) => {
                // Who is refused at the login is told by the login's own verdict; without one, as in all else, by the reply.
                let by_login = matches!(said, Said::Login(_)) && expected.stage == "identify";
                let due = if by_login { Said::Login(1) } else { Said::Reply(socks5_reply(expected.slug)) };
                assert_eq!(*said, due, "{}", expected.slug);
                blind::names_socks(*said, expected.slug);
                expected.check_record(doors, id, None).await
            }
        };
        assert_eq!(record["protocol"], way.protocol(), "{record}");
        self.covered.insert((expected.slug, way));
    }
}
