//! Who changed what: one entry per change, written in the same transaction.

use jiff::Timestamp;

/// One entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audit {
    /// Unique per change: a change that is told twice is audited once.
    pub id: String,
    /// When.
    pub at: Timestamp,
    /// Who asked (`admin`, `config`, `quickstart`).
    pub who: String,
    /// What was done (`key.suspend`).
    pub what: String,
    /// To what (the key's id, the plan's name).
    pub subject: String,
    /// Details for people; never a secret.
    pub detail: String,
}

/// An entry with the number the store gave it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRow {
    /// Ascending; a later entry has a higher one.
    pub number: u64,
    /// The entry.
    pub entry: Audit,
}

/// A question about the audit trail. The answer is newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditQuery {
    /// Only about this subject.
    pub subject: Option<String>,
    /// Only entries numbered below this (the last of the page before).
    pub before: Option<u64>,
    /// At most this many.
    pub limit: usize,
}
