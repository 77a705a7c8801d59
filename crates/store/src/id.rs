//! Names: of keys, plans, exits and pools, each with the alphabet its place allows.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ring::rand::SecureRandom;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::secret::{NoRandomness, random_base32};

/// Why a text isn't a name. Displays what would be allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameError {
    what: &'static str,
    given: String,
    allowed: &'static str,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, given, allowed } = self;
        write!(f, "{given:?} is not a {what}: allowed are {allowed}")
    }
}

impl std::error::Error for NameError {}

impl NameError {
    pub(crate) fn new(what: &'static str, given: &str, allowed: &'static str) -> Self {
        // A megabyte of garbage must not come back as a megabyte of error.
        let given = given.chars().take(80).collect();
        Self { what, given, allowed }
    }
}

fn lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn word(byte: u8) -> bool {
    lower_or_digit(byte) || byte == b'_'
}

fn word_or_hyphen(byte: u8) -> bool {
    word(byte) || byte == b'-'
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $length:expr, $body:ident, $allowed:literal) => {
        $(#[$doc])*
        /// Cheap to clone: the text is shared.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// What the text may consist of, for messages and help.
            pub const ALLOWED: &'static str = $allowed;

            /// Parses a name; the error says what is allowed.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                let bytes = text.as_bytes();
                let fits = $length.contains(&bytes.len())
                    && bytes.iter().all(|byte| $body(*byte))
                    && bytes.first().is_some_and(|byte| lower_or_digit(*byte));
                if fits { Ok(Self(text.into())) } else { Err(NameError::new($what, text, $allowed)) }
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::parse(text)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A key's public id: the user name before the first `-`, so it can't contain one.
    KeyId, "key id", 4..=32, lower_or_digit,
    "4 to 32 lower-case letters and digits"
);
name!(
    /// A plan's name.
    PlanName, "plan name", 1..=64, word_or_hyphen,
    "1 to 64 lower-case letters, digits, _ and -, beginning with a letter or digit"
);
name!(
    /// An exit's id, as the client sees it in `X-Outgate-Exit`.
    ExitId, "exit id", 1..=64, word_or_hyphen,
    "1 to 64 lower-case letters, digits, _ and -, beginning with a letter or digit"
);
name!(
    /// A pool's name; it stands between two `-` in a user name (`KEY-pool-residential`), so it can't contain one.
    PoolName, "pool name", 1..=32, word,
    "1 to 32 lower-case letters, digits and _, beginning with a letter or digit"
);

impl KeyId {
    /// A new id of 10 characters (50 random bits).
    pub fn random(random: &dyn SecureRandom) -> Result<Self, NoRandomness> {
        Ok(Self(random_base32::<10>(random)?.as_str().into()))
    }
}

impl ExitId {
    /// A new id of 8 characters (40 random bits).
    pub fn random(random: &dyn SecureRandom) -> Result<Self, NoRandomness> {
        Ok(Self(random_base32::<8>(random)?.as_str().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabet() {
        let long = "a".repeat(65);
        let cases: [(&str, bool, bool, bool); 12] = [
            // text, key id, plan or exit name, pool name
            ("abcd", true, true, true),
            ("k1", false, true, true),
            ("a_b", false, true, true),
            ("team-a", false, true, false),
            ("-team", false, false, false),
            ("_team", false, false, false),
            ("Team", false, false, false),
            ("", false, false, false),
            ("a b", false, false, false),
            ("ключ", false, false, false),
            ("a\r\nb", false, false, false),
            (&long, false, false, false),
        ];
        for (text, key, plan, pool) in cases {
            assert_eq!(KeyId::parse(text).is_ok(), key, "key id {text:?}");
            assert_eq!(PlanName::parse(text).is_ok(), plan, "plan name {text:?}");
            assert_eq!(ExitId::parse(text).is_ok(), plan, "exit id {text:?}");
            assert_eq!(PoolName::parse(text).is_ok(), pool, "pool name {text:?}");
        }
    }

    #[test]
    fn the_error_says_what_is_allowed_and_stays_short() {
        let error = PoolName::parse("Big Pool").map_err(|error| error.to_string());
        assert_eq!(
            error.err().as_deref(),
            Some(
                "\"Big Pool\" is not a pool name: allowed are 1 to 32 lower-case letters, digits and _, beginning with a letter or digit"
            )
        );
        let error = PoolName::parse(&"x".repeat(1 << 20)).map_err(|error| error.to_string().len());
        assert!(error.is_err_and(|length| length < 300));
    }

    #[test]
    fn random_ids_are_valid_and_differ() {
        let random = ring::rand::SystemRandom::new();
        let one = KeyId::random(&random).expect("the system gives random bytes");
        let two = KeyId::random(&random).expect("the system gives random bytes");
        assert_ne!(one, two);
        assert_eq!(KeyId::parse(one.as_str()), Ok(one));
    }
}
