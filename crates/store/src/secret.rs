//! Secrets: shown once, kept as a hash, compared in constant time, never printed.

use std::fmt;
use std::hash::{Hash, Hasher};

use ring::digest;
use ring::rand::SecureRandom;

/// RFC 4648 base32, lower case: no character needs escaping in a URL or a shell.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The system refused to give random bytes; nothing secret can be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRandomness;

impl fmt::Display for NoRandomness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the system gives no random bytes")
    }
}

impl std::error::Error for NoRandomness {}

/// `N` random base32 characters (5 bits each).
pub(crate) fn random_base32<const N: usize>(random: &dyn SecureRandom) -> Result<String, NoRandomness> {
    let mut bytes = [0_u8; N];
    random.fill(&mut bytes).map_err(|_| NoRandomness)?;
    // 32 divides 256, so taking the low five bits of each byte is unbiased.
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect())
}

/// A value that must not reach a log, an error or a serializer by accident: no Debug, Display, Serialize or Deref.
pub struct Secret<T>(T);

impl<T> Secret<T> {
    /// Wraps a value that was read from outside.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself: every use of it is searchable by this name.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, for the one who is to be shown it.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl Secret<String> {
    /// A new secret of 32 characters (160 random bits).
    pub fn random(random: &dyn SecureRandom) -> Result<Self, NoRandomness> {
        random_base32::<32>(random).map(Self)
    }

    /// What is kept of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(self.0.as_bytes())
    }
}

/// SHA-256 of a secret. Secrets are random with at least 128 bits, so guessing through a fast hash is hopeless and a slow
/// one would only cost admission.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Hashes a secret as it was presented.
    pub fn of(secret: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, secret).as_ref());
        Self(hash)
    }

    /// Whether this is the hash of `secret`, in a time that doesn't depend on where they differ.
    pub fn verify(&self, secret: &[u8]) -> bool {
        *self == Self::of(secret)
    }

    /// As the store keeps it: 64 lower-case hex digits.
    pub fn to_hex(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            for half in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(half)]));
            }
        }
        text
    }

    /// Back from [`Self::to_hex`].
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
        let digits = digits.filter(|digits| digits.len() == 64)?;
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            *byte = (pair[0] * 16 + pair[1]) as u8;
        }
        Some(Self(hash))
    }

    /// The 32 bytes, for a store's column.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Back from a store's column.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        // Every byte is looked at, and the optimizer may not learn that one difference decides.
        let mut differs = 0_u8;
        for (ours, theirs) in self.0.iter().zip(other.0.iter()) {
            differs = std::hint::black_box(differs | (ours ^ theirs));
        }
        differs == 0
    }
}

impl Eq for SecretHash {}

impl Hash for SecretHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_sha256_and_verifies_only_its_secret() {
        let hash = SecretHash::of(b"abc");
        // FIPS 180-2, appendix B.1.
        assert_eq!(hash.to_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(hash.verify(b"abc"));
        for wrong in [&b""[..], b"abd", b"ab", b"abcd"] {
            assert!(!hash.verify(wrong));
        }
        assert_eq!(SecretHash::from_bytes(hash.to_bytes()), hash);
        assert_eq!(SecretHash::from_hex(&hash.to_hex()), Some(hash));
        for wrong in ["", "ba", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(SecretHash::from_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nothing_of_a_hash_is_printed() {
        assert_eq!(format!("{:?}", SecretHash::of(b"abc")), "SecretHash(..)");
    }

    #[test]
    fn random_secrets_are_long_and_differ() {
        let random = ring::rand::SystemRandom::new();
        let one = Secret::random(&random).expect("the system gives random bytes");
        let two = Secret::random(&random).expect("the system gives random bytes");
        assert_eq!(one.expose().len(), 32);
        assert!(one.expose().bytes().all(|byte| ALPHABET.contains(&byte)));
        assert!(one.hash() != two.hash());
        assert!(one.hash().verify(one.expose().as_bytes()));
    }
}
