//! The export as a whole: a thread of its own with a queue for each signal, begun before the log and ended after everything.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use outgate_meter::Sheet;
use outgate_records::Entry;
use tokio::sync::{oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::environment::Settings;
use crate::export::{Intake, Outlet, deliver, queue};
use crate::ids::{self, Parent};
use crate::logs::Lines;
use crate::message::{nanos, resource};
use crate::post::Post;
use crate::sampling::Sampling;
use crate::{logs, metrics, spans};

/// How long what waits at the end may take to be sent.
const FAREWELL: Duration = Duration::from_secs(3);

/// What makes a sheet of the present moment.
pub type Sheets = Arc<dyn Fn() -> Sheet + Send + Sync>;

/// The export of a process. What it takes costs the caller no wait, whatever becomes of the collector.
pub struct Telemetry {
    sampling: Sampling,
    spans: Option<Intake<Vec<Span>>>,
    lines: Option<Arc<Intake<LogRecord>>>,
    sheets: Mutex<Option<Sheets>>,
    dropped: Arc<AtomicU64>,
    ending: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

/// The ways to the collector, each with what it carries.
struct Ways {
    spans: Option<Outlet<Vec<Span>>>,
    lines: Option<Outlet<LogRecord>>,
    metrics: Option<(Post, Duration)>,
    resource: Resource,
}

impl Telemetry {
    /// Begins to export. `instance` tells this process from others of its kind.
    ///
    /// # Errors
    /// No thread, or no certificates to trust: in words for the operator.
    pub fn start(settings: Settings, instance: &str) -> Result<Arc<Self>, String> {
        let dropped = Arc::new(AtomicU64::new(0));
        let resource = resource(&settings.resource, instance);
        let traces = settings.traces.map(Post::new).transpose()?;
        let (intake, spans) = traces.map(|post| queue("traces", settings.spans, post, dropped.clone())).unzip();
        let logs = settings.logs.map(Post::new).transpose()?;
        let (lines, outlet) = logs.map(|post| queue("logs", settings.lines, post, dropped.clone())).unzip();
        let metrics = settings.metrics.map(Post::new).transpose()?.map(|post| (post, settings.interval));
        let telemetry = Arc::new(Self {
            sampling: settings.sampling,
            spans: intake,
            lines: lines.map(Arc::new),
            sheets: Mutex::default(),
            dropped,
            ending: Mutex::default(),
        });
        let ways = Ways { spans, lines: outlet, metrics, resource };
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let own = telemetry.clone();
        let work = move || runtime.block_on(ways.run(own, ended));
        let thread = std::thread::Builder::new().name("telemetry".into()).spawn(work);
        let thread = thread.map_err(|error| format!("a thread can't be started: {error}"))?;
        *telemetry.ending.lock().unwrap_or_else(PoisonError::into_inner) = Some((end, thread));
        Ok(telemetry)
    }

    /// A layer that exports the log's lines, where they are wanted.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> Option<impl Layer<S> + use<S>> {
        self.lines.clone().map(Lines)
    }

    /// Takes what there is to tell of counts from here on.
    pub fn tell_metrics(&self, sheets: Sheets) {
        *self.sheets.lock().unwrap_or_else(PoisonError::into_inner) = Some(sheets);
    }

    /// Takes a request that ended, if it is to be traced. `parent` is the client's `traceparent`.
    pub fn ended(&self, entry: &Entry<'_>, parent: Option<&str>) {
        let Some(intake) = &self.spans else { return };
        let parent = parent.and_then(Parent::parse);
        let trace = parent.map_or_else(|| ids::trace(entry.request_id), |parent| parent.trace);
        if self.sampling.takes(&trace, parent.map(|parent| parent.sampled)) {
            intake.put(spans::spans(entry, trace, parent));
        }
    }

    /// Traces, lines and exports of metrics that never arrived.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Sends what waits, and ends. Takes a few seconds at most.
    pub fn shut_down(&self) {
        let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((end, thread)) = ending {
            drop(end);
            let _panicked = thread.join();
        }
    }
}

impl Ways {
    async fn run(self, telemetry: Arc<Telemetry>, ended: oneshot::Receiver<()>) {
        let Self { spans, lines, metrics, resource } = self;
        let (of_spans, of_lines) = (resource.clone(), resource.clone());
        let (hang_up, hung_up) = watch::channel(false);
        let tracing = spans.map(|outlet| {
            let message = move |batch, encoding| spans::message(batch, of_spans.clone(), encoding);
            tokio::spawn(outlet.run(hung_up.clone(), message))
        });
        let logging = lines.map(|outlet| {
            let message = move |batch, encoding| logs::message(batch, of_lines.clone(), encoding);
            tokio::spawn(outlet.run(hung_up, message))
        });
        match metrics {
            Some((post, every)) => measure(post, every, resource, &telemetry, ended).await,
            None => {
                // Dropped or sent: both mean the end.
                let _told = ended.await;
            }
        }
        let _nobody_listens = hang_up.send(true);
        let rest = async {
            for task in tracing.into_iter().chain(logging) {
                let _panicked = task.await;
            }
        };
        if timeout(FAREWELL, rest).await.is_err() {
            tracing::warn!("the collector did not take the last telemetry in time");
        }
    }
}

/// Exports metrics until the end, and once more then.
async fn measure(mut post: Post, every: Duration, resource: Resource, telemetry: &Telemetry, mut ended: oneshot::Receiver<()>) {
    let start = nanos(Timestamp::now());
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        let last = tokio::select! {
            _ = ticks.tick() => false,
            _ = &mut ended => true,
        };
        let sheets = telemetry.sheets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(sheets) = sheets {
            let now = nanos(Timestamp::now());
            let message = metrics::message(&sheets(), start, now, resource.clone(), post.encoding());
            let arrived = match last {
                false => tokio::select! {
                    arrived = deliver(&mut post, message, "metrics") => arrived,
                    // Whoever waits for the end does not wait for the next try.
                    _ = &mut ended => return,
                },
                true => timeout(FAREWELL, post.send(message)).await.is_ok_and(|sent| sent.is_ok()),
            };
            if !arrived {
                telemetry.dropped.fetch_add(1, Relaxed);
            }
        }
        if last {
            return;
        }
    }
}
