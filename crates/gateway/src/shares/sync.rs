//! The task that talks to whoever keeps what is shared: gathers what everybody asks for, asks once, hands out the answers.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use outgate_store::shared::{Company, Peer, Presence};
use outgate_store::{ExitId, KeyId};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::accounts::Live;
use crate::gateway::Gateway;
use crate::listen;
use crate::settings::Sharing;
use crate::shares::round::{Manner, Round, Tracked};
use crate::shares::{Pending, Shares, Waiter};

/// How often keys in use are looked at, and what they don't need is given back.
const LOOK: Duration = Duration::from_millis(100);
/// The longest a set-up waits for an answer; then this gateway is alone.
const PATIENCE: Duration = Duration::from_millis(250);
/// How often it says that it is there, and how often it tries again when it is alone.
const BEAT: Duration = Duration::from_secs(1);
/// How long it counts as there without having said so.
const LASTS: Duration = Duration::from_secs(3);
/// What was begun more recently may not know of everybody's use: the others try each [`BEAT`], and may wait before.
const SETTLED: Duration = Duration::from_secs(2);

/// The task in its thread.
pub(crate) struct Syncing {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Syncing {
    /// Begins to share.
    pub(crate) fn begin(gateway: Arc<Gateway>, shares: Arc<Shares>, sharing: Sharing) -> Result<Self, String> {
        let (stop, stopped) = oneshot::channel();
        let work = move || {
            let ended = listen::event_loop(|| async move {
                sync(gateway, shares, sharing, stopped).await;
                Ok::<(), io::Error>(())
            });
            if let Err(error) = ended {
                tracing::error!(%error, "limits are no longer shared");
            }
        };
        let thread = std::thread::Builder::new().name("shares".into()).spawn(work);
        Ok(Self { stop, thread: thread.map_err(|e| format!("a thread can't be started: {e}"))? })
    }

    /// Leaves the others and waits until they know.
    pub(crate) fn end(self) {
        let _ended = self.stop.send(());
        let _panicked = self.thread.join();
    }
}

/// Runs until `stop`, then leaves: what this gateway held is free at once.
async fn sync(gateway: Arc<Gateway>, shares: Arc<Shares>, sharing: Sharing, mut stop: oneshot::Receiver<()>) {
    let mut sync = Sync::new(gateway, shares, sharing);
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let looks = tokio::select! {
            _ = look.tick() => true,
            () = sync.shares.wake.notified() => false,
            // Dropped or sent: both mean stop.
            _ = &mut stop => break,
        };
        sync.turn(looks).await;
    }
    sync.leave().await;
}

struct Sync {
    gateway: Arc<Gateway>,
    shares: Arc<Shares>,
    sharing: Sharing,
    member: String,
    turn: u64,
    tracked: HashMap<KeyId, Tracked>,
    /// The exits that were told of.
    announced: HashSet<ExitId>,
    heard: u64,
    /// When what is shared was begun; a later beginning means that it was lost.
    began: Option<Instant>,
    beat_at: Instant,
    /// What the operator was told last: that limits are shared, or that they can't be.
    said: Option<bool>,
}

impl Sync {
    fn new(gateway: Arc<Gateway>, shares: Arc<Shares>, sharing: Sharing) -> Self {
        let mut random = [0; 8];
        // Without randomness the process id tells runs apart well enough.
        let number = match SystemRandom::new().fill(&mut random) {
            Ok(()) => u64::from_ne_bytes(random),
            Err(_) => u64::from(std::process::id()),
        };
        let member = format!("{}.{number:016x}", gateway.settings().name);
        Self {
            gateway,
            shares,
            sharing,
            member,
            turn: 0,
            tracked: HashMap::new(),
            announced: HashSet::new(),
            heard: 0,
            began: None,
            beat_at: Instant::now(),
            said: None,
        }
    }

    async fn turn(&mut self, looks: bool) {
        let Pending { keys, waiters, sessions } = self.shares.take_pending();
        let mut calling = HashSet::new();
        for live in keys {
            if let Some(lot) = live.lot.as_deref() {
                lot.heard();
            }
            calling.insert(live.id().clone());
            self.track(live);
        }
        let together = self.shares.together();
        let beats = Instant::now() >= self.beat_at;
        if looks {
            self.tracked.values_mut().for_each(Tracked::look);
        }
        if !together && !beats {
            // Whoever waits is dropped, which tells it that this gateway is alone.
            return;
        }
        let (manner, waiters) = if together { (Manner::Share, waiters) } else { (Manner::Say, Vec::new()) };
        let mut round = self.round(waiters, calling, manner, looks || beats);
        let (asks, tells): (Vec<_>, Vec<_>) = if together { sessions.into_iter().unzip() } else { Default::default() };
        round.asks.sessions = asks;
        let exits = if beats { self.exits_here() } else { HashSet::new() };
        if beats {
            round.asks.presence = Some(self.presence(&exits));
            self.beat_at = Instant::now() + BEAT;
        }
        if round.is_empty() {
            return;
        }
        self.turn += 1;
        (round.asks.turn, round.asks.member) = (self.turn, self.member.clone());
        // Nobody waits for a first connection.
        let patience = if together { PATIENCE } else { BEAT };
        let answered = match timeout(patience, self.sharing.keeper.ask(round.asks.clone())).await {
            Ok(answered) => answered.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} ms", patience.as_millis())),
        };
        match answered {
            Ok(mut answers) => {
                for (tell, answer) in tells.into_iter().zip(answers.sessions.drain(..)) {
                    if let Some(tell) = tell {
                        let _gone = tell.send(answer);
                    }
                }
                self.met(answers.company.take(), exits);
                round.take_over(&answers, self.nanos());
            }
            Err(why) => self.failed(&why),
        }
        if looks && self.shares.together() {
            self.tracked.retain(|_, tracked| !tracked.is_at_rest());
        }
    }

    /// What is asked for: for the keys that call or that somebody waits for, and when it is time to look for all.
    fn round(&mut self, waiters: Vec<Waiter>, calling: HashSet<KeyId>, manner: Manner, looks: bool) -> Round {
        let nanos = self.nanos();
        let mut waiting: HashMap<KeyId, Vec<Waiter>> = calling.into_iter().map(|key| (key, Vec::new())).collect();
        for waiter in waiters {
            self.track(waiter.account.live.clone());
            waiting.entry(waiter.account.key.id.clone()).or_default().push(waiter);
        }
        let mut round = Round::default();
        let accounts = self.gateway.accounts.clone();
        let mut add = |key: &KeyId, tracked: &mut Tracked, waiters, looks| {
            if let Some(account) = accounts.find(key.as_str()) {
                round.add(&account, tracked, waiters, manner, looks, nanos);
            }
        };
        for (key, waiters) in waiting {
            if let Some(tracked) = self.tracked.get_mut(&key) {
                add(&key, tracked, waiters, false);
            }
        }
        if looks {
            self.tracked.iter_mut().for_each(|(key, tracked)| add(key, tracked, Vec::new(), true));
        }
        round
    }

    fn track(&mut self, live: Arc<Live>) {
        if !self.tracked.contains_key(live.id()) {
            self.tracked.insert(live.id().clone(), Tracked::new(live));
        }
    }

    fn presence(&self, exits: &HashSet<ExitId>) -> Presence {
        let settings = self.gateway.settings();
        let door = settings.cluster.as_ref().and_then(|cluster| cluster.advertise.as_ref()).map(ToString::to_string);
        Presence::Here {
            peer: Peer { name: settings.name.clone(), door },
            lasts: LASTS,
            arrived: exits.difference(&self.announced).cloned().collect(),
            left: self.announced.difference(exits).cloned().collect(),
            seeks: Vec::new(),
            heard: self.heard,
        }
    }

    /// The exits that this gateway holds itself.
    fn exits_here(&self) -> HashSet<ExitId> {
        self.gateway.fleet.status().into_iter().filter(|exit| exit.gateway.is_none()).map(|exit| exit.id).collect()
    }

    /// Whoever says where its door is, is a peer.
    fn meet(&self, peers: &[Peer]) {
        let settings = self.gateway.settings();
        if settings.cluster.as_ref().is_none_or(|cluster| cluster.advertise.is_none()) {
            return;
        }
        let others = peers.iter().filter(|peer| peer.name != settings.name);
        self.gateway.peers.meet(others.filter_map(|peer| peer.door.as_deref()?.parse().ok()).collect());
    }

    /// Takes over who is there, and whether what is shared can be relied upon.
    fn met(&mut self, company: Option<Company>, exits: HashSet<ExitId>) {
        let Some(company) = company else { return };
        self.announced = if company.exits == exits.len() as u64 { exits } else { HashSet::new() };
        self.heard = company.news;
        self.shares.hear(&company.changed);
        self.meet(&company.peers);
        self.shares.meet(company.peers);
        let began = Instant::now().checked_sub(company.age);
        // Clocks tick differently; a restart takes longer than this.
        let lost = matches!((self.began, began), (Some(before), Some(now)) if now > before + PATIENCE);
        if lost || self.began.is_none() {
            self.began = began;
        }
        if lost {
            // Everything that was told is told again, also of keys that nobody uses just now.
            self.tracked.values_mut().for_each(Tracked::say_again);
            self.gateway.accounts.told().into_iter().for_each(|live| self.track(live));
        }
        if company.age < SETTLED {
            if self.shares.together() {
                self.part_ways("what was shared is lost and begins again");
            }
            // Soon again: the rest of the keys is to be told.
            self.beat_at = Instant::now() + LOOK;
            return;
        }
        self.shares.join();
        if self.said.replace(true) != Some(true) {
            let gateways = self.shares.peers().len();
            tracing::info!(gateways, "limits are shared among the gateways");
        }
    }

    fn failed(&mut self, why: &str) {
        self.part_ways(why);
        self.beat_at = Instant::now() + BEAT;
    }

    fn part_ways(&mut self, why: &str) {
        self.tracked.values_mut().for_each(Tracked::say_again);
        self.shares.part_ways(why);
        if self.said.replace(false) != Some(false) {
            let share = format!("{:.2}", self.shares.share());
            tracing::warn!(why, share, "limits can't be shared: this gateway enforces its share of them alone, and tries again");
        }
    }

    /// Says that it goes.
    async fn leave(&mut self) {
        let mut round = Round::default();
        self.turn += 1;
        (round.asks.turn, round.asks.member) = (self.turn, self.member.clone());
        round.asks.presence = Some(Presence::Leaving);
        // Bytes that were leased and not used would be lost to their keys until the period ends.
        let nanos = self.nanos();
        for (key, tracked) in &mut self.tracked {
            tracked.say_again();
            if let Some(account) = self.gateway.accounts.find(key.as_str()) {
                round.add(&account, tracked, Vec::new(), Manner::Leave, true, nanos);
            }
        }
        // Whether it is heard or not, it ends by itself.
        let _unheard = timeout(PATIENCE, self.sharing.keeper.ask(round.asks)).await;
    }

    fn nanos(&self) -> u64 {
        self.shares.epoch.elapsed().as_nanos() as u64
    }
}
