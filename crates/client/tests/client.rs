//! The library against proxies that fail in known ways, over real sockets.

use std::collections::BTreeSet;
use std::time::Duration;

use outgate_client::classify::Provenance;
use outgate_client::client::{Client, Through, Why};
use outgate_client::connect::Trust;
use outgate_client::engine::{GiveUp, Hedging, NoAttempt, Rules};
use outgate_client::sessions::Grammar;
use outgate_faults::Slug;
use outgate_testkit::ca::{Ca, Validity};
use outgate_testkit::flaky_proxy::{Fate, FlakyProxy};
use outgate_testkit::origin::Origin;

fn client(proxy: &FlakyProxy) -> Client {
    Client::builder().through(Through::parse(&proxy.url()).expect("a URL")).seed(1).build()
}

fn over_tls(proxy: &FlakyProxy, ca: &Ca) -> Client {
    let trust = Trust::given((*ca.client(&["http/1.1"])).clone());
    let through = Through::parse(&proxy.url()).expect("a URL").rotating();
    Client::builder().through(through).trust(trust).seed(1).build()
}

fn serves() -> FlakyProxy {
    FlakyProxy::start(|_, _| Fate::Serves)
}

/// Fails the first connection so, serves the others.
fn fails_first(fate: Fate) -> FlakyProxy {
    FlakyProxy::start(move |number, _| if number == 0 { fate.clone() } else { Fate::Serves })
}

#[tokio::test]
async fn https_survives_a_proxy_that_fails_three_in_ten() {
    let ca = Ca::new();
    let origin = Origin::start_tls(ca.server(&["127.0.0.1"], Validity::Current, &["http/1.1"]));
    let proxy = FlakyProxy::start(|number, _| Fate::three_in_ten(number));
    let client = over_tls(&proxy, &ca);
    let mut attempts = 0;
    for _ in 0..30 {
        // POSTs get a connection of their own, so each meets the proxy.
        let answer = client.post(&format!("https://{}/upload", origin.address()), "body").send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        attempts += answer.attempts().len();
        let last = answer.attempts().last().expect("an attempt");
        assert_eq!((last.status, last.slug, last.number as usize), (Some(200), None, answer.attempts().len()));
    }
    assert_eq!(origin.received().len(), 30, "each POST arrived once");
    assert_eq!(attempts, proxy.heads().len());
    assert!(attempts > 38, "only {attempts} attempts");
}

#[tokio::test]
async fn an_error_carries_what_other_clients_hide_and_is_not_asked_twice() {
    let answer = b"HTTP/1.1 403 Forbidden (port_denied)\r\nX-Proxy-Error: port_denied\r\nX-Outgate-Request-Id: r-1\r\n\
        Set-Cookie: a=secret\r\nContent-Length: 27\r\n\r\nport 25 is not allowed here";
    let proxy = FlakyProxy::start(|_, _| Fate::Answers(answer.to_vec()));
    let client = client(&proxy);
    let error = client.get("https://mail.example:25/").send().await.expect_err("a refusal");
    assert_eq!((error.slug(), error.provenance()), (Some(Slug::PortDenied), Some(Provenance::Proxy)));
    assert!(matches!(error.why(), Why::Failed(GiveUp::Class)));
    let reply = error.reply().expect("the proxy's answer");
    assert_eq!((reply.status, reply.header("x-outgate-request-id")), (403, Some("r-1")));
    assert_eq!(reply.body, b"port 25 is not allowed here");
    assert_eq!(error.to_string(), "port 25 is not allowed here (port_denied, 1 attempt)");
    let log = &error.attempts()[0];
    assert_eq!((log.status, log.target.as_str(), log.proxy.as_str()), (Some(403), "mail.example:25", proxy.url().as_str()));
    assert!(log.headers.iter().any(|(name, value)| name == "set-cookie" && value == "(not kept)"));

    let again = client.get("https://mail.example:25/").send().await.expect_err("a refusal");
    assert!(matches!(again.why(), Why::Refused(refusal) if refusal.why == NoAttempt::Remembered), "{again:?}");
    assert_eq!(again.to_string(), "port 25 is not allowed here (port_denied, not asked again)");
    assert!(again.until().is_some_and(|until| until > client.now()));
    assert_eq!(proxy.heads().len(), 1);
}

#[tokio::test]
async fn a_post_whose_answer_was_lost_is_not_repeated_unless_the_target_recognises_it() {
    let origin = Origin::start();
    let proxy = FlakyProxy::start(|_, _| Fate::CutsAfter(0));
    let error = client(&proxy).post(&origin.url("/upload"), "pay 10").send().await.expect_err("a lost answer");
    assert!(matches!(error.why(), Why::Failed(GiveUp::NotRepeatable)), "{error:?}");
    assert_eq!(origin.received().len(), 1);

    let proxy = fails_first(Fate::CutsAfter(0));
    let call = client(&proxy).post(&origin.url("/upload"), "pay 10").idempotency_key("order-7");
    let answer = call.send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.attempts().len()), (200, 2));
    let keys: Vec<_> = origin.received()[1..].iter().map(|seen| seen.header("idempotency-key").map(str::to_owned)).collect();
    assert_eq!(keys, [Some("order-7".to_owned()), Some("order-7".to_owned())]);
}

#[tokio::test]
async fn a_post_in_clear_can_be_tried_again_where_it_goes_through_a_tunnel() {
    let origin = Origin::start();
    let call = |plain: bool| {
        let proxy = fails_first(Fate::answer(502, "Bad Gateway", "X-Proxy-Error: exit_lost"));
        let through = Through::parse(&proxy.url()).expect("a URL");
        let through = if plain { through } else { through.tunnel_plain() };
        (Client::builder().through(through).seed(1).build().post(&origin.url("/upload"), "pay 10").send(), proxy)
    };
    let (sent, _proxy) = call(true);
    assert!(matches!(sent.await.expect_err("unclear").why(), Why::Failed(GiveUp::NotRepeatable)));
    let (sent, _proxy) = call(false);
    assert_eq!(sent.await.expect("an answer").attempts().len(), 2);
    assert_eq!(origin.received().len(), 1);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_fetched_again_and_never_looks_whole() {
    let origin = Origin::start();
    let proxy = fails_first(Fate::CutsAfter(5000));
    let answer = client(&proxy).get(&origin.url("/bytes/20000")).fetch(1 << 20).await.expect("an answer");
    assert_eq!(answer.attempts().len(), 2);
    assert_eq!(answer.bytes(1 << 20).await.expect("a body").len(), 20_000);

    let proxy = fails_first(Fate::CutsAfter(5000));
    let answer = client(&proxy).get(&origin.url("/bytes/20000")).send().await.expect("a head");
    let error = answer.bytes(1 << 20).await.expect_err("a body that breaks off");
    assert!(matches!(error.why(), Why::BrokeOff(_)), "{error:?}");

    // Where it can't be asked for again it is an error, not a short answer.
    let proxy = fails_first(Fate::CutsAfter(5000));
    let error = client(&proxy).post(&origin.url("/bytes/20000"), "x").fetch(1 << 20).await.expect_err("a cut body");
    assert!(matches!(error.why(), Why::Failed(GiveUp::NotRepeatable)), "{error:?}");

    let proxy = serves();
    let error = client(&proxy).get(&origin.url("/bytes/20000")).fetch(1000).await.expect_err("too long");
    assert!(matches!(error.why(), Why::TooLong(1000)), "{error:?}");
}

#[tokio::test]
async fn a_wait_that_the_proxy_names_is_waited_for() {
    let origin = Origin::start();
    let proxy = fails_first(Fate::answer(429, "Too Many Requests", "X-Proxy-Error: rate_limited\r\nRetry-After: 1"));
    let answer = client(&proxy).get(&origin.url("/ok")).send().await.expect("an answer");
    let [first, second] = answer.attempts() else { panic!("{:?}", answer.attempts()) };
    assert_eq!(first.slug, Some(Slug::RateLimited));
    assert!(second.at.duration_since(first.at) >= jiff::SignedDuration::from_secs(1), "{second:?}");
    assert!(second.waited > Duration::ZERO, "the log tells what a limit held: {second:?}");
}

#[tokio::test]
async fn a_connection_is_used_again_but_not_for_what_must_not_be_sent_twice() {
    let ca = Ca::new();
    let origin = Origin::start_tls(ca.server(&["127.0.0.1"], Validity::Current, &["http/1.1"]));
    let proxy = serves();
    let client = over_tls(&proxy, &ca);
    let url = |path: &str| format!("https://{}{path}", origin.address());
    for _ in 0..3 {
        client.get(&url("/ok")).fetch(100).await.expect("an answer");
    }
    assert_eq!(proxy.heads().len(), 1);
    client.post(&url("/upload"), "x").fetch(1000).await.expect("an answer");
    assert_eq!(proxy.heads().len(), 2);
    // The target never sees the proxy's login, whichever way it stands in the request.
    client.get(&url("/ok")).header("proxy-authorization", "Basic c2VjcmV0").fetch(100).await.expect("an answer");
    assert!(origin.received().iter().all(|seen| seen.header("proxy-authorization").is_none()));
}

#[tokio::test]
async fn what_the_target_says_is_an_answer_whatever_its_status() {
    let origin = Origin::start();
    let proxy = serves();
    let client = client(&proxy);
    let answer = client.get(&origin.url("/status/404")).send().await.expect("an answer");
    assert!(answer.status() == 404 && answer.verdict().is_none());
    let answer = client.get(&origin.url("/status/403")).send().await.expect("an answer");
    assert_eq!(answer.verdict().and_then(|verdict| verdict.slug), Some(Slug::TargetForbidden));
    assert_eq!(answer.attempts().len(), 1, "the only exit is not asked twice");
    // The whole domain is not held by one page.
    assert_eq!(client.get(&origin.url("/ok")).send().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_ban_moves_to_another_session_and_a_kept_one_stays() {
    let origin = Origin::start();
    let proxy = serves();
    let url = proxy.url().replace("http://", "http://key:secret@");
    let grammar = Grammar::of("outgate").expect("our own").clone();
    let client = Client::builder().through(Through::parse(&url).expect("a URL").sessions(grammar, 8)).seed(1).build();
    let answer = client.get(&origin.url("/status/403")).send().await.expect("an answer");
    let sessions: BTreeSet<_> = answer.attempts().iter().map(|attempt| attempt.session.clone()).collect();
    assert_eq!((answer.attempts().len(), sessions.len()), (4, 4), "three other exits were tried");
    let logins: BTreeSet<_> = proxy.heads().iter().filter_map(|head| login(head)).collect();
    assert_eq!(logins.len(), 4, "{logins:?}");
    assert!(logins.iter().all(|login| login.starts_with("key-session-") && login.ends_with(":secret")), "{logins:?}");
    let answer = client.get(&origin.url("/status/403")).session("me").send().await.expect("an answer");
    assert_eq!(answer.attempts().len(), 1);
    assert_eq!(proxy.heads().last().and_then(|head| login(head)).as_deref(), Some("key-session-me:secret"));
}

#[tokio::test]
async fn a_slow_attempt_gets_another_beside_it_and_is_given_up() {
    let origin = Origin::start();
    // The first connection hangs until the end of the test; only a second attempt can answer.
    let proxy = fails_first(Fate::Hangs);
    let rules = Rules { hedging: Hedging::After(Duration::from_millis(50)), ..Rules::default() };
    let through = Through::parse(&proxy.url()).expect("a URL").rotating();
    let client = Client::builder().through(through).rules(rules).seed(1).build();
    let answer = client.get(&origin.url("/ok")).send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), proxy.heads().len()), (200, 2));
    assert_eq!(answer.attempts().len(), 1, "the other was given up, and tells nothing");
}

#[tokio::test]
async fn a_call_that_is_dropped_gives_its_attempt_back() {
    let proxy = FlakyProxy::start(|number, _| {
        if number == 1 {
            Fate::Hangs
        } else {
            Fate::answer(429, "Too Many Requests", "X-Proxy-Error: rate_limited\r\nRetry-After: 1")
        }
    });
    let client = client(&proxy);
    // After the wait the next one is the probe that all others wait for; its caller goes away.
    let limited = client.get("http://a.example/").timeout(Duration::from_millis(500)).send().await.expect_err("limited");
    assert_eq!(limited.slug(), Some(Slug::RateLimited));
    let gone = tokio::spawn(client.get("http://a.example/").send());
    while proxy.heads().len() < 2 {
        tokio::task::yield_now().await;
    }
    gone.abort();
    let _ = gone.await;
    let begun = client.now();
    let third = client.get("http://a.example/").timeout(Duration::from_millis(900)).send().await.expect_err("limited");
    assert_eq!((third.attempts().len(), proxy.heads().len()), (1, 3));
    assert!(third.attempts()[0].waited < Duration::from_millis(900) && client.now() > begun);
}

#[tokio::test]
async fn requests_that_cant_be_sent_say_so() {
    let client = client(&serves());
    for url in ["ftp://example.com/", "/path", "https://", "http://a b/"] {
        let error = client.get(url).send().await.expect_err(url);
        assert!(matches!(error.why(), Why::BadRequest), "{url}: {error:?}");
    }
    let error = client.get("http://x.example/").header("a b", "c").send().await.expect_err("no field");
    assert!(matches!(error.why(), Why::BadRequest));
    let nothing = Client::builder().build().get("http://x.example/").send().await.expect_err("no proxy");
    assert!(matches!(nothing.why(), Why::Refused(refusal) if refusal.why == NoAttempt::NoProxy));
}

fn login(head: &str) -> Option<String> {
    use base64::Engine as _;
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("proxy-authorization:"))?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(line.rsplit(' ').next()?).ok()?;
    String::from_utf8(bytes).ok()
}
