//! Reads Basic credentials and the modifiers in the user name (RFC 7617, the product's own grammar).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use outgate_faults::{Fault, raise};
use outgate_store::{KeyId, nearest};

/// Longest credentials read; a client's header line may be longer than any sensible user name.
const MAX_LENGTH: usize = 4096;

/// The modifiers there are.
const KEYWORDS: [&str; 6] = ["pool", "country", "state", "city", "session", "ttl"];

/// What the client claims to be and wants, unverified.
pub(crate) struct Claim {
    pub(crate) key: KeyId,
    pub(crate) secret: Vec<u8>,
    pub(crate) modifiers: Modifiers,
}

/// The modifiers of a user name, as written; a value may be empty. What is wrong with them is told only after the login: it is
/// no excuse for a wrong secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Modifiers {
    pub(crate) pool: Option<String>,
    pub(crate) country: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) city: Option<String>,
    pub(crate) session: Option<String>,
    pub(crate) ttl: Option<String>,
    /// The first word where a keyword should have been.
    unknown: Option<String>,
    /// The first keyword that came twice.
    repeated: Option<&'static str>,
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
        if user.is_empty() {
            return Err(raise::credentials_malformed("the user name is empty, it begins with the key's id"));
        }
        if user.chars().any(char::is_control) {
            return Err(raise::credentials_malformed("the user name contains a control character"));
        }
        // No id, modifier or secret has a percent sign of its own.
        for (what, text) in [("user name", user.as_bytes()), ("password", &secret)] {
            if is_percent_encoded(text) {
                let told = format_args!("the {what} is still percent-encoded (%40 for @), it must be decoded before it is sent");
                return Err(raise::credentials_malformed(told));
            }
        }
        let (key, rest) = user.split_once('-').unwrap_or((user, ""));
        // An id that can't exist is wrong in the same way as one that doesn't.
        let key = KeyId::parse(key).map_err(|_| raise::credentials_wrong())?;
        Ok(Self { key, secret, modifiers: Modifiers::parse(rest) })
    }
}

/// Whether some of it is written as in a URL (RFC 3986, section 2.1), as a client sends it that took it out of one as it was.
fn is_percent_encoded(text: &[u8]) -> bool {
    text.windows(3).any(|three| three[0] == b'%' && three[1..].iter().all(u8::is_ascii_hexdigit))
}

impl Modifiers {
    /// Reads `keyword-value-keyword-value…`. The keywords are the anchors: a value goes up to the next one, so it may hold
    /// hyphens but no keyword of its own between them. That keeps a forgotten value from swallowing what follows: in
    /// `session--country-us`, and in `session-country-us` too, the session is empty and the country is us.
    pub(crate) fn parse(text: &str) -> Self {
        let mut modifiers = Self::default();
        if text.is_empty() {
            return modifiers;
        }
        let mut words = text.split('-').peekable();
        while let Some(word) = words.next() {
            let mut value: Option<String> = None;
            while let Some(part) = words.next_if(|part| !KEYWORDS.contains(part)) {
                match &mut value {
                    None => value = Some(part.to_owned()),
                    Some(value) => {
                        value.push('-');
                        value.push_str(part);
                    }
                }
            }
            modifiers.set(word, value.unwrap_or_default());
        }
        modifiers
    }

    /// Sets what a keyword asks for, or notes why it can't be set.
    pub(crate) fn set(&mut self, keyword: &str, value: String) {
        let Some(known) = KEYWORDS.into_iter().find(|known| *known == keyword) else {
            self.unknown.get_or_insert_with(|| keyword.to_owned());
            return;
        };
        let slot = match known {
            "pool" => &mut self.pool,
            "country" => &mut self.country,
            "state" => &mut self.state,
            "city" => &mut self.city,
            "session" => &mut self.session,
            _ => &mut self.ttl,
        };
        if slot.replace(value).is_some() {
            self.repeated.get_or_insert(known);
        }
    }

    /// Refuses what can't be read in one way only.
    pub(crate) fn well_formed(&self) -> Result<(), Fault> {
        if let Some(word) = &self.unknown {
            let hint = nearest(&word.to_lowercase(), KEYWORDS).unwrap_or_default();
            return Err(raise::modifier_unknown(word, hint));
        }
        self.repeated.map_or(Ok(()), |keyword| Err(raise::modifier_repeated(keyword)))
    }

    /// Whether anything asks for a particular exit.
    pub(crate) fn targets(&self) -> bool {
        self.country.is_some() || self.state.is_some() || self.city.is_some()
    }
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
            (basic(b"abcd-city-50%:100%x%4"), Ok(("abcd", "100%x%4"))),
            (basic(b":secret"), Err(Slug::CredentialsMalformed)),
            (basic(b":"), Err(Slug::CredentialsMalformed)),
            (basic(b"abcd%2Dcountry-us:secret"), Err(Slug::CredentialsMalformed)),
            (basic(b"abcd:p%c3%A9"), Err(Slug::CredentialsMalformed)),
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
    fn values_go_up_to_the_next_keyword() {
        // pool, country, state, city, session, ttl
        let cases: [(&str, [Option<&str>; 6]); 16] = [
            ("", [None; 6]),
            (
                "country-us-state-ca-city-losangeles-session-ab12-ttl-10-pool-residential",
                [Some("residential"), Some("us"), Some("ca"), Some("losangeles"), Some("ab12"), Some("10")],
            ),
            ("ttl-10-session-ab12-country-us", [None, Some("us"), None, None, Some("ab12"), Some("10")]),
            ("city-los-angeles-session-my-app-1", [None, None, None, Some("los-angeles"), Some("my-app-1"), None]),
            ("city-São Paulo", [None, None, None, Some("São Paulo"), None, None]),
            ("city-ran", [None, None, None, Some("ran"), None, None]),
            // A value that is missing takes nothing of what follows.
            ("session", [None, None, None, None, Some(""), None]),
            ("session-", [None, None, None, None, Some(""), None]),
            ("session--country-us", [None, Some("us"), None, None, Some(""), None]),
            ("session-country-us", [None, Some("us"), None, None, Some(""), None]),
            ("country-session", [None, Some(""), None, None, Some(""), None]),
            ("session-a--b", [None, None, None, None, Some("a--b"), None]),
            ("session-ab-", [None, None, None, None, Some("ab-"), None]),
            // Keywords are whole words, in lower case.
            ("session-Country-us", [None, None, None, None, Some("Country-us"), None]),
            ("session-mypool-1", [None, None, None, None, Some("mypool-1"), None]),
            ("session-my-pool-1", [Some("1"), None, None, None, Some("my"), None]),
        ];
        for (text, expected) in cases {
            let m = Modifiers::parse(text);
            let got = [&m.pool, &m.country, &m.state, &m.city, &m.session, &m.ttl].map(|value| value.as_deref());
            assert_eq!(got, expected, "{text:?}");
            assert_eq!(m.well_formed().map_err(|fault| fault.sentence()), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_modifier_or_comes_twice_is_refused() {
        let cases = [
            ("contry-us", "unknown modifier \"contry\": did you mean \"country\"?"),
            ("Country-us", "unknown modifier \"Country\": did you mean \"country\"?"),
            ("SESSION-ab12", "unknown modifier \"SESSION\": did you mean \"session\"?"),
            ("colour-blue", "unknown modifier \"colour\""),
            ("us-country-de", "unknown modifier \"us\""),
            ("-country-us", "unknown modifier \"\""),
            ("contry-us-country-de-country-fr", "unknown modifier \"contry\": did you mean \"country\"?"),
            ("country-us-country-de", "modifier 'country' is given twice"),
            ("country-us-session-a-country-us", "modifier 'country' is given twice"),
            ("session--session-a", "modifier 'session' is given twice"),
        ];
        for (text, expected) in cases {
            let told = Modifiers::parse(text).well_formed().map_err(|fault| fault.sentence());
            assert_eq!(told.as_ref().map_err(String::as_str), Err(expected), "{text:?}");
        }
    }
}
