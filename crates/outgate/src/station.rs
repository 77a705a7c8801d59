//! A gateway with its ledger and its console, wired together; started, served and shut down.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use outgate_console::{ConsoleFile, Desk, ExtraRoutes, Server, pages, router};
use outgate_gateway::settings::{Counting, Settings};
use outgate_gateway::{Bound, Gateway, Reconfigured, Running, Tracer};
use outgate_records::Records;
use outgate_store::{Secret, Store};
use ring::rand::SystemRandom;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::activation::Passed;
use crate::config::{Console, Seeing, Signals};
use crate::ledger::{self, LedgerSettings};
use crate::metrics::{Traces, page, sheets};
use crate::sight::sight;
use crate::watch::Watching;
use crate::{data, eprintln, failed, follow, tls};

/// Everything a running gateway consists of.
pub(crate) struct Station {
    running: Running,
    pub(crate) desk: Arc<Desk>,
    following: JoinHandle<()>,
    watching: Watching,
    pub(crate) console_url: String,
    status_url: Option<String>,
    pub(crate) admin_token: Secret<String>,
    console_file: ConsoleFile,
    data: PathBuf,
    stop_console: oneshot::Sender<()>,
    console: JoinHandle<()>,
}

impl Station {
    /// Opens the ledger and starts everything.
    pub(crate) async fn start(
        data: PathBuf,
        store: LedgerSettings,
        console: Console,
        seeing: Seeing,
        mut settings: Settings,
        named: bool,
        mut passed: Passed,
    ) -> Result<Self, String> {
        let Seeing { metrics, signals } = seeing;
        raise_descriptor_limit();
        data::create(&data)?;
        if !named {
            settings.name = data::gateway_name(&data)?;
        }
        settings.echo = Some(tls::echo(&data)?);
        settings.journal = Some(data.join("usage.journal"));
        settings.tracer = metrics.telemetry.clone().map(|telemetry| Arc::new(Traces(telemetry)) as Arc<dyn Tracer>);
        let store: Arc<dyn Store> = ledger::open(&store, &data, &settings.name).await?;
        let snapshot = store.load(Timestamp::now()).await.map_err(|e| format!("the ledger can't be read: {e}"))?;
        // The console's address is taken before any client is served: a port in use ends the start, not the service.
        let server = listen(&mut passed, console.address, "the console").await?;
        let status = match console.status {
            Some(address) => Some(listen(&mut passed, address, "the status page").await?),
            None => None,
        };
        let started_with = settings.clone();
        let records = settings.records.as_ref().map(|records| Records::in_folder(&records.folder));
        let running = Gateway::start(settings, snapshot.clone(), store.clone(), passed.into_listeners())?;
        let watching = Watching::start(running.gateway.clone(), &data, &started_with.name, &signals);
        let desk = Desk::new(store, running.gateway.clone(), &snapshot, Arc::new(Timestamp::now)).with_records(records);
        let desk = Arc::new(desk.watched_by(watching.watch()));
        let following = tokio::task::spawn_local(follow::follow(desk.clone()));
        let admin_token = admin_token()?;
        let console_url = format!("http://{}", server.address());
        let console_file = ConsoleFile {
            console_url: console_url.clone(),
            admin_token: Secret::new(admin_token.expose().clone()),
            pid: std::process::id(),
        };
        console_file.write(&data).map_err(|e| format!("{}: {e}", data.join("console.json").display()))?;
        let (stop_console, stopped) = oneshot::channel::<()>();
        let sheets = sheets(running.gateway.clone(), metrics.countries, metrics.telemetry.clone());
        if let Some(telemetry) = metrics.telemetry.filter(|_| metrics.counting == Counting::On) {
            telemetry.tell_metrics(sheets.clone());
        }
        let shown = outgate_console::Metrics {
            desk: desk.clone(),
            admin: admin_token.hash(),
            token: metrics.token,
            write: page(sheets.clone()),
        };
        let sight = sight(&running, &started_with);
        let shown = if metrics.counting == Counting::On { shown.route() } else { ExtraRoutes::new() };
        let pages = pages::router(desk.clone(), sight.clone(), admin_token.hash());
        let routes = router(desk.clone(), admin_token.hash(), shown.merge(pages));
        let public = status.as_ref().map(|_| pages::status_router(desk.clone(), sight));
        let status_url = status.as_ref().map(|status| format!("http://{}", status.address()));
        let serving = async move {
            let stopped = stopped.map(drop).shared();
            let for_all = async {
                if let (Some(server), Some(routes)) = (status, public) {
                    server.serve(routes, stopped.clone()).await;
                }
            };
            // Dropped or sent: both mean stop.
            tokio::join!(server.serve(routes, stopped.clone()), for_all);
        };
        let console = tokio::task::spawn_local(serving);
        Ok(Self {
            running,
            desk,
            following,
            watching,
            console_url,
            status_url,
            admin_token,
            console_file,
            data,
            stop_console,
            console,
        })
    }

    /// Where the public sees how it stands, if anywhere but on the console.
    pub(crate) fn status_url(&self) -> Option<&str> {
        self.status_url.as_deref()
    }

    /// Where it listens.
    pub(crate) fn bound(&self) -> &Bound {
        &self.running.bound
    }

    /// Puts other settings in force.
    ///
    /// # Errors
    /// Something of it can't be; nothing was changed.
    pub(crate) async fn reconfigure(&self, settings: Settings, signals: &Signals) -> Result<Reconfigured, String> {
        let reconfigured = self.running.gateway.reconfigure(settings).await?;
        self.watching.reconfigure(signals);
        Ok(reconfigured)
    }

    /// Requests and tunnels in flight, as every event loop says: one that hangs keeps this waiting.
    pub(crate) async fn in_flight(&self) -> usize {
        self.running.gateway.in_flight().await
    }

    /// Drains, stops and says what was cut.
    pub(crate) async fn shut_down(self, drain: Duration) -> ExitCode {
        // What ends now is meant to.
        self.watching.stop().await;
        let mut stopping = std::pin::pin!(self.running.shut_down(drain));
        let cut = tokio::select! {
            cut = &mut stopping => Some(cut),
            // Asked twice: whoever asks has no patience for the rest.
            () = asked_to_stop() => None,
        };
        match cut {
            Some(0) => {}
            Some(1) => eprintln("outgate: 1 request was still open and was cut"),
            Some(cut) => eprintln(&format!("outgate: {cut} requests were still open and were cut")),
            None => return failed("stopped at once; open requests were cut"),
        }
        self.following.abort();
        let _ended = self.stop_console.send(());
        let _panicked = self.console.await;
        self.console_file.remove(&self.data);
        ExitCode::SUCCESS
    }
}

/// A listener of the console's: one that was passed, or a new one.
async fn listen(passed: &mut Passed, address: SocketAddr, what: &str) -> Result<Server, String> {
    let server = match passed.take(address) {
        Some(listener) => Server::on(listener),
        None => Server::bind(address).await,
    };
    server.map_err(|e| format!("{what} can't listen on {address}: {e}"))
}

/// Ready when SIGTERM or SIGINT comes.
pub(crate) fn asked_to_stop() -> impl Future<Output = ()> {
    // Registered now, not when first waited for: a signal in between must not kill the process.
    let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    async move {
        match signals {
            [Ok(mut terminate), Ok(mut interrupt)] => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            // Without handlers the signals end the process by themselves.
            _ => std::future::pending().await,
        }
    }
}

/// The token of the admin API: the operator's, or a new one for this run.
fn admin_token() -> Result<Secret<String>, String> {
    match std::env::var("OUTGATE_ADMIN_TOKEN").ok().filter(|token| !token.is_empty()) {
        Some(token) => Ok(Secret::new(token)),
        None => Secret::random(&SystemRandom::new()).map_err(|e| e.to_string()),
    }
}

/// Every tunnel takes two descriptors: as many as the system lets this process have.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}
