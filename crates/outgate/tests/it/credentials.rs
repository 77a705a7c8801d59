//! Every odd way to say who one is, by every way in: what is told, what is recorded, and what becomes of the connection.
//!
//! Here: one login by each way in, and the words that are none. [`challenge`] is the 407 and what may follow it on the same
//! connection; [`source`] is addresses as proof, beside credentials or in their place.

mod challenge;
mod source;

use std::net::Ipv4Addr;

use outgate_testkit::h2_client::H2Client;
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::until;
use outgate_testkit::socks;
use outgate_testkit::wire::{Ending, Expect, Wire, basic};
use serde_json::Value;

use crate::provocations::ways::Ports;

/// A way in that carries credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Http,
    Tls,
    Http2,
    Socks5,
}

const WAYS: [Way; 4] = [Way::Http, Way::Tls, Way::Http2, Way::Socks5];

/// Who says who they are, and from where.
#[derive(Clone, Copy)]
struct Login<'a> {
    source: Ipv4Addr,
    user: &'a [u8],
    password: &'a [u8],
}

impl<'a> Login<'a> {
    fn new(user: &'a (impl AsRef<[u8]> + ?Sized), password: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { source: Ipv4Addr::LOCALHOST, user: user.as_ref(), password: password.as_ref() }
    }

    fn from(self, source: [u8; 4]) -> Self {
        Self { source: source.into(), ..self }
    }

    /// The value of Proxy-Authorization.
    fn basic(&self) -> String {
        basic(self.user, self.password)
    }
}

/// A gateway with a door for each way in, and an origin.
struct Scene {
    ports: Ports,
    origin: Origin,
}

impl Scene {
    fn start() -> Self {
        Self { ports: Ports::open(), origin: Origin::start() }
    }

    /// The first key's id and secret.
    fn key(&self) -> (String, String) {
        let first = self.ports.gateway.credentials();
        (first.user.to_owned(), first.password.to_owned())
    }

    /// Another key.
    fn new_key(&self, arguments: &[&str]) -> (String, String) {
        let key = self.ports.gateway.admin(&[&["keys", "create"], arguments].concat());
        let text = |field: &str| key[field].as_str().expect("a new key has an id and a secret").to_owned();
        (text("id"), text("secret"))
    }

    fn records(&self) -> Vec<Value> {
        self.ports.gateway.records()
    }

    /// The record that was not there before.
    async fn next_record(&self, before: &[Value]) -> Value {
        until("a new record", || {
            self.records().into_iter().find(|record| before.iter().all(|known| known["request_id"] != record["request_id"]))
        })
        .await
    }

    /// Logs in by a way and asks for something of the origin. What the client is told agrees with the record, which is returned.
    async fn attempt(&self, way: Way, who: Login<'_>) -> Value {
        let before = self.records();
        let told = match way {
            Way::Http => {
                let wire = Wire::connect_from(who.source.into(), self.ports.both()).await.expect("it listens");
                Some(self.get(wire, who).await)
            }
            Way::Tls => Some(self.get(self.ports.over_tls_from(who.source, &["http/1.1"]).await, who).await),
            Way::Http2 => Some(self.get_by_http2(who).await),
            Way::Socks5 => None,
        };
        let logged_in = if told.is_none() { self.connect_by_socks5(who).await } else { true };
        let record = self.next_record(&before).await;
        match told {
            Some(slug) => assert_eq!(record["outcome"], slug.as_str(), "{way:?}: {record}"),
            None => assert_eq!(record["stage"] != "identify", logged_in, "{record}"),
        }
        let (_, secret) = self.key();
        assert!(!record.to_string().contains(&secret), "{way:?}: {record}");
        record
    }

    /// The slug of the answer; `ok` is the origin's own.
    async fn get(&self, mut wire: Wire, who: Login<'_>) -> String {
        let (url, at, value) = (self.origin.url("/ok"), self.origin.address(), who.basic());
        let get = format!("GET {url} HTTP/1.1\r\nHost: {at}\r\nProxy-Authorization: {value}\r\nConnection: close\r\n\r\n");
        wire.send(get.as_bytes()).await.expect("open");
        let reply = wire.reply(Expect::Body).await.expect("an answer");
        reply.header("x-proxy-error").unwrap_or("ok").to_owned()
    }

    async fn get_by_http2(&self, who: Login<'_>) -> String {
        let request = http::Request::builder().uri(self.origin.url("/ok")).header("proxy-authorization", who.basic());
        let wire = self.ports.over_tls_from(who.source, &["h2"]).await;
        let asked = H2Client::over(wire).await.ask(request.body(()).expect("a request")).await;
        asked.expect("an answer").0.header("x-proxy-error").unwrap_or("ok").to_owned()
    }

    /// Whether the login was accepted: SOCKS5 has no word for more, the record has.
    async fn connect_by_socks5(&self, who: Login<'_>) -> bool {
        let mut wire = Wire::connect_from(who.source.into(), self.ports.socks_only()).await.expect("it listens");
        wire.send(&[5, 2, 0, 2]).await.expect("open");
        assert_eq!(wire.exactly(2).await.expect("a method"), [5, 2]);
        wire.send(&socks::login(who.user, who.password)).await.expect("open");
        if wire.exactly(2).await.expect("a verdict") != [1, 0] {
            assert_eq!(wire.ending().await, Ok((Vec::new(), Ending::Fin)));
            return false;
        }
        wire.send(&socks::request(socks::CONNECT, "127.0.0.1", self.origin.address().port())).await.expect("open");
        assert_eq!(wire.exactly(1).await.expect("a reply"), [5]);
        true
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_login_is_said_by_every_way_in() {
    let scene = Scene::start();
    let (key, secret) = scene.key();
    let (encoded_user, tab) = (format!("{key}%2Dpool%2Ddirect"), format!("{key}\t"));
    let encoded_secret = format!("%{:02x}{}", secret.as_bytes()[0], &secret[1..]);
    let long = "x".repeat(255);
    let (user, password) = ("the user name is still", "the password is still");
    let encoded = |what: &str| format!("{what} percent-encoded (%40 for @), it must be decoded before it is sent");
    let empty = "the user name is empty, it begins with the key's id";
    let rows: [(Login<'_>, &str, String); 10] = [
        (Login::new("", &secret), "credentials_malformed", empty.into()),
        (Login::new("", ""), "credentials_malformed", empty.into()),
        (Login::new(&key, ""), "credentials_malformed", "the password is empty, it is the key's secret".into()),
        (Login::new("nobody2222", ""), "credentials_malformed", "the password is empty, it is the key's secret".into()),
        (Login::new(&encoded_user, &secret), "credentials_malformed", encoded(user)),
        (Login::new(&key, &encoded_secret), "credentials_malformed", encoded(password)),
        (Login::new(&[0xff, 0xfe, b'a'], &secret), "credentials_malformed", "the user name is not UTF-8".into()),
        (Login::new(&tab, &secret), "credentials_malformed", "the user name contains a control character".into()),
        // As long as a field of SOCKS5 can be.
        (Login::new("nobody3333", &long), "credentials_wrong", "wrong key or secret".into()),
        (Login::new(&long, &secret), "credentials_wrong", "wrong key or secret".into()),
    ];
    for way in WAYS {
        for (who, slug, what) in &rows {
            let record = scene.attempt(way, *who).await;
            let sentence = if *slug == "credentials_malformed" { format!("malformed credentials: {what}") } else { what.clone() };
            assert_eq!((&record["outcome"], &record["sentence"]), (&(*slug).into(), &sentence.into()), "{way:?}");
        }
        let record = scene.attempt(way, Login::new(&format!("{key}-pool-direct"), &secret)).await;
        assert_eq!((&record["outcome"], &record["key"]), (&"ok".into(), &key.as_str().into()), "{way:?}: {record}");
    }
    assert_eq!(scene.origin.connections(), WAYS.len(), "nothing else got to the origin");
}

/// A user name that fills its field is read to its last byte.
#[tokio::test]
async fn a_long_user_name_is_not_cut() {
    let scene = Scene::start();
    let (key, secret) = scene.key();
    // What is wrong with it stands at its end.
    let filled = "s".repeat(255 - key.len() - "-session--session-b".len());
    let user = format!("{key}-session-{filled}-session-b");
    assert_eq!(user.len(), 255);
    let fine = format!("{key}-session-{}", "s".repeat(64));
    for way in WAYS {
        let record = scene.attempt(way, Login::new(&fine, &secret)).await;
        assert_eq!(record["outcome"], "ok", "{way:?}: {record}");
        let record = scene.attempt(way, Login::new(&user, &secret)).await;
        assert_eq!(record["sentence"], "modifier 'session' is given twice", "{way:?}: {record}");
    }
    // HTTP has room for more, up to a point that it names.
    let longer = format!("{key}-session-{}", "s".repeat(2_000));
    assert_eq!(scene.attempt(Way::Http, Login::new(&longer, &secret)).await["outcome"], "session_invalid");
    let too_long = format!("{key}-session-{}", "s".repeat(8_000));
    let record = scene.attempt(Way::Tls, Login::new(&too_long, &secret)).await;
    assert_eq!(record["sentence"], "malformed credentials: they are longer than 4096 characters");
    let record = scene.attempt(Way::Http, Login::new(&"x".repeat(40_000), "y")).await;
    assert_eq!(record["sentence"], "the request header is over the limit of 32768 bytes");
}

/// Fields that only HTTP has.
#[tokio::test]
async fn proxy_authorization_in_other_words() {
    let scene = Scene::start();
    let (key, secret) = scene.key();
    let good = Login::new(&key, &secret).basic();
    let token = good.strip_prefix("Basic ").expect("it begins so");
    let digest = "Digest username=\"a\", realm=\"outgate\", nonce=\"\", uri=\"/\", response=\"0\"";
    let malformed = |what: &str| Some(format!("malformed credentials: {what}"));
    let rows: [(Vec<String>, Option<String>); 11] = [
        (vec![good.clone()], None),
        (vec![format!("basic  {token} ")], None),
        (vec![format!("Basic {}", token.trim_end_matches('='))], None),
        (vec!["Bearer abc".into()], malformed("only the Basic scheme is taken")),
        (vec![digest.into()], malformed("only the Basic scheme is taken")),
        (vec![String::new()], malformed("only the Basic scheme is taken")),
        (vec!["Basic".into()], malformed("there is no colon between user and password")),
        (vec!["Basic !!!".into()], malformed("they are not base64")),
        (vec![format!("Basic {key}:{secret}")], malformed("they are not base64")),
        (vec!["Basic YWJjZA==".into()], malformed("there is no colon between user and password")),
        (vec![good.clone(), good.clone()], malformed("more than one Proxy-Authorization")),
    ];
    let (url, at) = (scene.origin.url("/ok"), scene.origin.address());
    for (values, expected) in rows {
        for tls in [false, true] {
            let mut wire = match tls {
                true => scene.ports.over_tls(&["http/1.1"]).await,
                false => Wire::connect(scene.ports.http_only()).await.expect("it listens"),
            };
            let fields: String = values.iter().map(|value| format!("Proxy-Authorization: {value}\r\n")).collect();
            wire.send(format!("GET {url} HTTP/1.1\r\nHost: {at}\r\n{fields}\r\n").as_bytes()).await.expect("open");
            let reply = wire.reply(Expect::Body).await.expect("an answer");
            assert_eq!(reply.status, if expected.is_some() { 407 } else { 200 }, "{values:?}: {}", reply.text());
            assert_eq!(reply.text().trim_end(), expected.as_deref().unwrap_or("ok"), "{values:?}");
        }
        let mut request = http::Request::builder().uri(&url);
        for value in &values {
            request = request.header("proxy-authorization", value);
        }
        let wire = scene.ports.over_tls(&["h2"]).await;
        let asked = H2Client::over(wire).await.ask(request.body(()).expect("a request")).await;
        let answer = asked.expect("an answer").0;
        assert_eq!(answer.status, if expected.is_some() { 407 } else { 200 }, "{values:?}");
        assert_eq!(answer.text().trim_end(), expected.as_deref().unwrap_or("ok"), "{values:?}");
    }
}

/// Messages that only SOCKS5 has.
#[tokio::test]
async fn a_socks5_login_in_other_words() {
    let scene = Scene::start();
    let (key, secret) = scene.key();
    let mut old = socks::login(&key, &secret);
    old[0] = 5;
    let offers = "SOCKS5 logs in with user name and password (method 02)";
    type Bytes<'a> = &'a [u8];
    let rows: [(Bytes<'_>, Bytes<'_>, Bytes<'_>, &str); 4] = [
        // GSSAPI alone, no method at all, and a method of somebody's own.
        (&[5, 1, 1], &[], &[5, 0xff], offers),
        (&[5, 0], &[], &[5, 0xff], offers),
        (&[5, 1, 0x80], &[], &[5, 0xff], offers),
        // The version of the protocol in place of the login's.
        (&[5, 1, 2], &old, &[5, 2, 1, 1], "the login is not RFC 1929's"),
    ];
    for (hello, login, answer, what) in rows {
        let before = scene.records();
        let mut wire = Wire::connect(scene.ports.both()).await.expect("it listens");
        wire.send(&[hello, login].concat()).await.expect("open");
        assert_eq!(wire.ending().await, Ok((answer.to_vec(), Ending::Fin)), "{hello:?}");
        let record = scene.next_record(&before).await;
        assert_eq!(record["sentence"], format!("malformed credentials: {what}"), "{hello:?}");
    }
}
