//! The whole ledger, out, in, and looked over.

use std::fmt::Write as _;
use std::pin::Pin;

use futures_util::SinkExt;
use jiff::Timestamp;
use outgate_store::column::{count, joined, parse};
use outgate_store::{CHECKS, Counters, Entry, Hour, KeyState, Period, StoreError, UsageCell};
use tokio::sync::mpsc;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, CopyInSink};

use crate::error::Failure;
use crate::feed::CHANNEL;
use crate::questions::{audit_row, each, load};
use crate::rows::{self, EXIT_COLUMNS, KEY_COLUMNS, PLAN_COLUMNS};

/// What a piece of a COPY may hold before it is sent.
const PIECE: usize = 64 * 1024;

/// The tables in the order of [`Entry::rank`], with the columns that an entry has.
const TABLES: [(&str, &str); 6] = [
    ("plans", PLAN_COLUMNS),
    ("keys", KEY_COLUMNS),
    ("exits", EXIT_COLUMNS),
    ("usage", "key, hour, pool, up, down, requests, tunnels"),
    ("deliveries", "gateway, sequence"),
    ("audit", "number, id, at, who, what, subject, detail"),
];

/// Tells everything as of the moment that the caller's transaction sees.
pub(crate) async fn export(client: &Client, entries: &mpsc::Sender<Entry>) -> Result<(), Failure> {
    for (rank, (table, columns)) in TABLES.iter().enumerate() {
        // The first column is the name, but for usage and audit, whose own order begins with it, too.
        let order = if *table == "usage" { "key, hour, pool" } else { "1" };
        let text = format!("SELECT {columns} FROM {table} ORDER BY {order}");
        each(client, &text, &[], async |row| {
            let entry = match rank {
                0 => Entry::Plan(rows::plan(row)?),
                1 => {
                    let plan = rows::plan_of_key(row)?;
                    Entry::Key(rows::key(row, parse(plan, plan)?)?)
                }
                2 => Entry::Exit(rows::exit(row)?),
                3 => Entry::Usage(usage_cell(row)?),
                4 => Entry::Delivery { gateway: row.try_get(0)?, sequence: count(row.try_get(1)?) },
                _ => Entry::Audit(audit_row(row)?),
            };
            send(entries, entry).await
        })
        .await?;
    }
    send(entries, Entry::End).await
}

fn usage_cell(row: &tokio_postgres::Row) -> Result<UsageCell, Failure> {
    let (key, pool): (&str, &str) = (row.try_get(0)?, row.try_get(2)?);
    let number = |column: usize| -> Result<u64, Failure> { Ok(count(row.try_get(column)?)) };
    let counters = Counters { up: number(3)?, down: number(4)?, requests: number(5)?, tunnels: number(6)? };
    Ok(UsageCell { key: parse(key, key)?, hour: Hour(row.try_get(1)?), pool: parse(pool, key)?, counters })
}

async fn send(entries: &mpsc::Sender<Entry>, entry: Entry) -> Result<(), Failure> {
    let gone = |_| StoreError::Refused("nobody takes the entries any more".into());
    Ok(entries.send(entry).await.map_err(gone)?)
}

/// Takes everything or nothing: the caller commits.
pub(crate) async fn import(client: &Client, mut entries: mpsc::Receiver<Entry>, now: Timestamp) -> Result<(), Failure> {
    for (table, _) in TABLES {
        // Whoever writes waits until it is known what became of this.
        client.batch_execute(&format!("LOCK TABLE {table} IN EXCLUSIVE MODE")).await?;
        if client.query_typed_opt(&format!("SELECT FROM {table} LIMIT 1"), &[]).await?.is_some() {
            return Err(StoreError::not_empty().into());
        }
    }
    let mut next = entries.recv().await;
    for (rank, (table, columns)) in TABLES.iter().enumerate() {
        let mut copy = Copy::begin(client, table, columns).await?;
        while let Some(entry) = next.as_ref().filter(|entry| usize::from(entry.rank()) == rank) {
            copy.entry(entry).await?;
            next = entries.recv().await;
        }
        copy.end().await?;
    }
    match next {
        Some(Entry::End) => {}
        Some(_) => return Err(StoreError::Conflict("the entries are out of order".into()).into()),
        None => return Err(StoreError::import_given_up().into()),
    }
    let month = Hour::of(Period::Month.start(now, now)).0;
    client
        .execute_typed(
            "INSERT INTO periods (key, start_hour, last_hour, bytes)
             SELECT key, $1, max(hour), coalesce(sum(up + down) FILTER (WHERE hour >= $1), 0)::bigint FROM usage GROUP BY key",
            &[(&month, Type::INT8)],
        )
        .await?;
    // A gateway that runs on the empty ledger is to read it whole.
    client
        .batch_execute(&format!(
            "INSERT INTO changes (kind, name, number) SELECT 'everything', '', max(number) FROM audit HAVING max(number) IS NOT NULL;
             NOTIFY {CHANNEL}; ANALYZE"
        ))
        .await?;
    Ok(())
}

/// One table being filled: rows of tab-separated texts (COPY's own text format).
struct Copy {
    sink: Pin<Box<CopyInSink<std::io::Cursor<Vec<u8>>>>>,
    piece: String,
}

impl Copy {
    async fn begin(client: &Client, table: &str, columns: &str) -> Result<Self, Failure> {
        let text = format!("COPY {table} ({columns}) FROM STDIN");
        Ok(Self { sink: Box::pin(client.copy_in(&text).await?), piece: String::new() })
    }

    async fn entry(&mut self, entry: &Entry) -> Result<(), Failure> {
        self.write(entry);
        if self.piece.len() >= PIECE {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let piece = std::mem::take(&mut self.piece).into_bytes();
        Ok(self.sink.send(std::io::Cursor::new(piece)).await?)
    }

    async fn end(mut self) -> Result<(), Failure> {
        self.flush().await?;
        self.sink.as_mut().finish().await?;
        Ok(())
    }

    fn write(&mut self, entry: &Entry) {
        let mut row = Row { piece: &mut self.piece, columns: 0 };
        match entry {
            Entry::Plan(plan) => {
                row.text(plan.name.as_str()).maybe(plan.bytes).text(&plan.period.to_string());
                row.maybe(plan.rate).maybe(plan.burst).maybe(plan.threads).maybe(plan.speed);
                row.text(&joined(&plan.pools)).text(&joined(&plan.ports)).text(&joined(&plan.countries));
            }
            Entry::Key(key) => {
                row.text(key.id.as_str()).text(key.plan.as_str()).bytes(Some(key.secret));
                row.bytes(key.old_secret.map(|old| old.hash)).maybe(key.old_secret.map(|old| old.until.as_millisecond()));
                let why = if let KeyState::Blocked { why } = &key.state { Some(why) } else { None };
                row.text(key.state.name()).maybe(why).text(&joined(&key.allow_ips)).text(key.proof.name());
                row.maybe(key.expires.map(|at| at.as_millisecond()));
                row.number(key.created.as_millisecond()).number(key.period_anchor.as_millisecond());
            }
            Entry::Exit(exit) => {
                let labels = &exit.labels;
                row.text(exit.id.as_str()).maybe(exit.name.as_ref()).maybe(exit.pool.as_ref()).maybe(labels.country);
                row.maybe(labels.state.as_ref()).maybe(labels.city.as_ref()).maybe(labels.asn).maybe(labels.carrier.as_ref());
                row.number(exit.weight).maybe(exit.max_tunnels).bytes(Some(exit.token)).text(exit.state.name());
                row.number(exit.created.as_millisecond());
            }
            Entry::Usage(UsageCell { key, hour, pool, counters }) => {
                row.text(key.as_str()).number(hour.0).text(pool.as_str()).number(counters.up).number(counters.down);
                row.number(counters.requests).number(counters.tunnels);
            }
            Entry::Delivery { gateway, sequence } => {
                row.text(gateway).number(*sequence);
            }
            Entry::Audit(told) => {
                let of = &told.entry;
                row.number(told.number).text(&of.id).number(of.at.as_millisecond());
                row.text(&of.who).text(&of.what).text(&of.subject).text(&of.detail);
            }
            Entry::End => return,
        }
        self.piece.push('\n');
    }
}

/// A line of COPY's text format as it grows.
struct Row<'a> {
    piece: &'a mut String,
    columns: usize,
}

impl Row<'_> {
    fn column(&mut self) -> &mut String {
        if self.columns > 0 {
            self.piece.push('\t');
        }
        self.columns += 1;
        self.piece
    }

    fn text(&mut self, text: &str) -> &mut Self {
        let piece = self.column();
        for c in text.chars() {
            match c {
                '\\' => piece.push_str("\\\\"),
                '\t' => piece.push_str("\\t"),
                '\n' => piece.push_str("\\n"),
                '\r' => piece.push_str("\\r"),
                c => piece.push(c),
            }
        }
        self
    }

    fn number(&mut self, number: impl std::fmt::Display) -> &mut Self {
        // Writing to a string can't fail.
        let _ = write!(self.column(), "{number}");
        self
    }

    fn maybe(&mut self, value: Option<impl std::fmt::Display>) -> &mut Self {
        match value {
            Some(value) => self.text(&value.to_string()),
            None => {
                self.column().push_str("\\N");
                self
            }
        }
    }

    fn bytes(&mut self, hash: Option<outgate_store::SecretHash>) -> &mut Self {
        // bytea's own hex format begins with a backslash, which the text format doubles.
        let text = hash.map_or_else(|| "\\N".to_owned(), |hash| format!("\\\\x{}", hash.to_hex()));
        self.column().push_str(&text);
        self
    }
}

/// What is wrong, a line each.
pub(crate) async fn check(client: &Client, now: Timestamp) -> Result<Vec<String>, Failure> {
    let mut wrong = Vec::new();
    for (question, what) in CHECKS {
        let number: i64 = client.query_typed_one(question, &[]).await?.try_get(0)?;
        if number > 0 {
            wrong.push(format!("{number} {what}"));
        }
    }
    // Every row is read back as a start does.
    match load(client, now).await {
        Ok(_) => {}
        Err(Failure::Damaged(damaged)) => wrong.push(damaged.to_string()),
        Err(failure) => return Err(failure),
    }
    Ok(wrong)
}
