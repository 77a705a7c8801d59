//! The proxy itself.

use outgate_faults::Slug;
use outgate_testkit::daemon::Signal;
use outgate_testkit::dns::{Answer, DnsServer};
use outgate_testkit::doors::Doors;
use outgate_testkit::patience::until;
use outgate_testkit::script::{Script, Step};
use outgate_testkit::wire::{Expect, Wire};

use super::outputs::{ask, connect, doors, get, hop, id, login, provoked, quickstart, tell};
use super::trial::{Trial, Way};

scenes![more_tunnels_than_the_gateway_carries, one_that_shuts_down, a_target_that_is_the_gateway];

/// New requests are refused on every way while a tunnel that is open may finish.
async fn one_that_shuts_down(trial: &mut Trial) {
    let origin = Script::start(vec![Step::Write(b"hello".to_vec()), Step::Stall]);
    let mut gateway = doors(&[], "");
    let (mut tunnel, _) = connect(&gateway, "", &origin.address().to_string()).await;
    assert_eq!(tunnel.exactly(5).await.as_deref(), Ok(&b"hello"[..]));
    gateway.daemon().signal(Signal::TERM);
    let draining = |sentence: &str| provoked(Slug::Draining, "read", sentence);
    let user = gateway.user("");
    trial.ask_until(&gateway, gateway.credentials(&user), "echo.outgate:80", Slug::Draining, draining).await;
    tunnel.send(b"still here").await.expect("an open tunnel may finish");
}

async fn a_target_that_is_the_gateway(trial: &mut Trial) {
    let dns = DnsServer::start(&[("me.example", Answer::ip("127.0.0.1"))]);
    let gateway = Doors::open(quickstart(&[]).dns(dns.address()), "");
    let at = gateway.proxy();
    let exits = gateway.told("exit_gateway_url").trim_start_matches("ws://").to_owned();
    for target in [at.to_string(), gateway.tls().to_string(), format!("me.example:{}", at.port()), exits] {
        let sentence = format!("the request runs in a circle: {target} is this gateway itself");
        trial.ask(&gateway, "", &target, &provoked(Slug::LoopDetected, "dial", sentence)).await;
    }
}

#[tokio::test]
async fn more_connections_than_places() {
    let rows = [
        ("OUTGATE_LIMITS_CONNECTIONS", "the proxy is overloaded: too many connections"),
        ("OUTGATE_LIMITS_CONNECTIONS_PER_SOURCE", "the proxy is overloaded: too many connections from this address"),
    ];
    for (limit, sentence) in rows {
        let gateway = quickstart(&[(limit, "1")]).start();
        let (held, reply) = connect(&gateway, "", "echo.outgate:80").await;
        assert_eq!(reply.status, 200);
        for _ in 0..3 {
            let (_wire, reply) = get(&gateway, "", "echo.outgate:80", "/").await;
            assert_eq!(reply.header("Connection"), Some("close"));
            provoked(Slug::Overloaded, "read", sentence).check(&gateway, &reply).await;
        }
        held.reset();
        let mut answer = None;
        while answer != Some(200) {
            let (_wire, reply) = get(&gateway, "", "echo.outgate:80", "/").await;
            assert!(matches!(reply.status, 200 | 503), "until the place is free again");
            answer = Some(reply.status);
        }
    }
}

async fn more_tunnels_than_the_gateway_carries(trial: &mut Trial) {
    let gateway = doors(&[("OUTGATE_LIMITS_TUNNELS", "1")], "");
    let (held, reply) = connect(&gateway, "", "echo.outgate:80").await;
    assert_eq!(reply.status, 200);
    let refused = provoked(Slug::Overloaded, "admit", "the proxy is overloaded: too many requests and tunnels at once");
    trial.ask(&gateway, "", "echo.outgate:80", &refused).await;
    let (_wire, reply) = get(&gateway, "", "echo.outgate:25", "/").await;
    assert_eq!(reply.header("X-Proxy-Error"), Some("port_denied"), "what is never allowed is not worth a retry");
    held.reset();
    until("the place to be free", || gateway.records().iter().any(|r| r["ended_by"] == "client_lost").then_some(())).await;
    assert_eq!(get(&gateway, "", "echo.outgate:80", "/").await.1.status, 200);
}

/// Told on a connection that is plain; another is turned away before its handshake, which has no room for a reason.
#[tokio::test]
async fn memory_that_is_short() {
    // Less than the process holds by itself.
    let gateway = quickstart(&[("OUTGATE_LIMITS_MEMORY", "1MiB")]).start();
    let (_wire, reply) = get(&gateway, "", "echo.outgate:80", "/").await;
    let refused = provoked(Slug::Overloaded, "read", "the proxy is overloaded: memory is short").retry_after(10..=10);
    refused.check(&gateway, &reply).await;
}

#[tokio::test]
async fn a_gateway_that_shuts_down() {
    let origin = Script::start(vec![Step::Write(b"hello".to_vec()), Step::Stall]);
    let mut gateway = quickstart(&[]).start();
    let (mut tunnel, opened) = connect(&gateway, "", &origin.address().to_string()).await;
    assert_eq!(tunnel.exactly(5).await.as_deref(), Ok(&b"hello"[..]));
    let request = format!("GET http://echo.outgate/ HTTP/1.1\r\nHost: echo.outgate\r\n{}\r\n", login(&gateway, ""));
    let mut kept = Vec::new();
    for _ in 0..2 {
        let (wire, reply) = ask(&gateway, &request).await;
        assert_eq!(reply.status, 200);
        kept.push(wire);
    }
    gateway.daemon().signal(Signal::TERM);
    // From some moment on new connections are refused: that moment is the drain's beginning.
    let expected = provoked(Slug::Draining, "read", "this proxy is shutting down and takes no new requests");
    let reply = loop {
        let (_wire, reply) = ask(&gateway, &request).await;
        if reply.status != 200 {
            break reply;
        }
    };
    expected.check(&gateway, &reply).await;
    for mut wire in kept {
        let reply = tell(&mut wire, &request).await.expect("an open connection gets an answer too");
        assert_eq!(reply.header("Connection"), Some("close"));
        expected.check(&gateway, &reply).await;
    }
    // The open tunnel goes on until the deadline, and is then cut by name.
    tunnel.send(b"still here").await.expect("an open tunnel may finish");
    let cut = provoked(Slug::Draining, "settle", "this proxy is shutting down and takes no new requests");
    cut.check_cut(&gateway, &mut tunnel, &id(&opened), 200).await;
    assert!(gateway.daemon().wait().success());
}

#[tokio::test]
async fn requests_in_a_circle() {
    let gateway = quickstart(&[]).start();
    let (name, at) = (hop(&gateway), gateway.proxy());
    let request =
        format!("GET http://echo.outgate/ HTTP/1.1\r\nHost: e\r\nVia: 1.0 fred, 1.1 {name}\r\n{}\r\n", login(&gateway, ""));
    let (_wire, reply) = ask(&gateway, &request).await;
    let sentence = "the request runs in a circle: the request came through this gateway before";
    provoked(Slug::LoopDetected, "read", sentence).check(&gateway, &reply).await;
    // Another proxy's name in Via is no circle.
    let request = format!("GET http://echo.outgate/ HTTP/1.1\r\nHost: e\r\nVia: 1.1 x{name}\r\n{}\r\n", login(&gateway, ""));
    let mut wire = Wire::connect(at).await.expect("the gateway listens");
    wire.send(request.as_bytes()).await.expect("it reads");
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").status, 200);
    until("all of it recorded", || (gateway.records().len() >= 2).then_some(())).await;
}
