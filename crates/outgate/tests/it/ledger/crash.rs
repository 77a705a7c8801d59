//! Gateways, their PostgreSQL and their Redis killed at random under traffic, round after round: what the ledger says in the end
//! against what client and target exchanged.
//!
//! `CRASH_ROUNDS=50` and `CRASH_SEED=7` make it longer and different.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use outgate_testkit::gateway_process::{GatewayProcess, Quickstart};
use outgate_testkit::patience::until;
use outgate_testkit::postgres::PostgresServer;
use outgate_testkit::redis_server::{Keeps, RedisServer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::shared::follows;
use super::{Key, MIB};
use crate::OUTGATE;

const QUESTION: usize = 1024;
const ANSWER: usize = 16 * 1024;
/// Tunnels at each gateway.
const TUNNELS: usize = 3;
/// What a killed gateway may lose: 1 MiB or 250 ms of traffic, which at the plan's speed is less.
const LOSS: u64 = MIB;
const SPEED: &str = "2MB/s";

/// What was exchanged, in bytes of both directions.
#[derive(Default)]
struct Truth {
    /// Arrived at the other end: the gateway had it.
    arrived: AtomicU64,
    /// Sent off: the gateway may have had it.
    sent: AtomicU64,
    exchanges: AtomicU64,
}

/// Where a gateway is now; none while it is down.
type Door = Arc<Mutex<Option<SocketAddr>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_killed_nothing_counts_twice_and_little_is_lost() {
    let variable = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let rounds = variable("CRASH_ROUNDS", 4);
    let mut random = Random(variable("CRASH_SEED", 2026));
    let mut server = PostgresServer::start();
    let url = server.database();
    let mut redis = RedisServer::start(Keeps::Nothing);
    let gateway = {
        let (url, redis) = (url.clone(), redis.address());
        move || Quickstart::new(OUTGATE).env("OUTGATE_STORE_POSTGRES", &url).env("OUTGATE_STORE_REDIS", &redis)
    };
    let mut gateways = [gateway().start(), gateway().start()];
    let truth = Arc::new(Truth::default());
    let target = answering(truth.clone()).await;
    let _plan = gateways[0].admin(&["plans", "create", "paced", "--speed", SPEED, "--threads", "100", "--bytes", "1TB"]);
    let key = Key::create(&gateways[0], &["--plan", "paced"]);
    follows("the key", async || (key.connect(&gateways[1], "", target).await.1.status == 200).then_some(())).await;
    let ending = Arc::new(AtomicBool::new(false));
    let doors: Vec<Door> = gateways.iter().map(|gateway| Arc::new(Mutex::new(Some(gateway.proxy())))).collect();
    let visits: Vec<_> = doors
        .iter()
        .flat_map(|door| std::iter::repeat_n(door, TUNNELS))
        .map(|door| {
            let login = key.authorization();
            tokio::spawn(keep_asking(door.clone(), login, target, truth.clone(), ending.clone()))
        })
        .collect();

    let mut kills = 0;
    for round in 0..rounds {
        more(&truth, 20 + random.below(200)).await;
        let (first, second, ledger) = (random.below(2) == 0, random.below(3) == 0, random.below(2) == 0);
        let first = first || !(second || ledger);
        let shared = random.below(3) == 0;
        if shared {
            redis.kill();
        }
        // In an order of chance: the gateway knows of the ledger's end or does not.
        let ledger_first = random.below(2) == 0;
        if ledger && ledger_first {
            server.kill();
            more(&truth, random.below(60)).await;
        }
        for (at, dies) in [first, second].into_iter().enumerate().filter(|(_, dies)| *dies) {
            *doors[at].lock().expect("a lock") = None;
            gateways[at].daemon().kill();
            kills += u64::from(dies);
        }
        if ledger && !ledger_first {
            server.kill();
        }
        if !(first && second) {
            more(&truth, random.below(60)).await;
        }
        if shared {
            redis.restart();
        }
        if ledger {
            server.start_again();
        }
        for (at, _) in [first, second].into_iter().enumerate().filter(|(_, died)| *died) {
            let folder = gateways[at].folder();
            gateways[at] = gateway().start_in(folder);
            *doors[at].lock().expect("a lock") = Some(gateways[at].proxy());
        }
        // What is recorded can never be more than what was sent off, whatever is still on its way.
        let recorded = recorded(&server, &url, &key);
        let sent = truth.sent.load(SeqCst);
        assert!(recorded <= sent, "round {round}: {recorded} recorded of {sent}: something counts twice");
    }

    ending.store(true, SeqCst);
    for visit in visits {
        visit.await.expect("it ends");
    }
    until("everything to be delivered", || gateways.iter().all(settled).then_some(())).await;
    let (arrived, sent) = (truth.arrived.load(SeqCst), truth.sent.load(SeqCst));
    let allowed = kills * LOSS;
    let enough = || (recorded(&server, &url, &key) + allowed >= arrived).then_some(());
    until("the ledger to have all but what kills may cost", enough).await;
    let recorded = recorded(&server, &url, &key);
    assert!(recorded <= sent, "{recorded} recorded of {sent}: something counts twice");
    let lost = arrived.saturating_sub(recorded);
    println!(
        "{rounds} rounds, {kills} gateways killed: {arrived} bytes arrived, {recorded} recorded, {lost} lost, {allowed} allowed"
    );
    let wrong = "SELECT count(*) FROM periods WHERE bytes <> (SELECT sum(up + down) FROM usage WHERE usage.key = periods.key)";
    assert_eq!(server.sql(&url, wrong), "0", "the periods' sums are those of the hours");
}

fn recorded(server: &PostgresServer, url: &str, key: &Key) -> u64 {
    let sum = format!("SELECT coalesce(sum(up + down), 0) FROM usage WHERE key = '{}'", key.id);
    server.sql(url, &sum).parse().expect("a number")
}

/// Whether a gateway owes nothing that it had to write down.
fn settled(gateway: &GatewayProcess) -> bool {
    !gateway.data().join("usage.journal").exists()
}

/// Waits for so many exchanges.
async fn more(truth: &Truth, exchanges: u64) {
    let before = truth.exchanges.load(SeqCst);
    until("more exchanges", || (truth.exchanges.load(SeqCst) >= before + exchanges).then_some(())).await;
}

/// A target that answers each question.
async fn answering(truth: Arc<Truth>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let truth = truth.clone();
            tokio::spawn(async move {
                let (mut question, answer) = ([0; QUESTION], [7; ANSWER]);
                while tcp.read_exact(&mut question).await.is_ok() {
                    truth.arrived.fetch_add(QUESTION as u64, SeqCst);
                    truth.sent.fetch_add(ANSWER as u64, SeqCst);
                    if tcp.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Keeps a tunnel open through whichever gateway is behind the door, and asks through it.
async fn keep_asking(door: Door, login: String, target: SocketAddr, truth: Arc<Truth>, ending: Arc<AtomicBool>) {
    while !ending.load(SeqCst) {
        let at = *door.lock().expect("a lock");
        let Some(at) = at else {
            tokio::task::yield_now().await;
            continue;
        };
        if let Ok(mut tunnel) = TcpStream::connect(at).await {
            // It ends when the gateway does.
            let _cut = ask_through(&mut tunnel, &login, target, &truth, &ending).await;
        }
    }
}

async fn ask_through(
    tunnel: &mut TcpStream,
    login: &str,
    target: SocketAddr,
    truth: &Truth,
    ending: &AtomicBool,
) -> std::io::Result<()> {
    tunnel.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tunnel.read_u8().await?);
    }
    if !head.starts_with(b"HTTP/1.1 200 ") {
        return Err(std::io::ErrorKind::ConnectionRefused.into());
    }
    let (question, mut answer) = ([1; QUESTION], [0; ANSWER]);
    while !ending.load(SeqCst) {
        truth.sent.fetch_add(QUESTION as u64, SeqCst);
        tunnel.write_all(&question).await?;
        tunnel.read_exact(&mut answer).await?;
        truth.arrived.fetch_add(ANSWER as u64, SeqCst);
        truth.exchanges.fetch_add(1, SeqCst);
    }
    Ok(())
}

/// xorshift64*: the same rounds for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}
