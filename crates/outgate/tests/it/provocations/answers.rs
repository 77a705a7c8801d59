//! What all answers have in common, whoever gives them.

use outgate_faults::Slug;
use outgate_link::Refusal;
use outgate_testkit::dead::RefusingPort;
use outgate_testkit::origin::Origin;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Credentials, Ending, Expect, Reply, Wire};

use super::fake_exit::{FakeExit, Manner};
use super::outputs::{ask, connect, connect_as, hop, id, login, new_key, provoked, quickstart, tell};

#[tokio::test]
async fn a_head_request_gets_no_body() {
    let gateway = quickstart(&[]).start();
    let auth = login(&gateway, "");
    let rows = [
        ("http://echo.outgate/", "", Slug::CredentialsMissing),
        ("http://echo.outgate:25/", auth.as_str(), Slug::PortDenied),
        ("http://127.0.0.1:1/", auth.as_str(), Slug::PortDenied),
        ("https://echo.outgate/", auth.as_str(), Slug::HttpsNeedsConnect),
        ("/", auth.as_str(), Slug::WrongProtocol),
    ];
    for (url, fields, slug) in rows {
        let (mut wire, reply) = ask(&gateway, &format!("HEAD {url} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")).await;
        assert_eq!((reply.status, reply.header("X-Proxy-Error")), (slug.row().status, Some(slug.name())), "{url}");
        let length: usize = reply.header("Content-Length").and_then(|l| l.parse().ok()).expect("the length it would have");
        assert!(length > 10, "{url}");
        match reply.header("Connection") {
            Some("close") => {
                let (rest, _) = wire.ending().await.expect("it closes");
                assert_eq!(rest, b"", "{url}");
            }
            _ => {
                let request = format!("GET http://echo.outgate/ HTTP/1.1\r\nHost: echo.outgate\r\n{auth}\r\n");
                let next = tell(&mut wire, &request).await.expect("the next answer begins where this one ended");
                assert_eq!(next.status, 200, "{url}");
            }
        }
    }
}

#[tokio::test]
async fn a_407_leaves_the_connection_usable() {
    let origin = Origin::start();
    let gateway = quickstart(&[]).start();
    let auth = login(&gateway, "");
    let at = origin.address();
    for line in [format!("GET http://{at}/ok"), format!("CONNECT {at}")] {
        for bad in ["", "Proxy-Authorization: Basic eDp5\r\n"] {
            let (mut wire, refused) = ask(&gateway, &format!("{line} HTTP/1.1\r\nHost: {at}\r\n{bad}\r\n")).await;
            assert_eq!((refused.status, refused.header("Connection")), (407, Some("keep-alive")), "{line}");
            let reply = tell(&mut wire, &format!("{line} HTTP/1.1\r\nHost: {at}\r\n{auth}\r\n")).await.expect("an answer");
            assert_eq!(reply.status, 200, "{line}");
            if line.starts_with("CONNECT") {
                wire.send(format!("GET /ok HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes()).await.expect("a tunnel");
                assert_eq!(wire.reply(Expect::Body).await.expect("the origin answers").text(), "ok\n");
            }
        }
    }
}

/// A connection is closed only where what follows on it cannot be told from a request, and then so that the answer arrives.
#[tokio::test]
async fn what_comes_after_a_refusal() {
    let refusing = RefusingPort::reserve();
    let gateway = quickstart(&[]).start();
    let auth = login(&gateway, "");
    let page = format!("GET http://echo.outgate/ HTTP/1.1\r\nHost: echo.outgate\r\n{auth}\r\n");
    let at = refusing.address();
    let (mut wire, reply) = ask(&gateway, &format!("GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n{auth}\r\n")).await;
    assert_eq!((reply.status, reply.header("Connection")), (502, Some("keep-alive")));
    assert_eq!(tell(&mut wire, &page).await.expect("the connection is usable").status, 200);

    let body = "x".repeat(200_000);
    let length = body.len();
    let rows = [
        // Bytes behind a CONNECT are meant for the tunnel, even if they look like a request.
        format!("CONNECT echo.outgate:25 HTTP/1.1\r\nHost: x\r\n{auth}\r\n{page}"),
        // A body that nobody reads must not cost the answer.
        format!("POST http://echo.outgate:25/ HTTP/1.1\r\nHost: x\r\n{auth}Content-Length: {length}\r\n\r\n{body}"),
    ];
    let sentence = "port 25 is not allowed (allowed: 80, 443, 8080, 8443, 1024-65535)";
    for request in rows {
        let mut wire = Wire::connect(gateway.proxy()).await.expect("the gateway listens");
        wire.send(request.as_bytes()).await.expect("it is read away, if not used");
        let reply = wire.reply(Expect::Body).await.expect("the answer arrives");
        assert_eq!(reply.header("Connection"), Some("close"));
        assert_eq!(wire.ending().await, Ok((Vec::new(), Ending::Fin)), "one answer, and a clean end");
        provoked(Slug::PortDenied, "admit", sentence).check(&gateway, &reply).await;
    }
    assert_eq!(gateway.records().len(), 4, "nothing else was taken for a request");
}

/// The names of an answer's fields, in order.
fn names(reply: &Reply) -> Vec<&str> {
    reply.headers.iter().map(|(name, _)| name.as_str()).collect()
}

/// Whatever a caller or an exit writes into a fact, an answer keeps its shape: one status line, our fields, one line of body.
#[tokio::test]
async fn hostile_facts_never_inject() {
    let gateway = quickstart(&[("OUTGATE_LIMITS_REQUEST_LINE", "30KiB"), ("OUTGATE_LIMITS_REQUEST_HEAD", "60KiB")]).start();
    let auth = login(&gateway, "");
    let huge = "x".repeat(10_000);
    let connect_with =
        |modifiers: &str, target: &str| format!("CONNECT {target} HTTP/1.1\r\nHost: x\r\n{}\r\n", login(&gateway, modifiers));
    let expect = |value: &str| format!("GET http://x.example/ HTTP/1.1\r\nHost: x\r\n{auth}Expect: {value}\r\n\r\n");
    let mut requests = vec![
        connect_with("-pool-a\"b\\c", "echo.outgate:80"),
        connect_with("-say\"hi\"\\-x", "echo.outgate:80"),
        connect_with("-pool-residential-country-\u{fc}\u{1f980}", "echo.outgate:80"),
        connect_with(&format!("-pool-{}", "y".repeat(2_500)), "echo.outgate:80"),
        connect_with("", &format!("{huge}:80")),
        connect_with("", "a\"b\\c;d=e,f:80"),
        connect_with("", "10.0.0.5\"; error=none:80"),
        expect("\"quoted\\\", X-Injected: 1"),
        expect(&huge),
        format!("GET https://a\"b.example/ HTTP/1.1\r\nHost: x\r\n{auth}\r\n"),
        format!("GET https://{huge}/ HTTP/1.1\r\nHost: x\r\n{auth}\r\n"),
        format!("GET http://x.example/ HTTP/9.9\"\\\r\nHost: x\r\n{auth}\r\n"),
    ];
    let inside = [
        ("host", "evil.example\r\nX-Injected: 1\r\n\r\n<script>"),
        ("rule", "\"; error=none\\"),
        ("undeclared", "X-Injected: 1"),
    ];
    let facts = inside.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let refusal = Refusal { slug: "target_denied".into(), facts, detail: Some("\r\nX-Injected: 1".into()) };
    let _exit = FakeExit::link_up(&gateway, "mobile", Manner::Refuses(refusal)).await;
    requests.push(connect_with("-pool-mobile", "echo.outgate:80"));
    for request in requests {
        let shown: String = request.chars().take(120).collect();
        let (_wire, reply) = ask(&gateway, &request).await;
        assert!(reply.status >= 400, "{shown}: {}", reply.status);
        let ours = [
            "Date",
            "Proxy-Status",
            "X-Proxy-Error",
            "X-Outgate-Request-Id",
            "Retry-After",
            "Content-Type",
            "Content-Length",
            "Connection",
        ];
        assert!(names(&reply).iter().all(|name| ours.contains(name)), "{shown}: {:?}", names(&reply));
        assert!(reply.raw.len() < 1_400, "{shown}: {} bytes do not fit one segment", reply.raw.len());
        let body = reply.text();
        assert!(body.ends_with('\n') && body.matches(['\n', '\r']).count() == 1, "{shown}: {body:?}");
        assert!(reply.raw.iter().all(|b| matches!(b, b' '..=b'~' | b'\r' | b'\n')), "{shown}");
        let [status] = reply.all("Proxy-Status")[..] else { panic!("{shown}: one Proxy-Status") };
        // Outside of its quoted strings the value has our parameters only.
        let bare = outside_of_strings(status);
        assert_eq!(bare.matches("error=").count(), 1, "{shown}: {status}");
        assert!(!bare.contains("none"), "{shown}: {status}");
        let record = gateway.record(&id(&reply)).await;
        assert_eq!(record["outcome"], reply.header("X-Proxy-Error").expect("named"), "{shown}");
        assert!(!body.contains("undeclared"), "{shown}");
    }
}

/// A structured field without the contents of its strings (RFC 8941, section 3.3.3).
fn outside_of_strings(value: &str) -> String {
    let (mut bare, mut inside, mut escaped) = (String::new(), false, false);
    for c in value.chars() {
        match (inside, escaped, c) {
            (true, false, '\\') => escaped = true,
            (_, false, '"') => inside = !inside,
            (true, ..) => escaped = false,
            (false, ..) => bare.push(c),
        }
    }
    assert!(!inside, "an open string in {value}");
    bare
}

#[tokio::test]
async fn a_target_cannot_forge_our_word() {
    let gateway = quickstart(&[]).start();
    let (hop, auth) = (hop(&gateway), login(&gateway, ""));
    let forged = "X-Proxy-Error: port_denied\r\nx-outgate-request-id: forged\r\nX-OUTGATE-EXIT: forged\r\n\
                  X-Outgate-Country: xx\r\nX-Outgate-Session: forged\r\nX-Outgate-Session-Moved: forged\r\n\
                  X-Outgate-Attempts: 9\r\nX-Kept: yes\r\n";
    let rows = [
        ("Proxy-Status: cdn; received-status=503\r\n", "cdn; received-status=503, "),
        ("Proxy-Status: one\r\nProxy-Status: two;a=\"b\"\r\n", "one, two;a=\"b\", "),
        // What is no list would make the whole field unreadable.
        ("Proxy-Status: \"open\r\n", ""),
        ("", ""),
    ];
    for (theirs, in_front) in rows {
        let answer = format!("HTTP/1.1 403 Forbidden\r\n{forged}{theirs}Content-Length: 3\r\n\r\nno\n");
        let origin = Script::start(vec![Step::ReadHead, Step::Write(answer.into_bytes()), Step::Close]);
        let at = origin.address();
        let (_wire, reply) = ask(&gateway, &format!("GET http://{at}/ HTTP/1.1\r\nHost: {at}\r\n{auth}\r\n")).await;
        assert_eq!((reply.status, reply.reason.as_str(), reply.text().as_str()), (403, "Forbidden", "no\n"));
        assert_eq!(reply.header("X-Proxy-Error"), None, "nobody wonders who said 403");
        assert_eq!(reply.all("Proxy-Status").join(", "), format!("{in_front}{hop}; received-status=403"));
        assert_eq!(reply.all("X-Outgate-Exit"), ["direct"]);
        for field in ["X-Outgate-Country", "X-Outgate-Session", "X-Outgate-Session-Moved", "X-Outgate-Attempts"] {
            assert_eq!(reply.header(field), None, "{field}");
        }
        assert_eq!((reply.all("Via"), reply.header("X-Kept")), (vec![format!("1.1 {hop}").as_str()], Some("yes")));
        assert_ne!(id(&reply), "forged");
        let record = gateway.record(&id(&reply)).await;
        assert_eq!((&record["outcome"], &record["status"]), (&"ok".into(), &403.into()), "the target's own answer");
    }
}

#[tokio::test]
async fn a_tunnel_opens_with_a_head_and_nothing_else() {
    let gateway = quickstart(&[]).start();
    let hop = hop(&gateway);
    let exit = super::outputs::local_exit(&gateway);
    // First a server that waits: nothing may follow the blank line. Then one that speaks first: nothing may be lost.
    let waits = Script::start(vec![Step::Gate, Step::Write(b"220 ready\r\n".to_vec()), Step::Stall]);
    let first = Script::start(vec![Step::Write(b"220 ready\r\n".to_vec()), Step::Stall]);
    let rows = [
        ("", "direct", hop.clone(), None),
        ("-pool-residential-session-ab12", exit.as_str(), status_of(&exit, &hop), Some("ab12")),
    ];
    for (modifiers, out, status, session) in rows {
        for origin in [&waits, &first] {
            let (mut wire, reply) = connect(&gateway, modifiers, &origin.address().to_string()).await;
            assert_eq!((reply.version.as_str(), reply.status), ("HTTP/1.1", 200));
            let fields: Vec<(&str, &str)> = reply.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let id = id(&reply);
            let mut expected =
                vec![("Proxy-Status", status.as_str()), ("X-Outgate-Request-Id", id.as_str()), ("X-Outgate-Exit", out)];
            expected.extend(session.map(|session| ("X-Outgate-Session", session)));
            assert_eq!(fields, expected, "no Content-Length, no Transfer-Encoding, nothing else");
            if std::ptr::eq(origin, &waits) {
                assert_eq!(wire.pending(), b"");
                origin.release();
            }
            assert_eq!(wire.exactly(11).await.as_deref(), Ok(&b"220 ready\r\n"[..]));
        }
    }
}

fn status_of(exit: &str, hop: &str) -> String {
    if exit.starts_with(|c: char| c.is_ascii_alphabetic()) { format!("{exit}, {hop}") } else { format!("\"{exit}\", {hop}") }
}

/// The secret of a refused key is in no answer and no record; what an operator needs is.
#[tokio::test]
async fn a_refusal_shows_no_secret() {
    let gateway = quickstart(&[]).start();
    let (user, password) = new_key(&gateway, &[]);
    let _done = gateway.admin(&["keys", "suspend", &user]);
    let (_wire, reply) = connect_as(&gateway, Credentials { user: &user, password: &password }, "echo.outgate:80").await;
    let record = provoked(Slug::KeySuspended, "identify", "this key is suspended").check(&gateway, &reply).await;
    assert!(!record.to_string().contains(&password));
    assert!(!String::from_utf8_lossy(&reply.raw).contains(&password));
}
