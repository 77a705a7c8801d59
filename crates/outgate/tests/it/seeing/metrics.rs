//! `/metrics` of a real gateway: what it counts, who may read it, and that it does not grow.

use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;

use outgate_store::{Plan, PlanName, SecretHash};
use outgate_testkit::dead::RefusingPort;
use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::origin::Origin;
use outgate_testkit::patience::within;
use outgate_testkit::wire::{Credentials, Expect, Reply, Wire};
use serde_json::json;
use tempfile::TempDir;

use crate::OUTGATE;
use crate::provocations::labelled_exit::LabelledExit;
use crate::provocations::outputs::{ask, connect, doors, get, quickstart, tell};

/// Asks the console for a path, with more fields.
async fn page(gateway: &GatewayProcess, path: &str, fields: &str) -> Reply {
    let mut wire = Wire::connect(gateway.console()).await.expect("the console listens");
    let host = if fields.contains("Host: ") { String::new() } else { format!("Host: {}\r\n", gateway.console()) };
    wire.send(format!("GET {path} HTTP/1.1\r\n{host}{fields}\r\n").as_bytes()).await.expect("the console reads");
    wire.reply(Expect::Body).await.expect("an answer")
}

async fn metrics(gateway: &GatewayProcess) -> String {
    let reply = page(gateway, "/metrics", "").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/plain; version=0.0.4; charset=utf-8")));
    reply.text()
}

/// The value of a series, by its name and labels as they stand on the page; zero if it is not there.
fn value(page: &str, series: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |number| number.parse().expect("a number"))
}

/// Waits until the page has these values: what ended is counted a moment after the client saw the end.
async fn until_page_has(gateway: &GatewayProcess, expected: &[(&str, f64)]) -> String {
    let looking = async {
        loop {
            let page = metrics(gateway).await;
            if expected.iter().all(|(series, number)| value(&page, series) == *number) {
                return page;
            }
            tokio::task::yield_now().await;
        }
    };
    within(&format!("the page to have {expected:?}"), looking).await
}

#[tokio::test]
async fn what_requests_did_is_on_the_page() {
    let gateway = quickstart(&[]).start();
    let (origin, refusing) = (Origin::start(), RefusingPort::reserve());
    let _exit = LabelledExit::link_up(&gateway, &["--pool", "mobile", "--country", "us"]).await;
    let (_, reply) = get(&gateway, "", &origin.address().to_string(), "/ok").await;
    assert_eq!(reply.status, 200);
    let (_, reply) = connect(&gateway, "", &refusing.address().to_string()).await;
    assert_eq!(reply.status, 502);
    let (wire, reply) = connect(&gateway, "-pool-mobile-country-us", &origin.address().to_string()).await;
    assert_eq!(reply.status, 200);
    drop(wire);
    let (_, reply) = connect(&gateway, "-pool-mobile-country-de", &origin.address().to_string()).await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    let (_, reply) = ask(&gateway, "GET http://echo.outgate/ HTTP/1.1\r\nHost: echo.outgate\r\n\r\n").await;
    assert_eq!(reply.status, 407);

    let expected = [
        (r#"outgate_requests_total{protocol="http",kind="forward",pool="direct",outcome="ok",layer=""}"#, 1.0),
        (r#"outgate_requests_total{protocol="http",kind="tunnel",pool="direct",outcome="target_refused",layer="target"}"#, 1.0),
        (r#"outgate_requests_total{protocol="http",kind="tunnel",pool="mobile",outcome="ok",layer=""}"#, 1.0),
        (r#"outgate_requests_total{protocol="http",kind="tunnel",pool="mobile",outcome="no_exit",layer="exit"}"#, 1.0),
        (r#"outgate_requests_total{protocol="http",kind="forward",pool="",outcome="credentials_missing",layer="auth"}"#, 1.0),
        (r#"outgate_country_requests_total{pool="mobile",country="us",result="ok"}"#, 1.0),
        (r#"outgate_country_requests_total{pool="mobile",country="de",result="exit"}"#, 1.0),
        (r#"outgate_responses_total{pool="direct",status="5xx"}"#, 1.0),
        (r#"outgate_setup_seconds_count{pool="direct",country=""}"#, 2.0),
        (r#"outgate_setup_seconds_count{pool="mobile",country="us"}"#, 1.0),
        (r#"outgate_setup_seconds_count{pool="mobile",country="de"}"#, 1.0),
        ("outgate_queue_seconds_count", 4.0),
        ("outgate_first_byte_seconds_count", 1.0),
        ("outgate_forward_seconds_count", 1.0),
        ("outgate_tunnel_seconds_count", 1.0),
        ("outgate_in_flight", 0.0),
        (r#"outgate_exits{pool="mobile",country="us",health="healthy"}"#, 1.0),
        (r#"outgate_exits{pool="isp",country="",health="healthy"}"#, 0.0),
        ("outgate_keys", 1.0),
        (r#"outgate_usage_kept{in="ledger"}"#, 1.0),
        ("outgate_records_dropped_total", 0.0),
    ];
    let page = until_page_has(&gateway, &expected).await;
    assert!(page.contains(r#"outgate_exits{pool="isp",country="",health="healthy"} 0"#), "an empty pool is told: {page}");
    assert!(value(&page, "process_resident_memory_bytes") > 1e6 && value(&page, "process_open_fds") > 5.0, "{page}");
    assert!(value(&page, "process_cpu_seconds_total") > 0.0 && value(&page, "process_start_time_seconds") > 1.7e9, "{page}");
}

#[tokio::test]
async fn every_way_in_has_its_protocol_and_a_handshake_is_timed() {
    let gateway = doors(&[], "");
    let origin = Origin::start();
    let target = origin.address();
    let user = gateway.user("");
    let login = gateway.credentials(&user).header_line();
    let mut tls = gateway.over_tls(&["http/1.1"]).await;
    let reply = tell(&mut tls, &format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n")).await.expect("an answer");
    assert_eq!(reply.status, 200);
    drop(tls);
    let expected = [
        (r#"outgate_requests_total{protocol="https",kind="tunnel",pool="direct",outcome="ok",layer=""}"#, 1.0),
        ("outgate_tls_handshake_seconds_count", 1.0),
    ];
    until_page_has(&gateway, &expected).await;
}

#[tokio::test]
async fn payload_is_counted_while_a_tunnel_is_open() {
    let gateway = quickstart(&[]).start();
    let origin = Origin::start();
    let (mut wire, reply) = connect(&gateway, "", &origin.address().to_string()).await;
    assert_eq!(reply.status, 200);
    let request = "GET /ok HTTP/1.1\r\nHost: origin\r\n\r\n";
    let reply = tell(&mut wire, request).await.expect("the origin's answer");
    assert_eq!(reply.status, 200);
    let expected = [
        (r#"outgate_payload_bytes_total{pool="direct",direction="up"}"#, request.len() as f64),
        ("outgate_in_flight", 1.0),
        (r#"outgate_setup_seconds_count{pool="direct",country=""}"#, 1.0),
        ("outgate_tunnel_seconds_count", 0.0),
    ];
    let page = until_page_has(&gateway, &expected).await;
    assert!(value(&page, r#"outgate_payload_bytes_total{pool="direct",direction="down"}"#) > 0.0, "{page}");
}

#[tokio::test]
async fn others_need_a_token() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "0123456789abcdef0123\n").expect("the folder is ours");
    let gateway = quickstart(&[("OUTGATE_METRICS_TOKEN_FILE", file.to_str().expect("UTF-8"))]).start();
    let admin = format!("Authorization: Bearer {}\r\n", gateway.told("admin_token"));
    let cases = [
        ("", 200),
        ("Host: attacker.example\r\n", 401),
        ("X-Forwarded-For: 192.0.2.1\r\n", 401),
        ("X-Forwarded-For: 192.0.2.1\r\nAuthorization: Bearer 0123456789abcdef0123\r\n", 200),
        ("Authorization: Bearer 0123456789abcdef0124\r\n", 401),
        (admin.as_str(), 200),
    ];
    for (fields, status) in cases {
        let reply = page(&gateway, "/metrics", fields).await;
        assert_eq!(reply.status, status, "{fields:?}: {}", reply.text());
    }
    // What opens the metrics opens nothing else.
    let reply = page(&gateway, "/v1/keys", "Authorization: Bearer 0123456789abcdef0123\r\n").await;
    assert_eq!(reply.status, 401);
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let reply = page(&gateway, "/metrics", accept).await;
    assert_eq!(reply.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    assert!(reply.text().ends_with("# EOF\n"));
}

#[tokio::test]
async fn who_wants_no_metrics_has_none() {
    let gateway = quickstart(&[("OUTGATE_METRICS_ENABLED", "false")]).start();
    assert_eq!(page(&gateway, "/metrics", "").await.status, 404);
}

/// As `outgate store import` takes them (docs/store.md).
fn ledger_of(keys: usize) -> String {
    let plan = Plan::unlimited(PlanName::parse("many").expect("a name"));
    let mut text = format!("{}\n{}\n", json!({"outgate_ledger": {"version": 1}}), json!({ "plan": plan }));
    let secret = SecretHash::of(b"secret").to_hex();
    for number in 0..keys {
        let key = json!({
            "id": format!("k{number:06}"), "plan": "many", "secret_sha256": secret, "state": "active", "allow_ips": [],
            "proof": "secret", "created": "2026-01-01T00:00:00Z", "period_anchor": "2026-01-01T00:00:00Z",
        });
        let _ = writeln!(text, "{}", json!({ "key": key }));
    }
    let _ = writeln!(text, "{}", json!({"end": {"entries": keys + 1}}));
    text
}

/// 100,000 keys, a good number of them used, each for another target: the page has the lines it had for one.
#[tokio::test]
async fn the_page_does_not_grow_with_keys_and_targets() {
    const KEYS: usize = 100_000;
    const USED: usize = 1_000;
    let folder = TempDir::new().expect("a temporary folder");
    let (data, file) = (folder.path().join("data"), folder.path().join("ledger.jsonl"));
    std::fs::write(&file, ledger_of(KEYS)).expect("the folder is ours");
    let import = Command::new(OUTGATE).args(["store", "import", "--data"]).args([&data, &file]).output().expect("it runs");
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    std::fs::remove_file(&file).expect("it is ours");
    for entry in std::fs::read_dir(&data).expect("the import made it") {
        let path = entry.expect("readable").path();
        std::fs::rename(&path, folder.path().join(path.file_name().expect("a name"))).expect("both are ours");
    }
    let gateway = quickstart(&[]).start_in(Arc::new(folder));

    let refusing = RefusingPort::reserve();
    let mut wire = Wire::connect(gateway.proxy()).await.expect("the gateway listens");
    let use_key = async |wire: &mut Wire, number: usize| {
        let user = format!("k{number:06}");
        let login = Credentials { user: &user, password: "secret" }.header_line();
        let host = format!("127.{}.{}.1:{}", number / 250, number % 250, refusing.address().port());
        let request = format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{login}\r\n");
        let reply = tell(wire, &request).await.expect("an answer");
        assert_eq!(reply.status, 502, "{}", reply.text());
    };
    let refused =
        r#"outgate_requests_total{protocol="http",kind="forward",pool="direct",outcome="target_refused",layer="target"}"#;
    use_key(&mut wire, 0).await;
    let before = until_page_has(&gateway, &[(refused, 1.0)]).await;
    for number in 1..USED {
        use_key(&mut wire, number).await;
    }
    let after = until_page_has(&gateway, &[(refused, USED as f64), ("outgate_keys", (KEYS + 1) as f64)]).await;
    let series = |page: &str| -> Vec<String> {
        let names = page.lines().filter(|line| !line.starts_with('#'));
        names.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect()
    };
    assert_eq!(series(&before), series(&after));
    for word in ["k000", gateway.told("key_id"), "127.0.", "secret"] {
        assert!(!after.contains(word), "{word:?} is on the page");
    }
}
