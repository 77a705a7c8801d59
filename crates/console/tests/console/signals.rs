//! Signals and incidents over the API: in pages, filtered, one by one.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use outgate_meter::{Gauges, Snapshot};
use outgate_signals::{KeptIncidents, Rules, Watch};
use outgate_store::memory::Memory;
use serde_json::{Value, json};

use crate::client::{Answer, ask};
use crate::gateway::{Console, TOKEN, console_watched, now};

/// A watch that has looked once, and kept this many incidents of earlier days, the newest of which is open.
fn watch(incidents: i64) -> Watch {
    let at = |days: i64| (now() - SignedDuration::from_hours(24 * days)).to_string();
    let incident = |days: i64| {
        let cleared = (days > 1).then(|| at(days - 1));
        let part = json!({ "kind": "errors", "scope": "gateway", "raised": at(days), "cleared": cleared, "worst": 0.12, "unit": "share", "threshold": 0.05 });
        json!({
            "id": format!("i{days}"), "cause": "targets", "severity": "degraded", "began": at(days), "opened": at(days), "closed": cleared,
            "signals": [part], "requests": 1000, "failed": 120,
            "faults": [{ "slug": "response_timeout", "count": 100 }, { "slug": "of_another_version", "count": 20 }],
        })
    };
    let kept = json!({ "v": 1, "incidents": (1..=incidents).rev().map(incident).collect::<Vec<_>>() });
    let kept = KeptIncidents::read(kept.to_string().as_bytes()).expect("as it is written");
    let mut watch = Watch::restored(Rules::default(), None, Some(kept));
    for second in [0, 10] {
        let at: Timestamp = now() + SignedDuration::from_secs(second);
        assert!(watch.observe(at, &Snapshot::default(), &Gauges::default()).is_empty());
    }
    watch
}

async fn get(console: &Console, path: &str) -> Answer {
    ask(console.address, TOKEN, "GET", path, "").await
}

fn names(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["items"].as_array().expect("a list").iter().filter_map(|item| item["id"].as_str()).collect()
}

#[tokio::test]
async fn incidents_come_in_pages_newest_first() {
    let console = console_watched(Arc::new(Memory::new()), watch(5)).await;
    let table = [
        ("/v1/incidents", vec!["i1", "i2", "i3", "i4", "i5"], Value::Null),
        ("/v1/incidents?limit=2", vec!["i1", "i2"], json!("i2")),
        ("/v1/incidents?limit=2&after=i2", vec!["i3", "i4"], json!("i4")),
        ("/v1/incidents?limit=2&after=i4", vec!["i5"], Value::Null),
        ("/v1/incidents?after=never", vec![], Value::Null),
        ("/v1/incidents?open=true", vec!["i1"], Value::Null),
        ("/v1/incidents?open=false&limit=1", vec!["i2"], json!("i2")),
        // Those that went on two days ago or later.
        ("/v1/incidents?since=48h", vec!["i1", "i2", "i3"], Value::Null),
    ];
    for (path, expected, next) in table {
        let answer = get(&console, path).await;
        assert_eq!((names(&answer), &answer.body["next"]), (expected, &next), "{path}");
    }
    for (path, status, detail) in [
        ("/v1/incidents?open=perhaps", 400, "open: must be true or false"),
        ("/v1/incidents?colour=red", 400, "colour: is unknown"),
        ("/v1/signals?raised=true", 400, "raised: is unknown"),
        ("/v1/incidents/never", 404, "there is no incident never"),
        ("/v1/incidents/%ff", 400, "the path can't be read"),
    ] {
        let answer = get(&console, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text("detail").contains(detail), "{path}: {}", answer.body);
    }
    console.shut_down().await;
}

#[tokio::test]
async fn an_incident_says_its_layer_cause_and_fix() {
    let console = console_watched(Arc::new(Memory::new()), watch(2)).await;
    let incident = get(&console, "/v1/incidents/i1").await.body;
    let row = outgate_faults::Slug::ResponseTimeout.row();
    let expected = [("layer", "target"), ("fault", "response_timeout"), ("why", row.cause), ("fix", row.fix), ("id", "i1")];
    for (field, value) in expected {
        assert_eq!(incident[field], value, "{incident:#}");
    }
    assert_eq!(incident["faults"], json!([{ "fault": "response_timeout", "layer": "target", "count": 100 }]), "what it knows");
    let signals = get(&console, "/v1/signals").await.body;
    let signals = signals["items"].as_array().expect("a list");
    assert_eq!((&signals[0]["signal"], &signals[0]["state"]), (&"errors".into(), &"clearing".into()), "{signals:#?}");
    let memory = signals.iter().find(|signal| signal["signal"] == "memory").expect("always watched");
    assert_eq!((&memory["state"], &memory["since"]), (&"fine".into(), &Value::Null));
    console.shut_down().await;
}
