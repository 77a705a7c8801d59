//! `[signals]`: what is too slow, too full or fails too often, and whom it is told.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use outgate_signals::{Raise, Rules};
use outgate_store::Secret;

use super::reader::Section;
use super::{duration, infallible};
use crate::webhook::{Told, Url, Webhook};

/// What the section says.
#[derive(Clone, Default)]
pub(crate) struct Signals {
    /// The rules.
    pub(crate) rules: Rules,
    /// Who is told of incidents.
    pub(crate) webhooks: Vec<Arc<Webhook>>,
}

/// A secret that signs has at least so many characters.
const SHORTEST: usize = 16;
/// The longest that a rule may look back or wait: what is kept of the past is an hour in steps of ten seconds.
const LONGEST: Duration = Duration::from_secs(3600);

pub(super) fn signals(mut section: Section) -> Signals {
    let mut rules = Rules::default();
    let times: [(&str, &mut Duration); 4] =
        [("latency_mean", &mut rules.mean), ("latency_p99", &mut rules.p99), ("dns", &mut rules.dns), ("tls", &mut rules.tls)];
    for (key, field) in times {
        if let Some(time) = section.scalar(key, some_time) {
            *field = time;
        }
    }
    for (key, field) in [("queue", &mut rules.queue), ("errors", &mut rules.errors)] {
        if let Some(part) = section.scalar(key, part) {
            *field = part;
        }
    }
    if let Some(jump) = section.scalar("jump", jump) {
        rules.jump = jump;
    }
    for (key, field) in
        [("window", &mut rules.window), ("look_back", &mut rules.look_back), ("clear_after", &mut rules.clear_after)]
    {
        if let Some(time) = section.scalar(key, within_an_hour) {
            *field = time;
        }
    }
    if rules.look_back < rules.window {
        section.problem("look_back", "must not be shorter than signals.window");
    }
    if let Some(samples) =
        section.scalar("samples", |text| text.parse().ok().filter(|n| *n > 0).ok_or("a whole number above zero"))
    {
        rules.samples = samples;
    }
    if let Some(raise) = section.scalar("raise", raise) {
        rules.raise = raise;
    }
    if let Some(keep) = section.scalar("keep", |text| duration(text).and_then(at_least_a_day)) {
        rules.keep = keep;
    }
    let mut pools = section.section("pools");
    for (name, mut pool) in pools.named_sections() {
        if let Some(part) = pool.scalar("errors", part) {
            rules.pools.insert(name, part);
        }
        pool.finish();
    }
    pools.finish();
    let webhooks = section.sections("webhooks").into_iter().filter_map(webhook).map(Arc::new).collect();
    section.finish();
    Signals { rules, webhooks }
}

fn webhook(mut section: Section) -> Option<Webhook> {
    let url = section.scalar("url", Url::parse);
    let mut file = |key| section.scalar(key, infallible).map(PathBuf::from);
    let (secret_file, ca_file) = (file("secret_file"), file("ca_file"));
    let mut told = Told::default();
    if let Some(events) = section.list("events", Told::parse) {
        told = events.into_iter().fold(Told::NOTHING, Told::and);
    }
    let secret = secret_file.and_then(|file| {
        section.names_file("secret_file", &file);
        secret(&file).map_err(|what| section.problem("secret_file", what)).ok()
    });
    let tls = ca_file.map(|file| {
        section.names_file("ca_file", &file);
        crate::tls::client(Some(&file)).map_err(|what| section.problem("ca_file", what)).ok()
    });
    if url.is_none() {
        section.missing("url", "a webhook needs a url such as \"https://alerts.example/outgate\"");
    }
    section.finish();
    Some(Webhook { url: url?, secret, authorities: tls.flatten(), told })
}

fn secret(file: &Path) -> Result<Secret<String>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: can't be read: {e}", file.display()))?;
    let secret = text.trim();
    match secret.len() {
        SHORTEST.. => Ok(Secret::new(secret.to_owned())),
        _ => Err(format!("{}: a secret has at least {SHORTEST} characters, as openssl rand -hex 32 makes it", file.display())),
    }
}

fn some_time(text: &str) -> Result<Duration, String> {
    duration(text).and_then(|time| if time.is_zero() { Err("must be longer than nothing".to_owned()) } else { Ok(time) })
}

fn within_an_hour(text: &str) -> Result<Duration, String> {
    let time = some_time(text)?;
    let whole = time.as_secs().is_multiple_of(10) && time.subsec_nanos() == 0;
    if whole && time <= LONGEST { Ok(time) } else { Err("tens of seconds up to an hour, such as \"40s\" or \"3m\"".to_owned()) }
}

fn at_least_a_day(time: Duration) -> Result<Duration, String> {
    if time.as_secs() >= 86_400 { Ok(time) } else { Err("at least a day, such as \"90d\"".to_owned()) }
}

/// `5%`, or `0.05`.
fn part(text: &str) -> Result<f64, &'static str> {
    let (number, scale) = text.trim().strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
    let part = number.trim().parse::<f64>().ok().map(|number| number / scale);
    part.filter(|part| *part > 0.0 && *part <= 1.0).ok_or("a part above zero, such as \"5%\"")
}

fn jump(text: &str) -> Result<f64, &'static str> {
    text.parse::<f64>()
        .ok()
        .filter(|times| *times > 1.0 && *times <= 1000.0)
        .ok_or("how many times the usual, above 1, such as 3")
}

/// `2 of 3`.
fn raise(text: &str) -> Result<Raise, &'static str> {
    let parsed = text.split_once(" of ").and_then(|(times, of)| Some((times.trim().parse().ok()?, of.trim().parse().ok()?)));
    match parsed {
        Some((times, of)) if 1 <= times && times <= of && of <= 32 => Ok(Raise { times, of }),
        _ => Err("how many of the last looks, such as \"2 of 3\"; at most 32"),
    }
}
