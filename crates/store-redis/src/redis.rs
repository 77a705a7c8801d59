//! The connection to Redis, and how a call goes over it.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use outgate_store::StoreError;
use outgate_store::StoreFuture;
use outgate_store::shared::{Answers, Asks, Shared};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline, RedisError, RedisResult, Value};

use crate::script::{Digests, Script};
use crate::words::{self, Keys};

/// A guard for callers that wait without a deadline of their own.
const PATIENCE: Duration = Duration::from_secs(5);

/// What gateways share, on a Redis server. Connects when it is first asked, and again after a connection failed or a call
/// was given up. Meant for one caller at a time: callers that overlap get connections of their own.
pub struct Redis {
    client: Client,
    keys: Keys,
    /// Taken out for a call and put back after one that went well: what is left of any other can't disturb the next.
    idle: Mutex<Option<Connected>>,
}

/// The text isn't the address of a Redis server. The text itself may hold a password and is not repeated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadAddress;

struct Connected {
    connection: MultiplexedConnection,
    digests: Digests,
}

impl Redis {
    /// `address` is `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `rediss://…` for TLS, or `redis+unix:///PATH`. Every key
    /// begins with `prefix` and a colon.
    ///
    /// # Errors
    /// The text is no such address. Nothing is connected here.
    pub fn new(address: &str, prefix: &str) -> Result<Self, BadAddress> {
        let client = Client::open(address).map_err(|_| BadAddress)?;
        Ok(Self { client, keys: Keys::new(prefix), idle: Mutex::default() })
    }

    async fn connect(&self) -> Result<Connected, StoreError> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        let refused = |error: RedisError| StoreError::Refused(format!("no connection to Redis: {}", what(&error)));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connection.map_err(refused)?;
        let digests = load(&mut connection).await.map_err(refused)?;
        let digests = digests.ok_or_else(|| StoreError::Refused("Redis did not take the scripts".into()))?;
        Ok(Connected { connection, digests })
    }

    async fn call(&self, asks: &Asks) -> Result<Answers, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut connected = match idle {
            Some(connected) => connected,
            None => self.connect().await?,
        };
        let mut replies = connected.run(asks, &self.keys).await;
        // The server was restarted behind a proxy, or somebody flushed its scripts.
        if matches!(&replies, Err(error) if error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::NoScript)) {
            connected = self.connect().await?;
            replies = connected.run(asks, &self.keys).await;
        }
        let replies = replies.map_err(|error| StoreError::Unclear(format!("Redis: {}", what(&error))))?;
        let answers = words::answers(asks, replies);
        let answers = answers.map_err(|error| StoreError::Unclear(format!("Redis answered something else: {error}")))?;
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(connected);
        Ok(answers)
    }
}

impl Shared for Redis {
    fn ask(&self, asks: Asks) -> StoreFuture<'_, Answers> {
        Box::pin(async move { self.call(&asks).await })
    }
}

impl Connected {
    /// One round trip. The error is the first of the server's, or the connection's.
    async fn run(&mut self, asks: &Asks, keys: &Keys) -> RedisResult<Vec<Value>> {
        let pipeline = words::pipeline(asks, keys, &self.digests);
        if pipeline.is_empty() {
            return Ok(Vec::new());
        }
        let replies: Vec<RedisResult<Value>> = pipeline.query_async(&mut self.connection).await?;
        replies.into_iter().collect()
    }
}

/// Gives the server the scripts.
async fn load(connection: &mut MultiplexedConnection) -> RedisResult<Option<Digests>> {
    let mut pipeline = Pipeline::new();
    for script in Script::ALL {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(script.text());
    }
    pipeline.query_async(connection).await.map(Digests::new)
}

/// An error in words that hold nothing of the address.
fn what(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
        None => error.category().to_owned(),
    }
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the address of a Redis server such as redis://127.0.0.1:6379, rediss://… or redis+unix:///run/redis.sock")
    }
}

impl std::error::Error for BadAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let good =
            ["redis://127.0.0.1", "redis://u:p@redis.example:6380/2", "rediss://redis.example", "redis+unix:///tmp/r.sock"];
        for address in good {
            assert!(Redis::new(address, "outgate").is_ok(), "{address}");
        }
        for address in ["", "127.0.0.1:6379", "http://redis.example", "redis://h:port"] {
            assert!(Redis::new(address, "outgate").is_err(), "{address}");
        }
    }
}
