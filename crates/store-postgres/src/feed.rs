//! What other gateways changed: a connection that listens for the word that something did, and what it was.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use outgate_store::column::{count, parse};
use outgate_store::{Change, Changes};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Client, Connection, Row};

use crate::error::Failure;
use crate::pool::Pool;
use crate::rows::{self, EXIT_COLUMNS, KEY_COLUMNS, PLAN_COLUMNS};

/// The channel. The word carries nothing: whoever hears it asks the table.
pub(crate) const CHANNEL: &str = "outgate_changes";

/// What the session begins with: its end frees the gateway's name, so the server is to notice a gateway that vanished.
const SESSION: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3";

/// How long after a failure the listener tries again. Meanwhile its caller looks by itself.
const AGAIN: Duration = Duration::from_secs(1);

/// Tells `changed` of every word, and of every new connection, before which words may have been missed.
pub(crate) async fn listen(pool: Rc<Pool>, changed: Arc<Notify>) {
    loop {
        let ended = listen_once(&pool, &changed).await;
        pool.name.lost();
        if let Err(failure) = ended {
            tracing::debug!(%failure, "nobody listens for changes of the ledger");
        }
        changed.notify_one();
        tokio::time::sleep(AGAIN).await;
    }
}

async fn listen_once(pool: &Pool, changed: &Arc<Notify>) -> Result<(), Failure> {
    let (client, mut messages) = pool.connect().await?;
    let told = changed.clone();
    let mut ended = tokio::task::spawn_local(async move {
        while let Some(message) = messages.next().await {
            if matches!(message, AsyncMessage::Notification(_)) {
                told.notify_one();
            }
        }
    });
    client.batch_execute(&format!("{SESSION}; LISTEN {CHANNEL}")).await?;
    changed.notify_one();
    // The session ends with its client, and the client with this function.
    loop {
        pool.name.take(&client).await?;
        tokio::select! {
            _ = &mut ended => return Ok(()),
            () = pool.name.wanted() => {}
            () = tokio::time::sleep(AGAIN), if pool.name.is_anothers() => {}
        }
    }
}

/// What a server says unasked. Polling it is what moves a connection's bytes.
pub(crate) struct Messages(Pin<Box<dyn PollMessages>>);

trait PollMessages {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<AsyncMessage>>;
}

impl<S, T> PollMessages for Connection<S, T>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<AsyncMessage>> {
        // The end and its reason are told to whoever waits for an answer.
        self.poll_message(cx).map(|message| message.and_then(Result::ok))
    }
}

impl Messages {
    pub(crate) fn of<S, T>(connection: Connection<S, T>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        Self(Box::pin(connection))
    }

    async fn next(&mut self) -> Option<AsyncMessage> {
        poll_fn(|cx| self.0.as_mut().poll(cx)).await
    }

    /// For a connection that only answers.
    pub(crate) async fn ignored(mut self) {
        while self.next().await.is_some() {}
    }
}

/// What was changed after a change.
pub(crate) async fn changes_after(client: &Client, seen: u64, limit: usize) -> Result<Option<Changes>, Failure> {
    let upto = last_change(client).await?;
    let Some(after) = i64::try_from(seen).ok().filter(|_| seen <= upto) else { return Ok(None) };
    if seen == upto {
        return Ok(Some(Changes { upto, changes: Vec::new() }));
    }
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let found = client
        .query_typed("SELECT kind, name FROM changes WHERE number > $1 LIMIT $2", &[(&after, Type::INT8), (&most, Type::INT8)])
        .await?;
    if found.len() > limit {
        return Ok(None);
    }
    let mut names: HashMap<String, Vec<String>> = HashMap::new();
    for row in &found {
        names.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
    }
    let mut changes = Vec::new();
    for (kind, names) in names {
        match kind.as_str() {
            Change::PLAN => {
                let rows = present(client, PLAN_COLUMNS, "plans", "name", &names).await?;
                each(
                    &rows,
                    &names,
                    &mut changes,
                    |row| Ok(Change::PutPlan(rows::plan(row)?)),
                    |name| Ok(Change::RemovePlan(parse(name, name)?)),
                )?;
            }
            Change::EXIT => {
                let rows = present(client, EXIT_COLUMNS, "exits", "id", &names).await?;
                each(
                    &rows,
                    &names,
                    &mut changes,
                    |row| Ok(Change::PutExit(rows::exit(row)?)),
                    |name| Ok(Change::RemoveExit(parse(name, name)?)),
                )?;
            }
            Change::KEY => {
                for row in present(client, KEY_COLUMNS, "keys", "id", &names).await? {
                    let plan = rows::plan_of_key(&row)?;
                    changes.push(Change::PutKey(rows::key(&row, parse(plan, plan)?)?));
                }
            }
            // Everything may be another, as after an import.
            _ => return Ok(None),
        }
    }
    Ok(Some(Changes::new(upto, changes)))
}

/// The number of the last change.
pub(crate) async fn last_change(client: &Client) -> Result<u64, Failure> {
    let row = client.query_typed_one("SELECT coalesce(max(number), 0) FROM audit", &[]).await?;
    Ok(count(row.try_get(0)?))
}

async fn present(client: &Client, columns: &str, table: &str, id: &str, names: &[String]) -> Result<Vec<Row>, Failure> {
    let text = format!("SELECT {columns} FROM {table} WHERE {id} = ANY($1)");
    Ok(client.query_typed(&text, &[(&names, Type::TEXT_ARRAY)]).await?)
}

/// What is there as it is, and what isn't as removed.
fn each(
    rows: &[Row],
    names: &[String],
    changes: &mut Vec<Change>,
    put: impl Fn(&Row) -> Result<Change, Failure>,
    removed: impl Fn(&str) -> Result<Change, Failure>,
) -> Result<(), Failure> {
    let mut there: HashSet<&str> = HashSet::new();
    for row in rows {
        there.insert(row.try_get(0)?);
        changes.push(put(row)?);
    }
    for name in names.iter().filter(|name| !there.contains(name.as_str())) {
        changes.push(removed(name)?);
    }
    Ok(())
}
