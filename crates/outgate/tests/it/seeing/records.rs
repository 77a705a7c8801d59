//! The records of a real gateway: what is in them, where they lie, and how they are read.

use std::ffi::OsString;
use std::fs::{self, File};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outgate_records::Records;
use outgate_testkit::daemon::Daemon;
use outgate_testkit::dead::RefusingPort;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::{until, wait_for};
use outgate_testkit::wire::{Credentials, Expect, Reply, Wire};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::OUTGATE;
use crate::provocations::outputs::{ask, connect, connect_as, get, id, login, quickstart};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// One record of long ago, as an older version wrote it.
const OLD: &str = r#"{"v":1,"time":"2020-01-02T03:04:05.006Z","request_id":"5e0d5d950000000000000001","key":"k1","client":"192.0.2.1","protocol":"http","method":"CONNECT","target":"old.example:443","outcome":"dns_failed","layer":"target","stage":"dial","status":502,"bytes_up":0,"bytes_down":0,"attempts":1,"ms":{"dns":5.0,"connect":0.0,"total":6.0},"sentence":"it failed"}"#;

fn run(gateway: &GatewayProcess, arguments: &[&str]) -> Output {
    let data = gateway.data().to_str().expect("temporary paths are UTF-8");
    Command::new(OUTGATE).args(arguments).args(["--data", data]).output().expect("the binary runs")
}

/// The records that `outgate logs --json` shows.
fn logs(gateway: &GatewayProcess, arguments: &[&str]) -> Vec<Value> {
    let text = gateway.admin(&[&["logs", "--json"], arguments].concat());
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn health(gateway: &GatewayProcess) -> Value {
    let health = gateway.api("GET", "/v1/health", &Value::Null);
    let signals = health["signals"].as_array().expect("signals");
    signals.iter().find(|signal| signal["name"] == "records").expect("records are among them").clone()
}

#[tokio::test]
async fn a_record_says_how_long_each_step_took_and_which_trace_it_belongs_to() {
    let (gateway, origin) = (quickstart(&[]).start(), Origin::start());
    let target = origin.address().to_string();
    let login = login(&gateway, "");
    let traced = format!("Host: {target}\r\n{login}traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n\r\n");
    for request in [format!("GET http://{target}/ok HTTP/1.1\r\n{traced}"), format!("CONNECT {target} HTTP/1.1\r\n{traced}")] {
        let (wire, reply) = ask(&gateway, &request).await;
        assert_eq!(reply.status, 200);
        drop(wire);
        let record = gateway.record(&id(&reply)).await;
        assert_eq!((&record["trace_id"], &record["outcome"]), (&json!(TRACE), &json!("ok")), "{record}");
        let ms = |step: &str| record["ms"][step].as_f64().unwrap_or_else(|| panic!("{step} in {record}"));
        assert!(ms("queue") <= ms("setup") && ms("setup") <= ms("total") && ms("connect") <= ms("setup"), "{record}");
        assert_eq!(record["ms"]["first_byte"].is_number(), request.starts_with("GET"), "{record}");
        assert!(record["tries"].is_null() && record["told"].is_null() && record["ms"]["tls"].is_null(), "{record}");
    }
}

#[tokio::test]
async fn the_body_that_a_dialect_prescribes_is_recorded_as_it_was_sent() {
    let gateway = Quickstart::new(OUTGATE).args(["--dialect", "proxies.fo"]).start();
    let wrong = Credentials { user: gateway.told("key_id"), password: "wrong" };
    let (_, reply) = connect_as(&gateway, wrong, "127.0.0.1:80").await;
    let record = gateway.record(&id(&reply)).await;
    assert_eq!(
        (record["outcome"].as_str(), reply.text().trim_end()),
        (Some("credentials_wrong"), "Incorrect username or password")
    );
    assert_eq!(record["told"], "Incorrect username or password", "{record}");
    assert_eq!(record["sentence"], "wrong key or secret");
}

#[tokio::test]
async fn what_a_killed_run_left_is_sealed_and_found() {
    let folder = TempDir::new().expect("a folder");
    let records = folder.path().join("records");
    fs::create_dir(&records).expect("ours");
    // Killed in the middle of a line.
    fs::write(records.join("access.jsonl"), format!("{OLD}\n{{\"v\":1,\"time\":\"2020-01-")).expect("ours");
    let then = SystemTime::now() - Duration::from_secs(3 * 3600);
    File::options().write(true).open(records.join("access.jsonl")).and_then(|file| file.set_modified(then)).expect("ours");
    let gateway = quickstart(&[]).start_in(Arc::new(folder));
    let sealed = wait_for("the old file to be sealed", || {
        let names = fs::read_dir(&records).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| name.ends_with(".zst")).collect::<Vec<_>>().pop()
    });
    assert!(sealed.starts_with("access-2") && sealed.ends_with(".jsonl.zst"), "{sealed}");
    let (wire, reply) = connect(&gateway, "", "echo.outgate:80").await;
    drop(wire);
    gateway.record(&id(&reply)).await;
    let found = logs(&gateway, &["--since", "2020-01-01"]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((&found[0]["target"], &found[1]["request_id"]), (&json!("old.example:443"), &json!(id(&reply))));
    let report = gateway.admin(&["report", "5e0d5d950000000000000001"]);
    assert!(report.contains("dns_failed") && report.contains("192.0.x.x"), "{report}");
}

#[tokio::test]
async fn a_full_disk_stops_records_and_not_traffic_and_says_so() {
    let folder = TempDir::new().expect("a folder");
    let live = folder.path().join("records/access.jsonl");
    fs::create_dir(folder.path().join("records")).expect("ours");
    // It takes nothing, as a full disk does.
    std::os::unix::fs::symlink("/dev/full", &live).expect("ours");
    let (mut gateway, origin) = (quickstart(&[]).start_in(Arc::new(folder)), Origin::start());
    let request = async || get(&gateway, "", &origin.address().to_string(), "/ok").await.1;
    for _ in 0..3 {
        assert_eq!(request().await.status, 200);
    }
    let degraded = until("the health to say so", || Some(health(&gateway)).filter(|health| health["state"] == "degraded")).await;
    assert!(degraded["what"].as_str().is_some_and(|what| what.contains("No space left on device")), "{degraded}");
    until("all three to be counted", || {
        health(&gateway)["what"].as_str().is_some_and(|what| what.contains("not recorded, 3 so far")).then_some(())
    })
    .await;
    assert_eq!(gateway.api("GET", "/v1/health", &Value::Null)["status"], "degraded");
    assert_eq!(request().await.status, 200);

    // Room again.
    fs::remove_file(&live).expect("ours");
    let reply = request().await;
    assert_eq!(gateway.record(&id(&reply)).await["outcome"], "ok");
    let well = health(&gateway);
    assert_eq!(well["state"], "ok", "{well}");
    assert!(well["what"].as_str().is_some_and(|what| what.contains("records were lost")), "{well}");
    let log = gateway.daemon().stderr();
    assert!(log.contains("records can't be written; traffic goes on without them"), "{log}");
}

#[tokio::test]
async fn logs_filter_and_count() {
    let (gateway, origin, refusing) = (quickstart(&[]).start(), Origin::start(), RefusingPort::reserve());
    let mut last = String::new();
    for target in [origin.address(), origin.address(), refusing.address()] {
        let (wire, reply) = connect(&gateway, "", &target.to_string()).await;
        drop(wire);
        last = id(&reply);
        gateway.record(&last).await;
    }
    let (_, denied) = ask(&gateway, "GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    gateway.record(&id(&denied)).await;
    let key = gateway.told("key_id");
    let origin = origin.address().to_string();
    for (arguments, expected) in [
        (vec![], 3),
        (vec!["--failed"], 1),
        (vec!["--outcome", "target_refused"], 1),
        (vec!["--outcome", "ok,target_refused"], 3),
        (vec!["--layer", "target", "--status", "5xx"], 1),
        (vec!["--key", key], 3),
        (vec!["--key", "nobody"], 0),
        (vec!["--target", "127.0.0.1"], 3),
        (vec!["--target", &origin], 2),
        (vec!["--limit", "2"], 2),
        (vec!["--auth"], 1),
        (vec!["--outcome", "credentials_missing"], 1),
        (vec!["--until", "1h"], 0),
    ] {
        let found = logs(&gateway, &arguments);
        assert_eq!(found.len(), expected, "{arguments:?}: {found:?}");
    }
    assert_eq!(logs(&gateway, &["--limit", "1"])[0]["request_id"], json!(last), "the newest");

    let counted = gateway.admin(&["logs", "--by", "outcome", "--of", "total", "--json"]);
    let counted: Value = serde_json::from_str(&counted).expect("one object");
    let groups = &counted["groups"];
    assert_eq!((&groups[0]["group"], &groups[0]["requests"]), (&json!("ok"), &json!(2)), "{counted}");
    assert_eq!((&groups[1]["group"], &groups[1]["failed"]), (&json!("target_refused"), &json!(1)), "{counted}");
    assert_eq!(counted["all"]["ms"]["count"], 3);
    let table = gateway.admin(&["logs", "--by", "target"]);
    assert!(table.lines().next().is_some_and(|line| line.starts_with("GROUP")) && table.contains("127.0.0.1"), "{table}");
    let lines = gateway.admin(&["logs", "--failed"]);
    assert!(lines.contains("target_refused") && lines.contains(&last) && lines.lines().count() == 1, "{lines}");

    for (arguments, said) in [
        (["logs", "--outcome", "target_refuse"], "did you mean target_refused?"),
        (["logs", "--by", "weather"], "one of outcome, layer"),
        (["logs", "--status", "6xx"], "a status such as 502"),
    ] {
        let output = run(&gateway, &arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && stderr.contains(said), "{arguments:?}: {stderr}");
    }
}

#[tokio::test]
async fn logs_follow_what_is_written() {
    let gateway = quickstart(&[]).start();
    let (wire, before) = connect(&gateway, "", "echo.outgate:80").await;
    drop(wire);
    gateway.record(&id(&before)).await;
    let data = gateway.data().as_os_str().to_owned();
    let follow = |more: &[&str]| {
        let fixed = ["logs", "--follow", "--json", "--data"].map(OsString::from);
        let arguments: Vec<OsString> = fixed.into_iter().chain([data.clone()]).chain(more.iter().map(OsString::from)).collect();
        Daemon::start(OUTGATE, &arguments, &[])
    };
    let mut follower = follow(&["--since", "1h"]);
    let shows = |follower: &mut Daemon, id: &str| follower.line("the record", |line| line.contains(id).then_some(()));
    shows(&mut follower, &id(&before));
    let (wire, after) = connect(&gateway, "", "echo.outgate:80").await;
    drop(wire);
    shows(&mut follower, &id(&after));
    assert_eq!(follower.stdout().lines().count(), 2, "each once");
    follower.signal(Signal::TERM);
}

#[tokio::test]
async fn a_report_says_all_that_support_needs_and_no_secret() {
    let (gateway, refusing) = (quickstart(&[]).start(), RefusingPort::reserve());
    let (_, reply) = connect(&gateway, "", &refusing.address().to_string()).await;
    let request = id(&reply);
    gateway.record(&request).await;
    let told = reply.text().trim_end().to_owned();
    let text = gateway.admin(&["report", &request]);
    for part in
        [&request, gateway.told("key_id"), &refusing.address().to_string(), "target_refused", &format!("502: {told}"), "Fix:"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json: Value = serde_json::from_str(&gateway.admin(&["report", &request, "--json"])).expect("JSON");
    let api = gateway.api("GET", &format!("/v1/requests/{request}?privacy=public"), &Value::Null);
    assert_eq!(json, api, "the command and the API say the same");
    assert_eq!(json["request"]["client"], "127.0.x.x");
    assert_eq!(gateway.api("GET", &format!("/v1/requests/{request}"), &Value::Null)["request"]["client"], "127.0.0.1");
    assert!(!text.contains(gateway.told("secret")) && !json.to_string().contains(gateway.told("secret")));
    let newest = gateway.api("GET", "/v1/requests?failed=true&limit=1", &Value::Null);
    assert_eq!(newest["items"][0]["request_id"], json!(request));

    let unknown = run(&gateway, &["report", "0123456789abcdef01234567"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no record of a request"));
}

/// The folder is read while the gateway writes: no record is read twice, none is half a record.
#[tokio::test]
async fn records_are_read_while_they_are_written() {
    let (gateway, origin) = (quickstart(&[]).start(), Origin::start());
    let target = origin.address().to_string();
    let mut wire = Wire::connect(gateway.proxy()).await.expect("it listens");
    let request = format!("GET http://{target}/ok HTTP/1.1\r\nHost: {target}\r\n{}\r\n", login(&gateway, ""));
    let records = Records::in_folder(&gateway.data().join("records"));
    let mut asked = Vec::new();
    for number in 0..200 {
        wire.send(request.as_bytes()).await.expect("it reads");
        let reply: Reply = wire.reply(Expect::Body).await.expect("an answer");
        asked.push(id(&reply));
        if number % 20 == 0 {
            let seen = records.newest(outgate_records::Stream::Access, &Default::default(), 1000).expect("they can be read");
            assert!(seen.len() <= asked.len());
        }
    }
    let all = until("all to be written", || Some(gateway.records()).filter(|all| all.len() >= asked.len())).await;
    let all: Vec<String> = all.iter().filter_map(|record| Some(record["request_id"].as_str()?.to_owned())).collect();
    assert_eq!(all, asked, "in their order, each once");
}
