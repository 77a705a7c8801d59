//! Set-ups at a steady rate, each tried with one byte there and back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use outgate_testkit::gateway_process::GatewayProcess;
use outgate_testkit::wire::{Credentials, Reply, Wire};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::place::Place;

/// How long a tunnel may take to bring the byte back before it counts as mute.
pub const MUTE: Duration = Duration::from_secs(3);

/// What one set-up asks for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Where the exit must be.
    pub place: Place,
    /// The session it belongs to.
    pub session: Option<String>,
}

/// One set-up and what came of it.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What was asked for.
    pub ask: Ask,
    /// When it began.
    pub at: Instant,
    /// From the connection's first packet to the answer's head.
    pub took: Duration,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a set-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with 200, and the byte came back.
    Carried(Served),
    /// Answered with 200, and the byte never came back.
    Mute(Served),
    /// Answered with a fault.
    Told {
        /// Its status.
        status: u16,
        /// Its slug.
        slug: String,
    },
    /// Not answered.
    Broken(String),
}

/// Who served a set-up, as its answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// `X-Outgate-Exit`.
    pub exit: String,
    /// `X-Outgate-Country`.
    pub country: Option<String>,
    /// `X-Outgate-Session-Moved`: the exit that the session was on before.
    pub moved: Option<String>,
    /// `X-Outgate-Attempts`; 1 unless said.
    pub attempts: u16,
}

impl Served {
    /// As an answer says it; `None` for one without an exit.
    #[must_use]
    pub fn of(reply: &Reply) -> Option<Self> {
        Some(Self {
            exit: reply.header("X-Outgate-Exit")?.to_owned(),
            country: reply.header("X-Outgate-Country").map(str::to_owned),
            moved: reply.header("X-Outgate-Session-Moved").map(str::to_owned),
            attempts: reply.header("X-Outgate-Attempts").and_then(|text| text.parse().ok()).unwrap_or(1),
        })
    }
}

impl Trial {
    /// Who served it, if anybody did.
    #[must_use]
    pub fn served(&self) -> Option<&Served> {
        match &self.outcome {
            Outcome::Carried(served) | Outcome::Mute(served) => Some(served),
            Outcome::Told { .. } | Outcome::Broken(_) => None,
        }
    }
}

/// Through which gateway, as whom, to which target that echoes.
#[derive(Clone, Debug)]
pub struct Route {
    proxy: SocketAddr,
    key: String,
    secret: String,
    target: String,
}

impl Route {
    /// As the gateway's first key.
    #[must_use]
    pub fn new(gateway: &GatewayProcess, target: SocketAddr) -> Self {
        let text = |field: &str| gateway.told(field).to_owned();
        Self { proxy: gateway.proxy(), key: text("key_id"), secret: text("secret"), target: target.to_string() }
    }

    /// One set-up; the tunnel is closed after its byte.
    pub async fn attempt(&self, ask: Ask) -> Trial {
        let session = ask.session.as_ref().map(|name| format!("-session-{name}")).unwrap_or_default();
        let user = format!("{}{}{session}", self.key, ask.place.modifiers());
        let at = Instant::now();
        let credentials = Credentials { user: &user, password: &self.secret };
        let answered = Wire::connect_through(self.proxy, Some(credentials), &self.target).await;
        let took = at.elapsed();
        let outcome = match answered {
            Err(error) => Outcome::Broken(error.to_string()),
            Ok((wire, reply)) if reply.status == 200 => match Served::of(&reply) {
                None => Outcome::Broken("a 200 that names no exit".to_owned()),
                Some(served) if echoes(wire).await => Outcome::Carried(served),
                Some(served) => Outcome::Mute(served),
            },
            Ok((_, reply)) => {
                Outcome::Told { status: reply.status, slug: reply.header("X-Proxy-Error").unwrap_or_default().to_owned() }
            }
        };
        Trial { ask, at, took, outcome }
    }
}

async fn echoes(mut wire: Wire) -> bool {
    let there_and_back = async {
        wire.send(b"?").await?;
        wire.exactly(1).await
    };
    matches!(timeout(MUTE, there_and_back).await, Ok(Ok(byte)) if byte == b"?")
}

/// Set-ups under way on a thread of their own: open loop, so that a slow one holds no other up.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Trial>>,
}

impl Load {
    /// Begins a set-up every `1/rate` s with what `next` says, which is told its number.
    ///
    /// # Panics
    /// If the machine cannot start a thread.
    #[must_use]
    pub fn start(route: Route, rate: u32, mut next: impl FnMut(usize) -> Ask + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = async move {
            let mut tick = interval(Duration::from_secs(1) / rate.max(1));
            tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut trials = JoinSet::new();
            while !stopped.load(Ordering::Relaxed) {
                tick.tick().await;
                let (route, ask) = (route.clone(), next(trials.len()));
                trials.spawn(async move { route.attempt(ask).await });
            }
            // What began is seen to its end: a set-up that hangs is what this is looking for.
            let mut done = trials.join_all().await;
            done.sort_by_key(|trial| trial.at);
            done
        };
        let runtime = Builder::new_current_thread().enable_all().build().expect("the machine can make an event loop");
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(move || runtime.block_on(run));
        Self { stop, thread: thread.expect("the machine can start a thread") }
    }

    /// Begins no more, waits for those under way and returns all, by when they began.
    ///
    /// # Panics
    /// If the thread did.
    #[must_use]
    pub fn stop(self) -> Vec<Trial> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load does not panic")
    }
}
