//! Signals and incidents of a real gateway: raised by requests that really fail, told by webhooks, kept over a kill.

use std::path::Path;

use outgate_testkit::ca::{Ca, Validity};
use outgate_testkit::dead::RefusingPort;
use outgate_testkit::doors::Doors;
use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::patience::until;
use outgate_testkit::script::{Script, Step};
use ring::hmac;
use serde_json::Value;
use tempfile::TempDir;

use crate::OUTGATE;
use crate::provocations::outputs::connect;

/// Rules for impatient tests: one look decides, and what is older than ten seconds is forgotten.
const QUICK: [(&str, &str); 5] =
    [("window", "10s"), ("look_back", "10s"), ("samples", "20"), ("raise", "1 of 1"), ("clear_after", "10s")];
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// As many requests to a port that refuses as make a signal.
async fn fail(gateway: &GatewayProcess) {
    let refusing = RefusingPort::reserve();
    for _ in 0..60 {
        let (_, reply) = connect(gateway, "", &refusing.address().to_string()).await;
        assert_eq!(reply.status, 502);
    }
}

fn listed(gateway: &GatewayProcess, command: &[&str]) -> Vec<Value> {
    let text = gateway.admin(&[command, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

async fn open_incident(gateway: &GatewayProcess) -> Value {
    until("an incident", || listed(gateway, &["incidents", "--open"]).into_iter().next()).await
}

/// A receiver that reads the message to its end, and answers like this.
fn receiver(answer: &str) -> Vec<Step> {
    let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    vec![Step::ReadHead, Step::Write(answer.into_bytes()), Step::ReadToEnd]
}

/// What a receiver was sent on one connection: the head, in small letters, and the message.
fn message(received: &[u8]) -> Option<(String, Value, Vec<u8>)> {
    let end = received.windows(4).position(|four| four == b"\r\n\r\n")?;
    let body = &received[end + 4..];
    Some((String::from_utf8_lossy(&received[..end]).to_lowercase(), serde_json::from_slice(body).ok()?, body.to_vec()))
}

fn field<'h>(head: &'h str, name: &str) -> &'h str {
    let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {name} in {head}"))
}

/// The whole way of an incident: raised, told (again where it was not taken), shown, cleared, told.
#[tokio::test]
async fn an_incident_is_opened_told_shown_and_closed() {
    let ca = Ca::new();
    let hurried = Script::start_each(vec![
        receiver("503 Service Unavailable\r\nRetry-After: 0"),
        receiver("204 No Content"),
        receiver("204 No Content"),
    ]);
    let careful = Script::start_tls(receiver("200 OK"), ca.server(&["127.0.0.1"], Validity::Current, &[]));
    let folder = TempDir::new().expect("a temporary folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).expect("the folder is ours");
    let quick: String = QUICK.iter().map(|(name, value)| format!("signals.{name} = \"{value}\"\n")).collect();
    let webhooks = format!(
        "[[signals.webhooks]]\nurl = \"http://{}/private/path\"\nsecret_file = \"{}\"\n\
         [[signals.webhooks]]\nurl = \"https://{}/\"\nca_file = \"{}\"\nevents = [\"opened\"]\n",
        hurried.address(),
        secret.display(),
        careful.address(),
        ca.pem_path().display()
    );
    let mut gateway = Doors::open(Quickstart::new(OUTGATE), &format!("{quick}{webhooks}"));

    fail(&gateway).await;
    let incident = open_incident(&gateway).await;
    let expected = [("cause", "targets"), ("layer", "target"), ("fault", "target_refused"), ("severity", "down")];
    for (name, value) in expected {
        assert_eq!(incident[name], value, "{incident:#}");
    }
    assert!(incident["headline"].as_str().is_some_and(|line| line.starts_with("Most requests fail")), "{incident:#}");
    let id = incident["id"].as_str().expect("a name").to_owned();
    let raised = listed(&gateway, &["signals", "--raised"]);
    let errors = raised.iter().find(|signal| signal["signal"] == "errors" && signal["of"] == "all");
    let errors = errors.unwrap_or_else(|| panic!("{raised:#?}"));
    assert_eq!((&errors["value"], &errors["threshold"], &errors["unit"]), (&1.0.into(), &0.05.into(), &"share".into()));
    assert!(errors["since"].is_string() && errors["samples"].as_u64() >= Some(20), "{errors:#}");
    let shown = gateway.admin(&["incidents", "show", &id]);
    for part in [&id, "target_refused (target)", "errors (all): worst 100.0 %", "What to do", "outgate explain target_refused"] {
        assert!(shown.contains(part), "{part:?} is not in\n{shown}");
    }

    let opened = until("the message that was sent again", || message(hurried.received().get(1)?)).await;
    let (head, body, bytes) = opened;
    let refused = message(&hurried.received()[0]).expect("it was whole, but not taken");
    assert_eq!((&refused.1, field(&refused.0, "outgate-message-id")), (&body, field(&head, "outgate-message-id")));
    assert!(head.starts_with("post /private/path http/1.1") && field(&head, "content-type") == "application/json", "{head}");
    assert_eq!((&body["event"], field(&head, "outgate-event")), (&"incident.opened".into(), "incident.opened"));
    assert_eq!((&body["incident"]["id"], &body["incident"]["fault"]), (&id.as_str().into(), &"target_refused".into()));
    assert!(signed(field(&head, "outgate-signature"), &bytes), "{head}");
    let (over_tls, told, _) = until("the message over TLS", || message(careful.received().first()?)).await;
    assert_eq!((&told["incident"]["id"], over_tls.contains("outgate-signature")), (&id.as_str().into(), false));

    until("the signal to be clearing", || {
        let signals = listed(&gateway, &["signals"]);
        signals.iter().any(|signal| signal["signal"] == "errors" && signal["state"] == "clearing").then_some(())
    })
    .await;
    let closed = until("the message about its end", || message(hurried.received().get(2)?)).await.1;
    assert_eq!((&closed["event"], &closed["incident"]["open"]), (&"incident.closed".into(), &false.into()));
    assert!(listed(&gateway, &["incidents", "--open"]).is_empty() && listed(&gateway, &["signals", "--raised"]).is_empty());
    assert_eq!(listed(&gateway, &["incidents"])[0]["failed"], incident["failed"], "{incident:#}");
    assert_eq!(careful.received().len(), 1, "it wants to hear of openings only");
    let log = gateway.daemon().stderr();
    assert!(log.contains("incident=") && !log.contains("private/path") && !log.contains(SECRET), "{log}");
}

fn signed(signature: &str, body: &[u8]) -> bool {
    let (time, hex) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("t=…,v1=…");
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect();
    hmac::verify(&key, &[time.as_bytes(), b".", body].concat(), &bytes.expect("hexadecimal")).is_ok()
}

/// What the watch learned outlives a kill; what is broken is set aside.
#[tokio::test]
async fn a_killed_gateway_knows_its_open_incidents_and_survives_a_broken_file() {
    let start = || {
        QUICK.iter().fold(Quickstart::new(OUTGATE), |start, (name, value)| {
            // So slow to clear that it is surely open when the next one starts.
            let value = if *name == "clear_after" { "1h" } else { value };
            start.env(&format!("OUTGATE_SIGNALS_{}", name.to_uppercase()), value)
        })
    };
    let mut gateway = start().start();
    fail(&gateway).await;
    let incident = open_incident(&gateway).await;
    let folder = gateway.folder();
    let kept = folder.path().join("signals/incidents.json");
    until("it to be written", || std::fs::read_to_string(&kept).ok().filter(|text| text.contains("target_refused"))).await;
    gateway.daemon().kill();

    let mut gateway = start().start_in(folder.clone());
    let again = open_incident(&gateway).await;
    assert_eq!((&again["id"], &again["faults"]), (&incident["id"], &incident["faults"]));
    until("its signal to be looked at", || {
        listed(&gateway, &["signals", "--raised"]).into_iter().find(|signal| signal["state"] == "clearing")
    })
    .await;
    gateway.daemon().signal(outgate_testkit::daemon::Signal::TERM);
    assert!(gateway.daemon().wait().success());

    let history = folder.path().join("signals/history.json");
    assert!(whole(&history)["minutes"].as_array().is_some_and(|minutes| !minutes.is_empty()), "the last minute is written");
    std::fs::write(&history, "{\"v\": 1, \"minutes\": [").expect("ours");
    std::fs::write(&kept, "{\"v\": 7, \"incidents\": []}").expect("ours");
    let mut gateway = start().start_in(folder.clone());
    assert!(listed(&gateway, &["incidents"]).is_empty());
    for name in ["history.json.broken", "incidents.json.broken"] {
        assert!(folder.path().join("signals").join(name).exists(), "{name}");
    }
    let log = gateway.daemon().stderr();
    assert!(log.contains("is broken; it is set aside") && log.contains("version 7"), "{log}");
}

fn whole(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("it is replaced whole, or not at all")
}
