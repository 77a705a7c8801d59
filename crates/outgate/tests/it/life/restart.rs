//! Restarts: with a socket that outlives the gateway nobody is refused; at the drain deadline what is open is cut and counted.

use std::net::TcpListener;

use http::{Method, Request};
use outgate_testkit::ca::Ca;
use outgate_testkit::daemon::{Daemon, Signal};
use outgate_testkit::echo::Echo;
use outgate_testkit::h2_client::H2Client;
use outgate_testkit::patience::until;
use outgate_testkit::wire::{Credentials, Ending, Expect, Wire};
use tokio::task::LocalSet;

use super::load::{Load, LongTunnel};
use super::{Home, Process, get};
use crate::OUTGATE;

const ONE: &str = "[[listen]]\naddress = \"127.0.0.1:0\"\n";

#[tokio::test]
async fn three_restarts_under_load_and_nobody_notices() {
    let mut home = Home::new();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    home.write(&format!("[[listen]]\naddress = \"{address}\"\n"));
    let mut gateway = home.start_activated(&socket);
    assert_eq!(gateway.listeners, [address]);
    let through_restarts = async {
        let load = Load::start(address, home.credentials());
        for _ in 0..3 {
            load.goes_on().await;
            gateway.daemon.signal(Signal::TERM);
            // The load runs on this thread: waiting for the end must let it.
            let ended = until("the end", || gateway.daemon.ended()).await;
            let said = gateway.daemon.stderr();
            assert!(ended.success() && !said.contains("cut"), "{ended}: {said}");
            gateway = home.start_activated(&socket);
        }
        load.goes_on().await;
        load.end().await
    };
    let failed = LocalSet::new().run_until(through_restarts).await;
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The manager keeps the queue: who connects after the signal is served by the successor.
#[tokio::test]
async fn who_comes_between_waits_for_the_successor() {
    let mut home = Home::new();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    home.write(&format!("[[listen]]\naddress = \"{address}\"\n"));
    home.start_activated(&socket).stop();
    let mut wire = Wire::connect(address).await.expect("the kernel answers");
    let successor = home.start_activated(&socket);
    assert_eq!(get(&mut wire, "http://echo.outgate/", home.credentials()).await.status, 200);
    drop(successor);
}

#[tokio::test]
async fn a_passed_socket_that_nobody_wants_is_an_error() {
    let home = Home::new();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    home.write(ONE);
    let stdin = std::os::fd::OwnedFd::from(socket.try_clone().expect("a descriptor"));
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", super::ACTIVATE, OUTGATE])
        .args(home.arguments(&[]))
        .stdin(stdin)
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let address = socket.local_addr().expect("bound");
    assert!(said.contains(&format!("add [[listen]] with address = \"{address}\"")), "{said}");
}

/// The deadline is that of the last reload.
#[tokio::test]
async fn what_is_open_at_the_deadline_is_cut_and_counted() {
    let mut home = Home::new();
    home.write(&format!("timeouts.drain = \"1h\"\n{ONE}"));
    let gateway = home.start();
    let mut tunnel = LongTunnel::open(gateway.listeners[0], home.credentials()).await;
    tunnel.carries().await;
    home.write(&format!("timeouts.drain = \"1ms\"\n{ONE}"));
    assert!(gateway.reload().contains("timeouts.drain"));
    let said = gateway.stop();
    assert!(said.contains("1 request was still open and was cut"), "{said}");
    assert_eq!(tunnel.ending().await, Ending::Reset);
}

/// An exit that was there before the restart has not dialled in again: the request waits for it.
#[tokio::test]
async fn a_request_right_after_the_start_waits_for_exits() {
    let mut home = Home::new();
    home.write(&format!("timeouts.setup = \"20s\"\nfleet.gather = \"20s\"\nexits.address = \"127.0.0.1:0\"\n{ONE}"));
    let gateway = home.start();
    let token = enroll(&gateway);
    gateway.stop();

    let gateway = home.start();
    let door = gateway.daemon.stderr();
    let door = door.split_once("exits=\"").and_then(|(_, rest)| rest.split('"').next()).expect("where exits dial in").to_owned();
    let mut wire = Wire::connect(gateway.listeners[0]).await.expect("it listens");
    let user = format!("{}-pool-mobile", home.key);
    let credentials = Credentials { user: &user, password: &home.secret };
    let request = format!("GET http://echo.outgate/ HTTP/1.1\r\nHost: x\r\n{}\r\n", credentials.header_line());
    wire.send(request.as_bytes()).await.expect("it is open");
    let _exit = exit(&door, &token);
    let reply = wire.reply(Expect::Body).await.expect("an answer");
    assert_eq!(reply.status, 200, "{}", reply.text());
    // A pool that no exit was enrolled in has nothing to wait for.
    let user = format!("{}-pool-isp", home.key);
    let credentials = Credentials { user: &user, password: &home.secret };
    let mut wire = Wire::connect(gateway.listeners[0]).await.expect("it listens");
    assert_eq!(get(&mut wire, "http://echo.outgate/", credentials).await.header("X-Proxy-Error"), Some("no_exit"));
}

/// The door for exits outlives the gateway, too: an exit finds it where it was.
#[tokio::test]
async fn an_exit_links_again_at_the_passed_door() {
    let mut home = Home::new();
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let door = socket.local_addr().expect("bound").to_string();
    home.write(&format!("timeouts.setup = \"20s\"\nfleet.gather = \"20s\"\nexits.address = \"{door}\"\n{ONE}"));
    let gateway = home.start_activated(&socket);
    let _exit = exit(&door, &enroll(&gateway));
    let user = format!("{}-pool-mobile", home.key);
    let online =
        || gateway.admin(&["exits", "list"]).as_array().is_some_and(|exits| exits.iter().any(|e| e["online"].is_object()));
    until("the exit to be linked", || online().then_some(())).await;
    gateway.stop();
    let gateway = home.start_activated(&socket);
    let mut wire = Wire::connect(gateway.listeners[0]).await.expect("it listens");
    let reply = get(&mut wire, "http://echo.outgate/", Credentials { user: &user, password: &home.secret }).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn enroll(gateway: &Process) -> String {
    gateway.admin(&["exits", "enroll", "--pool", "mobile"])["token"].as_str().expect("a token").to_owned()
}

fn exit(door: &str, token: &str) -> Daemon {
    let arguments = ["exit", "--gateway", &format!("ws://{door}"), "--token", token].map(std::ffi::OsString::from);
    Daemon::start(OUTGATE, &arguments, &[])
}

/// In HTTP/2: no new streams (GOAWAY), while the open ones finish; the next connection is the successor's.
#[tokio::test]
async fn a_tunnel_in_http2_finishes_before_the_restart() {
    let mut home = Home::new();
    let (ca, echo) = (Ca::new(), Echo::start());
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    let (certificate, key) = ca.server_files(&["localhost"], home.folder.path());
    let tls = format!("certificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display());
    home.write(&format!("timeouts.drain = \"1h\"\n[[listen]]\naddress = \"{address}\"\n{tls}"));
    let mut gateway = home.start_activated(&socket);
    let connect = async || {
        let wire = Wire::connect(address).await.expect("the kernel answers");
        H2Client::over(wire.tls("localhost", ca.client(&["h2"])).await.expect("it speaks TLS")).await
    };
    let authorization = home.credentials().header_line();
    let authorization = authorization.trim_end().split_once(": ").expect("a field").1.to_owned();
    let ask = |method: Method, target: &str| {
        let request = Request::builder().method(method).uri(target).header("proxy-authorization", &authorization);
        request.body(()).expect("a good request")
    };
    let mut client = connect().await;
    let (reply, mut tunnel) = client.open(ask(Method::CONNECT, &echo.address().to_string())).await.expect("an answer");
    assert_eq!(reply.status, 200);

    gateway.daemon.signal(Signal::TERM);
    until("the connection to take no more", || gateway.daemon.stderr().contains("stopping").then_some(())).await;
    while client.open(ask(Method::GET, "http://echo.outgate/")).await.is_ok_and(|(reply, _)| reply.status == 200) {}
    assert_eq!(gateway.daemon.ended(), None, "the tunnel is open");
    tunnel.send(b"still there", true);
    assert_eq!(tunnel.ending().await, (b"still there".to_vec(), Ending::Fin));
    let ended = until("the end", || gateway.daemon.ended()).await;
    assert!(ended.success() && !gateway.daemon.stderr().contains("cut"), "{ended}: {}", gateway.daemon.stderr());

    let _successor = home.start_activated(&socket);
    let (reply, _) = connect().await.open(ask(Method::GET, "http://echo.outgate/")).await.expect("an answer");
    assert_eq!(reply.status, 200);
}
