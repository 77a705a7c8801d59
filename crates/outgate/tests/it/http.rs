//! Forwarding by the rules of RFC 9110 and 9112, seen from both sides of the gateway.

use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::origin::Origin;
use outgate_testkit::payload::Checksum;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Credentials, Ending, Expect, Reply, Wire};
use serde_json::Value;

use crate::OUTGATE;

/// A gateway, an origin it may reach, and the first key's credentials.
struct Scene {
    gateway: GatewayProcess,
    origin: Origin,
    authorization: String,
}

impl Scene {
    fn set() -> Self {
        let gateway = Quickstart::new(OUTGATE).start();
        let authorization = gateway.credentials(gateway.told("key_id")).header_line();
        Self { gateway, origin: Origin::start(), authorization }
    }

    async fn client(&self) -> Wire {
        Wire::connect(self.gateway.proxy()).await.expect("the gateway listens")
    }

    /// A request for a path of the origin; `fields` are whole lines.
    fn request(&self, method: &str, path: &str, version: &str, fields: &str) -> String {
        let (url, host) = (self.origin.url(path), self.origin.address());
        format!("{method} {url} {version}\r\nHost: {host}\r\n{}{fields}\r\n", self.authorization)
    }

    fn get(&self, path: &str, fields: &str) -> String {
        self.request("GET", path, "HTTP/1.1", fields)
    }
}

/// Sends a request without a body and reads its answer.
async fn ask(wire: &mut Wire, request: &str) -> Reply {
    answer_to(wire, request, Expect::Body).await
}

async fn answer_to(wire: &mut Wire, request: &str, expect: Expect) -> Reply {
    wire.send(request.as_bytes()).await.expect("the gateway reads");
    wire.reply(expect).await.unwrap_or_else(|error| panic!("{error}\nto {request}"))
}

fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", reply.text()))
}

/// The gateway's name, as it signs its answers.
fn hop(reply: &Reply) -> String {
    reply.all("via").last().and_then(|via| via.rsplit(' ').next()).expect("a forwarded answer has a Via").to_owned()
}

#[tokio::test]
async fn connections_are_kept_on_both_sides_but_never_shared() {
    let scene = Scene::set();
    let mut wire = scene.client().await;
    for request in 0..3 {
        let told = json(&ask(&mut wire, &scene.get("/keepalive", "")).await);
        assert_eq!((&told["connection"], &told["request"]), (&Value::from(0), &Value::from(request)));
    }
    let other: Value = serde_json::from_str(&scene.gateway.admin(&["keys", "create", "--json"])).expect("a key");
    let (id, secret) = (other["id"].as_str().expect("an id"), other["secret"].as_str().expect("a secret"));
    let by_pool = scene.gateway.user("-pool-residential");
    let by_session = scene.gateway.user("-pool-residential-session-ab12");
    let people = [
        ("another key", Credentials { user: id, password: secret }, 1),
        ("the first key", scene.gateway.credentials(scene.gateway.told("key_id")), 2),
        ("another pool", scene.gateway.credentials(&by_pool), 3),
        ("the same pool", scene.gateway.credentials(&by_pool), 3),
        ("a session", scene.gateway.credentials(&by_session), 4),
    ];
    for (who, credentials, connection) in people {
        let (url, host) = (scene.origin.url("/keepalive"), scene.origin.address());
        let request = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n{}\r\n", credentials.header_line());
        assert_eq!(json(&ask(&mut wire, &request).await)["connection"], connection, "{who} on the same client connection");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let scene = Scene::set();
    let mut wire = scene.client().await;
    let paths = ["/bytes/70000", "/ok", "/chunked/1000", "/status/404", "/keepalive"];
    let all: String = paths.iter().map(|path| scene.get(path, "")).collect();
    wire.send(all.as_bytes()).await.expect("the gateway reads");
    for path in paths {
        let reply = wire.reply(Expect::Body).await.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(reply.status, if path == "/status/404" { 404 } else { 200 }, "{path}");
    }
    let order: Vec<String> = scene.origin.received().into_iter().map(|request| request.target).collect();
    assert_eq!(order, paths);
    assert_eq!(scene.origin.connections(), 1);
}

#[tokio::test]
async fn what_was_pipelined_survives_a_failure_before_it() {
    let scene = Scene::set();
    let broken = Script::start(outgate_testkit::script::garbage());
    let bad = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}\r\n", broken.address(), scene.authorization);
    let mut wire = scene.client().await;
    wire.send(format!("{bad}{}", scene.get("/ok", "")).as_bytes()).await.expect("the gateway reads");
    let reply = wire.reply(Expect::Body).await.expect("the fault");
    assert_eq!((reply.status, reply.header("x-proxy-error")), (502, Some("response_malformed")));
    assert_eq!(wire.reply(Expect::Body).await.expect("the answer to the second request").text(), "ok\n");
}

#[tokio::test]
async fn hop_by_hop_fields_end_at_the_gateway() {
    let scene = Scene::set();
    let mut wire = scene.client().await;
    let fields = "Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n\
                  TE: gzip\r\nUpgrade: h2c\r\nX-End: stays\r\nAuthorization: Bearer mine\r\n";
    ask(&mut wire, &scene.get("/echo", fields)).await;
    let got = scene.origin.last().expect("the origin was asked");
    for gone in ["connection", "x-hop", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"] {
        assert_eq!(got.header(gone), None, "{gone} must not reach the origin");
    }
    assert_eq!((got.header("x-end"), got.header("authorization")), (Some("stays"), Some("Bearer mine")));
    assert_eq!(got.header("host"), Some(scene.origin.address().to_string().as_str()));
    assert_eq!((got.target.as_str(), got.version.as_str()), ("/echo", "HTTP/1.1"));

    let path = "/with?Connection=X-Hop&X-Hop=1&Keep-Alive=timeout%3D5&Proxy-Connection=close&Proxy-Authenticate=Basic&\
                X-Proxy-Error=port_denied&X-Outgate-Exit=forged&X-Outgate-Request-Id=forged&X-End=stays";
    let reply = ask(&mut wire, &scene.get(path, "")).await;
    for gone in ["x-hop", "keep-alive", "proxy-connection", "proxy-authenticate", "x-proxy-error"] {
        assert_eq!(reply.header(gone), None, "{gone} must not reach the client");
    }
    assert_eq!(reply.all("x-outgate-exit"), ["direct"], "a target can't forge provenance");
    assert_eq!(reply.all("x-outgate-request-id").len(), 1);
    assert_ne!(reply.header("x-outgate-request-id"), Some("forged"));
    assert_eq!(reply.header("x-end"), Some("stays"));
}

#[tokio::test]
async fn via_grows_both_ways_and_ends_loops() {
    let scene = Scene::set();
    let mut wire = scene.client().await;
    let reply = ask(&mut wire, &scene.get("/with?Via=1.1%20back", "Via: 1.0 fred\r\n")).await;
    let hop = hop(&reply);
    assert_eq!(reply.all("via"), ["1.1 back".to_owned(), format!("1.1 {hop}")]);
    let got = scene.origin.last().expect("the origin was asked");
    let via: Vec<&str> =
        got.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("via")).map(|(_, v)| v.as_str()).collect();
    assert_eq!(via, ["1.0 fred".to_owned(), format!("1.1 {hop}")]);
    assert!(reply.header("proxy-status").is_some_and(|status| status.contains("received-status=200")), "{reply:?}");

    ask(&mut scene.client().await, &scene.request("GET", "/ok", "HTTP/1.0", "")).await;
    let got = scene.origin.last().expect("the origin was asked");
    assert_eq!((got.header("via"), got.version.as_str()), (Some(format!("1.0 {hop}").as_str()), "HTTP/1.1"));

    let before = scene.origin.received().len();
    let reply = ask(&mut wire, &scene.get("/ok", &format!("Via: 1.1 elsewhere, 1.1 {hop}\r\n"))).await;
    assert_eq!((reply.status, reply.header("x-proxy-error")), (502, Some("loop_detected")));
    assert_eq!(scene.origin.received().len(), before);
}

#[tokio::test]
async fn max_forwards_counts_down_and_ends_here() {
    let scene = Scene::set();
    let mut wire = scene.client().await;
    let reply = ask(&mut wire, &scene.request("OPTIONS", "/ok", "HTTP/1.1", "Max-Forwards: 0\r\n")).await;
    assert_eq!((reply.status, reply.body.len()), (200, 0));
    assert!(reply.header("allow").is_some_and(|allow| allow.contains("CONNECT")), "{reply:?}");
    let fields = "Max-Forwards: 0\r\nCookie: secret\r\nX-Seen: yes\r\n";
    let reply = ask(&mut wire, &scene.request("TRACE", "/ok", "HTTP/1.1", fields)).await;
    assert_eq!(reply.header("content-type"), Some("message/http"));
    let seen = reply.text();
    assert!(seen.starts_with("TRACE http://") && seen.contains("X-Seen: yes"), "{seen}");
    assert!(!seen.to_ascii_lowercase().contains("authorization") && !seen.contains("secret"), "{seen}");
    assert_eq!(scene.origin.connections(), 0, "both ended at the gateway");

    ask(&mut wire, &scene.request("OPTIONS", "/ok", "HTTP/1.1", "Max-Forwards: 3\r\n")).await;
    assert_eq!(scene.origin.last().expect("it went on").header("max-forwards"), Some("2"));
    ask(&mut wire, &scene.request("TRACE", "/ok", "HTTP/1.1", "Max-Forwards: 1\r\n")).await;
    assert_eq!(scene.origin.last().expect("it went on").header("max-forwards"), Some("0"));
    ask(&mut wire, &scene.get("/ok", "Max-Forwards: 5\r\n")).await;
    assert_eq!(scene.origin.last().expect("it went on").header("max-forwards"), Some("5"), "nothing to a GET");
}

#[tokio::test]
async fn a_100_is_waited_for_and_passed_on() {
    let scene = Scene::set();
    let mut wire = scene.client().await;
    let head = scene.request("POST", "/upload", "HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 5\r\n");
    wire.send(head.as_bytes()).await.expect("the gateway reads");
    assert_eq!(wire.head().await.expect("the origin's 100").status, 100);
    wire.send(b"hello").await.expect("the gateway reads");
    let told = json(&wire.reply(Expect::Body).await.expect("the final answer"));
    assert_eq!(told, serde_json::json!({ "length": 5, "checksum": Checksum::of(b"hello").hex() }));
    assert_eq!(scene.origin.last().expect("it was asked").header("expect"), Some("100-continue"));
    assert_eq!(ask(&mut wire, &scene.get("/ok", "")).await.text(), "ok\n", "the connection goes on");
}

#[tokio::test]
async fn a_final_answer_without_100_closes_the_connection_because_the_body_is_unread() {
    let scene = Scene::set();
    let mut wire = scene.client().await;
    let head = scene.request("POST", "/reject-expect", "HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 5\r\n");
    let reply = ask(&mut wire, &head).await;
    assert_eq!((reply.status, reply.interim.len(), reply.header("x-proxy-error")), (417, 0, None));
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(wire.ending().await.expect("an end"), (Vec::new(), Ending::Fin));
}

#[tokio::test]
async fn an_unknown_expectation_is_refused_here() {
    let scene = Scene::set();
    let reply = ask(&mut scene.client().await, &scene.get("/ok", "Expect: the-unexpected\r\n")).await;
    assert_eq!((reply.status, reply.header("x-proxy-error")), (417, Some("expectation_failed")));
    assert_eq!(scene.origin.connections(), 0);
}

#[tokio::test]
async fn interim_answers_go_to_clients_that_know_them() {
    let scene = Scene::set();
    let mut wire = scene.client().await;
    let reply = ask(&mut wire, &scene.get("/1xx", "")).await;
    assert_eq!((reply.status, reply.interim.len()), (200, 1));
    assert_eq!((reply.interim[0].status, reply.interim[0].header("link")), (103, Some("</style.css>; rel=preload")));
    assert_eq!(ask(&mut wire, &scene.get("/ok", "")).await.text(), "ok\n");

    let old = ask(&mut scene.client().await, &scene.request("GET", "/1xx", "HTTP/1.0", "")).await;
    assert_eq!((old.status, old.interim.len()), (200, 0));
}

#[tokio::test]
async fn trailers_go_through_both_ways() {
    let scene = Scene::set();
    let mut wire = scene.client().await;
    let fields = "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\n";
    let head = scene.request("POST", "/echo", "HTTP/1.1", fields);
    let told = json(&ask(&mut wire, &format!("{head}3;ext=\"1\"\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 42\r\n\r\n")).await);
    assert_eq!((&told["body"], &told["trailers"]), (&Value::from("abcde"), &serde_json::json!([["X-Sum", "42"]])));
    let got = scene.origin.last().expect("it was asked");
    assert_eq!((got.header("te"), got.header("trailer")), (Some("trailers"), Some("X-Sum")));

    let reply = ask(&mut wire, &scene.get("/chunked/100000", "TE: trailers\r\n")).await;
    assert_eq!(reply.header("trailer"), Some("X-Checksum"));
    let sum = Checksum::of_payload(100_000).hex();
    assert_eq!(reply.trailers, [("X-Checksum".to_owned(), sum.clone())]);
    assert_eq!(Checksum::of(&reply.body).hex(), sum);
}

#[tokio::test]
async fn an_upgraded_connection_is_a_tunnel() {
    let scene = Scene::set();
    for modifiers in ["", "-pool-residential"] {
        let user = scene.gateway.user(modifiers);
        let (url, host) = (scene.origin.url("/upgrade"), scene.origin.address());
        let authorization = scene.gateway.credentials(&user).header_line();
        let request =
            format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n{authorization}Connection: Upgrade\r\nUpgrade: echo\r\n\r\nearly ");
        let mut wire = scene.client().await;
        let reply = ask(&mut wire, &request).await;
        assert_eq!((reply.status, reply.header("upgrade"), reply.header("connection")), (101, Some("echo"), Some("Upgrade")));
        assert_eq!(wire.exactly(6).await.expect("what was sent behind the request"), b"early ");
        wire.send(b"\x00bird\r\n\r\n").await.expect("open");
        assert_eq!(wire.exactly(9).await.expect("the echo"), b"\x00bird\r\n\r\n");
        wire.finish().await.expect("open");
        assert_eq!(wire.ending().await.expect("an end"), (Vec::new(), Ending::Fin));
    }
    let mut wire = scene.client().await;
    let reply = ask(&mut wire, &scene.get("/upgrade", "Upgrade: echo\r\n")).await;
    assert_eq!(reply.status, 426, "without Connection: Upgrade the offer ends at the gateway");
    assert_eq!(ask(&mut wire, &scene.get("/ok", "")).await.status, 200);
}

#[tokio::test]
async fn an_old_client_gets_no_chunks() {
    let scene = Scene::set();
    let reply = ask(&mut scene.client().await, &scene.request("GET", "/chunked/70000", "HTTP/1.0", "")).await;
    assert_eq!((reply.status, reply.header("transfer-encoding")), (200, None));
    assert_eq!(Checksum::of(&reply.body).hex(), Checksum::of_payload(70_000).hex());

    let mut wire = scene.client().await;
    let asked = scene.request("GET", "/bytes/10", "HTTP/1.0", "Connection: keep-alive\r\n");
    for _ in 0..2 {
        let reply = ask(&mut wire, &asked).await;
        assert_eq!((reply.header("connection"), reply.body.len()), (Some("keep-alive"), 10));
    }
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_in_step() {
    let scene = Scene::set();
    let mut wire = scene.client().await;
    let cases =
        [("HEAD", "/bytes/1000", 200), ("GET", "/status/204", 204), ("GET", "/status/304", 304), ("HEAD", "/chunked/50", 200)];
    for (method, path, status) in cases {
        let reply = answer_to(&mut wire, &scene.request(method, path, "HTTP/1.1", ""), Expect::NoBody).await;
        assert_eq!(reply.status, status, "{method} {path}");
        assert_eq!(reply.header("content-length"), (path == "/bytes/1000").then_some("1000"), "{method} {path}");
        assert_eq!(ask(&mut wire, &scene.get("/ok", "")).await.text(), "ok\n", "after {method} {path}");
    }
    assert_eq!(scene.origin.connections(), 1);
}

#[tokio::test]
async fn an_answer_until_close_ends_with_a_close() {
    let scene = Scene::set();
    let mut wire = scene.client().await;
    let reply = ask(&mut wire, &scene.get("/until-close/50000", "")).await;
    assert_eq!((reply.header("connection"), reply.header("content-length")), (Some("close"), None));
    assert_eq!(Checksum::of(&reply.body).hex(), Checksum::of_payload(50_000).hex());
}

#[tokio::test]
async fn connection_close_is_honoured_from_either_side() {
    let scene = Scene::set();
    let mut wire = scene.client().await;
    let reply = ask(&mut wire, &scene.get("/ok", "Connection: close\r\n")).await;
    assert_eq!(reply.header("connection"), Some("close"));
    assert_eq!(wire.ending().await.expect("an end"), (Vec::new(), Ending::Fin));

    let mut wire = scene.client().await;
    for path in ["/close", "/http10", "/ok"] {
        let reply = ask(&mut wire, &scene.get(path, "")).await;
        assert_eq!((reply.text().as_str(), reply.header("connection")), ("ok\n", None), "the target's close is its own affair");
        assert_eq!(reply.version, "HTTP/1.1");
    }
    assert_eq!(scene.origin.connections(), 4);
}

#[tokio::test]
async fn a_kept_connection_that_died_is_replaced_only_for_what_is_safe_to_repeat() {
    let scene = Scene::set();
    let ok = Step::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n".to_vec());
    // Closes where the second answer should be; the next connection serves on.
    let fading = vec![Step::ReadHead, ok.clone(), Step::ReadHead, Step::Close];
    let lasting = vec![Step::ReadHead, ok.clone(), Step::ReadHead, ok, Step::Stall];
    for (method, survives) in [("GET", true), ("HEAD", true), ("POST", false), ("BREW", false)] {
        let script = Script::start_each(vec![fading.clone(), lasting.clone()]);
        let address = script.address();
        let request =
            |method: &str| format!("{method} http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{}\r\n", scene.authorization);
        let mut wire = scene.client().await;
        assert_eq!(ask(&mut wire, &request("GET")).await.status, 200);
        let expect = if method == "HEAD" { Expect::NoBody } else { Expect::Body };
        let reply = answer_to(&mut wire, &request(method), expect).await;
        if survives {
            assert_eq!((reply.status, script.connections()), (200, 2), "{method}");
        } else {
            assert_eq!((reply.status, reply.header("x-proxy-error")), (502, Some("response_incomplete")), "{method}");
            assert_eq!(script.connections(), 1, "{method} is not sent twice");
        }
    }
}

#[tokio::test]
async fn what_is_not_hop_by_hop_goes_through_unchanged() {
    let scene = Scene::set();
    let mut wire = scene.client().await;
    let reply = ask(&mut wire, &scene.get("/with?Set-Cookie=a%3D1&Set-Cookie=b%3D2&Server=own&ETag=%22x%22", "")).await;
    assert_eq!(reply.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!((reply.header("server"), reply.header("etag")), (Some("own"), Some("\"x\"")));

    let reply = ask(&mut wire, &scene.get("/status/404", "")).await;
    assert_eq!((reply.status, reply.reason.as_str(), reply.header("x-proxy-error")), (404, "Test", None));
    assert_eq!(reply.text(), "status 404\n");

    ask(&mut wire, &scene.request("BREW", "/ok?pot=%2F&x={y}", "HTTP/1.1", "X-Twice: 1\r\nX-Twice: 2\r\nX-Empty:\r\n")).await;
    let got = scene.origin.last().expect("it was asked");
    assert_eq!((got.method.as_str(), got.target.as_str()), ("BREW", "/ok?pot=%2F&x={y}"));
    let twice: Vec<&str> = got.headers.iter().filter(|(name, _)| name == "X-Twice").map(|(_, value)| value.as_str()).collect();
    assert_eq!((twice, got.header("x-empty")), (vec!["1", "2"], Some("")));
}

#[tokio::test]
async fn the_absolute_form_decides_over_host() {
    let scene = Scene::set();
    let request = scene.get("/echo", "").replace(&format!("Host: {}", scene.origin.address()), "Host: elsewhere.example");
    let reply = ask(&mut scene.client().await, &request).await;
    assert_eq!(reply.status, 200);
    let got = scene.origin.last().expect("it was asked");
    assert_eq!(got.header("host"), Some(scene.origin.address().to_string().as_str()), "RFC 9112, section 3.2.2");
}
