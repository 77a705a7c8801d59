//! The file of a ledger: a line of JSON for each entry, in an order that can be taken as it comes.
//!
//! The first line names the format and its version, the last one counts the lines between, so that a file that was cut is
//! known as one. Times are RFC 3339, secrets are SHA-256 in hex. docs/store.md describes every line.

use std::io::{BufRead, Write};

use ipnet::IpNet;
use jiff::Timestamp;
use outgate_store::{
    Audit, AuditRow, Counters, Entry, Exit, ExitId, ExitState, Hour, Key, KeyId, KeyState, Labels, OldSecret, Plan, PlanName,
    PoolName, Proof, SecretHash, UsageCell,
};
use serde::{Deserialize, Serialize};

/// The version of this format. A reader takes the versions it knows and refuses others.
const VERSION: u32 = 1;

/// No line of ours comes near: an allowlist of 256 networks is 12 kB.
const LONGEST: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    OutgateLedger { version: u32 },
    Plan(Plan),
    Key(KeyLine),
    Exit(ExitLine),
    Usage(UsageLine),
    Delivery(DeliveryLine),
    Audit(AuditLine),
    End { entries: u64 },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyLine {
    id: KeyId,
    plan: PlanName,
    secret_sha256: String,
    old_secret_sha256: Option<String>,
    old_secret_until: Option<String>,
    state: String,
    why: Option<String>,
    allow_ips: Vec<String>,
    proof: String,
    expires: Option<String>,
    created: String,
    period_anchor: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExitLine {
    id: ExitId,
    name: Option<String>,
    pool: Option<PoolName>,
    labels: Labels,
    weight: u16,
    max_tunnels: Option<u32>,
    token_sha256: String,
    state: String,
    created: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageLine {
    key: KeyId,
    hour: String,
    pool: PoolName,
    up: u64,
    down: u64,
    requests: u64,
    tunnels: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeliveryLine {
    gateway: String,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditLine {
    number: u64,
    id: String,
    at: String,
    who: String,
    what: String,
    subject: String,
    detail: String,
}

/// Writes entries as lines.
pub(super) struct Writer<W> {
    target: W,
    entries: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(target: W) -> std::io::Result<Self> {
        let mut writer = Self { target, entries: 0 };
        writer.line(&Line::OutgateLedger { version: VERSION })?;
        Ok(writer)
    }

    pub(super) fn write(&mut self, entry: &Entry) -> std::io::Result<()> {
        let line = line_of(entry, self.entries);
        if *entry != Entry::End {
            self.entries += 1;
        }
        self.line(&line)
    }

    /// How many entries were written, and what they were written to.
    pub(super) fn finish(mut self) -> std::io::Result<(u64, W)> {
        self.target.flush()?;
        Ok((self.entries, self.target))
    }

    fn line(&mut self, line: &Line) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.target, line)?;
        self.target.write_all(b"\n")
    }
}

fn line_of(entry: &Entry, entries: u64) -> Line {
    match entry {
        Entry::Plan(plan) => Line::Plan(plan.clone()),
        Entry::Key(key) => Line::Key(KeyLine {
            id: key.id.clone(),
            plan: key.plan.clone(),
            secret_sha256: key.secret.to_hex(),
            old_secret_sha256: key.old_secret.map(|old| old.hash.to_hex()),
            old_secret_until: key.old_secret.map(|old| old.until.to_string()),
            state: key.state.name().into(),
            why: if let KeyState::Blocked { why } = &key.state { Some(why.clone()) } else { None },
            allow_ips: key.allow_ips.iter().map(IpNet::to_string).collect(),
            proof: key.proof.name().into(),
            expires: key.expires.map(|at| at.to_string()),
            created: key.created.to_string(),
            period_anchor: key.period_anchor.to_string(),
        }),
        Entry::Exit(exit) => Line::Exit(ExitLine {
            id: exit.id.clone(),
            name: exit.name.clone(),
            pool: exit.pool.clone(),
            labels: exit.labels.clone(),
            weight: exit.weight,
            max_tunnels: exit.max_tunnels,
            token_sha256: exit.token.to_hex(),
            state: exit.state.name().into(),
            created: exit.created.to_string(),
        }),
        Entry::Usage(UsageCell { key, hour, pool, counters }) => Line::Usage(UsageLine {
            key: key.clone(),
            hour: hour.start().to_string(),
            pool: pool.clone(),
            up: counters.up,
            down: counters.down,
            requests: counters.requests,
            tunnels: counters.tunnels,
        }),
        Entry::Delivery { gateway, sequence } => Line::Delivery(DeliveryLine { gateway: gateway.clone(), sequence: *sequence }),
        Entry::Audit(AuditRow { number, entry }) => Line::Audit(AuditLine {
            number: *number,
            id: entry.id.clone(),
            at: entry.at.to_string(),
            who: entry.who.clone(),
            what: entry.what.clone(),
            subject: entry.subject.clone(),
            detail: entry.detail.clone(),
        }),
        Entry::End => Line::End { entries },
    }
}

/// Reads lines as entries. What is wrong is told with the line's number and never with what it says.
pub(super) struct Reader<R> {
    source: R,
    /// Lines read so far.
    line: u64,
    rank: u8,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, line: 0, rank: 0 }
    }

    /// Entries read so far.
    pub(super) fn entries(&self) -> u64 {
        self.line.saturating_sub(2)
    }

    /// The next entry; [`Entry::End`] comes once.
    pub(super) fn next(&mut self) -> Result<Entry, String> {
        if self.line == 0 {
            match self.read()? {
                Line::OutgateLedger { version: VERSION } => {}
                Line::OutgateLedger { version } => {
                    return Err(format!(
                        "its format is version {version}, known here is {VERSION}: take the version of Outgate that wrote it"
                    ));
                }
                _ => return Err("it is not the export of a ledger".into()),
            }
        }
        let before = self.line - 1;
        let line = self.read()?;
        let entry = self.checked(line, before)?;
        if entry.rank() < self.rank {
            return Err(self.wrong("the entries are out of order"));
        }
        self.rank = entry.rank();
        Ok(entry)
    }

    fn read(&mut self) -> Result<Line, String> {
        self.line += 1;
        let mut text = Vec::new();
        let read = std::io::Read::take(&mut self.source, LONGEST).read_until(b'\n', &mut text);
        read.map_err(|error| self.wrong(&error.to_string()))?;
        if text.last() != Some(&b'\n') {
            let why =
                if text.len() as u64 == LONGEST { "the line is too long" } else { "the file ends here, before its last line" };
            return Err(self.wrong(why));
        }
        // The parser's words name columns and fields, and for a wrong kind of value that value: none of it is a secret, but
        // it may be a hash.
        serde_json::from_slice(&text).map_err(|error| self.wrong(&format!("not an entry (column {})", error.column())))
    }

    fn checked(&self, line: Line, before: u64) -> Result<Entry, String> {
        let entry = match line {
            Line::OutgateLedger { .. } => None,
            Line::Plan(plan) => Some(Entry::Plan(plan)),
            Line::Key(key) => read_key(key).map(Entry::Key),
            Line::Exit(exit) => read_exit(exit).map(Entry::Exit),
            Line::Usage(usage) => read_usage(usage).map(Entry::Usage),
            Line::Delivery(DeliveryLine { gateway, sequence }) => Some(Entry::Delivery { gateway, sequence }),
            Line::Audit(audit) => read_audit(audit).map(Entry::Audit),
            Line::End { entries } if entries == before => Some(Entry::End),
            Line::End { entries } => return Err(self.wrong(&format!("{before} entries came before, and {entries} were written"))),
        };
        entry.ok_or_else(|| self.wrong("a value is out of its range"))
    }

    fn wrong(&self, what: &str) -> String {
        format!("line {}: {what}", self.line)
    }
}

fn read_key(line: KeyLine) -> Option<Key> {
    let old_secret = match (line.old_secret_sha256, line.old_secret_until) {
        (Some(hash), Some(until)) => Some(OldSecret { hash: SecretHash::from_hex(&hash)?, until: until.parse().ok()? }),
        (None, None) => None,
        _ => return None,
    };
    Some(Key {
        id: line.id,
        plan: line.plan,
        secret: SecretHash::from_hex(&line.secret_sha256)?,
        old_secret,
        state: KeyState::from_name(&line.state, line.why)?,
        allow_ips: line.allow_ips.iter().map(|net| net.parse().ok()).collect::<Option<_>>()?,
        proof: Proof::from_name(&line.proof)?,
        expires: match line.expires {
            Some(at) => Some(at.parse().ok()?),
            None => None,
        },
        created: line.created.parse().ok()?,
        period_anchor: line.period_anchor.parse().ok()?,
    })
}

fn read_exit(line: ExitLine) -> Option<Exit> {
    Some(Exit {
        id: line.id,
        name: line.name,
        pool: line.pool,
        labels: line.labels,
        weight: Some(line.weight).filter(|weight| Exit::WEIGHTS.contains(weight))?,
        max_tunnels: line.max_tunnels,
        token: SecretHash::from_hex(&line.token_sha256)?,
        state: ExitState::from_name(&line.state)?,
        created: line.created.parse().ok()?,
    })
}

fn read_usage(line: UsageLine) -> Option<UsageCell> {
    let at: Timestamp = line.hour.parse().ok()?;
    let hour = Some(Hour::of(at)).filter(|hour| hour.start() == at)?;
    let counters = Counters { up: line.up, down: line.down, requests: line.requests, tunnels: line.tunnels };
    // What no column holds.
    i64::try_from(counters.bytes().max(counters.requests).max(counters.tunnels)).ok()?;
    Some(UsageCell { key: line.key, hour, pool: line.pool, counters })
}

fn read_audit(line: AuditLine) -> Option<AuditRow> {
    let at = line.at.parse().ok()?;
    let entry = Audit { id: line.id, at, who: line.who, what: line.what, subject: line.subject, detail: line.detail };
    Some(AuditRow { number: line.number, entry })
}
