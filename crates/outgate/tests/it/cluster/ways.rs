//! What a tunnel over two gateways must still be: whole, half-closed, reset, billed where the client is.

use std::time::Duration;

use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::{until, within};
use outgate_testkit::socks::{self, Said};
use outgate_testkit::wire::{Expect, Reply};
use serde_json::Value;
use tokio::io::Interest;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::Cluster;
use crate::provocations::labelled_exit::LabelledExit;
use crate::provocations::outputs::{connect, get, id};
use crate::transfer::{half_closes, in_bulk, read_on, resets, speaks_first, stalled};

/// An exit that only gw1 holds, asked for at gw0.
const WAY: &str = "-pool-mobile-country-de";

async fn two_gateways() -> (Cluster, LabelledExit) {
    let cluster = Cluster::start(2).await;
    let exit = LabelledExit::link_up(&cluster.gateways[1], &["--pool", "mobile", "--country", "de"]).await;
    cluster.sees(0, "mobile", 1).await;
    (cluster, exit)
}

#[tokio::test]
async fn a_request_leaves_through_an_exit_of_another_gateway() {
    let (cluster, exit) = two_gateways().await;
    let [here, there] = &cluster.gateways[..] else { panic!("two gateways") };
    let origin = Origin::start();
    let target = origin.address().to_string();
    let named = |reply: &Reply| {
        let fields = ["X-Outgate-Exit", "X-Outgate-Country"].map(|field| reply.header(field).map(str::to_owned));
        assert_eq!((reply.status, fields), (200, [Some(exit.id.clone()), Some("de".to_owned())]), "{}", reply.text());
        reply.header("Proxy-Status").expect("every answer has it").replace('"', "")
    };

    let (mut wire, reply) = connect(here, WAY, &target).await;
    assert_eq!(named(&reply), format!("{}, gw1, gw0", exit.id));
    wire.send(format!("GET /ok HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n").as_bytes()).await.expect("open");
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").text(), "ok\n");
    drop(wire);
    let record = here.record(&id(&reply)).await;
    assert_eq!((&record["exit"], &record["gateway"]), (&exit.id.as_str().into(), &"gw1".into()), "{record}");

    let (_wire, reply) = get(here, WAY, &target, "/ok").await;
    assert_eq!((named(&reply), reply.text().as_str()), (format!("{}, gw1, gw0; received-status=200", exit.id), "ok\n"));

    let (user, asked) = (here.user(WAY), socks::request(socks::CONNECT, "127.0.0.1", origin.address().port()));
    let (said, mut wire) = socks::ask(here.proxy(), Some(here.credentials(&user)), &asked).await.expect("a reply");
    assert_eq!(said, Said::Reply(0));
    wire.send(format!("GET /ok HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n").as_bytes()).await.expect("open");
    assert_eq!(wire.reply(Expect::Body).await.expect("an answer").text(), "ok\n");

    // The exit dials back to the gateway that holds it, and the answer is what the other one saw.
    let (_wire, reply) = get(here, &format!("{WAY}-session-ab12"), "echo.outgate:80", "/").await;
    named(&reply);
    let echoed: Value = serde_json::from_str(&reply.text()).expect("JSON");
    assert_eq!((&echoed["key"], &echoed["exit"]), (&here.told("key_id").into(), &exit.id.as_str().into()), "{echoed}");
    assert_eq!((&echoed["session"], &echoed["request_id"]), (&"ab12".into(), &id(&reply).into()), "{echoed}");

    // Billed and recorded where it was admitted, and only there.
    let used = |gateway: &GatewayProcess| {
        let path = format!("/v1/keys/{}", gateway.told("key_id"));
        gateway.api("GET", &path, &Value::Null)["period"]["bytes"].as_u64().expect("a number")
    };
    assert!(used(here) > 0 && used(there) == 0, "{} here, {} there", used(here), used(there));
    assert!(there.records().is_empty());
}

#[tokio::test]
async fn bulk_over_two_gateways() {
    let (cluster, _exit) = two_gateways().await;
    in_bulk(&cluster.gateways[0], &Origin::start(), WAY).await;
}

#[tokio::test]
async fn ends_and_resets_go_through_two_gateways() {
    let (cluster, _exit) = two_gateways().await;
    half_closes(&cluster.gateways[0], WAY).await;
    resets(&cluster.gateways[0], WAY).await;
    speaks_first(&cluster.gateways[0], WAY).await;
}

#[tokio::test]
async fn a_slow_reader_stalls_only_itself_over_two_gateways() {
    let (mut cluster, _exit) = two_gateways().await;
    let origin = Origin::start();
    let before = cluster.gateways[1].daemon().resident_bytes();
    let slow = stalled(&cluster.gateways[0], WAY, &origin).await;
    let held = cluster.gateways[1].daemon().resident_bytes().saturating_sub(before);
    println!("4 stalled tunnels of 50 MiB hold {} KiB at the gateway between", held / 1024);
    assert!(held < 64 << 20, "4 stalled tunnels hold {held} bytes");
    read_on(slow).await;
}

/// Nobody reads at either end, and the key is suspended: what waits for one side must still hear of the other.
#[tokio::test]
async fn a_stalled_tunnel_that_is_cut_is_let_go_by_everybody() {
    let (cluster, exit) = two_gateways().await;
    let [here, there] = &cluster.gateways[..] else { panic!("two gateways") };
    let deaf = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (mut wire, _) = connect(here, WAY, &deaf.local_addr().expect("bound").to_string()).await;
    let (target, _) = deaf.accept().await.expect("the exit has connected");
    let flood = vec![7; 1 << 20];
    let stuffed = async { while wire.send(&flood).await.is_ok() {} };
    assert!(timeout(Duration::from_secs(1), stuffed).await.is_err(), "nothing is read, so it can't go on for ever");
    let _suspended = here.admin(&["keys", "suspend", here.told("key_id")]);
    let tunnels = || exit.row(there)["online"]["tunnels"].as_u64();
    until("the exit to be rid of the tunnel", || (tunnels() == Some(0)).then_some(())).await;
    within("the target's reset", target.ready(Interest::ERROR)).await.expect("a socket");
}
