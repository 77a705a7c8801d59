//! The gateway as a whole: starts the event loops, holds what they share, and shuts down.

use std::future::Future;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outgate_egress::Egress;
use outgate_faults::Fault;
use outgate_meter::Meters;
use outgate_records::Writer;
use outgate_records::write::Failing;
use outgate_store::live::{
    Denied, ExitDoor, ExitStatus, Listing, Live, LiveUsage, PoolPlaces, RecordsKept, RotateError, RotatedSession, Rotation,
    SessionAt, SharingState, Standing,
};
use outgate_store::own::Purpose;
use outgate_store::{Exit, ExitId, Key, KeyId, Plan, PlanName, Snapshot, Store};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{mpsc, oneshot};

use crate::accounts::Accounts;
use crate::core::Core;
use crate::doors::{Bound, Entrances};
use crate::echo::Echo;
use crate::fleet::Fleet;
use crate::identify::{expired, loss_of_standing};
use crate::journal::{Journal, Owed};
use crate::keeper::keep;
use crate::listen::{self, Closing, Doors};
use crate::load::{Load, watch};
use crate::offers::Offers;
use crate::own::{Counted, denied};
use crate::peers::{Peers, keep_linked};
use crate::places::Places;
use crate::reconfigure::{NewConfiguration, way_out};
use crate::remembered::Remembered;
use crate::rotate::Rotations;
use crate::settings::Settings;
use crate::settle::{self, Keeping, Settling, settle};
use crate::shares::Shares;
use crate::shares::sync::Syncing;
use crate::shutdown::Drain;
use crate::throttle::{ADMIN, Throttle};

/// Orders that wait in an event loop; whoever gives one waits for room.
const COMMANDS: usize = 256;

/// Requests that a list of what is in flight may have.
const MOST_LISTED: usize = 1_000;
/// How long a list waits for the event loops: what answered by then is in it.
const LISTED_WITHIN: Duration = Duration::from_secs(1);

/// What the event loops share. Nothing in it is locked on the way of a byte.
pub struct Gateway {
    /// What is in force; each event loop has its own copy.
    pub(crate) settings: RwLock<Arc<Settings>>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) throttle: Throttle,
    pub(crate) fleet: Fleet,
    pub(crate) offers: Offers,
    pub(crate) counted: Counted,
    pub(crate) remembered: Remembered,
    pub(crate) echo: Echo,
    pub(crate) rotations: Rotations,
    pub(crate) peers: Peers,
    /// The places of clients' connections.
    pub(crate) places: Arc<Places>,
    /// Exits have their own: a flood at one door leaves the other open.
    pub(crate) exit_places: Arc<Places>,
    pub(crate) load: Arc<Load>,
    pub(crate) writer: Option<Arc<Writer>>,
    /// What every event loop counts.
    pub(crate) meters: Arc<Meters>,
    pub(crate) keeping: Arc<Keeping>,
    pub(crate) epoch: Instant,
    /// Where its door for exits is bound.
    exit_door: Option<std::net::SocketAddr>,
    pub(crate) entrances: tokio::sync::Mutex<Entrances>,
    pub(crate) drain: Drain,
    loops: Mutex<Vec<mpsc::Sender<Command>>>,
    asks: mpsc::Sender<settle::Ask>,
    /// What it shares with other gateways.
    pub(crate) shares: Option<Arc<Shares>>,
}

/// An order to an event loop.
pub(crate) enum Command {
    /// Cut a key's requests.
    Cut(KeyId, Fault),
    /// Cut every request; tell how many there were.
    CutAll(Fault, mpsc::Sender<usize>),
    /// Tell how many requests are in flight.
    Count(mpsc::Sender<usize>),
    /// Tell how much would be cut short by an end now, requests that must be on their way included.
    CountBusy(mpsc::Sender<usize>),
    /// Tell what is in flight, of one key or all: the newest, at most so many.
    List(Option<KeyId>, usize, mpsc::Sender<Listing>),
    /// Go on with another configuration.
    Reconfigure(Box<NewConfiguration>),
    /// Accept no more at some doors, and tell how much is in hand.
    CloseDoors(Closing, mpsc::Sender<usize>),
    /// End.
    Stop,
}

/// A running gateway. Dropping it without [`Running::shut_down`] leaves its threads to the process.
pub struct Running {
    /// What runs.
    pub gateway: Arc<Gateway>,
    /// Where it listens.
    pub bound: Bound,
    pub(crate) threads: Vec<JoinHandle<()>>,
    pub(crate) settler: Option<JoinHandle<()>>,
    /// Closed when usage is to be delivered for the last time.
    pub(crate) stop_settling: Option<oneshot::Sender<()>>,
    pub(crate) syncing: Option<Syncing>,
}

impl Gateway {
    /// Binds the listeners and starts the event loops. `passed` are listeners of the service manager's: one that has the address of
    /// a door is that door's.
    ///
    /// # Errors
    /// An address is taken, the records folder can't be written, the system's DNS can't be read: in words for the operator.
    pub fn start(
        settings: Settings,
        snapshot: Snapshot,
        store: Arc<dyn Store>,
        passed: Vec<TcpListener>,
    ) -> Result<Running, String> {
        let settings = Arc::new(settings);
        let mut entrances = Entrances::new(settings.workers, passed);
        let exit_doors = entrances.open_exits(&settings)?;
        let peer_doors = entrances.open_cluster(&settings)?;
        let mut plan = entrances.plan(&settings.listeners)?;
        let bound = entrances.bound_with(&plan);
        let client_doors = std::mem::take(&mut plan.doors);
        entrances.adopt(&mut plan);
        let (journal, owed) = match settings.journal.as_deref().map(Journal::open).transpose()? {
            Some((journal, owed)) => (Some(journal), owed),
            None => (None, Owed::default()),
        };
        let writer = settings.records.as_ref().map(|records| Writer::open(&records.folder, records.keep.clone())).transpose()?;
        let epoch = Instant::now();
        let fleet = Fleet::new(&settings, snapshot.exits.clone(), epoch);
        let shares = settings.sharing.as_ref().map(|sharing| Arc::new(Shares::new(sharing.share, epoch)));
        let accounts = Arc::new(Accounts::new(snapshot, shares.clone())?);
        let (asks, asked) = mpsc::channel(16);
        let limits = &settings.limits;
        let meters = Arc::new(Meters::default());
        let gateway = Arc::new(Self {
            throttle: Throttle::new(),
            fleet,
            offers: Offers::default(),
            counted: Counted::default(),
            remembered: Remembered::new(),
            echo: Echo::new(settings.echo.clone()),
            rotations: Rotations::default(),
            peers: Peers::new(&settings),
            exit_door: bound.exits,
            entrances: tokio::sync::Mutex::new(entrances),
            places: Arc::new(Places::new(limits.connections, limits.connections_per_source)),
            exit_places: Arc::new(Places::new(limits.exit_connections, limits.connections_per_source)),
            load: Arc::new(Load::new(limits)),
            writer,
            meters: meters.clone(),
            keeping: Arc::default(),
            epoch,
            drain: Drain::default(),
            loops: Mutex::default(),
            asks,
            shares: shares.clone(),
            accounts: accounts.clone(),
            settings: RwLock::new(settings.clone()),
        });
        let mut threads = Vec::new();
        let doors = client_doors.into_iter().zip(exit_doors).zip(peer_doors);
        for (number, ((clients, exits), peers)) in doors.enumerate() {
            let doors = Doors { clients, exits, peers };
            // Built here so that a broken DNS configuration is an error at start, not in a thread.
            let egress = Egress::new(way_out(&settings, &bound))?;
            let mut seed = [0; 8];
            SystemRandom::new().fill(&mut seed).map_err(|_| "the system gives no random bytes".to_owned())?;
            let (sender, commands) = mpsc::channel(COMMANDS);
            gateway.loops.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
            let gateway = gateway.clone();
            let work = move || {
                let ended = listen::event_loop(|| {
                    let core = std::rc::Rc::new(Core::new(gateway, egress, u64::from_ne_bytes(seed)));
                    async move {
                        // One of the loops looks after the exits of all, and after the gateway's memory.
                        if number == 0 {
                            tokio::task::spawn_local(keep(core.clone()));
                            tokio::task::spawn_local(watch(core.gateway.clone()));
                        }
                        tokio::task::spawn_local(keep_linked(core.clone(), number));
                        listen::run(core, doors, commands).await
                    }
                });
                if let Err(error) = ended {
                    tracing::error!(%error, "an event loop failed");
                }
            };
            let thread = std::thread::Builder::new().name(format!("loop-{number}")).spawn(work);
            threads.push(thread.map_err(|e| format!("a thread can't be started: {e}"))?);
        }
        let (stop_settling, stop) = oneshot::channel();
        let name = settings.name.clone();
        let settling = Settling { meters, accounts, store, gateway: name, keeping: gateway.keeping.clone(), journal, owed };
        let settler = spawn_settler(settling, asked, stop)?;
        let syncing = match (shares, settings.sharing.clone()) {
            (Some(shares), Some(sharing)) => Some(Syncing::begin(gateway.clone(), shares, sharing)?),
            _ => None,
        };
        Ok(Running { gateway, bound, threads, settler: Some(settler), stop_settling: Some(stop_settling), syncing })
    }

    /// What is in force now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records lost so far because the disk could not keep up.
    pub fn records_dropped(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.dropped())
    }

    fn records_kept(&self) -> RecordsKept {
        let Some(health) = self.writer.as_ref().map(|writer| writer.health()) else { return RecordsKept::Off };
        let lost = health.too_fast + health.refused;
        match health.failing {
            Some(Failing { since, why }) => RecordsKept::Failing { since, why, lost },
            None => RecordsKept::Written { lost },
        }
    }

    /// Cuts the live tunnels of the keys whose time has ended since the last call.
    pub(crate) fn cut_expired(&self, now: Timestamp) {
        for account in self.accounts.take_expired(now) {
            if let Some(at) = account.key.expires {
                self.cut(&account.key.id, &expired(at));
            }
        }
    }

    /// Orders every event loop to cut a key's requests.
    fn cut(&self, key: &KeyId, fault: &Fault) {
        for sender in self.event_loops() {
            let Err(mpsc::error::TrySendError::Full(order)) = sender.try_send(Command::Cut(key.clone(), fault.clone())) else {
                continue;
            };
            // The loop is behind: wait for it, but not here, where the console waits.
            let waiting = std::thread::Builder::new().name("cut".into()).spawn(move || sender.blocking_send(order));
            if let Err(error) = waiting {
                tracing::error!(%key, %error, "an event loop takes no orders; the key's open tunnels there go on");
            }
        }
    }

    /// Asks every event loop what is in flight on it.
    async fn list(&self, key: Option<KeyId>, most: usize) -> Listing {
        let loops = self.event_loops();
        let (tell, mut told) = mpsc::channel(loops.len().max(1));
        for sender in loops {
            // A loop that is too busy for its orders is not kept waiting for by a page.
            let _busy = sender.try_send(Command::List(key.clone(), most, tell.clone()));
        }
        drop(tell);
        let mut whole = Listing::default();
        let gather = async {
            while let Some(Listing { all, requests }) = told.recv().await {
                whole.all += all;
                whole.requests.extend(requests);
            }
        };
        let _late = tokio::time::timeout(LISTED_WITHIN, gather).await;
        whole.requests.sort_by_key(|request| std::cmp::Reverse(request.since));
        whole.requests.truncate(most);
        whole
    }

    pub(crate) fn event_loops(&self) -> Vec<mpsc::Sender<Command>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests in flight on all event loops, and tunnels of other gateways that go through here.
    pub async fn in_flight(&self) -> usize {
        self.ask_all(Command::Count).await + self.peers.relayed()
    }

    /// Puts a question to every event loop and sums up the answers.
    pub(crate) async fn ask_all(&self, question: impl Fn(mpsc::Sender<usize>) -> Command) -> usize {
        let (tell, mut told) = mpsc::channel(64);
        for sender in self.event_loops() {
            let _ended = sender.send(question(tell.clone())).await;
        }
        drop(tell);
        let mut sum = 0;
        while let Some(count) = told.recv().await {
            sum += count;
        }
        sum
    }
}

fn spawn_settler(
    settling: Settling,
    mut asked: mpsc::Receiver<settle::Ask>,
    stop: oneshot::Receiver<()>,
) -> Result<JoinHandle<()>, String> {
    let work = move || {
        let ended = listen::event_loop(|| async move {
            let (forward, asks) = mpsc::channel(16);
            // Ends the settler when the gateway stops, although the console may still hold its end.
            tokio::task::spawn_local(async move {
                let mut stop = stop;
                loop {
                    tokio::select! {
                        _ = &mut stop => return,
                        ask = asked.recv() => match ask {
                            Some(ask) => { let _settler_gone = forward.send(ask).await; }
                            None => return,
                        },
                    }
                }
            });
            settle(settling, asks).await;
            Ok::<(), io::Error>(())
        });
        if let Err(error) = ended {
            tracing::error!(%error, "usage is no longer delivered");
        }
    };
    std::thread::Builder::new().name("settle".into()).spawn(work).map_err(|e| format!("a thread can't be started: {e}"))
}

impl Live for Gateway {
    fn plan_changed(&self, plan: Arc<Plan>) {
        self.accounts.put_plan(plan);
    }

    fn plan_removed(&self, plan: &PlanName) {
        self.accounts.remove_plan(plan);
    }

    fn key_changed(&self, key: Key) {
        let loss = loss_of_standing(&key.state).map(|fault| (key.id.clone(), fault));
        let id = key.id.clone();
        if self.accounts.put_key(key).is_none() {
            tracing::error!(key = %id, "a key was changed to a plan that is not in force");
        }
        if let Some((id, fault)) = loss {
            self.cut(&id, &fault);
        }
    }

    fn exit_changed(&self, exit: Exit) {
        self.fleet.put(exit);
    }

    fn standing(&self) -> Standing {
        Standing {
            usage: self.keeping.now(),
            sharing: self.shares.as_ref().map_or(SharingState::Off, |shares| shares.state()),
            memory_short: self.load.refuse_when_short().is_err(),
            records: self.records_kept(),
        }
    }

    fn exits_online(&self) -> Vec<ExitStatus> {
        self.fleet.status()
    }

    fn key_usage(&self, key: &KeyId) -> Option<LiveUsage> {
        let nanos = self.epoch.elapsed().as_nanos() as u64;
        self.accounts.find(key.as_str()).map(|account| account.usage(nanos))
    }

    fn requests_in_flight(&self, key: Option<KeyId>, most: usize) -> Pin<Box<dyn Future<Output = Listing> + Send + '_>> {
        Box::pin(self.list(key, most.min(MOST_LISTED)))
    }

    fn exit_door(&self) -> Option<ExitDoor> {
        let tls = self.settings().exits.as_ref().is_some_and(|door| door.tls.is_some());
        self.exit_door.map(|address| ExitDoor { address, tls })
    }

    fn rotate_exit(&self, exit: ExitId) -> Pin<Box<dyn Future<Output = Result<Rotation, RotateError>> + Send + '_>> {
        Box::pin(async move { self.rotate(&exit).await })
    }

    fn locations(&self) -> Arc<Vec<PoolPlaces>> {
        self.count_exits()
    }

    fn authenticate(&self, authorization: Option<&str>, source: IpAddr, purpose: Purpose) -> Result<KeyId, Denied> {
        self.own_caller(authorization, source, purpose).map(|caller| caller.account.key.id.clone())
    }

    fn throttle_guess(&self, source: IpAddr, right: bool) -> Result<(), Duration> {
        let nanos = self.epoch.elapsed().as_nanos() as u64;
        self.throttle.check(source, ADMIN, nanos)?;
        if !right {
            self.throttle.failed(source, ADMIN, nanos);
        }
        Ok(())
    }

    fn rotate_session(&self, authorization: Option<&str>, source: IpAddr, at: &SessionAt) -> Result<RotatedSession, Denied> {
        self.rotate_own(self.own_caller(authorization, source, Purpose::Use)?, at).map_err(denied)
    }

    fn flush_usage(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let (ask, delivered) = oneshot::channel();
            if self.asks.send(ask).await.is_ok() {
                let _settler_gone = delivered.await;
            }
        })
    }
}
