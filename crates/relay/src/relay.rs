//! A relay as it runs: what its connections share, how it starts, and how it stops.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use outgate_client::connect::Target;
use outgate_client::engine::{Clock, Engine};
use outgate_faults::Dialect;
use outgate_meter::{Countries, Exposition, Format, Gauges, Meter, Meters, Records, Role, Room};
use outgate_records::{Recorder, Writer};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::door;
use crate::settings::Settings;
use crate::telling;
use crate::upstreams::Link;

/// How often records that wait are handed over.
const TICK: Duration = Duration::from_millis(250);

/// What all connections share. They live on one event loop.
pub(crate) struct Relay {
    pub(crate) settings: Settings,
    pub(crate) links: Vec<Link>,
    pub(crate) engine: RefCell<Engine>,
    pub(crate) clock: Clock,
    pub(crate) dialect: Dialect,
    pub(crate) meters: Meters,
    pub(crate) meter: Arc<Meter>,
    pub(crate) recorder: RefCell<Recorder>,
    writer: Option<Arc<Writer>>,
    pub(crate) in_flight: Cell<u64>,
    pub(crate) since: Timestamp,
    bound: Vec<SocketAddr>,
    places: Arc<Semaphore>,
    drain: watch::Sender<bool>,
    random: SystemRandom,
}

/// A relay that serves.
pub struct Running {
    relay: Rc<Relay>,
}

/// Binds, and serves from then on, on the event loop that calls; it must be one for tasks that stay on it.
///
/// # Errors
/// What can't be had, in words for the operator.
pub async fn start(settings: Settings) -> Result<Running, String> {
    let mut listeners = Vec::new();
    for listener in &settings.listeners {
        let bound = TcpListener::bind(listener.address).await;
        let bound = bound.map_err(|error| format!("can't listen on {}: {error}", listener.address))?;
        let address = bound.local_addr().map_err(|error| format!("{}: {error}", listener.address))?;
        listeners.push((bound, address, listener.tls.clone()));
    }
    let writer = match &settings.records {
        Some(records) => Some(Writer::open(&records.folder, records.keep.clone())?),
        None => None,
    };
    let random = SystemRandom::new();
    let links: Vec<Link> = settings.upstreams.iter().cloned().map(Link::new).collect();
    let engine = Engine::new(settings.retry.clone(), links.iter().map(Link::proxy).collect(), number(&random));
    let meters = Meters::default();
    let relay = Rc::new(Relay {
        links,
        engine: RefCell::new(engine),
        clock: Clock::start(),
        dialect: telling::dialect()?,
        meter: meters.add(),
        meters,
        recorder: RefCell::new(Recorder::new(writer.clone())),
        writer,
        in_flight: Cell::new(0),
        since: Timestamp::now(),
        bound: listeners.iter().map(|(_, address, _)| *address).collect(),
        places: Arc::new(Semaphore::new(settings.connections)),
        drain: watch::Sender::new(false),
        random,
        settings,
    });
    for (listener, _, tls) in listeners {
        tokio::task::spawn_local(door::accept(relay.clone(), listener, tls, relay.places.clone()));
    }
    tokio::task::spawn_local(tick(Rc::downgrade(&relay)));
    Ok(Running { relay })
}

/// Hands records over as long as there is a relay.
async fn tick(relay: std::rc::Weak<Relay>) {
    loop {
        tokio::time::sleep(TICK).await;
        let Some(relay) = relay.upgrade() else { return };
        relay.recorder.borrow_mut().tick();
    }
}

/// The memory that this process holds, in bytes; 0 where the system doesn't say (proc(5)).
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

fn number(random: &SystemRandom) -> u64 {
    let mut bytes = [0; 8];
    // Ids and jitter need no secrecy: without randomness the clock does.
    if random.fill(&mut bytes).is_err() {
        return SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.subsec_nanos().into());
    }
    u64::from_ne_bytes(bytes)
}

impl Running {
    /// Where it listens, in the order of the settings.
    pub fn bound(&self) -> &[SocketAddr] {
        &self.relay.bound
    }

    /// Its status, as `/status.json` has it.
    pub fn status(&self) -> serde_json::Value {
        crate::pages::status(&self.relay)
    }

    /// Accepts nothing more, waits for what is open as long as the settings say, and says how many requests were cut.
    pub async fn shut_down(self) -> u64 {
        let relay = self.relay;
        relay.drain.send_replace(true);
        let deadline = tokio::time::Instant::now() + relay.settings.drain;
        while relay.in_flight.get() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let cut = relay.in_flight.get();
        relay.recorder.borrow_mut().hand_over();
        if let Some(writer) = &relay.writer {
            writer.close();
        }
        cut
    }
}

impl Relay {
    /// A request is no longer in flight.
    pub(crate) fn leave(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
    }

    /// A new request id: 8 hex digits of Unix seconds, so that ids sort by time, and 16 at random.
    pub(crate) fn request_id(&self) -> String {
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        format!("{:08x}{:016x}", seconds & 0xffff_ffff, number(&self.random))
    }

    /// Ready when the relay is to stop.
    pub(crate) async fn draining(&self) {
        let mut drain = self.drain.subscribe();
        // The sender lives as long as this.
        let _alive = drain.wait_for(|drains| *drains).await;
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.drain.borrow()
    }

    /// Whether a target's TLS is opened.
    pub(crate) fn intercepts(&self, target: &Target) -> bool {
        self.settings.intercept.as_ref().is_some_and(|intercept| intercept.hosts.iter().any(|rule| rule.matches(target)))
    }

    /// Whether a target is one of this relay's own listeners.
    pub(crate) fn is_own(&self, target: &Target) -> bool {
        let ip = match target.host() {
            "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
            host => host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()),
        };
        let Some(ip) = ip else { return false };
        let own = |own: &SocketAddr| own.ip().to_canonical() == ip || (own.ip().is_unspecified() && ip.is_loopback());
        self.bound.iter().filter(|bound| bound.port() == target.port()).any(own)
    }

    /// A page of metrics.
    pub(crate) fn metrics(&self, format: Format) -> String {
        let exposition = Exposition {
            role: Role::Relay,
            version: env!("CARGO_PKG_VERSION"),
            started: self.since.as_second() as f64,
            countries: Countries::Apart,
        };
        let bound = self.settings.connections as u64;
        let gauges = Gauges {
            in_flight: Room { taken: self.in_flight.get(), bound: None },
            connections: Room { taken: bound.saturating_sub(self.places.available_permits() as u64), bound: Some(bound) },
            memory: Room { taken: resident(), bound: None },
            records: Records { dropped: self.records_dropped(), ..Records::default() },
            ..Gauges::default()
        };
        exposition.write(self.meters.snapshot(), gauges, format)
    }

    /// Records that were lost.
    pub(crate) fn records_dropped(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.dropped())
    }
}
