//! `relay.toml`: listeners, upstreams, what goes past them, the engine's limits, records, interception.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use outgate_client::connect::{BadUpstream, Trust, Upstream};
use outgate_client::engine::{Exits, Hedging, Rules as Retry};
use outgate_client::providers::Providers;
use outgate_client::sessions::Grammar;
use outgate_relay::bypass::{Rule, Rules};
use outgate_relay::intercept::Authority;
use outgate_relay::settings::{Intercept, Listener, RecordSettings, SESSIONS, Settings, UpstreamSettings};
use outgate_store::amount::parse_bytes;

use super::reader::{self, Section};
use super::{address, boolean, duration, hop_name, infallible, parse_with, records};
use crate::tls;

/// What the variables of a relay begin with: `OUTGATE_RELAY_LIMITS_CONNECTIONS` is `limits.connections` of its file.
pub(crate) const VARIABLES: &str = "OUTGATE_RELAY_";

/// A checked relay.toml.
pub(crate) struct RelayConfig {
    /// The relay.
    pub(crate) settings: Settings,
    /// Whether it has a name of its own.
    pub(crate) named: bool,
}

/// Whether a file's text is a relay's: it has upstreams, and no gateway has.
pub(crate) fn is_relay(text: &str) -> bool {
    toml::de::DeTable::parse_recoverable(text).0.get_ref().contains_key("upstream")
}

/// Reads and checks a file; the problems are ready to print.
pub(crate) fn load(file: &Path) -> Result<RelayConfig, Vec<String>> {
    let text = std::fs::read_to_string(file).map_err(|e| vec![format!("{}: can't be read: {e}", file.display())])?;
    read(&file.display().to_string(), &text, variables())
}

/// The relay's variables, named as the reader knows them.
pub(crate) fn variables() -> BTreeMap<String, String> {
    let own = |(name, value): (String, String)| Some((format!("OUTGATE_{}", name.strip_prefix(VARIABLES)?), value));
    // The upstreams are the command line's: a list of tables has no variable.
    std::env::vars().filter_map(own).filter(|(name, _)| name != "OUTGATE_UPSTREAM").collect()
}

/// Checks a file's text.
pub(crate) fn read(file: &str, text: &str, env: BTreeMap<String, String>) -> Result<RelayConfig, Vec<String>> {
    let (mut root, problems) = reader::open(file, text, env);
    let config = config(&mut root);
    root.finish();
    problems.unknown_variables();
    let report = problems.report();
    if report.is_empty() { Ok(config) } else { Err(report) }
}

fn config(root: &mut Section) -> RelayConfig {
    let name = root.scalar("name", |text| match hop_name(text) {
        true => Ok(text.to_owned()),
        false => Err("a name is 1 to 64 letters, digits, dots and hyphens"),
    });
    let named = name.is_some();
    let mut settings = Settings::new(name.unwrap_or_default());
    let data = root.scalar("data", infallible).map(PathBuf::from);
    if let Some(clients) = root.list("clients", parse_with::<IpNet>("a range of addresses, such as \"192.168.0.0/16\"")) {
        settings.clients = clients;
    }
    if let Some(files) = root.list("providers", |file| read_file(file).map(|text| (file.to_owned(), text))) {
        settings.providers = Arc::new(providers(root, &files));
    }
    settings.listeners = root.sections("listen").into_iter().filter_map(listener).collect();
    let upstreams = root.sections("upstream");
    if upstreams.is_empty() {
        root.missing("upstream", "there is no upstream: add [[upstream]] with url = \"http://USER:PASSWORD@HOST:PORT\"");
    }
    settings.upstreams = upstreams.into_iter().filter_map(|section| upstream(section, &settings.providers)).collect();
    name_apart(&mut settings.upstreams);
    settings.bypass = bypass(root.section("bypass"));
    retry(root.section("retry"), &mut settings);
    timeouts(root.section("timeouts"), &mut settings);
    limits(root.section("limits"), &mut settings);
    settings.trust = trust(root.section("targets"));
    let records = records::records(root.section("records"), data.as_deref().unwrap_or_else(|| Path::new(".")));
    // Without a folder named anywhere, none is made where the relay happens to be started.
    let named_somewhere = data.is_some() || records.folder_named;
    let of_relay =
        |settings: outgate_gateway::settings::RecordSettings| RecordSettings { folder: settings.folder, keep: settings.keep };
    settings.records = records.settings.filter(|_| named_somewhere).map(of_relay);
    settings.intercept = intercept(root.section("intercept"), data.as_deref());
    RelayConfig { settings, named }
}

fn read_file(file: &str) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))
}

/// The known providers and those of the user's own files, which come first.
fn providers(root: &Section, files: &[(String, String)]) -> Providers {
    let mut providers = Providers::builtin().clone();
    for (file, text) in files {
        match providers.clone().with_file(file, text) {
            Ok(more) => providers = more,
            Err(problems) => problems.iter().for_each(|problem| root.problem("providers", problem)),
        }
    }
    providers
}

fn listener(mut section: Section) -> Option<Listener> {
    let at = section.scalar("address", address);
    if at.is_none() {
        section.missing("address", "a listener needs one: address = \"127.0.0.1:3128\"");
    }
    let mut file = |key| section.scalar(key, infallible).map(PathBuf::from);
    let files = (file("certificate"), file("key"));
    let tls = match files {
        (Some(certificate), Some(key)) => match tls::server(&certificate, &key, &tls::Clients::Anonymous, &["http/1.1"]) {
            Ok(config) => Some(config),
            Err(what) => {
                section.problem("certificate", what);
                None
            }
        },
        (None, None) => None,
        (Some(_), None) => {
            section.missing("key", "the certificate needs its key: key = \"relay-key.pem\"");
            None
        }
        (None, Some(_)) => {
            section.missing("certificate", "the key needs its certificate: certificate = \"relay.pem\"");
            None
        }
    };
    section.finish();
    Some(Listener { address: at?, tls })
}

/// An upstream's URL. What is wrong with it is told without repeating it: there may be a secret in it.
pub(crate) fn url(text: &str) -> Result<Upstream, BadUpstream> {
    Upstream::parse(text)
}

fn upstream(mut section: Section, providers: &Providers) -> Option<UpstreamSettings> {
    let given = section.scalar("url", url);
    let from_file =
        section.scalar("url_file", |file| read_file(file).and_then(|text| url(text.trim()).map_err(|e| e.to_string())));
    if section.has("url") && section.has("url_file") {
        section.problem("url_file", "the URL is given as url already: one of the two is enough");
    }
    if !section.has("url_file") {
        section.missing("url", "an upstream needs one: url = \"http://USER:PASSWORD@HOST:PORT\", or url_file = \"FILE\"");
    }
    let pem = section.scalar("ca", |file| {
        let pem = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
        Trust::system_and(&pem).map_err(|error| format!("{file}: {error}"))
    });
    let name = section.scalar("name", infallible);
    let account = section.scalar("account", infallible);
    let tier = section.scalar("tier", parse_with("a number from 0 to 255"));
    let weight = section.scalar("weight", |text| match text.parse() {
        Ok(weight @ 0..=1_000_000) => Ok(weight),
        _ => Err("a number from 0 to 1000000; 0 takes the upstream out of use"),
    });
    let provider = section.scalar("provider", |text| match providers.named(text) {
        Some(_) => Ok(text.to_owned()),
        None => {
            let near = providers.iter().map(|known| (strsim::damerau_levenshtein(text, known.name()), known.name())).min();
            let hint = near
                .filter(|(distance, _)| *distance <= 3)
                .map_or(String::new(), |(_, name)| format!("; did you mean \"{name}\"?"));
            Err(format!("no provider of this name is known{hint}"))
        }
    });
    let session = section.scalar("session", Grammar::parse);
    let exits = section.scalar("exits", exits);
    section.finish();
    let upstream = given.or(from_file)?;
    let upstream = match pem {
        Some(trust) => upstream.with_trust(trust),
        None => upstream,
    };
    let mut settings = UpstreamSettings::new(upstream, providers);
    if let Some(provider) = provider {
        settings.session = Grammar::of(&provider).cloned();
        settings.provider = Some(provider);
    }
    settings.session = session.or(settings.session);
    settings.exits = exits.unwrap_or_else(|| settings.default_exits());
    settings.name = name.unwrap_or(settings.name);
    settings.account = account.unwrap_or(settings.account);
    settings.tier = tier.unwrap_or(settings.tier);
    settings.weight = weight.unwrap_or(settings.weight);
    Some(settings)
}

/// Upstreams of one address get numbers, so that records, metrics and the status page tell them apart.
pub(crate) fn name_apart(upstreams: &mut [UpstreamSettings]) {
    for at in 1..upstreams.len() {
        let (before, rest) = upstreams.split_at_mut(at);
        let taken = |name: &str| before.iter().any(|other| other.name == name);
        let (base, mut number) = (rest[0].name.clone(), 2);
        while taken(&rest[0].name) {
            rest[0].name = format!("{base} #{number}");
            number += 1;
        }
    }
}

fn exits(text: &str) -> Result<Exits, &'static str> {
    match text {
        "one" => Ok(Exits::One),
        "rotating" => Ok(Exits::Rotating),
        "sessions" => Ok(Exits::Sessions(SESSIONS)),
        number => match number.parse() {
            Ok(sessions @ 1..) => Ok(Exits::Sessions(sessions)),
            _ => Err("\"one\", \"rotating\", \"sessions\", or how many sessions at a time, from 1 to 65535"),
        },
    }
}

fn bypass(mut section: Section) -> Rules {
    let mut rules = Rules(section.list("rules", Rule::parse).unwrap_or_default());
    if section.scalar("from_environment", boolean).unwrap_or(false) {
        rules.0.extend(from_environment().0);
    }
    section.finish();
    rules
}

/// The rules of `no_proxy`, or of `NO_PROXY`.
pub(crate) fn from_environment() -> Rules {
    let text = std::env::var("no_proxy").or_else(|_| std::env::var("NO_PROXY")).unwrap_or_default();
    let (rules, bad) = Rules::of_variable(&text);
    bad.iter().for_each(|rule| tracing::warn!("NO_PROXY: {rule}"));
    rules
}

fn retry(mut section: Section, settings: &mut Settings) {
    let retry: &mut Retry = &mut settings.retry;
    let mut set = |key, field: &mut Duration| {
        if let Some(time) = section.scalar(key, some_time) {
            *field = time;
        }
    };
    set("deadline", &mut settings.deadline);
    set("attempt_timeout", &mut retry.attempt_timeout);
    set("backoff_first", &mut retry.backoff_first);
    set("backoff_longest", &mut retry.backoff_longest);
    set("remember", &mut retry.remember);
    set("remember_longest", &mut retry.remember_longest);
    set("longest_wait", &mut retry.longest_wait);
    set("ban", &mut retry.ban);
    if let Some(attempts) = section.scalar("attempts", |text| match text.parse() {
        Ok(attempts @ 1..=100) => Ok(attempts),
        _ => Err("a number from 1 to 100"),
    }) {
        retry.attempts = attempts;
    }
    if let Some(transient) = section.scalar("transient", up_to_20) {
        retry.transient = transient;
    }
    if let Some(fix) = section.scalar("fix", up_to_20) {
        retry.fix = fix;
    }
    let breaker = &mut retry.breaker;
    let mut set = |key, field: &mut Duration| {
        if let Some(time) = section.scalar(key, some_time) {
            *field = time;
        }
    };
    set("breaker_window", &mut breaker.window);
    set("breaker_cooldown", &mut breaker.cooldown);
    if let Some(share) = section.scalar("breaker_share", |text| match text.trim_end_matches('%').trim().parse() {
        Ok(share @ 1..=100) => Ok(share),
        _ => Err("a share of failures, from \"1%\" to \"100%\", which never opens it"),
    }) {
        breaker.share = share;
    }
    if let Some(samples) = section.scalar("breaker_samples", parse_with("a number of requests")) {
        breaker.samples = samples;
    }
    // The relay makes one attempt at a time: a second tunnel beside a slow one would be two of the program's connections.
    retry.hedging = Hedging::Off;
    section.finish();
}

fn up_to_20(text: &str) -> Result<u8, &'static str> {
    match text.parse() {
        Ok(retries @ 0..=20) => Ok(retries),
        _ => Err("a number from 0 to 20"),
    }
}

fn some_time(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|time| if time.is_zero() { Err("must be more than nothing".to_owned()) } else { Ok(time) })
}

fn timeouts(mut section: Section, settings: &mut Settings) {
    let fields = [
        ("setup", &mut settings.setup),
        ("response", &mut settings.response),
        ("idle", &mut settings.idle),
        ("head", &mut settings.head),
    ];
    for (key, field) in fields {
        if let Some(time) = section.scalar(key, some_time) {
            *field = time;
        }
    }
    if let Some(drain) = section.scalar("drain", duration) {
        settings.drain = drain;
    }
    section.finish();
}

fn limits(mut section: Section, settings: &mut Settings) {
    if let Some(connections) = section.scalar("connections", |text| match text.parse() {
        Ok(connections @ 1..=1_000_000) => Ok(connections),
        _ => Err("a number from 1 to 1000000"),
    }) {
        settings.connections = connections;
    }
    let size = "a size up to 64MB, such as \"256KB\"; \"0\" keeps no body";
    if let Some(body) = section.scalar("body", |text| parse_bytes(text).ok().filter(|size| *size <= 64_000_000).ok_or(size)) {
        settings.body = usize::try_from(body).unwrap_or(usize::MAX);
    }
    section.finish();
}

/// Whose certificates of targets are believed.
fn trust(mut section: Section) -> Trust {
    let trust = section.scalar("ca", |file| {
        let pem = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
        Trust::system_and(&pem).map_err(|error| format!("{file}: {error}"))
    });
    section.finish();
    trust.unwrap_or_else(Trust::system)
}

fn intercept(mut section: Section, data: Option<&Path>) -> Option<Intercept> {
    let hosts = section.list("hosts", Rule::parse).unwrap_or_default();
    let mut file =
        |key: &str, name: &str| section.scalar(key, infallible).map(PathBuf::from).or_else(|| data.map(|data| data.join(name)));
    let files = file("certificate", "relay-ca.pem").zip(file("key", "relay-ca-key.pem"));
    let intercept = match (hosts.is_empty(), files) {
        (true, _) => None,
        (false, None) => {
            section.problem("hosts", "the local authority needs a place: certificate = \"relay-ca.pem\" and key = \"relay-ca-key.pem\", or data = \"DIR\" at the top");
            None
        }
        (false, Some((certificate, key))) => match Authority::open(&certificate, &key) {
            Ok(authority) => Some(Intercept { hosts, authority: Arc::new(authority) }),
            Err(what) => {
                section.problem("hosts", what);
                None
            }
        },
    };
    section.finish();
    intercept
}
