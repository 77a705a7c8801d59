//! `outgate relay`: a local proxy in front of upstreams, from the command line or a file.

use std::process::ExitCode;

use outgate_relay::bypass::Rule;
use outgate_relay::settings::{Listener, RecordSettings, UpstreamSettings};
use outgate_relay::{Running, Settings};
use ring::rand::{SecureRandom, SystemRandom};

use crate::config::relay::{self as config, RelayConfig};
use crate::notify::Notify;
use crate::station::asked_to_stop;
use crate::{cli, eprintln, failed, println};

/// Runs the command.
pub(crate) async fn run(args: cli::Relay) -> ExitCode {
    // Registered before anything is ready: whoever hears that we are may signal at once.
    let stop = asked_to_stop();
    let json = args.json;
    let settings = match settings(args) {
        Ok(settings) => settings,
        Err(problems) => {
            problems.iter().for_each(|problem| eprintln(problem));
            return ExitCode::from(2);
        }
    };
    let notify = match Notify::of_environment() {
        Ok(notify) => notify,
        Err(error) => return failed(&format!("the service manager's NOTIFY_SOCKET can't be used: {error}")),
    };
    let tls: Vec<bool> = settings.listeners.iter().map(|listener| listener.tls.is_some()).collect();
    let running = match outgate_relay::start(settings).await {
        Ok(running) => running,
        Err(why) => return failed(&why),
    };
    println(&ready(&running, &tls, json));
    if let Some(notify) = &notify {
        notify.send("READY=1");
    }
    stop.await;
    if let Some(notify) = &notify {
        notify.send("STOPPING=1");
    }
    let mut stopping = std::pin::pin!(running.shut_down());
    let cut = tokio::select! {
        cut = &mut stopping => cut,
        () = asked_to_stop() => return failed("stopped at once; open requests were cut"),
    };
    if cut > 0 {
        eprintln(&format!("outgate: {cut} open requests were cut"));
    }
    ExitCode::SUCCESS
}

/// What is said when it serves: where, and what to look at.
fn ready(running: &Running, tls: &[bool], json: bool) -> String {
    let url = |(address, tls): (&std::net::SocketAddr, &bool)| format!("{}://{address}", if *tls { "https" } else { "http" });
    let listeners: Vec<String> = running.bound().iter().zip(tls).map(url).collect();
    let first = listeners.first().cloned().unwrap_or_default();
    let names =
        running.status()["upstreams"].as_array().map(|upstreams| upstreams.iter().map(|u| u["name"].clone()).collect::<Vec<_>>());
    let names = names.unwrap_or_default();
    if json {
        let ready = serde_json::json!({ "listen": listeners, "proxy_url": first, "status_url": format!("{first}/status.json"), "upstreams": names });
        return ready.to_string();
    }
    let names: Vec<&str> = names.iter().filter_map(|name| name.as_str()).collect();
    format!("relay on {} to {}; how it stands: {first}/status", listeners.join(", "), names.join(", "))
}

/// Everything the command line, the environment and the file say, or all that is wrong with it.
fn settings(args: cli::Relay) -> Result<Settings, Vec<String>> {
    let RelayConfig { mut settings, named } = match &args.config {
        Some(file) => config::load(file)?,
        None => RelayConfig { settings: Settings::new(""), named: false },
    };
    let mut problems = Vec::new();
    for (number, url) in args.upstream.iter().enumerate() {
        match config::url(url.expose()) {
            Ok(upstream) => settings.upstreams.push(UpstreamSettings::new(upstream, &settings.providers)),
            Err(error) => problems.push(format!("outgate: --upstream, the {}: {error}", ordinal(number))),
        }
    }
    config::name_apart(&mut settings.upstreams);
    for text in args.no_proxy.iter().flat_map(|list| list.split(',')).filter(|text| !text.trim().is_empty()) {
        match Rule::parse(text) {
            Ok(rule) => settings.bypass.0.push(rule),
            Err(error) => problems.push(format!("outgate: --no-proxy: {error}")),
        }
    }
    if !args.listen.is_empty() {
        settings.listeners = args.listen.iter().map(|address| Listener { address: *address, tls: None }).collect();
    }
    if let Some(data) = &args.data {
        settings.records = Some(RecordSettings { folder: data.join("records"), keep: Default::default() });
    }
    if settings.upstreams.is_empty() && problems.is_empty() {
        problems.push("outgate: a relay needs upstreams: --upstream URL, or --config relay.toml with [[upstream]]".to_owned());
    }
    if settings.listeners.is_empty() {
        problems.push("outgate: a relay needs a place to listen: --listen 127.0.0.1:3128, or [[listen]] in its file".to_owned());
    }
    for upstream in &settings.upstreams {
        let own = |listener: &Listener| {
            upstream.upstream.host().parse() == Ok(listener.address.ip()) && upstream.upstream.port() == listener.address.port()
        };
        if settings.listeners.iter().any(own) {
            problems.push(format!("outgate: the upstream {} is the relay itself", upstream.name));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    if !named {
        settings.name = name();
    }
    Ok(settings)
}

/// A name that no other relay on the way has: two of one name would each take the other's requests for a loop.
fn name() -> String {
    let mut bytes = [0; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => format!("relay-{}", bytes.map(|byte| format!("{byte:02x}")).concat()),
        Err(_) => format!("relay-{}", std::process::id()),
    }
}

fn ordinal(number: usize) -> String {
    match number {
        0 => "first".to_owned(),
        1 => "second".to_owned(),
        2 => "third".to_owned(),
        more => format!("{}th", more + 1),
    }
}
