//! `outgate quickstart`: a gateway, one exit and the console on this machine, with a line to paste.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use outgate_console::{NewExit, NewKey, PlanPatch};
use outgate_exit::{GatewayUrl, Token};
use outgate_gateway::settings::{ExitDoorSettings, ListenerSettings};
use outgate_store::{ExitState, KeyState, PlanName, PoolName};
use outgate_telemetry::Telemetry;
use serde_json::json;
use tokio::sync::oneshot;

use crate::activation::Passed;
use crate::config::Console;
use crate::data::Quickstart;
use crate::station::{Station, asked_to_stop};
use crate::{cli, config, eprintln, failed, println, wrong_config};

/// Who made what a first run makes, in the audit trail.
const WHO: &str = "quickstart";
/// A terminal's Ctrl-C should not wait half a minute for an idle browser tab.
const DRAIN: Duration = Duration::from_secs(5);

/// Runs the command.
pub(crate) async fn run(args: cli::Quickstart, telemetry: Option<Arc<Telemetry>>) -> ExitCode {
    let stop = asked_to_stop();
    // Everything but what the flags say is as in `outgate gateway`: the defaults under the environment.
    let mut config = match config::from_environment() {
        Ok(config) => config,
        Err(problems) => return wrong_config(&problems),
    };
    config.seeing.metrics.telemetry = telemetry;
    match start(&args, config).await {
        Ok((station, local_exit, drain)) => {
            stop.await;
            drop(local_exit);
            station.shut_down(drain).await
        }
        Err(why) => failed(&why),
    }
}

async fn start(args: &cli::Quickstart, config: config::Config) -> Result<(Station, LocalExit, Duration), String> {
    let mut settings = config.settings;
    settings.listeners = vec![ListenerSettings::plain(args.listen, args.dialect.clone())];
    // The local exit links up over plain loopback; only the address may be another.
    let door = settings.exits.map_or(([127, 0, 0, 1], 0).into(), |door| door.address);
    settings.exits = Some(ExitDoorSettings { address: door, tls: None });
    settings.policy.ports.extend(&args.allow_port);
    settings.guard.open(&args.allow_target);
    if let Some(records) = settings.records.as_mut().filter(|_| !config.records_named) {
        records.folder = args.data.join("records");
    }
    let dns = settings.dns.clone();
    let drain = settings.timeouts.drain.min(DRAIN);
    let station = Station::start(
        args.data.clone(),
        config.store,
        Console { address: args.console, ..config.console },
        config.seeing,
        settings,
        config.named,
        Passed::none(),
    )
    .await?;
    let own = first_run(&station, args).await?;
    let door = station.bound().exits.ok_or("the door for exits is not open")?;
    let url = format!("ws://{door}");
    let gateway: GatewayUrl = url.parse().map_err(|e: outgate_exit::UrlError| e.to_string())?;
    let mut settings = outgate_exit::Settings::new(gateway, Token::new(&own.exit_token));
    settings.allow_targets = args.allow_target.clone();
    settings.dns = dns;
    // As long as the gateway drains: its open tunnels may go through this exit.
    settings.grace = DRAIN;
    // A loopback does not break.
    settings.links = 1;
    let local_exit = LocalExit::start(settings).await?;
    tell(&station, args, &own, &url);
    Ok((station, local_exit, drain))
}

/// The plan, key and exit of the first run, made again if they or their secrets are gone.
async fn first_run(station: &Station, args: &cli::Quickstart) -> Result<Quickstart, String> {
    let desk = &station.desk;
    let told = |e: outgate_console::DeskError| e.to_string();
    if let Some(known) = Quickstart::read(&args.data) {
        let key = desk.key(&known.key_id).is_ok_and(|key| {
            // Its owner may have given it another secret.
            key.state == KeyState::Active && key.secret.verify(known.secret.as_bytes())
        });
        let exit = desk.exit(&known.exit_id).is_ok_and(|exit| exit.state == ExitState::Active);
        if key && exit {
            return Ok(known);
        }
    }
    let plan = PlanName::parse("quickstart").map_err(|e| e.to_string())?;
    if desk.plan(&plan).is_err() {
        desk.create_plan(WHO, plan.clone(), PlanPatch::default()).await.map_err(told)?;
    }
    let (key, secret) = desk.create_key(WHO, NewKey { plan: Some(plan), ..NewKey::default() }).await.map_err(told)?;
    let pool = PoolName::parse("residential").map_err(|e| e.to_string())?;
    let exit = NewExit { name: Some("local".into()), pool: Some(pool), ..NewExit::default() };
    let (exit, token) = desk.enroll_exit(WHO, exit).await.map_err(told)?;
    let own = Quickstart { key_id: key.id, secret: secret.into_exposed(), exit_id: exit.id, exit_token: token.into_exposed() };
    own.write(&args.data)?;
    Ok(own)
}

/// Says how to use it: one line of JSON for programs, lines to paste for people.
fn tell(station: &Station, args: &cli::Quickstart, own: &Quickstart, exit_url: &str) {
    let Quickstart { key_id, secret, exit_token, .. } = own;
    let Some(proxy) = station.bound().listeners.first() else { return };
    if args.json {
        let mut line = json!({
            "proxy_url": format!("http://{key_id}:{secret}@{proxy}"),
            "console_url": station.console_url,
            "admin_token": station.admin_token.expose(),
            "key_id": key_id,
            "secret": secret,
            "exit_gateway_url": exit_url,
            "exit_token": exit_token,
        });
        if let Some(door) = station.bound().cluster {
            line["cluster_address"] = json!(door.to_string());
        }
        return println(&line.to_string());
    }
    let ca = args.data.join("echo-ca.pem");
    println(&format!(
        "\
Outgate is ready.

  proxy     http://{proxy}
  key       {key_id}
  secret    {secret}
  console   {}
  data      {}

Try it (works without a network):

  curl -x http://{key_id}:{secret}@{proxy} http://echo.outgate/
  curl -x http://{key_id}:{secret}@{proxy} --cacert {} https://echo.outgate/

The same through the exit:

  curl -x http://{key_id}-pool-residential:{secret}@{proxy} http://echo.outgate/

See a failure name its cause:

  curl -v -x http://{key_id}:{secret}@{proxy} https://example.com:25/
  outgate explain port_denied

Ctrl-C ends it.",
        station.console_url,
        args.data.display(),
        ca.display(),
    ));
}

/// The exit that runs in this process, on a thread of its own; over a real link, like any other.
struct LocalExit {
    _stop: oneshot::Sender<()>,
}

impl LocalExit {
    /// Starts it and waits until it is linked.
    async fn start(mut settings: outgate_exit::Settings) -> Result<Self, String> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (linked, is_linked) = std::sync::mpsc::channel();
        let (tell, told) = oneshot::channel();
        settings.on_event = Some(std::sync::Arc::new(move |event| {
            if matches!(event, outgate_exit::Event::Connected { .. }) {
                // Only the first one is waited for.
                let _nobody_waits = linked.send(());
            }
        }));
        let work = move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build_local(tokio::runtime::LocalOptions::default());
            match runtime {
                Ok(runtime) => {
                    let end =
                        runtime.block_on(outgate_exit::run(settings, async { drop(stopped.await) }, std::future::pending()));
                    if !matches!(end, outgate_exit::ExitEnd::Shutdown { .. }) {
                        eprintln(&format!("outgate: the local exit ended: {end}"));
                    }
                }
                Err(error) => eprintln(&format!("outgate: the local exit can't start: {error}")),
            }
        };
        let fail = |e: std::io::Error| format!("a thread can't be started: {e}");
        std::thread::Builder::new().name("exit".into()).spawn(work).map_err(fail)?;
        let wait = move || {
            let linked = is_linked.recv_timeout(Duration::from_secs(10)).is_ok();
            let _nobody_waits = tell.send(linked);
        };
        std::thread::Builder::new().name("exit-wait".into()).spawn(wait).map_err(fail)?;
        match told.await {
            Ok(true) => Ok(Self { _stop: stop }),
            Ok(false) | Err(_) => Err("the local exit could not link up within 10 seconds".into()),
        }
    }
}
