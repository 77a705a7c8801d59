//! Why a measurement stopped, as one sentence for the person at the terminal.

use std::fmt::{self, Display};

/// A benchmark with a wrong answer in it is worth nothing, so there is one kind of failure and it ends the run.
#[derive(Debug)]
pub(crate) struct Failure(String);

pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// `result.during("reading the echo")`: names the step an error belongs to.
pub(crate) trait During<T> {
    fn during(self, step: impl Display) -> Outcome<T>;
}

impl<T, E: Display> During<T> for Result<T, E> {
    fn during(self, step: impl Display) -> Outcome<T> {
        self.map_err(|error| Failure(format!("{step}: {error}")))
    }
}
