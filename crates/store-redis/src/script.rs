//! The scripts, and under which digest a server knows them.

/// One for each kind of ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Script {
    Presence,
    Rate,
    Threads,
    Bytes,
    Session,
}

impl Script {
    pub(crate) const ALL: [Self; 5] = [Self::Presence, Self::Rate, Self::Threads, Self::Bytes, Self::Session];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Presence => include_str!("scripts/presence.lua"),
            Self::Rate => include_str!("scripts/rate.lua"),
            Self::Threads => include_str!("scripts/threads.lua"),
            Self::Bytes => include_str!("scripts/bytes.lua"),
            Self::Session => include_str!("scripts/session.lua"),
        }
    }
}

/// What a server said the digests of the scripts are.
#[derive(Clone, Debug)]
pub(crate) struct Digests(Vec<String>);

impl Digests {
    /// In the order of [`Script::ALL`].
    pub(crate) fn new(digests: Vec<String>) -> Option<Self> {
        (digests.len() == Script::ALL.len()).then_some(Self(digests))
    }

    pub(crate) fn of(&self, script: Script) -> &str {
        &self.0[script as usize]
    }
}
