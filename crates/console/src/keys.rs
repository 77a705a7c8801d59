//! The desk's operations on keys.

use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use outgate_store::live::LiveUsage;
use outgate_store::{Change, Hour, Key, KeyId, KeyState, OldSecret, PlanName, Proof, Secret, later};

use crate::desk::{Desk, DeskError, Entry, Turn, page};
use crate::plans::{LIST_LIMIT, Patch, shown, texts};

/// The plan a key gets when nobody says which: the first of these that exists. The second is what a first run makes.
const DEFAULT_PLANS: [&str; 2] = ["default", "quickstart"];

/// Plans named in a message.
const SHOWN_PLANS: usize = 5;

/// A secret that was rotated away must end one day.
const LONGEST_GRACE: Duration = Duration::from_secs(90 * 86_400);

/// Reasons are read by people in a list.
const LONGEST_WHY: usize = 500;

/// A key to be made.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct NewKey {
    /// Its id; a random one when unset.
    pub id: Option<KeyId>,
    /// Its plan; when unset the one called `default`, else the one of the first run, else the only one.
    pub plan: Option<PlanName>,
    /// Where it may be used from.
    pub allow_ips: Vec<IpNet>,
    /// What a request must show.
    pub proof: Proof,
    /// When it ends.
    pub expires: Option<Timestamp>,
}

/// A change of a key, field by field.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct KeyPatch {
    /// Another plan. What the key used in the present period of the new plan stays used.
    pub plan: Option<PlanName>,
    /// Where it may be used from.
    pub allow_ips: Patch<Vec<IpNet>>,
    /// What a request must show.
    pub proof: Option<Proof>,
    /// When it ends.
    pub expires: Patch<Timestamp>,
}

impl KeyPatch {
    fn apply(self, key: &mut Key) {
        key.plan = self.plan.unwrap_or_else(|| key.plan.clone());
        self.allow_ips.apply_list(&mut key.allow_ips);
        key.allow_ips = truncated(std::mem::take(&mut key.allow_ips));
        key.proof = self.proof.unwrap_or(key.proof);
        self.expires.apply(&mut key.expires);
        key.expires = key.expires.map(whole_milliseconds);
    }
}

/// Refuses too long a list of addresses, and none where they alone are the proof.
fn check_sources(allow_ips: &[IpNet], proof: Proof) -> Result<(), DeskError> {
    let mut problems = Vec::new();
    if allow_ips.len() > LIST_LIMIT {
        problems.push(("allow_ips", format!("has {} entries; {LIST_LIMIT} are allowed", allow_ips.len())));
    }
    if proof == Proof::Source && allow_ips.is_empty() {
        problems.push(("allow_ips", "needs at least one address when the source alone is the proof".to_owned()));
    }
    if problems.is_empty() { Ok(()) } else { Err(DeskError::Invalid(problems)) }
}

fn truncated(nets: Vec<IpNet>) -> Vec<IpNet> {
    nets.into_iter().map(|net| net.trunc()).collect()
}

/// What changed of a key, for the audit trail.
fn told(before: &Key, after: &Key) -> String {
    let expires = |key: &Key| key.expires.map_or_else(|| "never".to_owned(), |at| at.to_string());
    let sources = |key: &Key| if key.allow_ips.is_empty() { "anywhere".to_owned() } else { texts(&key.allow_ips) };
    let proof = |key: &Key| key.proof.name().to_owned();
    shown([
        ("plan", before.plan.to_string(), after.plan.to_string()),
        ("allow_ips", sources(before), sources(after)),
        ("proof", proof(before), proof(after)),
        ("expires", expires(before), expires(after)),
    ])
}

impl Desk {
    /// Makes a key. Its secret is returned here and never again.
    pub async fn create_key(&self, who: &str, new: NewKey) -> Result<(Key, Secret<String>), DeskError> {
        let turn = self.turn().await;
        check_sources(&new.allow_ips, new.proof)?;
        let plan = self.plan_for(new.plan)?;
        let id = self.free_key_id(new.id)?;
        let secret = Secret::random(&self.random)?;
        let now = self.now();
        let key = Key {
            id,
            plan,
            secret: secret.hash(),
            old_secret: None,
            state: KeyState::Active,
            allow_ips: truncated(new.allow_ips),
            proof: new.proof,
            expires: new.expires.map(whole_milliseconds),
            created: now,
            // A period begins on a whole hour; a new key has used nothing before it.
            period_anchor: Hour::of(now).start(),
        };
        let entry = Entry { who, what: "key.create", subject: key.id.as_str(), detail: format!("plan {}", key.plan) };
        self.commit(turn, entry, Change::PutKey(key.clone())).await?;
        Ok((key, secret))
    }

    /// Changes a key; it holds at once, for its open tunnels too where bytes, speed and expiry are concerned.
    pub async fn set_key(&self, who: &str, id: &KeyId, patch: KeyPatch) -> Result<Key, DeskError> {
        let turn = self.turn().await;
        let before = self.unrevoked(id)?;
        if let Some(plan) = &patch.plan {
            self.plan_for(Some(plan.clone()))?;
        }
        let mut key = before.clone();
        patch.apply(&mut key);
        check_sources(&key.allow_ips, key.proof)?;
        if key != before {
            let entry = Entry { who, what: "key.set", subject: id.as_str(), detail: told(&before, &key) };
            self.commit(turn, entry, Change::PutKey(key.clone())).await?;
        }
        Ok(key)
    }

    /// Gives a key a new secret, returned here and never again. The present one stays good for `grace`.
    pub async fn rotate_key(&self, who: &str, id: &KeyId, grace: Duration) -> Result<(Key, Secret<String>), DeskError> {
        let turn = self.turn().await;
        let mut key = self.unrevoked(id)?;
        if grace > LONGEST_GRACE {
            return Err(DeskError::Invalid(vec![("grace", "must be at most 90d".to_owned())]));
        }
        let secret = Secret::random(&self.random)?;
        let now = self.now();
        // Without grace the old secret ends now, and so does one that was still in its own grace.
        key.old_secret = (!grace.is_zero()).then(|| OldSecret { hash: key.secret, until: whole_milliseconds(later(now, grace)) });
        key.secret = secret.hash();
        let detail = key.old_secret.map(|old| format!("old secret until {}", old.until)).unwrap_or_default();
        let entry = Entry { who, what: "key.rotate", subject: id.as_str(), detail };
        self.commit(turn, entry, Change::PutKey(key.clone())).await?;
        Ok((key, secret))
    }

    /// Stops a key until it is resumed.
    pub async fn suspend_key(&self, who: &str, id: &KeyId) -> Result<Key, DeskError> {
        let turn = self.turn().await;
        let key = self.unrevoked(id)?;
        match &key.state {
            KeyState::Suspended => Ok(key),
            KeyState::Blocked { .. } => {
                Err(DeskError::Conflict(format!("key {id} is blocked, which is stronger than suspended")))
            }
            KeyState::Active | KeyState::Revoked => self.put_state(turn, who, "key.suspend", key, KeyState::Suspended, "").await,
        }
    }

    /// Lets a suspended key work again.
    pub async fn resume_key(&self, who: &str, id: &KeyId) -> Result<Key, DeskError> {
        let turn = self.turn().await;
        let key = self.unrevoked(id)?;
        match &key.state {
            KeyState::Active => Ok(key),
            KeyState::Blocked { .. } => Err(DeskError::Conflict(format!("key {id} is blocked: lift that with unblock"))),
            KeyState::Suspended | KeyState::Revoked => self.put_state(turn, who, "key.resume", key, KeyState::Active, "").await,
        }
    }

    /// Ends a key for good.
    pub async fn revoke_key(&self, who: &str, id: &KeyId) -> Result<Key, DeskError> {
        let turn = self.turn().await;
        let key = self.key(id)?;
        if key.state == KeyState::Revoked {
            return Ok(key);
        }
        self.put_state(turn, who, "key.revoke", Key { old_secret: None, ..key }, KeyState::Revoked, "").await
    }

    /// Stops a key for a reason, until it is unblocked.
    pub async fn block_key(&self, who: &str, id: &KeyId, why: &str) -> Result<Key, DeskError> {
        let turn = self.turn().await;
        if why.chars().count() > LONGEST_WHY || why.chars().any(char::is_control) {
            let reason = format!("must be one line of at most {LONGEST_WHY} characters");
            return Err(DeskError::Invalid(vec![("why", reason)]));
        }
        let key = self.unrevoked(id)?;
        let blocked = KeyState::Blocked { why: why.to_owned() };
        if key.state == blocked {
            return Ok(key);
        }
        self.put_state(turn, who, "key.block", key, blocked, why).await
    }

    /// Lifts a block. The key is active afterwards, whatever it was before.
    pub async fn unblock_key(&self, who: &str, id: &KeyId) -> Result<Key, DeskError> {
        let turn = self.turn().await;
        let key = self.unrevoked(id)?;
        match &key.state {
            KeyState::Active => Ok(key),
            KeyState::Suspended => Err(DeskError::Conflict(format!("key {id} is suspended, not blocked: lift that with resume"))),
            KeyState::Blocked { .. } | KeyState::Revoked => {
                self.put_state(turn, who, "key.unblock", key, KeyState::Active, "").await
            }
        }
    }

    /// One key.
    pub fn key(&self, id: &KeyId) -> Result<Key, DeskError> {
        let found = self.book().keys.get(id).cloned();
        found.ok_or_else(|| DeskError::NotFound { what: "key", id: id.to_string() })
    }

    /// A page of keys, ascending by id.
    pub fn keys(&self, after: Option<&KeyId>, limit: usize) -> Vec<Key> {
        page(&self.book().keys, after, limit).map(|(_, key)| key.clone()).collect()
    }

    /// What a key uses now.
    pub fn key_usage(&self, id: &KeyId) -> Option<LiveUsage> {
        self.live.key_usage(id)
    }

    async fn put_state(
        &self,
        turn: Turn<'_>,
        who: &str,
        what: &'static str,
        key: Key,
        state: KeyState,
        why: &str,
    ) -> Result<Key, DeskError> {
        let key = Key { state, ..key };
        let entry = Entry { who, what, subject: key.id.as_str(), detail: why.to_owned() };
        self.commit(turn, entry, Change::PutKey(key.clone())).await?;
        Ok(key)
    }

    fn unrevoked(&self, id: &KeyId) -> Result<Key, DeskError> {
        let key = self.key(id)?;
        if key.state == KeyState::Revoked {
            return Err(DeskError::Conflict(format!("key {id} is revoked, which is for good: create another one")));
        }
        Ok(key)
    }

    fn plan_for(&self, asked: Option<PlanName>) -> Result<PlanName, DeskError> {
        let book = self.book();
        let conflict = |reason: String| Err(DeskError::Conflict(reason));
        if let Some(name) = asked {
            return if book.plans.contains_key(&name) { Ok(name) } else { conflict(format!("there is no plan {name}")) };
        }
        if let Some((name, _)) = DEFAULT_PLANS.iter().find_map(|name| book.plans.get_key_value(*name)) {
            return Ok(name.clone());
        }
        let mut names = book.plans.keys();
        match (names.next(), names.next()) {
            (Some(only), None) => Ok(only.clone()),
            (None, _) => conflict("there is no plan yet: create one first".to_owned()),
            (Some(_), Some(_)) => {
                let names: Vec<&str> = book.plans.keys().take(SHOWN_PLANS).map(PlanName::as_str).collect();
                let more = if book.plans.len() > SHOWN_PLANS { ", …" } else { "" };
                conflict(format!("say which plan: {}{more} (none is called {})", names.join(", "), DEFAULT_PLANS[0]))
            }
        }
    }

    fn free_key_id(&self, asked: Option<KeyId>) -> Result<KeyId, DeskError> {
        let book = self.book();
        if let Some(id) = asked {
            return if book.keys.contains_key(&id) {
                Err(DeskError::Conflict(format!("there is already a key {id}")))
            } else {
                Ok(id)
            };
        }
        loop {
            // 50 random bits: among a million keys one in a billion draws is taken.
            let id = KeyId::random(&self.random)?;
            if !book.keys.contains_key(&id) {
                return Ok(id);
            }
        }
    }
}

fn whole_milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}
