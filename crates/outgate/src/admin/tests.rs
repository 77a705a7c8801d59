//! Every command against a real console over a store in memory.

use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use clap::Parser;
use jiff::Timestamp;
use outgate_console::{ConsoleFile, Desk, ExtraRoutes, Server, router};
use outgate_store::live::{
    Denied, DeniedWhy, ExitDoor, ExitStatus, Live, LiveUsage, Place, PoolPlaces, RotateError, RotatedSession, Rotation, SessionAt,
};
use outgate_store::memory::Memory;
use outgate_store::own::{OwnFault, OwnSession, Purpose, Remembers};
use outgate_store::{
    ANYHOW, Audit, Change, Counters, Exit, ExitId, Hour, Key, KeyId, Period, Plan, PlanName, Secret, Store, UsageBatch,
    UsageDelta,
};
use serde_json::{Value, json};

use super::output::Colour;
use super::{AdminCommand, Trouble, execute};

const TOKEN: &str = "the-admin-token";

#[derive(Debug, Parser)]
#[command(name = "outgate")]
struct Line {
    #[command(subcommand)]
    command: AdminCommand,
}

/// A gateway that nobody uses.
struct Idle;

impl Remembers for Idle {
    fn own_faults(&self, _key: &KeyId) -> Vec<OwnFault> {
        Vec::new()
    }
    fn own_sessions(&self, _key: &KeyId) -> Vec<OwnSession> {
        Vec::new()
    }
}

impl Live for Idle {
    fn plan_changed(&self, _plan: Arc<Plan>) {}
    fn plan_removed(&self, _plan: &PlanName) {}
    fn key_changed(&self, _key: Key) {}
    fn exit_changed(&self, _exit: Exit) {}
    fn exits_online(&self) -> Vec<ExitStatus> {
        Vec::new()
    }
    fn key_usage(&self, _key: &KeyId) -> Option<LiveUsage> {
        None
    }
    fn exit_door(&self) -> Option<ExitDoor> {
        Some(ExitDoor { address: ([0, 0, 0, 0], 8443).into(), tls: true })
    }
    fn rotate_exit(&self, _exit: ExitId) -> Pin<Box<dyn Future<Output = Result<Rotation, RotateError>> + Send + '_>> {
        Box::pin(async {
            Ok(Rotation { before: [192, 0, 2, 1].into(), after: [192, 0, 2, 2].into(), took: std::time::Duration::from_secs(7) })
        })
    }
    fn locations(&self) -> Arc<Vec<PoolPlaces>> {
        let place = |country: &str, state: Option<&str>, city: Option<&str>, exits| Place {
            country: country.parse().ok(),
            state: state.map(str::to_owned),
            city: city.map(str::to_owned),
            exits,
        };
        let places =
            vec![place("de", None, None, 7), place("us", Some("ca"), None, 1), place("us", Some("ca"), Some("losangeles"), 2)];
        let pool = "mobile".parse().expect("a pool");
        Arc::new(vec![PoolPlaces { pool, kind: outgate_store::PoolKind::Mobile, targeting: true, places }])
    }
    fn authenticate(&self, _authorization: Option<&str>, _source: IpAddr, _purpose: Purpose) -> Result<KeyId, Denied> {
        Err(Denied { slug: "credentials_missing", sentence: "none".into(), why: DeniedWhy::Credentials })
    }
    fn throttle_guess(&self, _source: IpAddr, _right: bool) -> Result<(), std::time::Duration> {
        Ok(())
    }
    fn rotate_session(&self, authorization: Option<&str>, source: IpAddr, _at: &SessionAt) -> Result<RotatedSession, Denied> {
        self.authenticate(authorization, source, Purpose::Use).map(|key| RotatedSession {
            key,
            place: String::new(),
            found: false,
        })
    }
    fn flush_usage(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {})
    }
}

struct Gateway {
    folder: tempfile::TempDir,
    url: String,
    store: Arc<dyn Store>,
}

async fn gateway() -> Gateway {
    serve(Arc::new(Memory::new())).await
}

async fn serve(store: Arc<dyn Store>) -> Gateway {
    let snapshot = store.load(Timestamp::now()).await.expect("a snapshot");
    let desk = Arc::new(Desk::new(Arc::clone(&store), Arc::new(Idle), &snapshot, Arc::new(Timestamp::now)));
    let server = Server::bind(([127, 0, 0, 1], 0).into()).await.expect("a port");
    let url = format!("http://{}", server.address());
    let token = Secret::new(TOKEN.to_owned());
    let routes = router(desk, token.hash(), ExtraRoutes::new());
    // Ends with the test's runtime.
    tokio::spawn(server.serve(routes, std::future::pending()));
    let folder = tempfile::tempdir().expect("a folder");
    let file = ConsoleFile { console_url: url.clone(), admin_token: token, pid: std::process::id() };
    file.write(folder.path()).expect("written");
    Gateway { folder, url, store }
}

/// What a command printed, or its exit code's meaning and the text on stderr.
async fn outgate(arguments: &[&str], token: Option<&str>) -> Result<String, (&'static str, String)> {
    let line = Line::try_parse_from(["outgate"].iter().chain(arguments)).map_err(|error| ("usage", error.to_string()))?;
    let mut lines: Vec<u8> = Vec::new();
    match execute(line.command, token.map(str::to_owned), Colour::Plain, &mut lines).await {
        Ok(()) => Ok(String::from_utf8(lines).expect("text")),
        Err(trouble) => {
            let kind = match trouble {
                Trouble::Usage(..) => "usage",
                Trouble::Failed(..) => "failed",
                Trouble::Deaf => "deaf",
            };
            Err((kind, trouble.told(Colour::Plain)))
        }
    }
}

impl Gateway {
    async fn done(&self, command: &str) -> String {
        match self.tried(command).await {
            Ok(text) => text,
            Err((kind, text)) => panic!("{command}: {kind}: {text}"),
        }
    }

    async fn tried(&self, command: &str) -> Result<String, (&'static str, String)> {
        let mut arguments: Vec<&str> = command.split(' ').collect();
        let folder = self.folder.path().to_str().expect("text");
        arguments.extend(["--data", folder]);
        outgate(&arguments, None).await
    }

    async fn json(&self, command: &str) -> Value {
        let text = self.done(&format!("{command} --json")).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command}: {error} in {text}"))
    }
}

#[tokio::test]
async fn plans_from_creation_to_removal() {
    let gateway = gateway().await;
    let created = gateway
        .done("plans create small --bytes 10GB --period 30d --rate 5 --burst 10 --threads 20 --speed 1MB/s --pool direct --port 443 --port 8000-8999 --country de,us")
        .await;
    assert!(created.starts_with("Plan small created.\n\nNAME"), "{created}");
    let listed = gateway.done("plans list").await;
    let expected = "\
NAME   BYTES  PERIOD  RATE  BURST  THREADS  SPEED  POOLS   PORTS          COUNTRIES  KEYS
small   10GB  30d        5     10       20  1MB/s  direct  443,8000-8999  de,us         0
";
    assert_eq!(listed, expected);
    let json = gateway.json("plans list").await;
    assert_eq!((&json[0]["bytes"], &json[0]["ports"][1]), (&Value::from(10_000_000_000_u64), &Value::from("8000-8999")));

    gateway.done("plans set small --bytes none --port none --period month --threads 7").await;
    let json = gateway.json("plans list").await;
    assert_eq!((&json[0]["bytes"], &json[0]["threads"], &json[0]["rate"]), (&Value::Null, &Value::from(7), &Value::from(5)));
    assert_eq!(gateway.done("plans remove small").await, "Plan small removed.\n");
    assert_eq!(gateway.done("plans list").await, "", "an empty listing is empty when piped");
    assert_eq!(gateway.json("plans list").await, Value::Array(Vec::new()));
}

#[tokio::test]
async fn keys_from_creation_to_revocation() {
    let gateway = gateway().await;
    gateway.done("plans create small --bytes 1GB").await;
    let key = gateway.json("keys create --plan small --allow-ip 192.0.2.0/24 --allow-ip 2001:db8::1 --expires 2099-12-31").await;
    let id = key["id"].as_str().expect("an id");
    assert_eq!(key["secret"].as_str().map(str::len), Some(32));
    assert_eq!((&key["allow_ips"][1], &key["expires"]), (&Value::from("2001:db8::1/128"), &Value::from("2099-12-31T00:00:00Z")));

    let text = gateway.done("keys create --id fixed --plan small").await;
    assert!(text.contains("shown only now") && text.contains("  id      fixed\n  secret  "), "{text}");
    assert_eq!(gateway.json("keys list").await.as_array().map(Vec::len), Some(2));
    let steps = [
        (format!("keys suspend {id}"), format!("Key {id} is suspended; its open tunnels are ending.\n"), "suspended"),
        (format!("keys resume {id}"), format!("Key {id} is active.\n"), "active"),
        (format!("keys block {id} --why spam"), format!("Key {id} is blocked; its open tunnels are ending.\n"), "blocked"),
        (format!("keys unblock {id}"), format!("Key {id} is active.\n"), "active"),
    ];
    for (command, told, state) in steps {
        assert_eq!(gateway.done(&command).await, told);
        assert_eq!(gateway.json(&format!("keys show {id}")).await["state"], Value::from(state), "{command}");
    }
    let rotated = gateway.json(&format!("keys rotate {id} --grace 1h")).await;
    assert!(rotated["old_secret_until"].is_string() && rotated["secret"] != key["secret"]);
    gateway.done(&format!("keys block {id} --why spam")).await;
    let shown = gateway.done(&format!("keys show {id}")).await;
    for line in [
        "plan          small",
        "blocked for   spam",
        "of 1GB since",
        "192.0.2.0/24,2001:db8::1/128",
        "expires       2099-12-31T00:00:00Z",
    ] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    let changed = gateway.done(&format!("keys set {id} --allow-ip none --expires none --proof secret")).await;
    assert!(changed.starts_with(&format!("Key {id} changed.\n")) && changed.contains("allowed from  anywhere"), "{changed}");
    assert_eq!(gateway.json(&format!("keys set {id} --expires 2098-01-01")).await["expires"], json!("2098-01-01T00:00:00Z"));
    gateway.done(&format!("keys revoke {id}")).await;
    let (kind, text) = gateway.tried(&format!("keys resume {id}")).await.expect_err("revoked is for good");
    assert_eq!(
        (kind, text.as_str()),
        ("failed", format!("error: key {id} is revoked, which is for good: create another one\n").as_str())
    );
}

#[tokio::test]
async fn exits_and_usage() {
    let gateway = gateway().await;
    let exit = gateway.json("exits enroll --name phone --pool mobile --country de --city berlin --asn 3320").await;
    let id = exit["id"].as_str().expect("an id");
    assert_eq!(exit["token"].as_str().map(str::len), Some(32));
    let listed = gateway.done("exits list").await;
    let cells: Vec<&str> = listed.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(cells, [id, "phone", "offline", "mobile", "de", "-", "berlin", "3320", "-", "-", "-", "-", "-", "-"]);
    let heavy = gateway.json("exits enroll --weight 10 --max-tunnels 200 --carrier Example").await;
    assert_eq!((&heavy["weight"], &heavy["max_tunnels"], &heavy["carrier"]), (&json!(10), &json!(200), &json!("Example")));
    assert_eq!((&exit["weight"], &exit["max_tunnels"]), (&json!(1), &Value::Null));
    let locations = gateway.done("exits locations").await;
    let rows: Vec<Vec<&str>> = locations.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows,
        [["mobile", "de", "-", "-", "7"], ["mobile", "us", "ca", "-", "1"], ["mobile", "us", "ca", "losangeles", "2"]]
    );
    assert_eq!(gateway.json("exits locations").await[0]["countries"][1]["exits"], json!(3));
    assert!(gateway.done("exits enroll").await.contains("outgate exit --gateway wss://HOST:8443 --token "));
    let rotated = gateway.done(&format!("exits rotate {id}")).await;
    assert!(rotated.contains("changed in 7.0 s: 192.0.2.1 before, 192.0.2.2 now"), "{rotated}");
    let audit = gateway.store.audit(outgate_store::AuditQuery { subject: Some(id.to_owned()), before: None, limit: 1 }).await;
    assert_eq!(audit.expect("readable")[0].entry.what, "exit.rotate");
    assert_eq!(
        gateway.done(&format!("exits set {id} --weight 4 --max-tunnels 9")).await,
        format!("Exit {id} changed: name phone, weight 4, max tunnels 9.\n")
    );
    let cleared = gateway.json(&format!("exits set {id} --weight none --max-tunnels none --name none")).await;
    assert_eq!((&cleared["weight"], &cleared["max_tunnels"], &cleared["name"]), (&json!(1), &Value::Null, &Value::Null));
    let trail = gateway.json(&format!("audit --subject {id} --since 1h")).await;
    assert_eq!(
        (&trail[0]["what"], &trail[0]["detail"]),
        (&json!("exit.set"), &json!("name phone -> , weight 4 -> 1, max_tunnels 9 -> none"))
    );
    assert!(gateway.done("audit").await.starts_with("TIME"));
    for (action, status) in [("drain", "draining"), ("resume", "active"), ("revoke", "revoked")] {
        assert_eq!(gateway.json(&format!("exits {action} {id}")).await["status"], Value::from(status));
    }

    gateway.done("plans create small").await;
    gateway.done("keys create --id aaaa").await;
    let now = Timestamp::now();
    let row = UsageDelta {
        key: KeyId::parse("aaaa").expect("an id"),
        pool: "direct".parse().expect("a pool"),
        hour: Hour::of(now),
        period_start: Period::Month.start(now, now),
        counters: Counters { up: 1_000, down: 1_999_000, requests: 3, tunnels: 1 },
    };
    let batch = UsageBatch { gateway: "gw".into(), sequence: 1, rows: vec![row] };
    gateway.store.add_usage(batch).await.expect("added");
    let expected = "KEY    UP    DOWN  TOTAL  REQUESTS  TUNNELS\naaaa  1kB  1.99MB    2MB         3        1\n";
    assert_eq!(gateway.done("usage").await, expected);
    for by in ["key", "day", "hour", "pool"] {
        let rows = gateway.json(&format!("usage --key aaaa --since 30d --by {by}")).await;
        assert_eq!((&rows[0]["bytes"], rows[0][by].is_string()), (&Value::from(2_000_000), true), "by {by}");
    }
}

#[tokio::test]
async fn long_listings_come_whole() {
    let gateway = gateway().await;
    let entry = |number: usize| Audit {
        id: number.to_string(),
        at: Timestamp::UNIX_EPOCH,
        who: "test".into(),
        what: "plan.create".into(),
        subject: "many".into(),
        detail: String::new(),
    };
    // More than two of the API's largest pages.
    for number in 0..2_003 {
        let name = PlanName::parse(&format!("p{number:04}")).expect("a name");
        gateway.store.change(Change::PutPlan(Plan::unlimited(name)), ANYHOW, entry(number)).await.expect("stored");
    }
    let gateway = serve(gateway.store).await;
    let plans = gateway.json("plans list").await;
    let names: Vec<&str> = plans.as_array().expect("a list").iter().filter_map(|plan| plan["name"].as_str()).collect();
    assert_eq!(names.len(), 2_003);
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(gateway.done("plans list").await.lines().count(), 2_004, "one heading, however many pages");
}

#[tokio::test]
async fn where_it_is_may_be_said_anywhere() {
    let gateway = gateway().await;
    let data = gateway.folder.path().to_str().expect("text");
    for arguments in [["plans", "--data", data, "--json", "list"], ["plans", "--json", "list", "--data", data]] {
        assert_eq!(outgate(&arguments, None).await.as_deref(), Ok("[]\n"), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_gateway_is_found_by_url_too() {
    let gateway = gateway().await;
    let listed = outgate(&["plans", "list", "--json", "--console", &gateway.url], Some(TOKEN)).await;
    assert_eq!(listed.as_deref(), Ok("[]\n"));
    let (kind, text) = outgate(&["plans", "list", "--console", &gateway.url], Some("wrong")).await.expect_err("a wrong token");
    assert!(kind == "failed" && text.contains("refused the admin token") && !text.contains("wrong\""), "{text}");
    let (kind, text) = outgate(&["plans", "list", "--console", &gateway.url], None).await.expect_err("no token");
    assert!(kind == "usage" && text.contains("OUTGATE_ADMIN_TOKEN"), "{text}");
    let (kind, text) = outgate(&["plans", "list", "--console", "https://127.0.0.1:1"], Some(TOKEN)).await.expect_err("TLS");
    assert!(kind == "usage" && text.contains("plain HTTP"), "{text}");
}

#[tokio::test]
async fn a_missing_gateway_is_told_with_the_next_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("text");
    let (kind, text) = outgate(&["keys", "list", "--data", data], None).await.expect_err("nobody there");
    assert!(
        kind == "failed"
            && text.contains("no gateway is running")
            && text.contains("outgate quickstart")
            && text.contains("--data DIR"),
        "{text}"
    );

    // A run that was killed leaves its address behind; nobody listens there any more.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("its address");
    let file = ConsoleFile { console_url: format!("http://{closed}"), admin_token: Secret::new("t".into()), pid: 4_711 };
    file.write(Path::new(data)).expect("written");
    let (kind, text) = outgate(&["keys", "list", "--data", data], None).await.expect_err("nobody there");
    assert!(kind == "failed" && text.contains("process 4711") && text.contains("has probably ended"), "{text}");
}

#[tokio::test]
async fn wrong_usage_says_what_is_allowed() {
    let cases: [(&[&str], &str); 18] = [
        (&["plans", "create", "Big"], "is not a plan name"),
        (&["plans", "create", "a", "--bytes", "10XB"], "is not a size"),
        (&["plans", "create", "a", "--period", "week"], "is not a period"),
        (&["plans", "create", "a", "--rate", "many"], "invalid digit"),
        (&["plans", "create", "a", "--port", "99999"], "is not a port"),
        (&["plans", "create", "a", "--country", "uk"], "gb, not uk"),
        (&["keys", "create", "--allow-ip", "300.1.1.1"], "write an address or network"),
        (&["keys", "create", "--expires", "soon"], "is not a time"),
        (&["keys", "create", "--by-ip"], "--allow-ip"),
        (&["keys", "rotate", "abcd", "--grace", "1y"], "is not a duration"),
        (&["exits", "enroll", "--state", "ca"], "--country"),
        (&["exits", "enroll", "--weight", "1001"], "1..=1000"),
        (&["usage", "--by", "week"], "allowed are key, day, hour, pool"),
        (&["usage", "--since", "yesterday"], "is not a time"),
        (&["keys", "set", "abcd"], "required"),
        (&["keys", "set", "abcd", "--proof", "word"], "secret, ip"),
        (&["exits", "set", "abcd", "--weight", "many"], "invalid digit"),
        (&["audit", "--since", "yesterday"], "is not a time"),
    ];
    for (arguments, expected) in cases {
        let (kind, text) = outgate(arguments, None).await.expect_err("wrong usage");
        assert!(kind == "usage" && text.contains(expected), "{arguments:?}: {kind}: {text}");
    }
    let gateway = gateway().await;
    let (kind, text) = gateway.tried("plans set small").await.expect_err("nothing to set");
    assert!(kind == "usage" && text.contains("--bytes none"), "{text}");
    let (kind, text) = gateway.tried("plans create a --pool none --pool direct").await.expect_err("both");
    assert!(kind == "usage" && text.contains("stands alone"), "{text}");
}
