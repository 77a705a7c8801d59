//! One request from its head to its end: what is recorded and counted of it, exactly once, however it ends.

use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use outgate_client::connect::Timings;
use outgate_client::engine::Attempt;
use outgate_faults::{Fault, Slug};
use outgate_meter::{Ended, Kind};
use outgate_records::{Entry, Stage, Times, Trouble, Try};

use crate::relay::Relay;

/// A request. Its record is written when this is dropped.
pub(crate) struct Visit {
    pub(crate) relay: Rc<Relay>,
    pub(crate) id: String,
    client: Rc<str>,
    protocol: &'static str,
    time: Timestamp,
    began: Instant,
    pub(crate) kind: Kind,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) stage: Stage,
    /// The upstream, as the settings name it.
    pub(crate) proxy: Option<String>,
    /// The address that was connected to.
    pub(crate) address: Option<String>,
    pub(crate) exit: Option<String>,
    pub(crate) country: Option<String>,
    pub(crate) session: Option<String>,
    /// The rule by which no upstream was used.
    pub(crate) bypass: Option<String>,
    pub(crate) fault: Option<Fault>,
    pub(crate) status: Option<u16>,
    /// Why it ended if no fault ended it. A visit that nobody completes was left by its client.
    pub(crate) ended_by: Option<&'static str>,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    pub(crate) attempts: u16,
    pub(crate) times: Times,
    pub(crate) tries: Vec<Try>,
    /// A look at the relay itself is no request of a program: it is neither recorded nor counted.
    own: bool,
}

/// What requests that went past the upstreams are counted under.
pub(crate) const DIRECT: &str = "direct";

impl Visit {
    pub(crate) fn begin(relay: &Rc<Relay>, client: &Rc<str>, protocol: &'static str) -> Self {
        relay.in_flight.set(relay.in_flight.get() + 1);
        Self {
            relay: relay.clone(),
            id: relay.request_id(),
            client: client.clone(),
            protocol,
            time: Timestamp::now(),
            began: Instant::now(),
            kind: Kind::Unasked,
            method: String::new(),
            target: String::new(),
            stage: Stage::Read,
            proxy: None,
            address: None,
            exit: None,
            country: None,
            session: None,
            bypass: None,
            fault: None,
            status: None,
            ended_by: Some("client_lost"),
            bytes_up: 0,
            bytes_down: 0,
            attempts: 0,
            times: Times::default(),
            tries: Vec::new(),
            own: false,
        }
    }

    /// The address of the program.
    pub(crate) fn client(&self) -> Rc<str> {
        self.client.clone()
    }

    /// What metrics call the way that it took.
    fn pool(&self) -> Option<&str> {
        if self.bypass.is_some() { Some(DIRECT) } else { self.proxy.as_deref() }
    }

    /// Its answer begins now.
    pub(crate) fn answered(&mut self) {
        let took = self.began.elapsed();
        self.times.setup = Some(took);
        if let Some(pool) = self.pool() {
            self.relay.meter.answered(pool, self.country.as_deref(), took);
        }
    }

    /// A fault is told for an answer.
    pub(crate) fn failed(&mut self, fault: Fault, status: Option<u16>) {
        let took = self.began.elapsed();
        self.times.setup = Some(took);
        if let Some(pool) = self.pool() {
            self.relay.meter.refused(pool, self.country.as_deref(), took);
        }
        self.status = status;
        self.fault = Some(fault);
        self.ended_by = None;
    }

    /// It ended as it should.
    pub(crate) fn complete(&mut self) {
        self.ended_by = None;
    }

    /// It is a look at the relay itself.
    pub(crate) fn is_own(&mut self) {
        self.own = true;
        self.relay.leave();
    }

    /// How long its steps towards a proxy or target took.
    pub(crate) fn took(&mut self, timings: &Timings) {
        self.times.dns = timings.dns.unwrap_or_default();
        self.times.connect = timings.total().saturating_sub(self.times.dns);
    }

    /// Payload that moved.
    pub(crate) fn moved(&mut self, up: u64, down: u64) {
        self.bytes_up += up;
        self.bytes_down += down;
        if let Some(pool) = self.pool() {
            self.relay.meters.moved(pool, up, down);
        }
    }

    /// The attempts that the engine logged.
    pub(crate) fn log(&mut self, attempts: Vec<Attempt>) {
        self.attempts = u16::try_from(attempts.len()).unwrap_or(u16::MAX);
        if let Some(last) = attempts.last() {
            self.proxy = Some(last.proxy.clone());
            self.session.clone_from(&last.session);
            if last.exit.is_some() {
                self.exit.clone_from(&last.exit);
            }
        }
        let since = |at: Timestamp| Duration::try_from(at.duration_since(self.time)).unwrap_or_default();
        let one = |attempt: Attempt| Try {
            exit: attempt.exit,
            proxy: Some(attempt.proxy),
            outcome: attempt.slug.map_or("ok", Slug::name).into(),
            status: attempt.status,
            at: since(attempt.at),
            took: attempt.took,
        };
        self.tries = attempts.into_iter().map(one).collect();
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if self.own {
            return;
        }
        let relay = &self.relay;
        relay.leave();
        let total = self.began.elapsed();
        relay.recorder.borrow_mut().write(&Entry {
            time: self.time,
            request_id: &self.id,
            trace_id: None,
            key: None,
            client: &self.client,
            protocol: self.protocol,
            method: &self.method,
            target: &self.target,
            address: self.address.as_deref(),
            pool: self.bypass.as_ref().map(|_| DIRECT),
            exit: self.exit.as_deref(),
            gateway: None,
            proxy: self.proxy.as_deref(),
            country: self.country.as_deref(),
            session: self.session.as_deref(),
            session_moved: None,
            bypass: self.bypass.as_deref(),
            trouble: self.fault.as_ref().map(Trouble::from),
            stage: self.stage,
            status: self.status,
            told: None,
            ended_by: self.ended_by,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            attempts: self.attempts,
            times: self.times,
            total,
            tries: &self.tries,
        });
        let times = outgate_meter::Times {
            queue: self.pool().map(|_| self.times.queue),
            dns: (!self.times.dns.is_zero()).then_some(self.times.dns),
            connect: (!self.times.connect.is_zero()).then_some(self.times.connect),
            first_byte: self.times.first_byte,
            total: self.pool().map(|_| total),
        };
        relay.meter.count(&Ended {
            protocol: self.protocol,
            kind: self.kind,
            pool: self.pool(),
            country: self.country.as_deref(),
            slug: self.fault.as_ref().map(Fault::slug),
            status: self.status,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            attempts: self.attempts,
            times,
        });
    }
}
