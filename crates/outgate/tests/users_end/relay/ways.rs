//! The ways in and out: HTTP, HTTPS and SOCKS5 on either side, each through a real gateway.

use outgate_testkit::ca::Ca;
use outgate_testkit::doors::Doors;
use outgate_testkit::gateway_process::Quickstart;
use outgate_testkit::origin::Origin;
use outgate_testkit::relay_process::RelayProcess;
use outgate_testkit::socks::{self, Said};
use outgate_testkit::wire::{Credentials, Ending, Expect, Wire};

use super::{ask, connect, get, id};
use crate::OUTGATE;

#[tokio::test]
async fn each_way_out_carries_tunnels_and_plain_requests() {
    let origin = Origin::start();
    let doors = Doors::open(Quickstart::new(OUTGATE), "");
    let (user, secret) = (doors.user(""), doors.told("secret").to_owned());
    let http = doors.proxy();
    let tls = doors.tls();
    let ca = doors.ca().pem_path().display().to_string();
    let upstreams = [
        format!("url = \"http://{user}:{secret}@{http}\""),
        format!("url = \"https://{user}:{secret}@localhost:{}\"\nca = \"{ca}\"", tls.port()),
        format!("url = \"socks5h://{user}:{secret}@{http}\""),
        format!("url = \"socks5://{user}:{secret}@{http}\""),
    ];
    for upstream in upstreams {
        let relay = RelayProcess::configured(OUTGATE, &format!("[[upstream]]\n{upstream}\n"));
        let reply = get(relay.proxy(), &origin.url("/bytes/100000"), "").await;
        assert_eq!((reply.status, reply.body.len()), (200, 100_000), "{upstream}");
        let record = relay.record(id(&reply)).await;
        assert_eq!((&record["outcome"], &record["bytes_down"]), (&"ok".into(), &100_000.into()), "{record}");
        assert!(record["proxy"].as_str().is_some_and(|proxy| !proxy.contains('@')), "{record}");

        let target = origin.address().to_string();
        let (reply, mut tunnel) = connect(relay.proxy(), &target).await;
        assert_eq!(reply.status, 200, "{upstream}");
        assert_eq!((reply.header("content-length"), reply.header("transfer-encoding")), (None, None));
        tunnel.send(format!("GET /ok HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n").as_bytes()).await.expect("taken");
        assert_eq!(tunnel.reply(Expect::Body).await.expect("the target's answer").text(), "ok\n");
        assert!(matches!(tunnel.ending().await, Ok((_, Ending::Fin))), "{upstream}");

        let request = socks::request(socks::CONNECT, "127.0.0.1", origin.address().port());
        let (said, mut tunnel) = socks::ask(relay.proxy(), None, &request).await.expect("a reply");
        assert_eq!(said, Said::Reply(0), "{upstream}");
        tunnel.send(format!("GET /ok HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n").as_bytes()).await.expect("taken");
        assert_eq!(tunnel.reply(Expect::Body).await.expect("the target's answer").text(), "ok\n");
    }
}

#[tokio::test]
async fn hops_are_named_in_order_and_nothing_else_is_changed() {
    let (origin, gateway) = (Origin::start(), Quickstart::new(OUTGATE).start());
    let relay = RelayProcess::start(OUTGATE, ["--upstream", gateway.told("proxy_url")]);
    let reply = get(relay.proxy(), &origin.url("/status/404"), "X-Mine: 1\r\nConnection: X-Hop\r\nX-Hop: 2\r\n").await;
    assert_eq!((reply.status, reply.header("x-proxy-error")), (404, None));
    let hops = reply.header("proxy-status").expect("the hops");
    let names: Vec<&str> = hops.split(", ").map(|member| member.split(';').next().unwrap_or_default()).collect();
    assert!(names.len() == 2 && names[0].starts_with("outgate-") && names[1].starts_with("relay-"), "{hops}");
    assert!(hops.split(", ").all(|member| member.ends_with("received-status=404")), "{hops}");
    let received = origin.received();
    let request = received.first().expect("the origin was asked");
    let field =
        |name: &str| request.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    assert_eq!((field("x-mine").as_deref(), field("x-hop"), field("proxy-authorization")), (Some("1"), None, None));

    let (reply, _tunnel) = connect(relay.proxy(), &origin.address().to_string()).await;
    assert_eq!(reply.header("x-outgate-exit"), Some("direct"), "what the gateway names comes through");
    assert_eq!(reply.header("proxy-status").map(|hops| hops.split(", ").count()), Some(2));
}

#[tokio::test]
async fn programs_come_in_over_tls() {
    let (origin, gateway) = (Origin::start(), Quickstart::new(OUTGATE).start());
    let ca = Ca::new();
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let (certificate, key) = ca.server_files(&["localhost"], folder.path());
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:0\"\ncertificate = \"{}\"\nkey = \"{}\"\n[[upstream]]\nurl = \"{}\"\n",
        certificate.display(),
        key.display(),
        gateway.told("proxy_url")
    );
    let relay = RelayProcess::configured_listening(OUTGATE, &text);
    assert!(relay.url().starts_with("https://"));
    let wire = Wire::connect(relay.proxy()).await.expect("the relay listens");
    let mut wire = wire.tls("localhost", ca.client(&[])).await.expect("TLS with the relay");
    wire.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", origin.url("/ok")).as_bytes()).await.expect("taken");
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").text(), "ok\n");
}

#[tokio::test]
async fn a_connection_serves_many_requests_and_bodies_go_up() {
    let (origin, gateway) = (Origin::start(), Quickstart::new(OUTGATE).start());
    let relay = RelayProcess::start(OUTGATE, ["--upstream", gateway.told("proxy_url")]);
    let mut wire = Wire::connect(relay.proxy()).await.expect("the relay listens");
    for length in [0, 10, 100_000, 1_000_000] {
        let head = format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n", origin.url("/upload"));
        wire.send(head.as_bytes()).await.expect("taken");
        wire.send(&vec![b'x'; length]).await.expect("taken");
        let reply = wire.reply(Expect::Body).await.expect("an answer");
        let told: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {reply:?}"));
        assert_eq!(told["length"], length, "longer than what is kept or not");
        assert_eq!(relay.record(id(&reply)).await["bytes_up"], length);
    }
}

#[tokio::test]
async fn protocols_are_switched() {
    let (origin, gateway) = (Origin::start(), Quickstart::new(OUTGATE).start());
    let relay = RelayProcess::start(OUTGATE, ["--upstream", gateway.told("proxy_url")]);
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n", origin.url("/upgrade"));
    let mut wire = Wire::connect(relay.proxy()).await.expect("the relay listens");
    wire.send(request.as_bytes()).await.expect("taken");
    let reply = wire.head().await.expect("an answer");
    assert_eq!((reply.status, reply.header("upgrade")), (101, Some("echo")), "{reply:?}");
    wire.send(b"there and back").await.expect("taken");
    assert_eq!(wire.exactly(14).await.expect("the echo"), b"there and back");
}

#[tokio::test]
async fn a_program_may_name_its_session() {
    let (origin, gateway) = (Origin::start(), Quickstart::new(OUTGATE).start());
    let url = gateway.told("proxy_url");
    let relay = RelayProcess::configured(OUTGATE, &format!("[[upstream]]\nurl = \"{url}\"\nprovider = \"outgate\"\n"));
    let login = Credentials { user: "session-mine", password: "" }.header_line();
    let reply = get(relay.proxy(), "http://echo.outgate/", &login).await;
    let told: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {reply:?}"));
    assert_eq!(told["session"], "mine");
    assert_eq!(relay.record(id(&reply)).await["session"], "mine");
    let request = socks::request(socks::CONNECT, "127.0.0.1", origin.address().port());
    let login = Credentials { user: "session-other", password: "x" };
    let (said, _tunnel) = socks::ask(relay.proxy(), Some(login), &request).await.expect("a reply");
    assert_eq!(said, Said::Reply(0));
    let of = |session: &str| gateway.records().iter().filter(|record| record["session"] == session).count();
    outgate_testkit::patience::until("the gateway's record of the other session", || (of("mine") == 1).then_some(())).await;
}

#[tokio::test]
async fn a_program_may_bring_its_own_login() {
    let gateway = Quickstart::new(OUTGATE).start();
    let relay = RelayProcess::start(OUTGATE, ["--upstream".to_owned(), format!("http://{}", gateway.proxy())]);
    let user = gateway.user("");
    let login = gateway.credentials(&user).header_line();
    assert_eq!(get(relay.proxy(), "http://echo.outgate/", &login).await.status, 200);
    let reply = get(relay.proxy(), "http://echo.outgate/", "").await;
    assert_eq!((reply.status, reply.header("x-proxy-error")), (407, Some("credentials_missing")), "{reply:?}");
    assert!(reply.header("proxy-authenticate").is_some(), "a program that waits to be asked is asked");
    // One program's missing login is not the next one's.
    assert_eq!(get(relay.proxy(), "http://echo.outgate/", &login).await.status, 200);
}

#[tokio::test]
async fn the_relay_says_how_it_stands() {
    let gateway = Quickstart::new(OUTGATE).start();
    let relay = RelayProcess::start(OUTGATE, ["--upstream", gateway.told("proxy_url")]);
    get(relay.proxy(), "http://echo.outgate/", "").await;
    let own = async |path: &str| ask(relay.proxy(), &format!("GET {path} HTTP/1.1\r\nHost: relay\r\n\r\n"), Expect::Body).await.0;
    let status: serde_json::Value = serde_json::from_slice(&own("/status.json").await.body).expect("JSON");
    let upstream = &status["upstreams"][0];
    assert_eq!(
        (&upstream["attempts"], &upstream["ok"], &upstream["last"]["outcome"]),
        (&1.into(), &1.into(), &"ok".into()),
        "{status}"
    );
    assert_eq!((&status["in_flight"], &status["requests"]), (&0.into(), &1.into()), "a look at it is none: {status}");
    let metrics = own("/metrics").await;
    let line = format!(
        "outgate_requests_total{{protocol=\"http\",kind=\"forward\",pool=\"http://{}\",outcome=\"ok\",layer=\"\"}} 1",
        gateway.proxy()
    );
    assert!(metrics.text().contains(&line), "{line}\nin\n{}", metrics.text());
    let page = own("/status").await;
    assert!(page.text().contains("<h1>relay-") && page.header("content-security-policy").is_some(), "{}", page.text());
    assert_eq!(own("/nothing-here").await.header("x-proxy-error"), Some("malformed_target"));
    for text in [status.to_string(), metrics.text(), page.text()] {
        assert!(!text.contains(gateway.told("secret")), "{text}");
    }
}
