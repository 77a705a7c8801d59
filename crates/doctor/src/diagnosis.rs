//! What the doctor can say in the end: one name, whose fault it is, and what to do next.

use outgate_client::classify::Confidence;
use outgate_faults::{Fixer, Slug};
use serde::{Serialize, Serializer};

/// The names that are no slugs; docs/doctor.md has a line for each.
pub const OWN_NAMES: &[&str] = &[
    "unreadable_url",
    "unencoded_credentials",
    "wrong_port",
    "wrong_scheme",
    "not_a_proxy",
    "captive_portal",
    "credentials_on_target",
    "encoded_twice",
    "percent_not_encoded",
    "credentials_with_blanks",
    "login_unsupported",
    "no_way_out",
    "intercepted",
    "dns_differs",
    "resolved_here",
    "clock_skew",
    "intermittent",
    "intermittent_by_exit",
    "worsening",
    "slow",
    "unexpected_answer",
];

/// Who can end it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// Whoever runs the client: its configuration is wrong.
    You,
    /// The network that the client is in.
    YourNetwork,
    /// Whoever holds the account at the proxy.
    Account,
    /// Whoever runs the proxy.
    Operator,
    /// Whoever runs the exit.
    Exit,
    /// Whoever runs the target.
    Target,
    /// Nobody has to do anything.
    Nobody,
}

impl Whose {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Whose::You => "you",
            Whose::YourNetwork => "your_network",
            Whose::Account => "account",
            Whose::Operator => "operator",
            Whose::Exit => "exit",
            Whose::Target => "target",
            Whose::Nobody => "nobody",
        }
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Whose::You => "yours: the client or its configuration",
            Whose::YourNetwork => "your network's, between you and the proxy",
            Whose::Account => "your account's at the proxy: its key, plan or allowlist",
            Whose::Operator => "the proxy's: its operator has to act",
            Whose::Exit => "the exit's that the proxy chose",
            Whose::Target => "the target's",
            Whose::Nobody => "nobody's",
        }
    }
}

impl From<Fixer> for Whose {
    fn from(fixer: Fixer) -> Whose {
        match fixer {
            Fixer::User => Whose::You,
            Fixer::KeyOwner => Whose::Account,
            Fixer::Operator => Whose::Operator,
            Fixer::ExitOwner => Whose::Exit,
            Fixer::TargetOwner => Whose::Target,
            Fixer::Nobody => Whose::Nobody,
        }
    }
}

/// How much it harms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Harm {
    /// Requests work; something is not as it should be.
    Remark,
    /// Some requests fail.
    Impaired,
    /// Requests fail.
    Broken,
}

impl Harm {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Harm::Remark => "remark",
            Harm::Impaired => "impaired",
            Harm::Broken => "broken",
        }
    }
}

/// One conclusion.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnosis {
    /// A stable name: a slug of the catalogue, or one of the doctor's own.
    pub name: &'static str,
    /// The fault of the catalogue behind it, if one is.
    #[serde(serialize_with = "slug_name")]
    pub fault: Option<Slug>,
    /// Whose it is.
    #[serde(serialize_with = "whose_name")]
    pub whose: Whose,
    /// How much it harms.
    #[serde(serialize_with = "harm_name")]
    pub harm: Harm,
    /// How sure it is.
    #[serde(serialize_with = "confidence_name")]
    pub confidence: Confidence,
    /// What is wrong, in one sentence.
    pub sentence: String,
    /// What to do next, in one or two sentences.
    pub next: String,
}

fn slug_name<S: Serializer>(slug: &Option<Slug>, serializer: S) -> Result<S::Ok, S::Error> {
    slug.map(Slug::name).serialize(serializer)
}

fn whose_name<S: Serializer>(whose: &Whose, serializer: S) -> Result<S::Ok, S::Error> {
    whose.name().serialize(serializer)
}

fn harm_name<S: Serializer>(harm: &Harm, serializer: S) -> Result<S::Ok, S::Error> {
    harm.name().serialize(serializer)
}

fn confidence_name<S: Serializer>(confidence: &Confidence, serializer: S) -> Result<S::Ok, S::Error> {
    confidence.name().serialize(serializer)
}

impl Diagnosis {
    /// A fault of the catalogue, whose row says whose it is and what ends it.
    pub fn fault(slug: Slug, confidence: Confidence, sentence: impl Into<String>) -> Diagnosis {
        let row = slug.row();
        Diagnosis {
            name: row.name,
            fault: Some(slug),
            whose: row.fixer.into(),
            harm: Harm::Broken,
            confidence,
            sentence: sentence.into(),
            next: row.fix.to_owned(),
        }
    }

    /// A conclusion with a name of the doctor's own.
    pub fn own(
        name: &'static str,
        fault: Option<Slug>,
        whose: Whose,
        sentence: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        debug_assert!(OWN_NAMES.contains(&name), "{name} is in no documentation");
        Diagnosis {
            name,
            fault,
            whose,
            harm: Harm::Broken,
            confidence: Confidence::Certain,
            sentence: sentence.into(),
            next: next.into(),
        }
    }

    /// The same, less sure.
    #[must_use]
    pub fn likely(self) -> Diagnosis {
        Diagnosis { confidence: self.confidence.max(Confidence::Likely), ..self }
    }

    /// The same, less or more harmful.
    #[must_use]
    pub fn harming(self, harm: Harm) -> Diagnosis {
        Diagnosis { harm, ..self }
    }

    /// The same with another owner.
    #[must_use]
    pub fn of(self, whose: Whose) -> Diagnosis {
        Diagnosis { whose, ..self }
    }

    /// The same with other advice.
    #[must_use]
    pub fn advising(self, next: impl Into<String>) -> Diagnosis {
        Diagnosis { next: next.into(), ..self }
    }
}
