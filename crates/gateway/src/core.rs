//! What one event loop owns: its way out, its sessions, its scratch buffer, its records.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use outgate_egress::Egress;
use outgate_fleet::Outcome;
use outgate_meter::Meter;
use outgate_records::Recorder;

use crate::activity::Activity;
use crate::gateway::Gateway;
use crate::pump::Scratch;
use crate::record::{Ended, Record};
use crate::sessions::Sessions;
use crate::settings::{Counting, Settings};
use crate::trace::{TraceParent, Tracer};
use crate::upstream::Upstream;

/// One event loop's own things. Nothing here is shared with another loop, so nothing here locks.
pub(crate) struct Core {
    pub(crate) gateway: Arc<Gateway>,
    settings: RefCell<Rc<Settings>>,
    egress: RefCell<Rc<Egress>>,
    pub(crate) sessions: Rc<Sessions>,
    pub(crate) activity: Rc<Activity>,
    pub(crate) scratch: Scratch,
    pub(crate) recorder: RefCell<Recorder>,
    /// None: nothing is counted.
    pub(crate) meter: Option<Arc<Meter>>,
    tracer: Option<Arc<dyn Tracer>>,
    random: Cell<u64>,
    date: RefCell<(u64, Rc<str>)>,
}

impl Core {
    pub(crate) fn new(gateway: Arc<Gateway>, egress: Egress, seed: u64) -> Self {
        let recorder = Recorder::new(gateway.writer.clone());
        let settings = gateway.settings();
        let meter = (settings.counting == Counting::On).then(|| gateway.meters.add());
        Self {
            settings: RefCell::new(Rc::new((*settings).clone())),
            gateway,
            egress: RefCell::new(Rc::new(egress)),
            sessions: Rc::default(),
            activity: Rc::new(Activity::new()),
            scratch: Scratch::new(),
            recorder: RefCell::new(recorder),
            meter,
            tracer: settings.tracer.clone(),
            random: Cell::new(seed | 1),
            date: RefCell::new((0, "".into())),
        }
    }

    /// What is in force now. Whoever serves a request takes it once and keeps it to the request's end.
    pub(crate) fn settings(&self) -> Rc<Settings> {
        self.settings.borrow().clone()
    }

    /// The way out as it is now.
    pub(crate) fn egress(&self) -> Rc<Egress> {
        self.egress.borrow().clone()
    }

    /// Puts other settings in force for what begins from now on.
    pub(crate) fn reconfigure(&self, settings: Arc<Settings>, egress: Egress) {
        self.settings.replace(Rc::new(Arc::unwrap_or_clone(settings)));
        self.egress.replace(Rc::new(egress));
    }

    /// Nanoseconds of the gateway's monotonic time.
    pub(crate) fn nanos(&self) -> u64 {
        self.gateway.epoch.elapsed().as_nanos() as u64
    }

    /// Tells the fleet whether bytes of the target came through, which proves that its exit's data path works, or only went
    /// the other way.
    pub(crate) fn delivered(&self, upstream: &Upstream, up: u64, down: u64) {
        if let (Some(outcome), Some(lease)) = (delivered(up, down), upstream.lease()) {
            self.gateway.fleet.report(lease, outcome);
        }
    }

    /// Hands the record of a request that ended to whoever writes it, and to whoever traces.
    pub(crate) fn record(&self, record: &Record, ended: &Ended<'_>) {
        let mut recorder = self.recorder.borrow_mut();
        if !recorder.is_on() && self.tracer.is_none() {
            return;
        }
        let entry = record.entry(ended);
        if recorder.is_on() {
            recorder.write(&entry);
        }
        if let Some(tracer) = &self.tracer {
            tracer.ended(&entry, record.trace.as_ref().map(TraceParent::as_str));
        }
    }

    /// xorshift64*: for choices and ids, never for secrets.
    pub(crate) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A new request id: 8 hex digits of Unix seconds, so that ids sort by time, and 16 at random.
    pub(crate) fn request_id(&self) -> String {
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        format!("{:08x}{:016x}", seconds as u32, self.random())
    }

    /// Now, as an HTTP date; written once a second.
    pub(crate) fn date(&self) -> Rc<str> {
        let second = self.gateway.epoch.elapsed().as_secs() + 1;
        let mut date = self.date.borrow_mut();
        if date.0 != second {
            *date = (second, httpdate::fmt_http_date(SystemTime::now()).into());
        }
        date.1.clone()
    }

    /// The start of the gateway's monotonic time.
    pub(crate) fn epoch(&self) -> Instant {
        self.gateway.epoch
    }
}

/// What the bytes of a tunnel say of its exit.
pub(crate) fn delivered(up: u64, down: u64) -> Option<Outcome> {
    match (up, down) {
        (0, 0) => None,
        (_, 0) => Some(Outcome::Mute),
        (_, _) => Some(Outcome::Delivered),
    }
}
