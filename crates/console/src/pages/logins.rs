//! Who is signed in to the pages: a bounded table in memory, under the hash of what the visitor's cookie says.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use outgate_store::{KeyId, NoRandomness, Secret, SecretHash, later};
use ring::rand::SecureRandom;

/// Signed in at once, all together. What comes on top takes the place of the owner who signed in first.
const MOST: usize = 4_096;
/// Of one key's owner, and of the operators: more than anybody has browsers, so few that nobody fills the table alone.
const MOST_EACH: usize = 32;
/// Without a request for so long, a log-in ends.
const IDLE: Duration = Duration::from_secs(2 * 3_600);
/// It ends after so long whatever happens: a working day.
const LONGEST: Duration = Duration::from_secs(12 * 3_600);

/// Who looks at the pages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Visitor {
    /// Whoever knew the admin token, with the name given at log-in.
    Operator {
        /// For the audit trail; nobody checks it.
        name: Option<String>,
    },
    /// A key's owner.
    Owner {
        /// The key.
        key: KeyId,
        /// The secret that was shown: when it is the key's no more, neither is the log-in.
        shown: SecretHash,
    },
}

impl Visitor {
    /// Whether two log-ins count against the same bound.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Operator { .. }, Self::Operator { .. }) => true,
            (Self::Owner { key, .. }, Self::Owner { key: other, .. }) => key == other,
            (Self::Operator { .. }, Self::Owner { .. }) | (Self::Owner { .. }, Self::Operator { .. }) => false,
        }
    }
}

/// What the next page of a visitor says once.
pub(crate) enum Note {
    /// Something was done.
    Done(String),
    /// Something could not be done.
    Failed(String),
    /// A secret, which no other page will ever show.
    Secret(Shown),
}

/// A secret that was just made, to be shown once.
pub(crate) struct Shown {
    /// What it is of: `Key k7f3` or `Exit e12`.
    pub(crate) of: String,
    /// The secret or token.
    pub(crate) secret: Secret<String>,
    /// A line to paste that uses it.
    pub(crate) line: Option<Secret<String>>,
    /// What else is worth knowing with it.
    pub(crate) remark: Option<String>,
}

struct Login {
    visitor: Visitor,
    /// What every form of this visitor carries.
    token: String,
    begun: Timestamp,
    seen: Timestamp,
    note: Option<Note>,
}

impl Login {
    fn is_over(&self, now: Timestamp) -> bool {
        now >= later(self.seen, IDLE) || now >= later(self.begun, LONGEST)
    }
}

/// A visitor who was recognised.
pub(crate) struct Seen {
    pub(crate) visitor: Visitor,
    /// What the forms of the page must carry.
    pub(crate) token: String,
}

/// Everybody who is signed in. Lives as long as the process: a restart signs everybody out.
pub(crate) struct Logins {
    table: Mutex<HashMap<SecretHash, Login>>,
    most: usize,
}

impl Default for Logins {
    fn default() -> Self {
        Self::bounded(MOST)
    }
}

impl Logins {
    fn bounded(most: usize) -> Self {
        Self { table: Mutex::default(), most }
    }

    /// Signs somebody in and returns what the cookie must say. It is new each time: what a browser had before is worth nothing.
    pub(crate) fn begin(
        &self,
        visitor: Visitor,
        random: &dyn SecureRandom,
        now: Timestamp,
    ) -> Result<Secret<String>, NoRandomness> {
        let (cookie, token) = (Secret::random(random)?, Secret::random(random)?.into_exposed());
        let mut logins = self.lock();
        logins.retain(|_, login| !login.is_over(now));
        let same = |login: &Login| login.visitor.is_same(&visitor);
        let owner = |login: &Login| matches!(login.visitor, Visitor::Owner { .. });
        if logins.values().filter(|login| same(login)).count() >= MOST_EACH {
            forget_oldest(&mut logins, same);
        } else if logins.len() >= self.most {
            forget_oldest(&mut logins, owner);
        }
        logins.insert(cookie.hash(), Login { visitor, token, begun: now, seen: now, note: None });
        Ok(cookie)
    }

    /// Who has this cookie.
    pub(crate) fn find(&self, cookie: &str, now: Timestamp) -> Option<Seen> {
        let id = SecretHash::of(cookie.as_bytes());
        let mut logins = self.lock();
        let login = logins.get_mut(&id)?;
        if login.is_over(now) {
            logins.remove(&id);
            return None;
        }
        login.seen = now;
        Some(Seen { visitor: login.visitor.clone(), token: login.token.clone() })
    }

    /// Signs out.
    pub(crate) fn end(&self, cookie: &str) {
        self.lock().remove(&SecretHash::of(cookie.as_bytes()));
    }

    /// Leaves a note for the visitor's next page.
    pub(crate) fn leave(&self, cookie: &str, note: Note) {
        if let Some(login) = self.lock().get_mut(&SecretHash::of(cookie.as_bytes())) {
            login.note = Some(note);
        }
    }

    /// Takes the note: it is shown once.
    pub(crate) fn take(&self, cookie: &str) -> Option<Note> {
        self.lock().get_mut(&SecretHash::of(cookie.as_bytes()))?.note.take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SecretHash, Login>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_oldest(logins: &mut HashMap<SecretHash, Login>, among: impl Fn(&Login) -> bool) {
    let oldest = logins.iter().filter(|(_, login)| among(login)).min_by_key(|(_, login)| login.begun);
    if let Some(id) = oldest.map(|(id, _)| *id) {
        logins.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn owner(key: &str) -> Visitor {
        Visitor::Owner { key: key.parse().unwrap(), shown: SecretHash::of(b"s") }
    }

    const OPERATOR: Visitor = Visitor::Operator { name: None };

    fn begin(logins: &Logins, visitor: Visitor, second: i64) -> String {
        logins.begin(visitor, &SystemRandom::new(), at(second)).unwrap().into_exposed()
    }

    #[test]
    fn a_log_in_ends_when_idle_and_in_any_case() {
        let logins = Logins::default();
        let (idle, busy) = (begin(&logins, OPERATOR, 0), begin(&logins, OPERATOR, 0));
        assert!(logins.find("another", at(0)).is_none());
        let hours = (1..12).map(|hour| hour * 3_600);
        assert!(hours.map(|second| logins.find(&busy, at(second))).all(|seen| seen.is_some()));
        assert!(logins.find(&idle, at(2 * 3_600)).is_none(), "two hours without a request");
        assert!(logins.find(&busy, at(12 * 3_600)).is_none(), "half a day in all");
        let left = begin(&logins, OPERATOR, 0);
        logins.end(&left);
        assert!(logins.find(&left, at(1)).is_none());
    }

    #[test]
    fn nobody_pushes_out_somebody_else() {
        let most = 3 * MOST_EACH;
        let logins = Logins::bounded(most);
        let operator = begin(&logins, OPERATOR, 0);
        let first = begin(&logins, owner("aaaa"), 1);
        let other = begin(&logins, owner("bbbb"), 2);
        let last = (0..MOST_EACH as i64).map(|second| begin(&logins, owner("aaaa"), 10 + second)).last().unwrap();
        assert!(logins.find(&first, at(60)).is_none(), "the oldest of its own");
        for cookie in [&operator, &other, &last] {
            assert!(logins.find(cookie, at(60)).is_some());
        }
        for number in 0..2 * most {
            begin(&logins, owner(&format!("k{number:07}")), 100);
        }
        assert_eq!(logins.lock().len(), most);
        assert!(logins.find(&operator, at(120)).is_some(), "owners never push out the operator");
    }

    #[test]
    fn a_note_is_shown_once() {
        let logins = Logins::default();
        let (one, other) = (begin(&logins, OPERATOR, 0), begin(&logins, OPERATOR, 0));
        logins.leave(&one, Note::Done("it is done".into()));
        assert!(logins.take(&other).is_none());
        assert!(matches!(logins.take(&one), Some(Note::Done(what)) if what == "it is done"));
        assert!(logins.take(&one).is_none());
    }
}
