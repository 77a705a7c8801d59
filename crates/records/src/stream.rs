//! The two streams of records, which lie in files of their own.

use outgate_faults::Layer;

/// Where a record belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stream {
    /// Requests.
    Access,
    /// Requests whose authentication failed: they fill up when somebody guesses, and matter to other people.
    Auth,
}

impl Stream {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Access, Self::Auth];

    /// What its files' names begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Auth => "auth",
        }
    }

    /// The stream of a request that a fault of this layer ended, or none.
    pub fn of(layer: Option<Layer>) -> Self {
        match layer {
            Some(Layer::Auth) => Self::Auth,
            _ => Self::Access,
        }
    }
}
