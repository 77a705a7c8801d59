//! The gateway's configuration file: raw text to checked settings, all problems in one run.

mod cluster;
mod console;
mod metrics;
mod reader;
mod readings;
mod records;
pub(crate) mod relay;
mod signals;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use outgate_egress::{DnsSettings, Guard};
use outgate_faults::{Dialect, DialectSpec, FaultSpec, ReasonStyle, Slug};
use outgate_gateway::policy::{Effect, Policy, Rule};
use outgate_gateway::settings::{
    ExitDoorSettings, FleetRules, Geo, HeadLimits, Limits, ListenerSettings, MemoryBound, PeerAddress, PoolSettings, Protocols,
    SessionRules, Settings, Sharing, Timeouts,
};
use outgate_store::amount::{parse_bytes, parse_duration};
use outgate_store::{PoolKind, PoolName, PortRange};
use outgate_store_redis::Redis;

use crate::ledger::LedgerSettings;
use crate::tls::Clients;

pub(crate) use console::Console;
pub(crate) use metrics::Metrics;
pub(crate) use readings::Readings;
pub(crate) use signals::Signals;

use reader::Section;

/// What every key in Redis begins with.
const KEY_PREFIX: &str = "outgate";

/// A checked configuration.
pub(crate) struct Config {
    /// The data folder.
    pub(crate) data: PathBuf,
    /// Where the ledger is.
    pub(crate) store: LedgerSettings,
    /// Where the console is, and the status page for the public.
    pub(crate) console: Console,
    /// What is counted, watched and shown.
    pub(crate) seeing: Seeing,
    /// The gateway, but for its name when the file has none.
    pub(crate) settings: Settings,
    /// Whether a name was given.
    pub(crate) named: bool,
    /// Whether a folder for the records was given.
    pub(crate) records_named: bool,
    /// Every setting that was given, for comparison with another reading.
    pub(crate) readings: Readings,
}

/// What is counted, watched and shown.
pub(crate) struct Seeing {
    /// What is counted, and who may see it.
    pub(crate) metrics: Metrics,
    /// What is too slow, too full or fails too often, and whom it is told.
    pub(crate) signals: Signals,
}

/// The `OUTGATE_*` variables of this process.
pub(crate) fn environment() -> BTreeMap<String, String> {
    std::env::vars().filter(|(name, _)| name.starts_with("OUTGATE_")).collect()
}

/// Reads and checks a file; the problems are ready to print.
pub(crate) fn load(file: &Path) -> Result<Config, Vec<String>> {
    let text = std::fs::read_to_string(file).map_err(|e| vec![format!("{}: can't be read: {e}", file.display())])?;
    read(&file.display().to_string(), &text, environment())
}

/// Checks a file's text.
pub(crate) fn read(file: &str, text: &str, env: BTreeMap<String, String>) -> Result<Config, Vec<String>> {
    let (mut root, problems) = reader::open(file, text, env);
    let config = config(&mut root, Listeners::InFile);
    root.finish();
    problems.unknown_variables();
    let report = problems.report();
    match config {
        Some(config) if report.is_empty() => Ok(Config { readings: problems.readings(), ..config }),
        _ => Err(report),
    }
}

/// The defaults under the `OUTGATE_*` variables, for a gateway without a file: one without listeners.
pub(crate) fn from_environment() -> Result<Config, Vec<String>> {
    let (mut root, problems) = reader::open("environment", "", environment());
    let config = config(&mut root, Listeners::Given);
    problems.unknown_variables();
    match (config, problems.report()) {
        (Some(config), report) if report.is_empty() => Ok(config),
        (_, report) => Err(report),
    }
}

/// Where a gateway's listeners come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listeners {
    /// The file must name one.
    InFile,
    /// The command line.
    Given,
}

fn config(root: &mut Section, source: Listeners) -> Option<Config> {
    let name = root.scalar("name", |text| match hop_name(text) {
        true => Ok(text.to_owned()),
        false => Err("a name is 1 to 64 letters, digits, dots and hyphens"),
    });
    let data = root.scalar("data", infallible).map_or_else(|| "outgate-data".into(), PathBuf::from);
    let workers = root.scalar("workers", |text| match text.parse() {
        Ok(workers @ 1..=256) => Ok(workers),
        _ => Err("a number from 1 to 256"),
    });
    let dialects = dialects(root.section("dialects"));
    let listeners = listeners(root, &dialects);
    if listeners.is_empty() && source == Listeners::InFile {
        root.missing("listen", "there is no listener: add [[listen]] with address = \"0.0.0.0:8080\"");
    }
    let console = console::console(root.section("console"));
    let (store, sharing) = store(root.section("store"));
    let exits = exits(root.section("exits"));
    let shares = if sharing.is_some() { cluster::Shares::Limits } else { cluster::Shares::Nothing };
    let cluster = cluster::cluster(root.section("cluster"), shares);
    let (policy, guard) = policy(root.section("policy"));
    let (pools, default_pool) = pools(root.section("pools"))?;
    let fleet = fleet(root.section("fleet"));
    let sessions = sessions(root.section("sessions"));
    let limits = limits(root.section("limits"));
    let timeouts = timeouts(root.section("timeouts"));
    let dns = dns(root.section("dns"));
    let mut egress = root.section("egress");
    let sources = egress.list("sources", parse_with("an IP address of this machine")).unwrap_or_default();
    egress.finish();
    let geo = geo(root.section("geo"));
    let records = records::records(root.section("records"), &data);
    let metrics = metrics::metrics(root.section("metrics"));
    let signals = signals::signals(root.section("signals"));
    let named = name.is_some();
    let settings = Settings {
        name: name.unwrap_or_default(),
        workers: workers.unwrap_or_else(default_workers),
        listeners,
        exits,
        cluster,
        policy,
        fleet,
        sessions,
        pools,
        default_pool,
        limits,
        timeouts,
        dns,
        guard,
        sources,
        geo,
        sharing,
        counting: metrics.counting,
        tracer: None,
        records: records.settings,
        journal: None,
        echo: None,
    };
    Some(Config {
        data,
        store,
        console,
        seeing: Seeing { metrics, signals },
        settings,
        named,
        records_named: records.folder_named,
        readings: Readings::default(),
    })
}

/// One event loop per core this process may use.
fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The pools a gateway has when the file names none.
fn default_pools() -> Vec<PoolSettings> {
    let pool = |name: &str, kind, targeting| Some(PoolSettings { name: PoolName::parse(name).ok()?, kind, targeting });
    let pools = [
        pool("direct", PoolKind::Direct, false),
        pool("residential", PoolKind::Residential, true),
        pool("mobile", PoolKind::Mobile, true),
        pool("isp", PoolKind::Isp, false),
        pool("datacenter", PoolKind::Datacenter, false),
    ];
    pools.into_iter().flatten().collect()
}

fn listeners(root: &mut Section, dialects: &[Dialect]) -> Vec<ListenerSettings> {
    let mut listeners = Vec::new();
    for mut section in root.sections("listen") {
        let at = section.scalar("address", address);
        let dialect = section.scalar("dialect", |name| {
            let own = dialects.iter().find(|d| d.name() == name).cloned();
            own.or_else(|| Dialect::builtin(name)).ok_or_else(|| {
                let known: Vec<&str> = Dialect::BUILTIN.iter().copied().chain(dialects.iter().map(Dialect::name)).collect();
                format!("unknown dialect; known: {}", known.join(", "))
            })
        });
        let protocols = section.list("protocols", |text| match text {
            "http" | "socks5" => Ok(text == "http"),
            _ => Err("\"http\" or \"socks5\""),
        });
        let protocols = protocols
            .map_or_else(Protocols::default, |list| Protocols { http: list.contains(&true), socks5: list.contains(&false) });
        if !(protocols.http || protocols.socks5) {
            section.problem("protocols", "a listener speaks something: [\"http\", \"socks5\"]");
        }
        let alpn: &[&str] = if protocols.http { &["h2", "http/1.1"] } else { &[] };
        let tls = server_tls(&mut section, alpn);
        let proxies = section.list("proxy_protocol_from", network).unwrap_or_default();
        match at {
            Some(address) => listeners.push(ListenerSettings {
                address,
                dialect: dialect.unwrap_or_else(Dialect::outgate),
                protocols,
                tls,
                proxy_protocol_from: proxies,
                activated: false,
            }),
            None => section.missing("address", "a listener needs an address such as \"0.0.0.0:8080\""),
        }
        section.finish();
    }
    listeners
}

/// Where the ledger is, and with whom the keys' limits are shared. Both URLs hold passwords: what is wrong with one is told without
/// it.
fn store(mut section: Section) -> (LedgerSettings, Option<Sharing>) {
    let mut store = LedgerSettings { postgres: section.scalar("postgres", str::parse), ..LedgerSettings::default() };
    if let Some(patience) = section.scalar("patience", duration) {
        store.patience = patience;
    }
    let sharing = sharing(&mut section);
    section.finish();
    (store, sharing)
}

fn sharing(section: &mut Section) -> Option<Sharing> {
    let redis = section.scalar("redis", |address| Redis::new(address, KEY_PREFIX).map_err(|bad| bad.to_string()));
    let share = section.scalar("share", |text| match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("a part of every limit, above 0 and up to 1, such as 0.5"),
    });
    if share.is_some() && redis.is_none() {
        section.problem("share", "is for gateways that share their keys' limits: add redis = \"redis://HOST:6379\"");
    }
    redis.map(|redis| Sharing { keeper: Arc::new(redis), share })
}

fn exits(mut section: Section) -> Option<ExitDoorSettings> {
    let address = section.scalar("address", address);
    let tls = server_tls(&mut section, &["http/1.1"]);
    section.finish();
    address.map(|address| ExitDoorSettings { address, tls })
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, &'static str> {
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| one()).map_err(|_| "an address or a range such as 10.0.0.0/8")
}

/// The TLS of a door, from `certificate`, `key`, `client_ca` and `client_certificates`; none when there is no certificate.
fn server_tls(section: &mut Section, alpn: &[&str]) -> Option<Arc<rustls::ServerConfig>> {
    let mut file = |key| section.scalar(key, infallible).map(PathBuf::from);
    let (certificate, key, ca) = (file("certificate"), file("key"), file("client_ca"));
    let required = section.scalar("client_certificates", |text| match text {
        "required" => Ok(true),
        "optional" => Ok(false),
        _ => Err("\"required\" or \"optional\""),
    });
    if required.is_some() && ca.is_none() {
        section.problem("client_certificates", "needs the authority that clients' certificates are from: client_ca = \"ca.pem\"");
    }
    if ca.is_some() && certificate.is_none() {
        section.problem("client_ca", "clients show certificates over TLS only: add certificate and key");
    }
    for (key, path) in [("certificate", &certificate), ("key", &key), ("client_ca", &ca)] {
        if let Some(path) = path {
            section.names_file(key, path);
        }
    }
    let clients = match &ca {
        None => Clients::Anonymous,
        Some(ca) if required == Some(false) => Clients::Optional(ca),
        Some(ca) => Clients::Required(ca),
    };
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            crate::tls::server(&certificate, &key, &clients, alpn).map_err(|what| section.problem("certificate", what)).ok()
        }
        (None, None) => None,
        (Some(_), None) => {
            section.problem("key", "a certificate needs its key: key = \"key.pem\"");
            None
        }
        (None, Some(_)) => {
            section.problem("certificate", "a key needs its certificate: certificate = \"cert.pem\"");
            None
        }
    }
}

/// The databases are read here, so that `outgate check` finds those that can't be.
fn geo(mut section: Section) -> Option<Arc<Geo>> {
    let paths: Vec<PathBuf> = section.list("mmdb", |path| infallible(path).map(PathBuf::from)).unwrap_or_default();
    paths.iter().for_each(|path| section.names_file("mmdb", path));
    let geo = match Geo::open(&paths) {
        Ok(geo) => (!paths.is_empty()).then(|| Arc::new(geo)),
        Err(problems) => {
            problems.iter().for_each(|what| section.problem("mmdb", what));
            None
        }
    };
    section.finish();
    geo
}

fn policy(mut section: Section) -> (Policy, Guard) {
    let mut policy = Policy::default();
    if let Some(ports) = section.list("ports", str::parse::<PortRange>) {
        policy.ports = ports;
    }
    let opened = section.list("allow_targets", parse_with("a range such as 10.0.0.0/8")).unwrap_or_default();
    if let Some(effect) = section.scalar("default", effect) {
        policy.otherwise = effect;
    }
    for mut rule in section.sections("rules") {
        let name = rule.scalar("name", infallible);
        let effect = rule.scalar("effect", effect);
        let host = |text: &str| Ok::<_, String>(text.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase());
        let hosts = rule.list("hosts", host).unwrap_or_default();
        let nets = rule.list("nets", parse_with("a range such as 203.0.113.0/24")).unwrap_or_default();
        let ports = rule.list("ports", str::parse::<PortRange>).unwrap_or_default();
        match (name, effect) {
            (Some(name), Some(effect)) => policy.rules.push(Rule { name, effect, hosts, nets, ports }),
            (None, _) => rule.missing("name", "a rule needs a name: clients that it refuses are told it"),
            (Some(_), None) => rule.missing("effect", "a rule needs effect = \"deny\" or \"allow\""),
        }
        rule.finish();
    }
    section.finish();
    (policy, Guard::new(opened))
}

fn pools(mut section: Section) -> Option<(Vec<PoolSettings>, PoolName)> {
    let default = section.scalar("default", PoolName::parse);
    let mut pools = default_pools();
    for (name, mut pool) in section.named_sections() {
        let known = pools.iter().find(|p| p.name.as_str() == name).cloned();
        let kind = pool.scalar("kind", str::parse::<PoolKind>).or(known.as_ref().map(|k| k.kind));
        let targeting = pool.scalar("targeting", boolean).or(known.map(|k| k.targeting));
        match (PoolName::parse(&name), kind) {
            (Ok(name), Some(kind)) => {
                pools.retain(|p| p.name != name);
                let by_kind = matches!(kind, PoolKind::Residential | PoolKind::Mobile);
                pools.push(PoolSettings { name, kind, targeting: targeting.unwrap_or(by_kind) });
            }
            (Err(what), _) => pool.problem("", what),
            (Ok(_), None) => pool.missing("kind", "a pool needs kind = \"residential\", \"mobile\", \"isp\" or \"datacenter\""),
        }
        pool.finish();
    }
    let default = match default {
        Some(default) => default,
        None => PoolName::parse("direct").ok()?,
    };
    if !pools.iter().any(|p| p.name == default) {
        section.problem("default", format_args!("there is no pool {default}"));
    }
    section.finish();
    Some((pools, default))
}

fn fleet(mut section: Section) -> FleetRules {
    let mut fleet = FleetRules::default();
    let few = |most: u32| {
        move |text: &str| text.parse().ok().filter(|n| (1..=most).contains(n)).ok_or_else(|| format!("a number from 1 to {most}"))
    };
    if let Some(attempts) = section.scalar("attempts", few(16)) {
        fleet.attempts = attempts as u16;
    }
    fleet.check = section.scalar("check", host_and_port);
    if let Some(failures) = section.scalar("eject_after", few(1_000)) {
        fleet.eject_after = failures;
    }
    let fields: [(&str, &mut Duration); 5] = [
        ("check_interval", &mut fleet.check_interval),
        ("eject_for", &mut fleet.eject_for),
        ("eject_most", &mut fleet.eject_most),
        ("slow_start", &mut fleet.slow_start),
        ("gather", &mut fleet.gather),
    ];
    for (key, field) in fields {
        if let Some(value) = section.scalar(key, duration) {
            *field = value;
        }
    }
    if fleet.eject_most < fleet.eject_for {
        section.problem("eject_most", "must not be shorter than fleet.eject_for");
    }
    if fleet.check_interval.is_zero() {
        section.problem("check_interval", "must be longer than nothing");
    }
    section.finish();
    fleet
}

fn sessions(mut section: Section) -> SessionRules {
    let mut sessions = SessionRules::default();
    let minutes = |text: &str| match duration(text)? {
        length if length >= Duration::from_secs(60) && length.as_secs().is_multiple_of(60) && length.subsec_nanos() == 0 => {
            Ok(length)
        }
        _ => Err("whole minutes, such as 10m".to_owned()),
    };
    if let Some(ttl) = section.scalar("ttl", minutes) {
        sessions.ttl = ttl;
    }
    for (key, field) in [("ttl_min", &mut sessions.ttl_min), ("ttl_max", &mut sessions.ttl_max)] {
        if let Some(length) = section.scalar(key, minutes) {
            *field = u32::try_from(length.as_secs() / 60).unwrap_or(u32::MAX);
        }
    }
    if sessions.ttl_min > sessions.ttl_max {
        section.problem("ttl_max", "must not be shorter than sessions.ttl_min");
    }
    if let Some(strict) = section.scalar("strict", boolean) {
        sessions.strict = strict;
    }
    if let Some(most) = section.scalar("most", |text| text.parse().ok().filter(|n| *n > 0).ok_or("a whole number above zero")) {
        sessions.most = most;
    }
    section.finish();
    sessions
}

fn limits(mut section: Section) -> Limits {
    let mut limits = Limits::default();
    let size =
        |text: &str| parse_bytes(text).map_err(|e| e.to_string()).and_then(|n| usize::try_from(n).map_err(|e| e.to_string()));
    let HeadLimits { line, head } = &mut limits.head;
    let fields: [(&str, &mut usize); 3] =
        [("request_line", line), ("request_head", head), ("response_head", &mut limits.response_head)];
    for (key, field) in fields {
        if let Some(value) = section.scalar(key, size) {
            *field = value;
        }
    }
    let count = |text: &str| text.parse().ok().filter(|n| *n > 0).ok_or("a whole number above zero");
    let fields: [(&str, &mut usize); 5] = [
        ("connections", &mut limits.connections),
        ("connections_per_source", &mut limits.connections_per_source),
        ("exit_connections", &mut limits.exit_connections),
        ("tunnels", &mut limits.tunnels),
        ("tunnels_per_link", &mut limits.tunnels_per_link),
    ];
    for (key, field) in fields {
        if let Some(value) = section.scalar(key, count) {
            *field = value;
        }
    }
    let memory = |text: &str| match text {
        "off" => Ok(MemoryBound::Off),
        size => parse_bytes(size)
            .ok()
            .filter(|n| *n > 0)
            .map(MemoryBound::Bytes)
            .ok_or("a size above zero, such as \"6GB\", or \"off\""),
    };
    if let Some(bound) = section.scalar("memory", memory) {
        limits.memory = bound;
    }
    section.finish();
    limits
}

fn timeouts(mut section: Section) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let fields: [(&str, &mut Duration); 10] = [
        ("head", &mut timeouts.head),
        ("keep_alive", &mut timeouts.keep_alive),
        ("setup", &mut timeouts.setup),
        ("connect", &mut timeouts.connect),
        ("response", &mut timeouts.response),
        ("idle", &mut timeouts.idle),
        ("linger", &mut timeouts.linger),
        ("drain", &mut timeouts.drain),
        ("heartbeat", &mut timeouts.heartbeat),
        ("dead", &mut timeouts.dead),
    ];
    for (key, field) in fields {
        if let Some(value) = section.scalar(key, duration) {
            *field = value;
        }
    }
    if timeouts.dead <= timeouts.heartbeat {
        section.problem("dead", "must be longer than timeouts.heartbeat");
    }
    section.finish();
    timeouts
}

fn dns(mut section: Section) -> DnsSettings {
    let mut dns = DnsSettings::default();
    let server = |text: &str| {
        let parsed = text.parse::<SocketAddr>().or_else(|_| text.parse().map(|ip| SocketAddr::new(ip, 53)));
        parsed.map_err(|_| "an address such as \"192.0.2.53\" or \"192.0.2.53:5353\"")
    };
    if let Some(servers) = section.list("servers", server) {
        dns.servers = servers;
    }
    if let Some(timeout) = section.scalar("timeout", duration) {
        dns.timeout = timeout;
    }
    if let Some(attempts) =
        section.scalar("attempts", |text| text.parse().ok().filter(|n| *n > 0).ok_or("a whole number above zero"))
    {
        dns.attempts = attempts;
    }
    section.finish();
    dns
}

/// `OUTGATE_DNS_*` alone, for an exit.
pub(crate) fn dns_from_environment() -> Result<DnsSettings, Vec<String>> {
    let (mut root, problems) = reader::open("environment", "", environment());
    let dns = dns(root.section("dns"));
    let report = problems.report();
    if report.is_empty() { Ok(dns) } else { Err(report) }
}

/// The operator's own dialects.
fn dialects(mut section: Section) -> Vec<Dialect> {
    let mut dialects = Vec::new();
    for (name, mut own) in section.named_sections() {
        let base =
            own.scalar("base", |text| Dialect::builtin(text).ok_or_else(|| format!("one of {}", Dialect::BUILTIN.join(", "))));
        let reason = own.scalar("reason", |text| match text {
            "slug" => Ok(ReasonStyle::Slug),
            "plain" => Ok(ReasonStyle::Plain),
            _ => Err("\"slug\" or \"plain\""),
        });
        let close = own.scalar("close", boolean);
        let status = |text: &str| text.parse().ok().filter(|s| (400..600).contains(s)).ok_or("a status from 400 to 599");
        let mut statuses = Vec::new();
        let mut mapped = own.section("statuses");
        for from in 400..600u16 {
            let key = from.to_string();
            if mapped.has(&key)
                && let Some(to) = mapped.scalar(&key, status)
            {
                statuses.push((from, to));
            }
        }
        mapped.finish();
        let mut faults = Vec::new();
        let mut by_slug = own.section("faults");
        for (slug, mut row) in by_slug.named_sections() {
            match Slug::parse(&slug) {
                Some(slug) => faults.push(FaultSpec {
                    slug,
                    status: row.scalar("status", status),
                    body: row.scalar("body", infallible),
                    reason: row.scalar("reason", infallible),
                }),
                None => row.problem("", "there is no such fault; see `outgate explain`"),
            }
            row.finish();
        }
        by_slug.finish();
        let spec = DialectSpec { name, base: base.unwrap_or_else(Dialect::outgate), reason, close, statuses, faults };
        match Dialect::custom(spec) {
            Ok(dialect) => dialects.push(dialect),
            Err(problems) => problems.iter().for_each(|what| own.problem("", what)),
        }
        own.finish();
    }
    section.finish();
    dialects
}

fn hop_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-')
}

fn infallible(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "an address with a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"")
}

fn host_and_port(text: &str) -> Result<(String, u16), &'static str> {
    text.parse().map(|PeerAddress { host, port }| (host, port))
}

fn boolean(text: &str) -> Result<bool, &'static str> {
    text.parse().map_err(|_| "true or false")
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|e| e.to_string())
}

fn effect(text: &str) -> Result<Effect, &'static str> {
    match text {
        "allow" => Ok(Effect::Allow),
        "deny" => Ok(Effect::Deny),
        _ => Err("\"allow\" or \"deny\""),
    }
}

fn parse_with<T: std::str::FromStr>(expected: &'static str) -> impl Fn(&str) -> Result<T, &'static str> {
    move |text| text.parse().map_err(|_| expected)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
