//! `outgate gateway`: a station from a configuration file, told about by a service manager and telling it.

use std::future::pending;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::activation::Passed;
use crate::config::Config;
use crate::notify::Notify;
use crate::reload::{Reload, Watched};
use crate::station::{Station, asked_to_stop};
use crate::{cli, failed};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Beyond the drain deadline, for what comes after it: records, usage.
const FAREWELL: Duration = Duration::from_secs(10);

/// Runs the command.
pub(crate) async fn run(args: cli::Gateway, config: Config, watched: Watched) -> ExitCode {
    // Registered before anything is ready: whoever hears that we are may signal at once.
    let stop = asked_to_stop();
    let hangups = signal(SignalKind::hangup());
    let notify = match Notify::of_environment() {
        Ok(notify) => notify,
        Err(error) => return failed(&format!("the service manager's NOTIFY_SOCKET can't be used: {error}")),
    };
    let passed = match Passed::of_environment().and_then(|passed| passed.check(&config).map(|()| passed)) {
        Ok(passed) => passed,
        Err(why) => return failed(&why),
    };
    let mut reload = Reload::new(args.config.clone(), &config);
    let watched = (!args.no_watch).then_some(watched);
    let station =
        match Station::start(config.data, config.store, config.console, config.seeing, config.settings, config.named, passed)
            .await
        {
            Ok(station) => station,
            Err(why) => return failed(&why),
        };
    let bound = station.bound();
    let listeners: Vec<String> = bound.listeners.iter().map(SocketAddr::to_string).collect();
    let exits = bound.exits.map_or("none".into(), |a| a.to_string());
    let cluster = bound.cluster.map_or("none".into(), |a| a.to_string());
    tracing::info!(
        listen = listeners.join(", "),
        exits,
        cluster,
        console = station.console_url,
        status = station.status_url(),
        "ready"
    );
    tell(notify.as_ref(), &format!("READY=1\nSTATUS=listening on {}", listeners.join(", ")));
    tokio::select! {
        () = stop => {}
        () = reloads(&mut reload, &station, hangups, watched, notify.as_ref()) => {}
        () = signs_of_life(&station, notify.as_ref()) => {}
    }
    let drain = reload.drain;
    let open = station.in_flight().await;
    tracing::info!(open, deadline = ?drain, "stopping: what is open may finish");
    // The unit's own patience may be shorter: the manager is asked to wait (sd_notify(3)).
    let patience = (drain + FAREWELL).as_micros();
    tell(notify.as_ref(), &format!("STOPPING=1\nSTATUS=draining, {open} open\nEXTEND_TIMEOUT_USEC={patience}"));
    station.shut_down(drain).await
}

fn tell(notify: Option<&Notify>, message: &str) {
    if let Some(notify) = notify {
        notify.send(message);
    }
}

/// Reloads whenever there is a reason to. Never ends.
async fn reloads(
    reload: &mut Reload,
    station: &Station,
    hangups: std::io::Result<tokio::signal::unix::Signal>,
    mut watched: Option<Watched>,
    notify: Option<&Notify>,
) {
    let mut hangups = hangups.ok();
    let mut hung_up = async || {
        let hangup = match &mut hangups {
            Some(hangups) => hangups.recv().await,
            None => None,
        };
        if hangup.is_none() {
            pending().await
        }
    };
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = tokio::select! {
            () = hung_up() => true,
            _ = look.tick() => watched.as_mut().is_some_and(Watched::look),
        };
        if due {
            watched.iter_mut().for_each(Watched::reading);
            reload.run(station, notify).await;
        }
    }
}

/// Tells a service manager with a watchdog that every event loop answers. Never ends.
async fn signs_of_life(station: &Station, notify: Option<&Notify>) {
    let Some((notify, most)) = notify.and_then(|notify| Some((notify, notify.watchdog()?))) else { return pending().await };
    loop {
        tokio::time::sleep(most / 3).await;
        station.in_flight().await;
        notify.send("WATCHDOG=1");
    }
}
