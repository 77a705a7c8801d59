//! How each provider is asked for a session: a word in the user name or password that keeps one exit.
//!
//! The engine makes up words of eight letters and digits; what a provider takes is narrower or wider, so a word that does not fit
//! is mapped to one that does, always to the same ([`Grammar::word`]). The table is from the providers' public pages.

use std::borrow::Cow;
use std::fmt;

use ring::digest;

use crate::connect::Credentials;

/// Where a session's word stands, and of what it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grammar {
    place: Place,
    /// `{}` stands for the word.
    template: Cow<'static, str>,
    letters: Letters,
    shortest: usize,
    longest: usize,
}

/// Which part of the credentials carries the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Behind the user name.
    User,
    /// Behind the password.
    Password,
}

/// What a word may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letters {
    /// ASCII letters and digits.
    Alphanumeric,
    /// A number without leading zeros.
    Digits,
}

/// Why a grammar of the user's own is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadGrammar;

impl fmt::Display for BadGrammar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "write where the session's word goes: \"user-session-{}\" begins with user or password, then what is put behind it",
        )
    }
}

impl std::error::Error for BadGrammar {}

/// Providers by the names that `providers` uses, each with where its word goes and what it takes.
const KNOWN: &[(&str, Grammar)] = {
    use Letters::{Alphanumeric, Digits};
    use Place::{Password, User};
    &[
        ("outgate", known(User, "-session-{}", Alphanumeric, 1, 64)),
        ("atlasvpn", known(User, "-session-{}", Alphanumeric, 1, 64)),
        ("proxies.fo", known(User, "-session-{}", Alphanumeric, 1, 64)),
        ("brightdata", known(User, "-session-{}", Alphanumeric, 1, 64)),
        ("oxylabs", known(User, "-sessid-{}", Alphanumeric, 1, 64)),
        ("decodo", known(User, "-session-{}", Alphanumeric, 1, 64)),
        ("iproyal", known(Password, "_session-{}", Alphanumeric, 8, 8)),
        ("soax", known(User, "-sessionid-{}", Alphanumeric, 1, 64)),
        ("netnut", known(User, "-sid-{}", Digits, 5, 9)),
        ("webshare", known(User, "-{}", Digits, 1, 9)),
        ("apify", known(User, ",session-{}", Alphanumeric, 1, 50)),
        ("packetstream", known(Password, "_session-{}", Alphanumeric, 8, 8)),
        ("infatica", known(User, "_s_{}", Alphanumeric, 1, 32)),
        ("nimble", known(User, "-session-{}", Alphanumeric, 1, 64)),
        ("databay", known(User, "-sessionId-{}", Alphanumeric, 1, 64)),
        ("illusory", known(User, "-session-{}", Alphanumeric, 1, 64)),
        ("anyip", known(User, ",session_{}", Alphanumeric, 1, 32)),
        ("thordata", known(User, "-sessid-{}", Alphanumeric, 1, 64)),
        ("geonode", known(User, "-session-{}", Alphanumeric, 1, 25)),
        ("evomi", known(Password, "_session-{}", Alphanumeric, 6, 10)),
        ("dataimpulse", known(User, ";sessid.{}", Alphanumeric, 1, 64)),
    ]
};

const fn known(place: Place, template: &'static str, letters: Letters, shortest: usize, longest: usize) -> Grammar {
    Grammar { place, template: Cow::Borrowed(template), letters, shortest, longest }
}

impl Grammar {
    /// The grammar of a provider, by its name.
    pub fn of(provider: &str) -> Option<&'static Grammar> {
        KNOWN.iter().find(|(name, _)| *name == provider).map(|(_, grammar)| grammar)
    }

    /// The names that [`Grammar::of`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|(name, _)| *name)
    }

    /// A grammar of the user's own: `user` or `password`, then what is put behind it, with `{}` for the word.
    ///
    /// # Errors
    /// When it says neither, or has not exactly one `{}`.
    pub fn parse(text: &str) -> Result<Grammar, BadGrammar> {
        let (place, template) = match (text.strip_prefix("user"), text.strip_prefix("password")) {
            (Some(rest), _) => (Place::User, rest),
            (_, Some(rest)) => (Place::Password, rest),
            (None, None) => return Err(BadGrammar),
        };
        let printable = template.bytes().all(|byte| (b'!'..=b'~').contains(&byte));
        if template.matches("{}").count() != 1
            || !printable
            || template.len() > 64
            || (place == Place::User && template.contains(':'))
        {
            return Err(BadGrammar);
        }
        Ok(Grammar { place, template: Cow::Owned(template.to_owned()), letters: Letters::Alphanumeric, shortest: 1, longest: 64 })
    }

    /// The session's name as this provider takes it: itself if it fits, else a word made of it.
    pub fn word<'a>(&self, session: &'a str) -> Cow<'a, str> {
        let fits_letters = match self.letters {
            Letters::Alphanumeric => session.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            Letters::Digits => session.bytes().all(|byte| byte.is_ascii_digit()) && !session.starts_with('0'),
        };
        if fits_letters && (self.shortest..=self.longest).contains(&session.len()) {
            return Cow::Borrowed(session);
        }
        let hash = digest::digest(&digest::SHA256, session.as_bytes());
        let length = self.longest.min(12).max(self.shortest);
        let letter = |(at, byte): (usize, &u8)| match self.letters {
            Letters::Alphanumeric => char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(byte & 31)]),
            // A number begins with no zero.
            Letters::Digits if at == 0 => char::from(b'1' + byte % 9),
            Letters::Digits => char::from(b'0' + byte % 10),
        };
        Cow::Owned(hash.as_ref().iter().take(length).enumerate().map(letter).collect())
    }

    /// The credentials that ask for this session.
    pub fn apply(&self, credentials: &Credentials, session: &str) -> Credentials {
        let word = self.template.replace("{}", &self.word(session));
        let (user, password) = (credentials.expose_user(), credentials.expose_password());
        match self.place {
            Place::User => Credentials::new(format!("{user}{word}"), password),
            Place::Password => Credentials::new(user, format!("{password}{word}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BadGrammar, Grammar};
    use crate::connect::Credentials;

    fn asked(grammar: &Grammar, session: &str) -> (String, String) {
        let asked = grammar.apply(&Credentials::new("user", "pass"), session);
        (asked.expose_user().to_owned(), asked.expose_password().to_owned())
    }

    #[test]
    fn each_provider_is_asked_in_its_own_words() {
        let cases = [
            ("outgate", "ab12", "user-session-ab12", "pass"),
            ("brightdata", "ab12", "user-session-ab12", "pass"),
            ("oxylabs", "ab12", "user-sessid-ab12", "pass"),
            ("iproyal", "k3v9x2ab", "user", "pass_session-k3v9x2ab"),
            ("netnut", "1234567", "user-sid-1234567", "pass"),
            ("webshare", "17", "user-17", "pass"),
            ("apify", "ab12", "user,session-ab12", "pass"),
            ("dataimpulse", "ab12", "user;sessid.ab12", "pass"),
        ];
        for (provider, session, user, password) in cases {
            let grammar = Grammar::of(provider).expect(provider);
            assert_eq!(asked(grammar, session), (user.to_owned(), password.to_owned()), "{provider}");
        }
        assert!(Grammar::names().count() > 15);
    }

    #[test]
    fn what_does_not_fit_becomes_a_word_that_does_and_stays_the_same() {
        for provider in Grammar::names() {
            let grammar = Grammar::of(provider).expect(provider);
            for session in ["k3v9x2ab", "a name with spaces and much too long to be any provider's session id, really", "", "ü"]
            {
                let word = grammar.word(session);
                assert!((grammar.shortest..=grammar.longest).contains(&word.len()), "{provider} {session:?}: {word}");
                assert!(word.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{provider} {session:?}: {word}");
                assert_eq!(word, grammar.word(session));
            }
            assert_ne!(grammar.word("a b"), grammar.word("a c"), "{provider}");
        }
        assert!(Grammar::of("netnut").is_some_and(|netnut| netnut.word("k3v9x2ab").parse::<u32>().is_ok_and(|n| n >= 10_000)));
    }

    #[test]
    fn grammars_of_ones_own() {
        let own = Grammar::parse("user-stick-{}-end").expect("a grammar");
        assert_eq!(asked(&own, "ab"), ("user-stick-ab-end".to_owned(), "pass".to_owned()));
        let own = Grammar::parse("password;s={}").expect("a grammar");
        assert_eq!(asked(&own, "ab"), ("user".to_owned(), "pass;s=ab".to_owned()));
        for bad in ["-session-{}", "user-session", "user{}{}", "user:{}", "user {}"] {
            assert_eq!(Grammar::parse(bad), Err(BadGrammar), "{bad}");
        }
    }
}
