//! Reads Basic credentials and the modifiers in the user name (RFC 7617, the product's own grammar).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use outgate_faults::{Fault, raise};
use outgate_store::KeyId;

/// Longest credentials read; a client's header line may be longer than any sensible user name.
const MAX_LENGTH: usize = 4096;

/// The words a user name may hold after the key id. Sorted by nothing: few enough to look through.
const KEYWORDS: [&str; 6] = ["pool", "country", "state", "city", "session", "ttl"];

/// What the client claims to be and wants, unverified.
pub(crate) struct Claim {
    pub(crate) key: KeyId,
    pub(crate) secret: Vec<u8>,
    pub(crate) modifiers: Modifiers,
}

/// The modifiers of a user name, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Modifiers {
    pub(crate) pool: Option<String>,
    pub(crate) country: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) city: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) ttl: Option<String>,
    /// The first word that is no keyword. Told only after the login: it is no excuse for a wrong secret.
    pub(crate) unknown: Option<String>,
}

impl Claim {
    /// Reads a Proxy-Authorization value.
    pub(crate) fn parse(value: &str) -> Result<Self, Fault> {
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("basic") {
            return Err(raise::credentials_malformed("only the Basic scheme is taken"));
        }
        let token = token.trim();
        if token.len() > MAX_LENGTH {
            return Err(raise::credentials_malformed("they are longer than 4096 characters"));
        }
        let decoded = STANDARD.decode(token).or_else(|_| STANDARD_NO_PAD.decode(token));
        let decoded = decoded.map_err(|_| raise::credentials_malformed("they are not base64"))?;
        let colon = decoded.iter().position(|b| *b == b':');
        let colon = colon.ok_or_else(|| raise::credentials_malformed("there is no colon between user and password"))?;
        Self::of(&decoded[..colon], decoded[colon + 1..].to_vec())
    }

    /// Reads a user name; the password is the secret.
    pub(crate) fn of(user: &[u8], secret: Vec<u8>) -> Result<Self, Fault> {
        let user = std::str::from_utf8(user).map_err(|_| raise::credentials_malformed("the user name is not UTF-8"))?;
        if user.chars().any(char::is_control) {
            return Err(raise::credentials_malformed("the user name contains a control character"));
        }
        let (key, rest) = user.split_once('-').unwrap_or((user, ""));
        // An id that can't exist is wrong in the same way as one that doesn't.
        let key = KeyId::parse(key).map_err(|_| raise::credentials_wrong())?;
        Ok(Self { key, secret, modifiers: Modifiers::parse(rest) })
    }
}

impl Modifiers {
    /// Reads `keyword-value-keyword-value…`. A value goes up to the next keyword, so it may hold hyphens.
    fn parse(text: &str) -> Self {
        let mut modifiers = Self::default();
        let mut words = text.split('-').filter(|w| !w.is_empty()).peekable();
        while let Some(word) = words.next() {
            if !KEYWORDS.contains(&word) {
                modifiers.unknown.get_or_insert_with(|| word.to_owned());
                // Its value is none of our words either.
                while words.next_if(|w| !KEYWORDS.contains(w)).is_some() {}
                continue;
            }
            let mut value = String::new();
            while let Some(part) = words.next_if(|w| value.is_empty() || !KEYWORDS.contains(w)) {
                if !value.is_empty() {
                    value.push('-');
                }
                value.push_str(part);
            }
            *modifiers.slot(word) = Some(value);
        }
        modifiers
    }

    fn slot(&mut self, keyword: &str) -> &mut Option<String> {
        match keyword {
            "pool" => &mut self.pool,
            "country" => &mut self.country,
            "state" => &mut self.state,
            "city" => &mut self.city,
            "session" => &mut self.session,
            "ttl" => &mut self.ttl,
            _ => &mut self.unknown,
        }
    }

    /// Whether anything asks for a particular exit.
    pub(crate) fn targets(&self) -> bool {
        self.country.is_some() || self.state.is_some() || self.city.is_some()
    }
}

/// The fault for an unknown modifier, with the nearest keyword if one is near.
pub(crate) fn unknown_modifier(word: &str) -> Fault {
    let near = KEYWORDS.iter().map(|k| (strsim::damerau_levenshtein(word, k), k)).min();
    let hint = match near {
        Some((distance, keyword)) if distance <= 2 => *keyword,
        _ => "",
    };
    raise::modifier_unknown(word, hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use outgate_faults::Slug;

    #[test]
    fn credentials() {
        let basic = |text: &[u8]| format!("Basic {}", STANDARD.encode(text));
        let cases = [
            (basic(b"abcd:secret"), Ok(("abcd", "secret"))),
            (basic(b"abcd:"), Ok(("abcd", ""))),
            (basic(b"abcd:a:b"), Ok(("abcd", "a:b"))),
            (basic(b"abcd:abc").replace("Basic", "bAsIc"), Ok(("abcd", "abc"))),
            (basic(b"abcd:abcd").trim_end_matches('=').to_owned(), Ok(("abcd", "abcd"))),
            (basic(b"ABCD:secret"), Err(Slug::CredentialsWrong)),
            (basic(b":secret"), Err(Slug::CredentialsWrong)),
            (basic(b"abcd"), Err(Slug::CredentialsMalformed)),
            (basic(b"ab\x01d:secret"), Err(Slug::CredentialsMalformed)),
            (basic(b"ab\xffd:secret"), Err(Slug::CredentialsMalformed)),
            ("Basic !!!".into(), Err(Slug::CredentialsMalformed)),
            ("Basic".into(), Err(Slug::CredentialsMalformed)),
            ("Bearer abc".into(), Err(Slug::CredentialsMalformed)),
            (format!("Basic {}", "A".repeat(5000)), Err(Slug::CredentialsMalformed)),
        ];
        for (value, expected) in cases {
            let got =
                Claim::parse(&value).map(|c| (c.key.to_string(), String::from_utf8(c.secret).unwrap())).map_err(|f| f.slug());
            assert_eq!(got, expected.map(|(k, s)| (k.to_owned(), s.to_owned())), "{value}");
        }
    }

    #[test]
    fn modifiers() {
        let m = |text: &str| Modifiers::parse(text);
        let s = |text: &str| Some(text.to_owned());
        assert_eq!(m(""), Modifiers::default());
        let all = m("country-us-state-ca-city-los-angeles-session-ab12-ttl-10-pool-residential");
        assert_eq!((all.country, all.state, all.city), (s("us"), s("ca"), s("los-angeles")));
        assert_eq!((all.session, all.ttl, all.pool, all.unknown), (s("ab12"), s("10"), s("residential"), None));
        assert_eq!(m("contry-us-pool-direct"), Modifiers { unknown: s("contry"), pool: s("direct"), ..Modifiers::default() });
        assert_eq!(m("session-country").session, s("country"), "a value may be a keyword");
        assert_eq!(m("session").session, s(""));
    }

    #[test]
    fn near_misses_get_a_hint() {
        assert_eq!(unknown_modifier("contry").sentence(), "unknown modifier \"contry\": did you mean \"country\"?");
        assert!(!unknown_modifier("zzzzzz").sentence().contains("did you mean"));
    }
}
