//! The records of requests over the API.

use std::fs;
use std::sync::Arc;

use outgate_records::Records;
use outgate_store::memory::Memory;
use serde_json::Value;

use crate::client::ask;
use crate::gateway::{Console, TOKEN, console, console_recording};

/// The console's clock says half past seven.
const ACCESS: &str = r#"{"v":1,"time":"2026-11-20T06:00:00.000Z","request_id":"old","key":"k1","client":"192.0.2.1","protocol":"http","method":"CONNECT","target":"a.example:443","outcome":"ok","stage":"settle","status":200,"bytes_up":1,"bytes_down":2,"attempts":1,"ms":{"queue":0.1,"dns":1.0,"connect":2.0,"setup":3.0,"total":9.5}}
{"v":1,"time":"2026-11-21T07:00:00.000Z","request_id":"one","key":"k1","client":"192.0.2.1","protocol":"http","method":"CONNECT","target":"a.example:443","outcome":"ok","stage":"settle","status":200,"bytes_up":1,"bytes_down":2,"attempts":1,"ms":{"queue":0.1,"dns":1.0,"connect":2.0,"setup":3.0,"total":9.5}}
{"v":1,"time":"2026-11-21T07:10:00.000Z","request_id":"two","key":"k2","client":"192.0.2.2","protocol":"http","method":"CONNECT","target":"b.example:443","outcome":"dns_failed","layer":"target","stage":"dial","status":502,"bytes_up":0,"bytes_down":0,"attempts":1,"ms":{"queue":0.1,"dns":3000.0,"connect":0.0,"setup":3000.5,"total":3001.0},"sentence":"b.example could not be resolved","detail":"10.0.0.53 said SERVFAIL"}
"#;
const AUTH: &str = r#"{"v":1,"time":"2026-11-21T07:20:00.000Z","request_id":"bad","client":"192.0.2.3","protocol":"http","method":"CONNECT","target":"b.example:443","outcome":"credentials_wrong","layer":"auth","stage":"identify","status":407,"bytes_up":0,"bytes_down":0,"attempts":0,"ms":{"queue":0.0,"dns":0.0,"connect":0.0,"setup":0.5,"total":0.5},"sentence":"wrong key or secret"}
"#;

async fn with_records() -> (Console, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("access.jsonl"), ACCESS).expect("ours");
    fs::write(folder.path().join("auth.jsonl"), AUTH).expect("ours");
    (console_recording(Arc::new(Memory::new()), Some(Records::in_folder(folder.path()))).await, folder)
}

fn ids(answer: &Value) -> Vec<&str> {
    answer["items"].as_array().expect("a list").iter().filter_map(|item| item["request_id"].as_str()).collect()
}

#[tokio::test]
async fn requests_are_found_by_what_they_are() {
    let (console, _folder) = with_records().await;
    for (query, expected) in [
        ("", vec!["two", "one"]),
        ("?since=2d", vec!["two", "one", "old"]),
        ("?limit=1", vec!["two"]),
        ("?until=2026-11-21T07:05:00Z", vec!["one"]),
        ("?failed=true", vec!["two"]),
        ("?failed=false", vec!["two", "one"]),
        ("?status=5xx", vec!["two"]),
        ("?key=k1", vec!["one"]),
        ("?target=B.example", vec!["two"]),
        ("?outcome=ok", vec!["one"]),
        ("?slower=2s", vec!["two"]),
        ("?layer=auth", vec!["bad"]),
        ("?outcome=credentials_wrong", vec!["bad"]),
        ("?stream=auth", vec!["bad"]),
        ("?outcome=credentials_wrong&stream=access", vec![]),
    ] {
        let answer = ask(console.address, TOKEN, "GET", &format!("/v1/requests{query}"), "").await;
        assert_eq!((answer.status, ids(&answer.body)), (200, expected), "{query}: {}", answer.body);
    }
    for (query, field) in [
        ("?outcome=nothing", "outcome: "),
        ("?status=9xx", "status: "),
        ("?since=soon", "since: "),
        ("?layer=x", "layer: "),
        ("?stream=x", "stream: "),
        ("?failed=1", "failed: "),
        ("?by=key", "by: is unknown"),
    ] {
        let answer = ask(console.address, TOKEN, "GET", &format!("/v1/requests{query}"), "").await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.text("detail").contains(field), "{query}: {}", answer.body);
    }
    console.shut_down().await;
}

#[tokio::test]
async fn a_request_is_explained() {
    let (console, _folder) = with_records().await;
    let get = async |path: &str| ask(console.address, TOKEN, "GET", &format!("/v1/requests/{path}"), "").await;
    let full = get("two").await;
    assert_eq!((full.status, full.body["request"]["client"].as_str()), (200, Some("192.0.2.2")));
    assert_eq!(full.body["request"]["detail"], "10.0.0.53 said SERVFAIL");
    assert_eq!(full.body["told"]["answer"], "502");
    assert_eq!(full.body["explanation"]["retry"], "backoff");
    let public = get("two?privacy=public").await;
    let text = public.body.to_string();
    assert!(!text.contains("192.0.2.2") && !text.contains("10.0.0.53"), "{text}");
    assert_eq!(get("bad").await.body["request"]["outcome"], "credentials_wrong");
    assert_eq!(get("one").await.body["explanation"], Value::Null);
    for (path, status) in [("none", 404), ("%00", 404), ("%ff", 400), ("two?privacy=some", 400), (&"a".repeat(65), 404)] {
        assert_eq!(get(path).await.status, status, "{path}");
    }
    console.shut_down().await;
}

#[tokio::test]
async fn without_records_there_is_nothing_to_look_into() {
    let console = console().await;
    for path in ["/v1/requests", "/v1/requests/two"] {
        let answer = ask(console.address, TOKEN, "GET", path, "").await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text("detail").contains("records.enabled"), "{}", answer.body);
    }
    assert_eq!(ask(console.address, "wrong", "GET", "/v1/requests", "").await.status, 401);
    console.shut_down().await;
}
