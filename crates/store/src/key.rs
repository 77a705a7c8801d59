//! A key: who may use the gateway, how it proves itself, and whether it may now.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;

use crate::id::{KeyId, PlanName};
use crate::secret::SecretHash;

/// A key as the store keeps it. The secret is only there as a hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// Its public id.
    pub id: KeyId,
    /// The plan it is on.
    pub plan: PlanName,
    /// What it proves itself with.
    pub secret: SecretHash,
    /// The secret before the last rotation, while its grace lasts.
    pub old_secret: Option<OldSecret>,
    /// Whether it may be used.
    pub state: KeyState,
    /// Source addresses it may be used from; empty: any.
    pub allow_ips: Vec<IpNet>,
    /// What a request must show.
    pub proof: Proof,
    /// When it stops working.
    pub expires: Option<Timestamp>,
    /// When it was created.
    pub created: Timestamp,
    /// Where its periods of N days are counted from; the month ignores it.
    pub period_anchor: Timestamp,
}

/// A rotated secret that is still good for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OldSecret {
    /// Its hash.
    pub hash: SecretHash,
    /// Until when, exclusive.
    pub until: Timestamp,
}

/// What a request must show to be a key's.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Proof {
    /// The secret; where `allow_ips` is not empty, also a source address on it.
    #[default]
    Secret,
    /// A source address on `allow_ips` is enough: requests from there need no credentials.
    Source,
}

impl Proof {
    /// `secret` or `source`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::Source => "source",
        }
    }
}

/// Whether a key may be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyState {
    /// It may.
    Active,
    /// Not now; can be resumed.
    Suspended,
    /// Never again.
    Revoked,
    /// An administrator stopped it for a reason; can be lifted.
    Blocked {
        /// What the administrator wrote; for the operator, not for the client.
        why: String,
    },
}

impl KeyState {
    /// `active`, `suspended`, `revoked` or `blocked`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Blocked { .. } => "blocked",
        }
    }

    /// Back from its name and, when blocked, the reason.
    pub fn from_name(name: &str, why: Option<String>) -> Option<Self> {
        match name {
            "active" => Some(Self::Active),
            "suspended" => Some(Self::Suspended),
            "revoked" => Some(Self::Revoked),
            "blocked" => Some(Self::Blocked { why: why.unwrap_or_default() }),
            _ => None,
        }
    }
}

impl Key {
    /// Whether `secret` is the key's at `now`: the present one, or the one before within its grace.
    ///
    /// Both are always compared, so that the time tells nothing about a rotation.
    pub fn verify(&self, secret: &[u8], now: Timestamp) -> bool {
        let presented = SecretHash::of(secret);
        let present = self.secret == presented;
        let (old, until) = self.old_secret.map_or((self.secret, Timestamp::MIN), |old| (old.hash, old.until));
        let before = old == presented;
        present | (before & (now < until))
    }

    /// Whether it may be used from `source`. An IPv4-mapped address counts as the IPv4 address it stands for.
    pub fn allows_source(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.allow_ips.is_empty() || self.allow_ips.iter().any(|net| net.contains(&source))
    }

    /// Whether it has expired at `now`.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| now >= at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp of the test")
    }

    fn key() -> Key {
        Key {
            id: KeyId::parse("abcd").expect("an id"),
            plan: PlanName::parse("p").expect("a name"),
            secret: SecretHash::of(b"new"),
            old_secret: Some(OldSecret { hash: SecretHash::of(b"old"), until: at("2026-01-01T01:00:00Z") }),
            state: KeyState::Active,
            allow_ips: vec!["192.0.2.0/24".parse().expect("a net"), "2001:db8::/32".parse().expect("a net")],
            proof: Proof::Secret,
            expires: Some(at("2026-06-01T00:00:00Z")),
            created: at("2026-01-01T00:00:00Z"),
            period_anchor: at("2026-01-01T00:00:00Z"),
        }
    }

    #[test]
    fn the_old_secret_is_good_until_its_grace_ends() {
        let cases = [
            ("new", "2026-01-01T00:30:00Z", true),
            ("new", "2026-01-01T01:30:00Z", true),
            ("old", "2026-01-01T00:59:59Z", true),
            ("old", "2026-01-01T01:00:00Z", false),
            ("other", "2026-01-01T00:30:00Z", false),
            ("", "2026-01-01T00:30:00Z", false),
        ];
        for (secret, now, expected) in cases {
            assert_eq!(key().verify(secret.as_bytes(), at(now)), expected, "{secret:?} at {now}");
        }
        let once = Key { old_secret: None, ..key() };
        assert!(once.verify(b"new", at("2026-01-01T00:00:00Z")) && !once.verify(b"old", at("2026-01-01T00:00:00Z")));
    }

    #[test]
    fn sources_and_expiry() {
        for (source, expected) in
            [("192.0.2.7", true), ("::ffff:192.0.2.7", true), ("192.0.3.1", false), ("2001:db8::1", true), ("2001:db9::1", false)]
        {
            assert_eq!(key().allows_source(source.parse().expect("an address")), expected, "{source}");
        }
        assert!(Key { allow_ips: Vec::new(), ..key() }.allows_source(IpAddr::from([203, 0, 113, 1])));
        assert!(!key().expired(at("2026-05-31T23:59:59Z")));
        assert!(key().expired(at("2026-06-01T00:00:00Z")));
    }
}
