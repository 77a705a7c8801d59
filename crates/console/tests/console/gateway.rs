//! A console over a store in memory and a gateway that only remembers what it was told.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use jiff::Timestamp;
use outgate_console::desk::Clock;
use outgate_console::{Desk, Server, router};
use outgate_records::Records;
use outgate_signals::{Rules, Watch};
use outgate_store::live::{
    Denied, DeniedWhy, ExitDoor, ExitHealth, ExitStatus, Live, LiveUsage, PoolPlaces, RotateError, RotatedSession, Rotation,
    SessionAt,
};
use outgate_store::memory::Memory;
use outgate_store::own::{OwnFault, OwnSession, Purpose, Remembers};
use outgate_store::{
    Counters, Exit, ExitId, Hour, Key, KeyId, Labels, Period, Plan, PlanName, PoolName, SecretHash, Snapshot, Store, StoreFuture,
    UsageBatch, UsageDelta,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const TOKEN: &str = "the-admin-token";

/// Remembers what the desk told it, as lines.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) lines: Mutex<Vec<String>>,
    pub(crate) online: Mutex<Vec<ExitStatus>>,
    pub(crate) metered: Mutex<Vec<UsageDelta>>,
    store: Mutex<Option<Arc<dyn Store>>>,
}

impl Told {
    fn note(&self, line: String) {
        self.lines.lock().expect("not poisoned").push(line);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().expect("not poisoned"))
    }

    /// The exit dials in.
    pub(crate) fn dial_in(&self, id: &str) {
        self.online.lock().expect("not poisoned").push(ExitStatus {
            id: id.parse().expect("an id"),
            pool: "mobile".parse().expect("a pool"),
            labels: Labels { country: "de".parse().ok(), ..Labels::default() },
            tunnels: 3,
            links: 1,
            rtt: Some(Duration::from_millis(12)),
            since: Timestamp::UNIX_EPOCH,
            agent: "outgate/0.1.0".into(),
            health: ExitHealth::Healthy,
            gateway: None,
        });
    }

    /// The key uses something in this hour.
    pub(crate) fn meter(&self, key: &str, now: Timestamp, up: u64, down: u64) {
        let hour = Hour::of(now);
        self.metered.lock().expect("not poisoned").push(UsageDelta {
            key: key.parse().expect("an id"),
            pool: PoolName::parse("direct").expect("a pool"),
            hour,
            period_start: Period::Month.start(now, hour.start()),
            counters: Counters { up, down, requests: 1, tunnels: 0 },
        });
    }
}

impl Remembers for Told {
    fn own_faults(&self, _key: &KeyId) -> Vec<OwnFault> {
        Vec::new()
    }
    fn own_sessions(&self, _key: &KeyId) -> Vec<OwnSession> {
        Vec::new()
    }
}

impl Live for Told {
    fn plan_changed(&self, plan: Arc<Plan>) {
        self.note(format!("plan {} bytes {:?}", plan.name, plan.bytes));
    }
    fn plan_removed(&self, plan: &PlanName) {
        self.note(format!("plan {plan} removed"));
    }
    fn key_changed(&self, key: Key) {
        self.note(format!("key {}", key.state.name()));
    }
    fn exit_changed(&self, exit: Exit) {
        self.note(format!("exit {}", exit.state.name()));
    }
    fn exits_online(&self) -> Vec<ExitStatus> {
        self.online.lock().expect("not poisoned").clone()
    }
    fn key_usage(&self, _key: &KeyId) -> Option<LiveUsage> {
        None
    }
    fn exit_door(&self) -> Option<ExitDoor> {
        Some(ExitDoor { address: SocketAddr::from(([0, 0, 0, 0], 8443)), tls: true })
    }
    fn rotate_exit(&self, exit: ExitId) -> Pin<Box<dyn Future<Output = Result<Rotation, RotateError>> + Send + '_>> {
        self.note(format!("rotate {exit}"));
        let online = self.exits_online().iter().any(|status| status.id == exit);
        let (before, after) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let rotation = Rotation { before, after, took: Duration::from_millis(1500) };
        Box::pin(async move { if online { Ok(rotation) } else { Err(RotateError::Offline) } })
    }
    fn locations(&self) -> Arc<Vec<PoolPlaces>> {
        Arc::default()
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
        Box::pin(async {
            let rows = std::mem::take(&mut *self.metered.lock().expect("not poisoned"));
            let store = self.store.lock().expect("not poisoned").clone().expect("set at the start");
            let sequence = store.last_sequence("gw").await.expect("a number") + 1;
            store.add_usage(UsageBatch { gateway: "gw".into(), sequence, rows }).await.expect("added");
        })
    }
}

pub(crate) struct Console {
    pub(crate) address: SocketAddr,
    pub(crate) told: Arc<Told>,
    pub(crate) store: Arc<dyn Store>,
    end: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

pub(crate) fn now() -> Timestamp {
    "2026-11-21T07:30:00Z".parse().expect("a timestamp")
}

pub(crate) async fn console() -> Console {
    console_over(Arc::new(Memory::new())).await
}

pub(crate) async fn console_over(store: Arc<dyn Store>) -> Console {
    console_with(store, None, Watch::new(Rules::default())).await
}

/// With a watch that knows something.
pub(crate) async fn console_watched(store: Arc<dyn Store>, watch: Watch) -> Console {
    console_with(store, None, watch).await
}

/// One that has records to look into.
pub(crate) async fn console_recording(store: Arc<dyn Store>, records: Option<Records>) -> Console {
    console_with(store, records, Watch::new(Rules::default())).await
}

async fn console_with(store: Arc<dyn Store>, records: Option<Records>, watch: Watch) -> Console {
    let told = Arc::new(Told::default());
    *told.store.lock().expect("not poisoned") = Some(Arc::clone(&store));
    let clock: Clock = Arc::new(now);
    let desk = Desk::new(Arc::clone(&store), Arc::clone(&told) as Arc<dyn Live>, &Snapshot::default(), clock);
    let desk = Arc::new(desk.with_records(records).watched_by(Arc::new(Mutex::new(watch))));
    let extra = Router::new().route("/v1/self/faults", get(async || "one's own"));
    let routes = router(desk, SecretHash::of(TOKEN.as_bytes()), extra);
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a port");
    let address = server.address();
    let (end, ended) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(routes, async { drop(ended.await) }));
    Console { address, told, store, end: Some(end), serving }
}

impl Console {
    /// Ends it and waits until it has.
    pub(crate) async fn shut_down(mut self) {
        drop(self.end.take());
        self.serving.await.expect("it ends well");
    }
}

/// A store whose answers all get lost before anything happened.
pub(crate) struct Dead;

impl Store for Dead {
    fn load(&self, _now: Timestamp) -> StoreFuture<'_, Snapshot> {
        dead()
    }
    fn change(&self, _change: outgate_store::Change, _seen: u64, _audit: outgate_store::Audit) -> StoreFuture<'_, ()> {
        dead()
    }
    fn changes_after(&self, _seen: u64, _limit: usize) -> StoreFuture<'_, Option<outgate_store::Changes>> {
        dead()
    }
    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
    fn audit(&self, _query: outgate_store::AuditQuery) -> StoreFuture<'_, Vec<outgate_store::AuditRow>> {
        dead()
    }
    fn add_usage(&self, _batch: UsageBatch) -> StoreFuture<'_, outgate_store::Delivery> {
        dead()
    }
    fn last_sequence(&self, _gateway: &str) -> StoreFuture<'_, u64> {
        dead()
    }
    fn usage(&self, _query: outgate_store::UsageQuery) -> StoreFuture<'_, Vec<outgate_store::UsageRow>> {
        dead()
    }
    fn used_since(&self, _key: &KeyId, _since: Timestamp) -> StoreFuture<'_, u64> {
        dead()
    }
}

fn dead<T: Send + 'static>() -> StoreFuture<'static, T> {
    Box::pin(async { Err(outgate_store::StoreError::Refused("the disk is full".into())) })
}
