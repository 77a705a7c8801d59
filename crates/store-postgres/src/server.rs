//! Where the server is and how to get in: the URL, which is a secret, checked once.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use crate::tls::Trust;

/// How long one connection may take to be there. Shorter than the patience of whoever asks, so that the reason is told.
const CONNECT: Duration = Duration::from_secs(3);
/// After how much silence a connection is probed, and how long a peer may leave bytes unacknowledged: a server that
/// vanished without a word is noticed within this.
const SILENCE: Duration = Duration::from_secs(10);

/// The URL of a database. It holds a password: nothing of it but host and database is ever shown.
#[derive(Clone)]
pub struct ServerUrl {
    pub(crate) config: Config,
    pub(crate) trust: Trust,
}

/// A URL that can't be used. Displays why, without the URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UrlError(String);

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; write postgres://USER:PASSWORD@HOST/DATABASE, with ?sslmode=verify-full over a network", self.0)
    }
}

impl std::error::Error for UrlError {}

impl FromStr for ServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if !(text.starts_with("postgres://") || text.starts_with("postgresql://")) {
            return Err(UrlError("not the URL of a PostgreSQL database".into()));
        }
        // Two parameters that libpq has and the driver lacks are taken out of what it is given.
        let (place, query) = text.split_once('?').unwrap_or((text, ""));
        let mut mode = "prefer".to_owned();
        let mut authority = None;
        let mut others: Vec<&str> = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => mode = value.to_owned(),
                Some(("sslrootcert", value)) => authority = Some(PathBuf::from(unescaped(value)?)),
                _ => others.push(parameter),
            }
        }
        let query = if others.is_empty() { String::new() } else { format!("?{}", others.join("&")) };
        // The driver's error may quote what it read.
        let parsed: Result<Config, _> = format!("{place}{query}").parse();
        let mut config = parsed.map_err(|_| UrlError("the URL can't be read".into()))?;
        let (mode, trust) = match (mode.as_str(), authority) {
            ("disable", _) => (SslMode::Disable, Trust::Anyone),
            ("prefer", None) => (SslMode::Prefer, Trust::Anyone),
            ("require", None) => (SslMode::Require, Trust::Anyone),
            // As libpq does: a named authority is there to be checked.
            ("verify-full" | "require", authority) => (SslMode::Require, Trust::Authority(authority)),
            ("prefer", Some(_)) => return Err(UrlError("sslrootcert needs sslmode=verify-full".into())),
            _ => return Err(UrlError("sslmode is one of disable, prefer, require and verify-full".into())),
        };
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(UrlError("the URL names no host".into()));
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        config.ssl_mode(mode).keepalives_idle(SILENCE).keepalives_interval(SILENCE / 3).keepalives_retries(3);
        config.tcp_user_timeout(SILENCE).application_name("outgate");
        if config.get_password().is_none()
            && let Some(password) = std::env::var("PGPASSWORD").ok().filter(|password| !password.is_empty())
        {
            config.password(password);
        }
        Ok(Self { config, trust })
    }
}

/// Hosts and database: all of it that may be shown.
impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use tokio_postgres::config::Host;
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or("?");
        write!(f, "database {database} at ")?;
        let (hosts, ports) = (self.config.get_hosts(), self.config.get_ports());
        if hosts.is_empty() {
            return f.write_str("its address");
        }
        for (index, host) in hosts.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            match host {
                Host::Tcp(host) => f.write_str(host)?,
                Host::Unix(folder) => write!(f, "{}", folder.display())?,
            }
            if let Some(port) = ports.get(index).or(ports.first()) {
                write!(f, ":{port}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

/// `%2F` and the like.
fn unescaped(text: &str) -> Result<String, UrlError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err(UrlError("a % is not followed by two hex digits".into())),
                }
            }
            byte => byte,
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).map_err(|_| UrlError("a file's name is not UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let cases = [
            ("postgres://me:secret@db.example:5433/ledger", Ok("database ledger at db.example:5433")),
            ("postgresql://me:secret@db.example/ledger?sslmode=disable", Ok("database ledger at db.example:5432")),
            (
                "postgres://me:secret@db1,db2:5433/ledger?target_session_attrs=read-write",
                Ok("database ledger at db1:5432, db2:5433"),
            ),
            ("postgres://me@%2Frun%2Fpostgresql/ledger", Ok("database ledger at /run/postgresql:5432")),
            (
                "postgres://me:secret@db.example?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem",
                Ok("database me at db.example:5432"),
            ),
            ("postgres://me:secret@db.example/x?sslmode=sometimes", Err("sslmode is one of")),
            ("postgres://me:secret@db.example/x?sslrootcert=ca.pem", Err("needs sslmode=verify-full")),
            ("postgres://me:secret@db.example:port/x", Err("can't be read")),
            ("postgres:///secret", Err("names no host")),
            ("mysql://me:secret@db.example/x", Err("not the URL")),
            ("secret", Err("not the URL")),
        ];
        for (text, expected) in cases {
            let read = text.parse::<ServerUrl>();
            let shown = match &read {
                Ok(url) => format!("{url} {url:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!shown.contains("secret"), "{shown}");
            match expected {
                Ok(place) => assert_eq!(read.expect("a good one").to_string(), place, "{text}"),
                Err(reason) => assert!(read.is_err() && shown.contains(reason), "{text}: {shown}"),
            }
        }
    }
}
