//! `outgate exit`: the agent on a machine of its own.

mod screen;

use std::future::Future;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outgate_exit::{Event, ExitEnd, Hook, Labels, Proxy, Rotation, Settings, Status, Token, Watch};
use tokio::sync::oneshot;

use crate::config::dns_from_environment;
use crate::notify::Notify;
use crate::station::asked_to_stop;
use crate::{cli, eprintln, failed};

use screen::Screen;

/// The name of the token among a service manager's credentials (`LoadCredential=`).
const CREDENTIAL: &str = "outgate-exit-token";
/// A token has 43 characters; a file that is much longer is another one.
const LONGEST_TOKEN: u64 = 1024;
/// How often a status line is rewritten.
const GLANCE: Duration = Duration::from_secs(1);
/// How often a service manager is told how things are.
const REPORT: Duration = Duration::from_secs(5);

/// Runs the command.
pub(crate) async fn run(args: cli::Exit) -> ExitCode {
    let mut settings = match settings(args) {
        Ok(settings) => settings,
        Err(problems) => {
            problems.iter().for_each(|p| eprintln(&format!("outgate: {p}")));
            return ExitCode::from(2);
        }
    };
    let notify = match Notify::of_environment() {
        Ok(notify) => notify,
        Err(error) => return failed(&format!("the service manager's NOTIFY_SOCKET can't be used: {error}")),
    };
    let terminal = std::io::stdout().is_terminal();
    if terminal || notify.is_some() {
        let every = notify.as_ref().and_then(Notify::watchdog).map_or(REPORT, |most| (most / 3).min(REPORT));
        let every = if terminal { every.min(GLANCE) } else { every };
        settings.watch = Some(Watch { every, tell: Arc::new(|_| {}) });
    }
    let front = Arc::new(Mutex::new(Front { screen: Screen::new(terminal), notify, last_told: String::new() }));
    let told = front.clone();
    settings.on_event = Some(Arc::new(move |event| lock(&told).event(event)));
    if let Some(watch) = &mut settings.watch {
        let told = front.clone();
        watch.tell = Arc::new(move |status| lock(&told).status(status));
    }
    let (shutdown, at_once) = signals();
    let end = outgate_exit::run(settings, shutdown, at_once).await;
    lock(&front).end();
    match end {
        ExitEnd::Shutdown { cut: 0 } => ExitCode::SUCCESS,
        ExitEnd::Shutdown { cut } => {
            eprintln(&format!("outgate: {cut} tunnels were still open and were cut"));
            ExitCode::SUCCESS
        }
        end @ (ExitEnd::Revoked { .. } | ExitEnd::Unusable { .. }) => failed(&end.to_string()),
    }
}

/// Whoever is told what happens: people or a log on stdout, and a service manager.
struct Front {
    screen: Screen,
    notify: Option<Notify>,
    last_told: String,
}

fn lock(front: &Mutex<Front>) -> std::sync::MutexGuard<'_, Front> {
    front.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Front {
    fn event(&mut self, event: &Event) {
        self.screen.line(&told(event));
        let Some(notify) = &self.notify else { return };
        match event {
            Event::Connected { .. } => notify.send("READY=1"),
            Event::Stopping { grace, .. } => {
                // Longer than the unit's own patience, perhaps: the manager is asked to wait (sd_notify(3)).
                notify.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", (*grace + REPORT).as_micros()));
            }
            Event::Failed { why, .. } => notify.send(&format!("STATUS=no link: {}", why.replace('\n', " "))),
            Event::GatewayDraining { .. }
            | Event::Lost { .. }
            | Event::Retry { .. }
            | Event::Rotating
            | Event::Rotated { .. } => {}
        }
    }

    fn status(&mut self, status: &Status) {
        self.screen.status(status);
        let Some(notify) = &self.notify else { return };
        // It comes from the event loop itself: a loop that hangs is not alive.
        if notify.watchdog().is_some() {
            notify.send("WATCHDOG=1");
        }
        let text = screen::summary(status);
        if status.links > 0 && text != self.last_told {
            notify.send(&format!("STATUS={text}"));
            self.last_told = text;
        }
    }

    fn end(&mut self) {
        self.screen.end();
    }
}

/// An event as a line of the log.
fn told(event: &Event) -> String {
    match event {
        Event::Connected { link, exit_id, gateway, took } => {
            format!("linked to {gateway} as exit {exit_id} in {took:.0?} (link {link})")
        }
        Event::GatewayDraining { link } => format!("the gateway is draining; linking again (link {link})"),
        Event::Lost { link, end, .. } => format!("link lost: {end} (link {link})"),
        Event::Failed { why, .. } => format!("no link: {why}"),
        Event::Retry { link, wait } => format!("trying again in {:.1} s (link {link})", wait.as_secs_f64()),
        Event::Rotating => "asked to rotate: the hook runs".to_owned(),
        Event::Rotated { error: None, took } => format!("rotated in {took:.1?}; linking again"),
        Event::Rotated { error: Some(why), took } => format!("not rotated, after {took:.1?}: {why}"),
        Event::Stopping { tunnels: 0, .. } => "stopping".to_owned(),
        Event::Stopping { tunnels, grace } => format!(
            "stopping: {tunnels} open {} may finish within {}; a second signal ends at once",
            if *tunnels == 1 { "tunnel" } else { "tunnels" },
            outgate_store::amount::duration_text(*grace)
        ),
    }
}

/// Everything the command line and the environment say, or all that is wrong with it.
fn settings(args: cli::Exit) -> Result<Settings, Vec<String>> {
    let mut problems = Vec::new();
    let dns = dns_from_environment().map_err(|mut found| problems.append(&mut found)).ok();
    let token = token(&args).map_err(|why| problems.push(why)).ok();
    let proxy = match args.proxy.as_deref() {
        Some("none") => Ok(None),
        Some(url) => url.parse::<Proxy>().map(Some).map_err(|error| format!("--proxy: {error}")),
        None => Proxy::of_environment(&args.gateway, |name| std::env::var(name).ok())
            .map_err(|(name, error)| format!("{name}: {error}; --proxy URL says another one, --proxy none does without")),
    };
    let proxy = proxy.map_err(|why| problems.push(why)).ok();
    let rotate = args.rotate_command.map(Hook::Command).or(args.rotate_url.map(Hook::Url));
    let (Some(dns), Some(token), Some(proxy), true) = (dns, token, proxy, problems.is_empty()) else {
        return Err(problems);
    };
    let mut settings = Settings::new(args.gateway, token);
    settings.labels = Labels {
        pool: args.pool.map(|p| p.to_string()),
        country: args.country.map(|c| c.to_string()),
        state: args.state,
        city: args.city,
        asn: args.asn,
        name: None,
    };
    settings.ca_file = args.ca;
    settings.proxy = proxy;
    settings.source = args.source;
    settings.links = args.links;
    settings.max_tunnels = args.max_tunnels;
    settings.speed = args.speed;
    settings.connect_timeout = args.connect_timeout;
    settings.rotate = rotate.map(|hook| Rotation { hook, timeout: args.rotate_timeout });
    settings.allow_targets = args.allow_target;
    settings.dns = dns;
    settings.grace = args.grace;
    Ok(settings)
}

/// The token, from the file if one is named, else as it is, else from the service manager's credentials.
fn token(args: &cli::Exit) -> Result<Token, String> {
    if let Some(path) = &args.token_file {
        return read_token(path);
    }
    if let Some(token) = &args.token {
        return Ok(Token::new(token));
    }
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(CREDENTIAL));
    match credential.filter(|path| path.exists()) {
        Some(path) => read_token(&path),
        None => Err(format!(
            "an exit needs its token: --token-file FILE, OUTGATE_EXIT_TOKEN, --token TOKEN, \
             or a credential of systemd named {CREDENTIAL} (LoadCredential=)"
        )),
    }
}

fn read_token(path: &Path) -> Result<Token, String> {
    use std::io::Read;
    let told = |why: &dyn std::fmt::Display| format!("the token file {}: {why}", path.display());
    let file = std::fs::File::open(path).map_err(|error| told(&error))?;
    let mut text = String::new();
    file.take(LONGEST_TOKEN).read_to_string(&mut text).map_err(|error| told(&error))?;
    match text.split_whitespace().count() {
        1 => Ok(Token::new(text)),
        0 => Err(told(&"it is empty")),
        _ => Err(told(&"it must hold the token and nothing else")),
    }
}

/// Ready at the first SIGTERM or SIGINT, and at the second.
fn signals() -> (impl Future<Output = ()>, impl Future<Output = ()>) {
    let ((first, shutdown), (second, at_once)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
    let stop = asked_to_stop();
    tokio::task::spawn_local(async move {
        stop.await;
        let again = asked_to_stop();
        let _agent_gone = first.send(());
        again.await;
        let _agent_gone = second.send(());
    });
    let ready = async |told: oneshot::Receiver<()>| {
        if told.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    (ready(shutdown), ready(at_once))
}
