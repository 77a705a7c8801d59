//! Three gateways on one PostgreSQL and one Redis, which find each other by it: they serve as one.

use outgate_fleetkit::fleet::{Fleet, Recruit};
use outgate_fleetkit::load::{Ask, Load, Outcome, Route};
use outgate_fleetkit::place::{Place, WORLD};
use outgate_testkit::daemon::Signal;
use outgate_testkit::echo::Echo;
use outgate_testkit::patience::until;
use outgate_testkit::postgres::PostgresServer;
use outgate_testkit::redis_server::{Keeps, RedisServer};
use outgate_testkit::wire::{Credentials, Ending, Reply, Wire};
use serde_json::{Value, json};

use super::Cluster;

const GATEWAYS: usize = 3;
const EXITS: usize = 100;
const THREADS: usize = 12;

/// A key that every gateway knows.
struct Shared {
    id: String,
    secret: String,
}

impl Shared {
    /// A key whose plan has so many threads.
    async fn create(cluster: &Cluster) -> Self {
        let one = &cluster.gateways[0];
        let _plan = one.api("POST", "/v1/plans", &json!({ "name": "tight", "threads": THREADS }));
        let made = one.api("POST", "/v1/keys", &json!({ "plan": "tight" }));
        let text = |field: &str| made[field].as_str().expect("it has one").to_owned();
        let id = text("id");
        for gateway in &cluster.gateways {
            // A key that is used before its gateway has heard of it is a wrong guess, and too many of them are slowed down.
            let knows = |keys: Value| keys["items"].as_array()?.iter().any(|key| key["id"] == id.as_str()).then_some(());
            until("the key to be known", || knows(gateway.api("GET", "/v1/keys", &Value::Null))).await;
        }
        Self { secret: text("secret"), id }
    }

    async fn open(&self, cluster: &Cluster, at: usize, modifiers: &str, target: &str) -> (Wire, Reply) {
        let user = format!("{}{modifiers}", self.id);
        let credentials = Credentials { user: &user, password: &self.secret };
        Wire::connect_through(cluster.gateways[at].proxy(), Some(credentials), target).await.expect("an answer")
    }

    /// The same, again and again while this gateway has not heard of something yet.
    async fn opened(&self, cluster: &Cluster, at: usize, modifiers: &str, target: &str) -> (Wire, Reply) {
        loop {
            let (wire, reply) = self.open(cluster, at, modifiers, target).await;
            match reply.header("X-Proxy-Error") {
                None => return (wire, reply),
                Some("credentials_wrong" | "threads_exceeded") => tokio::task::yield_now().await,
                Some(other) => panic!("gw{at}: {other}: {}", reply.text()),
            }
        }
    }
}

#[tokio::test]
async fn what_holds_for_one_holds_for_all() {
    let (postgres, redis) = (PostgresServer::start(), RedisServer::start(Keeps::Nothing));
    let mut cluster = Cluster::together(GATEWAYS, postgres.database(), redis.address());
    let mut fleet = Fleet::new();
    for (number, gateway) in cluster.gateways.iter().enumerate() {
        let share = (0..EXITS).filter(|exit| exit % GATEWAYS == number);
        let recruits: Vec<Recruit> = share.map(|exit| Recruit::agent(WORLD[exit % WORLD.len()].in_pool("mobile"))).collect();
        fleet.add(gateway, &recruits).await;
    }
    for number in 0..GATEWAYS {
        cluster.sees(number, "mobile", EXITS as u64).await;
        // Until it is sure of the others a gateway serves by itself.
        let gateway = &mut cluster.gateways[number];
        until("limits to be shared", || gateway.daemon().stderr().contains("limits are shared").then_some(())).await;
    }
    let echo = Echo::start();
    let target = echo.address().to_string();
    let key = Shared::create(&cluster).await;

    // A session is with one exit, wherever it is asked for.
    let (_first, reply) = key.opened(&cluster, 0, "-pool-mobile-session-one", &target).await;
    let home = reply.header("X-Outgate-Exit").expect("every success names its exit").to_owned();
    for at in 0..GATEWAYS {
        let (_wire, reply) = key.opened(&cluster, at, "-pool-mobile-session-one", &target).await;
        assert_eq!(reply.header("X-Outgate-Exit"), Some(home.as_str()), "gw{at}");
    }
    drop(_first);

    // As many threads as the plan has, and no more, over all of them.
    let mut open = Vec::new();
    for number in 0..THREADS {
        let (mut wire, _reply) = key.opened(&cluster, number % GATEWAYS, "-pool-mobile", &target).await;
        wire.send(b"x").await.expect("open");
        assert_eq!(wire.exactly(1).await.expect("the echo"), b"x");
        open.push(wire);
    }
    for at in 0..GATEWAYS {
        let (_wire, reply) = key.open(&cluster, at, "-pool-mobile", &target).await;
        assert_eq!(reply.header("X-Proxy-Error"), Some("threads_exceeded"), "gw{at}");
    }

    // What is suspended at one is cut at all.
    let _suspended = cluster.gateways[2].api("POST", &format!("/v1/keys/{}/suspend", key.id), &Value::Null);
    for wire in &mut open {
        assert_eq!(wire.ending().await.expect("an end").1, Ending::Reset);
    }
    for at in 0..GATEWAYS {
        let (_wire, reply) = key.open(&cluster, at, "-pool-mobile", &target).await;
        assert_eq!(reply.header("X-Proxy-Error"), Some("key_suspended"), "gw{at}");
    }
}

#[tokio::test]
async fn one_after_the_other_is_restarted_and_no_set_up_fails() {
    const PLACE: Place = Place::residential("de", "", "").in_pool("mobile");
    let (postgres, redis) = (PostgresServer::start(), RedisServer::start(Keeps::Nothing));
    let mut cluster = Cluster::together(GATEWAYS, postgres.database(), redis.address());
    let mut fleet = Fleet::new();
    for number in 1..GATEWAYS {
        fleet.add(&cluster.gateways[number], &vec![Recruit::agent(PLACE); 3]).await;
    }
    cluster.sees(0, "mobile", 6).await;
    let echo = Echo::start();
    let load = Load::start(Route::new(&cluster.gateways[0], echo.address()), 50, |_| Ask { place: PLACE, session: None });
    for stopped in 1..GATEWAYS {
        cluster.gateways[stopped].daemon().signal(Signal::TERM);
        assert!(cluster.gateways[stopped].daemon().wait().success());
        cluster.sees(0, "mobile", 3).await;
        cluster.restart(stopped);
        fleet.add(&cluster.gateways[stopped], &vec![Recruit::agent(PLACE); 3]).await;
        cluster.sees(0, "mobile", 6).await;
    }
    let trials = load.stop();
    let failed: Vec<_> = trials.iter().filter(|trial| !matches!(trial.outcome, Outcome::Carried(_))).collect();
    assert!(trials.len() > 100 && failed.is_empty(), "{} of {}: {failed:?}", failed.len(), trials.len());
}
