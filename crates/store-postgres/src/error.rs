//! What PostgreSQL's errors mean for the one who asked: words for people, never the connection string.

use std::error::Error as _;
use std::fmt;

use outgate_store::StoreError;
use outgate_store::column::Damaged;
use tokio_postgres::Error;
use tokio_postgres::error::Severity;

/// Work within a transaction failed: nothing of it lasts.
pub(crate) enum Failure {
    /// The server or the way to it.
    Postgres(Error),
    /// A rule of the ledger.
    Store(StoreError),
    /// What is kept is not ours.
    Damaged(Damaged),
}

impl Failure {
    /// Whether trying again is of no use: invalid authorization, an invalid catalogue name, insufficient privilege.
    pub(crate) fn is_lasting(&self) -> bool {
        let code = match self {
            Self::Postgres(error) => error.code().map_or("", |code| code.code()),
            Self::Store(_) | Self::Damaged(_) => "",
        };
        code.starts_with("28") || code.starts_with("3D") || code == "42501"
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(error) => f.write_str(&explained(error)),
            Self::Store(error) => error.fmt(f),
            Self::Damaged(damaged) => damaged.fmt(f),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Damaged> for Failure {
    fn from(damaged: Damaged) -> Self {
        Self::Damaged(damaged)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error,
            other => Self::Refused(other.to_string()),
        }
    }
}

/// What a failed COMMIT means. An ERROR is the server's word that it rolled back; anything else may have come after the
/// commit was written.
pub(crate) fn of_commit(error: &Error) -> StoreError {
    match error.as_db_error().and_then(|error| error.parsed_severity()) {
        Some(Severity::Error) => StoreError::Refused(explained(error)),
        _ => StoreError::Unclear(explained(error)),
    }
}

/// Whether it is the end of the connection rather than an answer to the statement.
pub(crate) fn is_of_connection(error: &Error) -> bool {
    match error.as_db_error().and_then(|said| said.parsed_severity()) {
        Some(severity) => matches!(severity, Severity::Fatal | Severity::Panic),
        None => true,
    }
}

/// One line: the server's own words with its code, or what became of the connection.
pub(crate) fn explained(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("PostgreSQL says: {} ({})", said.message(), said.code().code());
    }
    let mut text = format!("PostgreSQL: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
