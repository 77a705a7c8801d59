//! What must come of a fault: every output of it, held against its row.

use std::ops::RangeInclusive;
use std::path::Path;

use outgate_faults::{Dialect, Slug, Wait};
use outgate_testkit::doors::Doors;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::patience::until;
use outgate_testkit::wire::{Credentials, Ending, Expect, Reply, Wire, WireError};
use serde_json::Value;

use crate::{OUTGATE, blind};

/// A fault as it must be told, in the default dialect unless said otherwise.
pub(crate) struct Provoked {
    pub(crate) slug: Slug,
    pub(crate) stage: &'static str,
    sentence: String,
    dialect: Dialect,
    /// Fields of its own.
    fields: Vec<(&'static str, String)>,
    /// The hop that found it, in front of the gateway in `Proxy-Status`.
    exit: Option<String>,
    /// More parameters in `Proxy-Status`, from `; ` on.
    params: String,
    retry_after: Option<RangeInclusive<u64>>,
}

/// `slug` was provoked at `stage`; `sentence` is what the client must read.
pub(crate) fn provoked(slug: Slug, stage: &'static str, sentence: impl Into<String>) -> Provoked {
    let retry_after = match slug.row().wait {
        Wait::Seconds(seconds) => Some(seconds.into()..=seconds.into()),
        Wait::Unknown | Wait::Fact(_) => None,
    };
    Provoked {
        slug,
        stage,
        sentence: sentence.into(),
        dialect: Dialect::outgate(),
        fields: Vec::new(),
        exit: None,
        params: String::new(),
        retry_after,
    }
}

impl Provoked {
    /// Found by this exit.
    pub(crate) fn at_exit(mut self, id: &str) -> Self {
        self.exit = Some(id.to_owned());
        self
    }

    /// With these parameters in `Proxy-Status`.
    pub(crate) fn params(mut self, params: &str) -> Self {
        self.params = params.to_owned();
        self
    }

    /// With this field, which other faults have not.
    pub(crate) fn field(mut self, name: &'static str, value: &str) -> Self {
        self.fields.push((name, value.to_owned()));
        self
    }

    /// Told in this dialect.
    pub(crate) fn in_dialect(mut self, dialect: &Dialect) -> Self {
        self.dialect = dialect.clone();
        self
    }

    /// The status that says it.
    pub(crate) fn status(&self) -> u16 {
        self.dialect.status(self.slug)
    }

    /// What the client must read.
    fn body(&self) -> String {
        match self.dialect.fixed_body(self.slug) {
            Some(fixed) => fixed.to_owned(),
            None => format!("{}\n", self.sentence),
        }
    }

    /// With a `Retry-After` in this range, in seconds.
    pub(crate) fn retry_after(mut self, seconds: RangeInclusive<u64>) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Checks the answer to a request other than HEAD, and its record, which is returned.
    pub(crate) async fn check(&self, gateway: &impl Site, reply: &Reply) -> Value {
        self.check_answer(&hop(gateway), reply);
        assert_eq!(reply.text(), self.body(), "{}", self.slug);
        self.check_record(gateway, reply.header("X-Outgate-Request-Id").unwrap_or_default(), Some(self.status())).await
    }

    /// Checks the answer at a door of another dialect: its status and body there, its record, and what a classifier makes of it.
    pub(crate) async fn check_told_in(&self, dialect: &Dialect, gateway: &impl Site, reply: &Reply) -> Value {
        let (slug, status) = (self.slug, dialect.status(self.slug));
        assert_eq!((reply.status, reply.reason.as_str()), (status, dialect.reason(slug).as_str()), "{slug}");
        assert_eq!(reply.all("X-Proxy-Error"), [slug.name()]);
        let due = dialect.fixed_body(slug).unwrap_or(&self.sentence);
        assert_eq!(reply.text().trim_end(), due, "{slug} in {}", dialect.name());
        blind::names(reply, slug, dialect, self.exit.as_deref());
        self.check_record(gateway, reply.header("X-Outgate-Request-Id").unwrap_or_default(), Some(status)).await
    }

    /// Checks everything of the answer but its body.
    pub(crate) fn check_answer(&self, hop: &str, reply: &Reply) {
        let (status, name) = (self.status(), self.slug.name());
        blind::names(reply, self.slug, &self.dialect, self.exit.as_deref());
        assert_eq!(reply.status, status, "{name}: {}", reply.text());
        match reply.version.as_str() {
            "HTTP/1.1" => {
                assert_eq!(reply.reason, self.dialect.reason(self.slug), "{name}");
                assert!(matches!(reply.all("Connection").as_slice(), ["close" | "keep-alive"]), "{name}");
            }
            // RFC 9113, sections 8.2.2 and 8.3.2: it knows neither.
            "HTTP/2" => assert_eq!((reply.reason.as_str(), reply.header("Connection")), ("", None), "{name}"),
            other => panic!("{name}: {other}"),
        }
        assert_eq!(reply.all("X-Proxy-Error"), [name]);
        assert_eq!(reply.all("Proxy-Status"), [self.proxy_status(hop)], "{name}");
        let ids = reply.all("X-Outgate-Request-Id");
        assert!(ids.len() == 1 && ids[0].len() == 24 && ids[0].bytes().all(|b| b.is_ascii_hexdigit()), "{name}: {ids:?}");
        assert_eq!(reply.all("Content-Type"), ["text/plain"], "{name}");
        assert_eq!(reply.all("Content-Length"), [self.body().len().to_string()], "{name}");
        assert_eq!(reply.all("Date").len(), 1, "{name}");
        let challenge = if status == 407 { vec!["Basic realm=\"outgate\", charset=\"UTF-8\""] } else { Vec::new() };
        assert_eq!(reply.all("Proxy-Authenticate"), challenge, "{name}");
        self.check_wait(reply);
        for (field, value) in &self.fields {
            assert_eq!(reply.all(field), [value], "{name}");
        }
        for field in ["Transfer-Encoding", "Via", "X-Outgate-Exit"] {
            assert_eq!(reply.header(field), None, "{name}: an answer of our own");
        }
        assert!(reply.raw.iter().all(|b| matches!(b, b' '..=b'~' | b'\r' | b'\n')), "{name}");
        assert!(reply.headers.iter().all(|(_, value)| value.bytes().all(|b| matches!(b, b' '..=b'~'))), "{name}");
    }

    fn proxy_status(&self, hop: &str) -> String {
        let kind = self.slug.row().error_type.expect("only the target's own answers have none, and they are not provoked");
        let details = self.sentence.replace('\\', "\\\\").replace('"', "\\\"");
        let member = |at: &str| format!("{at}; error={kind}; details=\"{details}\"{}", self.params);
        match &self.exit {
            Some(exit) => format!("{}, {hop}", member(&item(exit))),
            None => member(hop),
        }
    }

    fn check_wait(&self, reply: &Reply) {
        let name = self.slug;
        // SPEC: wherever a wait is known.
        let promised = matches!(self.slug.row().status, 402 | 429 | 453 | 503) || name == Slug::NoExit;
        assert!(self.retry_after.is_some() || !promised, "{name}: the test must say which wait it expects");
        match (&self.retry_after, reply.all("Retry-After").as_slice()) {
            (None, []) => {}
            (Some(range), [seconds]) => {
                assert!(seconds.parse().is_ok_and(|s| range.contains(&s)), "{name}: Retry-After: {seconds} is not in {range:?}");
            }
            (expected, got) => panic!("{name}: Retry-After {got:?}, expected {expected:?}"),
        }
    }

    /// Checks the record of a request.
    pub(crate) async fn check_record(&self, gateway: &impl Site, id: &str, status: Option<u16>) -> Value {
        let (row, name) = (self.slug.row(), self.slug.name());
        let record = gateway.recorded(id).await;
        assert_eq!(record["v"], 1, "{name}");
        assert_eq!(record["outcome"], name, "{record}");
        assert_eq!(record["layer"], row.layer.name(), "{name}");
        assert_eq!(record["stage"], self.stage, "{record}");
        assert_eq!(record["status"], serde_json::json!(status), "{name}");
        assert_eq!(record["sentence"], self.sentence.as_str(), "{name}");
        assert_eq!(record["client"], "127.0.0.1", "{name}");
        if let Some(exit) = &self.exit {
            assert_eq!(record["exit"], exit.as_str(), "{name}");
        }
        assert!(!record.to_string().contains(gateway.secret()), "{name}: a secret in a record");
        record
    }

    /// Checks a tunnel or answer that broke off after it had begun with `status`: the client is reset, the record says why.
    pub(crate) async fn check_cut(&self, gateway: &impl Site, wire: &mut Wire, id: &str, status: u16) -> Value {
        let ending = wire.drain(|_| {}).await;
        assert_eq!(ending, Ok(Ending::Reset), "{}: a clean end would look complete", self.slug);
        self.check_record(gateway, id, Some(status)).await
    }
}

/// A running gateway, as far as a check needs to know it.
pub(crate) trait Site {
    /// Its data folder.
    fn data(&self) -> &Path;
    /// The secret that no output may show.
    fn secret(&self) -> &str;
    /// The record of a request, once it is written.
    async fn recorded(&self, id: &str) -> Value;
}

impl Site for GatewayProcess {
    fn data(&self) -> &Path {
        self.data()
    }

    fn secret(&self) -> &str {
        self.told("secret")
    }

    async fn recorded(&self, id: &str) -> Value {
        self.record(id).await
    }
}

impl Site for Doors {
    fn data(&self) -> &Path {
        (**self).data()
    }

    fn secret(&self) -> &str {
        self.told("secret")
    }

    async fn recorded(&self, id: &str) -> Value {
        self.record(id).await
    }
}

/// The gateway's name, by which it calls itself in `Via` and `Proxy-Status`.
pub(crate) fn hop(gateway: &impl Site) -> String {
    let name = std::fs::read_to_string(gateway.data().join("name")).expect("a gateway keeps its name in its data folder");
    name.trim().to_owned()
}

/// A name as RFC 8941 writes it: a token if it is one.
fn item(name: &str) -> String {
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) { name.to_owned() } else { format!("\"{name}\"") }
}

/// The quickstart gateway with loopback open, and these variables.
pub(crate) fn quickstart(variables: &[(&str, &str)]) -> Quickstart {
    variables.iter().fold(Quickstart::new(OUTGATE), |quickstart, (name, value)| quickstart.env(name, value))
}

/// The same with a door for each way in; `more` is added to its configuration.
pub(crate) fn doors(variables: &[(&str, &str)], more: &str) -> Doors {
    Doors::open(quickstart(variables), more)
}

/// The header line of the first key's credentials, with these modifiers behind the key id.
pub(crate) fn login(gateway: &GatewayProcess, modifiers: &str) -> String {
    gateway.credentials(&gateway.user(modifiers)).header_line()
}

/// Opens a connection, sends a request and reads the answer.
pub(crate) async fn ask(gateway: &GatewayProcess, request: &str) -> (Wire, Reply) {
    let mut wire = Wire::connect(gateway.proxy()).await.expect("the gateway listens");
    let reply = tell(&mut wire, request).await.unwrap_or_else(|error| panic!("{error} to {request:?}"));
    (wire, reply)
}

/// Sends a request and reads the answer.
pub(crate) async fn tell(wire: &mut Wire, request: &str) -> Result<Reply, WireError> {
    wire.send(request.as_bytes()).await?;
    let expect = match request.split(' ').next() {
        Some("CONNECT") => Expect::Tunnel,
        Some("HEAD") => Expect::NoBody,
        _ => Expect::Body,
    };
    wire.reply(expect).await
}

/// Asks for a tunnel as the first key with these modifiers.
pub(crate) async fn connect(gateway: &GatewayProcess, modifiers: &str, target: &str) -> (Wire, Reply) {
    let user = gateway.user(modifiers);
    connect_as(gateway, gateway.credentials(&user), target).await
}

/// Asks for a tunnel.
pub(crate) async fn connect_as(gateway: &GatewayProcess, credentials: Credentials<'_>, target: &str) -> (Wire, Reply) {
    Wire::connect_through(gateway.proxy(), Some(credentials), target).await.expect("a gateway always answers CONNECT")
}

/// Asks for a page as the first key with these modifiers; `target` is `host:port`.
pub(crate) async fn get(gateway: &GatewayProcess, modifiers: &str, target: &str, path: &str) -> (Wire, Reply) {
    let login = login(gateway, modifiers);
    ask(gateway, &format!("GET http://{target}{path} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n")).await
}

/// The id of a request from its answer.
pub(crate) fn id(reply: &Reply) -> String {
    reply.header("X-Outgate-Request-Id").expect("every answer names its request").to_owned()
}

/// Another key, from the command line: its id and secret.
pub(crate) fn new_key(gateway: &GatewayProcess, arguments: &[&str]) -> (String, String) {
    let arguments = [&["keys", "create", "--json"], arguments].concat();
    let key: Value = serde_json::from_str(&gateway.admin(&arguments)).expect("--json prints JSON");
    let text = |field: &str| key[field].as_str().expect("a new key has an id and a secret").to_owned();
    (text("id"), text("secret"))
}

/// The exit that quickstart itself runs.
pub(crate) fn local_exit(gateway: &GatewayProcess) -> String {
    let exits: Value = serde_json::from_str(&gateway.admin(&["exits", "list", "--json"])).expect("--json prints JSON");
    let local = exits.as_array().and_then(|exits| exits.iter().find(|exit| exit["name"] == "local"));
    local.and_then(|exit| exit["id"].as_str()).expect("quickstart has an exit named local").to_owned()
}

/// The first record that `fits`, in either file.
pub(crate) async fn record_of(gateway: &GatewayProcess, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    until(what, || gateway.records().into_iter().chain(gateway.auth_records()).find(&fits)).await
}
