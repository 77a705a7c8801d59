//! The axes of a row: small closed vocabularies, independent of each other and always set.

use std::fmt;
use std::time::Duration;

/// An enum whose every value has one name and one line of meaning.
macro_rules! axis {
    ($(#[$doc:meta])* $axis:ident { $( $variant:ident $name:literal $meaning:literal, )* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $axis {
            $( #[doc = $meaning] $variant, )*
        }

        impl $axis {
            /// Every value, in order.
            pub const ALL: &'static [$axis] = &[$($axis::$variant),*];

            /// The word used in records, JSON and the documentation.
            pub fn name(self) -> &'static str {
                match self { $( $axis::$variant => $name, )* }
            }

            /// One line that says what the word means.
            pub fn meaning(self) -> &'static str {
                match self { $( $axis::$variant => $meaning, )* }
            }

            /// The value with this exact name.
            pub fn parse(name: &str) -> Option<$axis> {
                $axis::ALL.iter().copied().find(|value| value.name() == name)
            }
        }

        impl fmt::Display for $axis {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

axis! {
    /// The part of the way that owns a fault: where to look first.
    Layer {
        Client "client" "what the client sent to the proxy",
        Auth "auth" "who the client is",
        Policy "policy" "what the operator allows",
        Plan "plan" "what the key's plan contains",
        Targeting "targeting" "the modifiers in the user name",
        Gateway "gateway" "the gateway itself",
        Exit "exit" "the exit that carries the request out",
        Target "target" "the site, seen from the hop that connects to it",
        Transport "transport" "the way from the client to the proxy; no HTTP status ever arrived",
        Origin "origin" "the target's own answer, passed through unchanged",
    }
}

axis! {
    /// Whether and how a client may try again.
    Retry {
        Never "never" "deterministic: the same request fails again, and trying burns quota",
        Fix "fix" "a person or a configuration must change something first; at most one retry",
        Now "now" "once at once on a fresh connection and, if possible, another exit; then with backoff",
        Backoff "backoff" "wait for Retry-After if there is one, else exponentially with full jitter",
        Rotate "rotate" "take another exit or session, then retry",
        Abort "abort" "stop, and do not send anything more to this target",
    }
}

impl Retry {
    /// The longest wait between two attempts.
    pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

    /// How many attempts may follow the first one: three for transient faults, one after a fix, else none.
    pub fn limit(self) -> u8 {
        match self {
            Retry::Never | Retry::Abort => 0,
            Retry::Fix => 1,
            Retry::Now | Retry::Backoff | Retry::Rotate => 3,
        }
    }

    /// Whether the first retry may leave without a wait.
    pub fn at_once(self) -> bool {
        match self {
            Retry::Now | Retry::Rotate => true,
            Retry::Never | Retry::Fix | Retry::Backoff | Retry::Abort => false,
        }
    }
}

axis! {
    /// Whether waiting alone can end it.
    Lasting {
        Temporary "temporary" "it can pass by itself",
        Structural "structural" "it stays until somebody changes something",
    }
}

axis! {
    /// Who can end it.
    Fixer {
        User "user" "whoever wrote or configured the client",
        KeyOwner "key owner" "whoever holds the key and its plan",
        Operator "operator" "whoever runs the gateway",
        ExitOwner "exit owner" "whoever runs the exit",
        TargetOwner "target owner" "whoever runs the target",
        Nobody "nobody" "nobody has to: wait, or take another exit",
    }
}

axis! {
    /// Which end can see it.
    Seen {
        Gateway "gateway" "the gateway or an exit raises it",
        UserEnd "user's end" "only the relay, the library and the doctor can see it",
    }
}

/// Whether code raises the slug already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Raised {
    /// Some code raises it, and a provocation proves that.
    Yes,
    /// Its row is ready; the named part of the work will raise it.
    NotYet(&'static str),
}

/// The wait that an answer names in `Retry-After` when the fault itself brings none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// No wait is known, so none is named.
    Unknown,
    /// This many seconds.
    Seconds(u16),
    /// As many seconds as this fact says.
    Fact(&'static str),
}

/// A reply of RFC 1928 section 6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum SocksReply {
    /// 01: general SOCKS server failure.
    GeneralFailure = 1,
    /// 02: connection not allowed by ruleset.
    NotAllowed = 2,
    /// 03: network unreachable.
    NetworkUnreachable = 3,
    /// 04: host unreachable.
    HostUnreachable = 4,
    /// 05: connection refused.
    ConnectionRefused = 5,
    /// 07: command not supported.
    CommandNotSupported = 7,
}

impl SocksReply {
    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        self as u8
    }

    /// The words that RFC 1928 gives it, which is about what clients print.
    pub fn meaning(self) -> &'static str {
        match self {
            SocksReply::GeneralFailure => "general SOCKS server failure",
            SocksReply::NotAllowed => "connection not allowed by ruleset",
            SocksReply::NetworkUnreachable => "network unreachable",
            SocksReply::HostUnreachable => "host unreachable",
            SocksReply::ConnectionRefused => "connection refused",
            SocksReply::CommandNotSupported => "command not supported",
        }
    }
}
