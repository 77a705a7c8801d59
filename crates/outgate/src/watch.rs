//! Drives the watch over a running gateway: looks every second, keeps what it learns over restarts, tells the log and webhooks.

mod files;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use jiff::Timestamp;
use outgate_gateway::Gateway;
use outgate_signals::{Change, Incident, Rules, Watch};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Signals;
use crate::metrics::process;
use crate::webhook::{Event, Hooks, Message};
use files::Files;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);
/// How often the history is written, in looks. Incidents are when they change.
const KEEP: u32 = 300;

/// A watch that is driven.
pub(crate) struct Watching {
    watch: Arc<Mutex<Watch>>,
    hooks: Arc<Mutex<Hooks>>,
    stop: oneshot::Sender<()>,
    driving: JoinHandle<()>,
}

impl Watching {
    /// Reads what the last run kept and starts to look.
    pub(crate) fn start(gateway: Arc<Gateway>, data: &std::path::Path, name: &str, signals: &Signals) -> Self {
        let files = Files::in_folder(data);
        let (history, incidents) = files.read();
        let watch = Arc::new(Mutex::new(Watch::restored(signals.rules.clone(), history, incidents)));
        let hooks = Arc::new(Mutex::new(Hooks::start(&signals.webhooks)));
        let (stop, stopped) = oneshot::channel();
        let driver = Driver { gateway, name: name.to_owned(), watch: watch.clone(), hooks: hooks.clone(), files };
        let driving = tokio::task::spawn_local(driver.drive(stopped));
        Self { watch, hooks, stop, driving }
    }

    /// The watch, for whoever shows it.
    pub(crate) fn watch(&self) -> Arc<Mutex<Watch>> {
        self.watch.clone()
    }

    /// Puts other rules and webhooks in force. What is queued for the old ones is still delivered.
    pub(crate) fn reconfigure(&self, signals: &Signals) {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if *watch.rules() != signals.rules {
            let rules: Rules = signals.rules.clone();
            watch.set_rules(rules);
        }
        drop(watch);
        *self.hooks.lock().unwrap_or_else(PoisonError::into_inner) = Hooks::start(&signals.webhooks);
    }

    /// Looks no more, and writes what the next run goes on from.
    pub(crate) async fn stop(self) {
        let _ended = self.stop.send(());
        let _panicked = self.driving.await;
    }
}

struct Driver {
    gateway: Arc<Gateway>,
    name: String,
    watch: Arc<Mutex<Watch>>,
    hooks: Arc<Mutex<Hooks>>,
    files: Files,
}

impl Driver {
    async fn drive(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut until_kept = KEEP;
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                // Dropped or sent: both mean stop.
                _ = &mut stopped => break,
            }
            let changes = self.look();
            let of_incidents = changes.iter().any(|change| !matches!(change, Change::Raised(_) | Change::Cleared(_)));
            changes.iter().for_each(|change| self.tell(change));
            until_kept = until_kept.saturating_sub(1);
            if of_incidents {
                let kept = self.watch.lock().unwrap_or_else(PoisonError::into_inner).kept_incidents();
                self.files.write_incidents(move || kept.to_json());
            }
            if until_kept == 0 {
                until_kept = KEEP;
                let kept = self.watch.lock().unwrap_or_else(PoisonError::into_inner).kept_history();
                self.files.write_history(move || kept.to_json());
            }
        }
        let (history, incidents) = {
            let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            (watch.kept_history(), watch.kept_incidents())
        };
        self.files.write_last(move || (history.to_json(), incidents.to_json())).await;
    }

    fn look(&self) -> Vec<Change> {
        let mut gauges = self.gateway.gauges();
        gauges.process = process();
        let counted = self.gateway.snapshot();
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).observe(Timestamp::now(), &counted, &gauges)
    }

    fn tell(&self, change: &Change) {
        match change {
            Change::Raised(signal) => tracing::info!(note = signal.note, "signal raised: {}", signal.line()),
            Change::Cleared(signal) => tracing::info!("signal cleared: {}", signal.line()),
            Change::Opened(incident) => {
                let (layer, fault) = (incident.layer().name(), incident.leading().map(|slug| slug.name()));
                tracing::warn!(incident = %incident.id, layer, fault, "{}; see outgate incidents show {}", incident.headline(), incident.id);
                self.hook(Event::Opened, incident);
            }
            Change::Grew(incident) => {
                tracing::info!(incident = %incident.id, signals = incident.signals.len(), "more signals of an open incident");
                self.hook(Event::Changed, incident);
            }
            Change::Closed(incident) => {
                let (requests, failed) = (incident.requests, incident.failed);
                tracing::info!(incident = %incident.id, requests, failed, "incident closed: {}", incident.headline());
                self.hook(Event::Closed, incident);
            }
        }
    }

    fn hook(&self, event: Event, incident: &Incident) {
        let at = Timestamp::now();
        // An incident may be opened again and close again: what is sent about it is told apart by its time.
        let id = format!("{}-{}-{}", incident.id, event.name(), at.as_second());
        let body = json!({
            "event": event.name(),
            "id": id,
            "at": at.to_string(),
            "gateway": self.name,
            "text": text(event, incident),
            "incident": incident.to_json(),
        });
        let message = Message { event, id, body: Bytes::from(body.to_string()) };
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner).tell(&message);
    }
}

/// One line for programs that show only that (chats read the field `text`).
fn text(event: Event, incident: &Incident) -> String {
    let fault = incident.leading().map(|slug| format!(" ({slug}, layer {})", slug.row().layer));
    let what = match event {
        Event::Opened => "Incident",
        Event::Changed => "Incident goes on",
        Event::Closed => "Incident over",
    };
    format!("{what}: {}{}", incident.headline(), fault.unwrap_or_default())
}
