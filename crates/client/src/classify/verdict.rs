//! What an attempt came to: the fault, who told it, how sure that is, and what it means for the next attempt.

use std::time::Duration;

use outgate_faults::{Fault, Layer, Retry, Slug};

/// A small closed vocabulary with a name and a meaning for each word.
macro_rules! words {
    ($(#[$doc:meta])* $axis:ident { $( $variant:ident $name:literal $meaning:literal, )* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $axis {
            $( #[doc = $meaning] $variant, )*
        }

        impl $axis {
            /// Every word, in order.
            pub const ALL: &'static [$axis] = &[$($axis::$variant),*];

            /// The word as records and JSON have it.
            pub fn name(self) -> &'static str {
                match self { $( $axis::$variant => $name, )* }
            }

            /// What it means, in one line.
            pub fn meaning(self) -> &'static str {
                match self { $( $axis::$variant => $meaning, )* }
            }

            /// The word with this name.
            pub fn parse(name: &str) -> Option<$axis> {
                $axis::ALL.iter().copied().find(|word| word.name() == name)
            }
        }

        impl std::fmt::Display for $axis {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

words! {
    /// Who told it.
    Provenance {
        Transport "transport" "nobody: the way to the proxy, or through it, broke",
        Proxy "proxy" "the proxy",
        Exit "exit" "the exit behind the proxy",
        Origin "origin" "the target itself",
    }
}

words! {
    /// How sure it is, best first.
    Confidence {
        Certain "certain" "the answer names it in a form that only its author can have written, or nothing else is possible",
        Documented "documented" "the author of the proxy says in public what this answer means",
        Likely "likely" "the evidence fits this best",
        Guess "guess" "the status alone; it may be something else",
    }
}

words! {
    /// What a wait or a refusal holds.
    Scope {
        Account "account" "everything asked with this account at this proxy (a plan's limit, a login, a wish that nothing matches)",
        Upstream "upstream" "everything asked of this proxy, whoever asks",
        Domain "domain" "everything asked of this domain, by any exit",
        ExitOnDomain "exit_on_domain" "this exit or session on this domain",
        Target "target" "this host and port",
        Request "request" "this request only",
    }
}

impl Scope {
    /// What a fault holds unless a provider's rule says otherwise.
    pub fn of(slug: Slug) -> Scope {
        use Slug::*;
        match slug.row().layer {
            Layer::Auth | Layer::Plan | Layer::Targeting => Scope::Account,
            Layer::Gateway => match slug {
                LoopDetected => Scope::Target,
                _ => Scope::Upstream,
            },
            Layer::Transport => match slug {
                ProxyReset => Scope::Request,
                _ => Scope::Upstream,
            },
            Layer::Policy => match slug {
                PortDenied | TargetPrivate | TargetMetadata | TargetDenied => Scope::Target,
                _ => Scope::Account,
            },
            Layer::Exit => match slug {
                NoExit => Scope::Account,
                _ => Scope::Request,
            },
            Layer::Target => match slug {
                DnsNotFound | DnsFailed | DnsTimeout => Scope::Domain,
                TargetRefused | TargetUnreachable | TargetReset | ConnectTimeout | TlsHandshakeFailed | TlsCertificateInvalid => {
                    Scope::Target
                }
                _ => Scope::Request,
            },
            Layer::Origin => match slug {
                TargetForbidden | TargetChallenged | TargetRateLimited => Scope::ExitOnDomain,
                TargetUnavailable | TargetGatewayError => Scope::Domain,
                _ => Scope::Request,
            },
            Layer::Client => match slug {
                WrongProtocol | ClientTlsFailed => Scope::Upstream,
                _ => Scope::Request,
            },
        }
    }
}

/// A wait as the answer names it; without a clock here, a date stays a date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// So long, from when the answer came.
    For(Duration),
    /// Until then; may have passed.
    Until(jiff::Timestamp),
}

impl Wait {
    /// How long that is from `now`; nothing if it has passed.
    pub fn after(self, now: jiff::Timestamp) -> Duration {
        match self {
            Wait::For(wait) => wait,
            Wait::Until(then) => Duration::try_from(then.duration_since(now)).unwrap_or_default(),
        }
    }
}

/// What an attempt came to.
#[derive(Clone, Debug)]
#[must_use]
pub struct Verdict {
    /// What went wrong; `None` when nothing did.
    pub slug: Option<Slug>,
    /// Everything that this evidence fits, `slug` first: more than one where the answer does not tell them apart.
    pub fits: Vec<Slug>,
    /// Who told it.
    pub provenance: Provenance,
    /// How sure it is.
    pub confidence: Confidence,
    /// The wait that the answer names.
    pub wait: Option<Wait>,
    /// What a wait or a refusal holds.
    pub scope: Scope,
    /// Whether and how to try again: the fault's class, or what the provider's rule says in its place.
    pub retry: Retry,
    /// Which rule decided, on which evidence; for logs, `explain` and the doctor.
    pub why: String,
    /// The provider whose rule decided, by its name.
    pub provider: Option<String>,
    /// The provider's own code, as it wrote it.
    pub provider_code: Option<String>,
    /// What the proxy itself said, as one harmless line.
    pub said: Option<String>,
    /// The exit that found the fault, where the answer names one.
    pub exit: Option<String>,
    /// The request's id at the proxy, to show to its operator.
    pub request_id: Option<String>,
    /// The fault, where the user's end itself raises it (transport, origin, TLS with the target).
    pub fault: Option<Fault>,
}

impl Verdict {
    /// Nothing went wrong.
    pub(crate) fn fine(provenance: Provenance, why: impl Into<String>) -> Verdict {
        Verdict {
            slug: None,
            fits: Vec::new(),
            provenance,
            confidence: Confidence::Certain,
            wait: None,
            scope: Scope::Request,
            retry: Retry::Never,
            why: why.into(),
            provider: None,
            provider_code: None,
            said: None,
            exit: None,
            request_id: None,
            fault: None,
        }
    }

    /// It was this.
    pub(crate) fn new(slug: Slug, provenance: Provenance, confidence: Confidence, why: impl Into<String>) -> Verdict {
        Verdict {
            slug: Some(slug),
            fits: vec![slug],
            confidence,
            scope: Scope::of(slug),
            retry: slug.row().retry,
            ..Verdict::fine(provenance, why)
        }
    }

    /// A fault that the user's end raises.
    pub(crate) fn raised(fault: Fault, provenance: Provenance, confidence: Confidence, why: impl Into<String>) -> Verdict {
        Verdict { fault: Some(fault.clone()), ..Verdict::new(fault.slug(), provenance, confidence, why) }
    }

    /// These fit as well.
    pub(crate) fn or(mut self, others: &[Slug]) -> Verdict {
        for slug in others {
            if !self.fits.contains(slug) {
                self.fits.push(*slug);
            }
        }
        self
    }

    /// Whether nothing went wrong.
    pub fn is_fine(&self) -> bool {
        self.slug.is_none()
    }

    /// One line for a person: what the proxy said, else the catalogue's sentence with what is known.
    pub fn sentence(&self) -> String {
        match (&self.said, &self.fault, self.slug) {
            (Some(said), _, _) => said.clone(),
            (None, Some(fault), _) => fault.told(),
            (None, None, Some(slug)) => slug.row().cause.split_inclusive(". ").next().unwrap_or_default().trim().to_owned(),
            (None, None, None) => "nothing went wrong".to_owned(),
        }
    }
}
