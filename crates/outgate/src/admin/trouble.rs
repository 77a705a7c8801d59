//! What went wrong, and what to do next.

use std::io;
use std::process::ExitCode;

use super::output::{Colour, Paint};

/// Why a command didn't do it.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It failed: the message, and what to do next.
    Failed(String, Option<String>),
    /// It can't be meant like that.
    Usage(String, Option<String>),
    /// Nobody listens to the output any more.
    Deaf,
}

impl Trouble {
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into(), None)
    }

    pub(super) fn next(self, next: impl Into<String>) -> Self {
        match self {
            Self::Failed(message, _) => Self::Failed(message, Some(next.into())),
            Self::Usage(message, _) => Self::Usage(message, Some(next.into())),
            Self::Deaf => Self::Deaf,
        }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into(), None)
    }

    /// For stderr.
    pub(super) fn told(&self, colour: Colour) -> String {
        let (message, next) = match self {
            Self::Failed(message, next) | Self::Usage(message, next) => (message, next),
            Self::Deaf => return String::new(),
        };
        let mut text = format!("{}: {message}\n", colour.paint(Paint::Bad, "error"));
        if let Some(next) = next {
            for line in next.lines() {
                text.push_str(&format!("  {line}\n"));
            }
        }
        text
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(..) => ExitCode::from(1),
            Self::Usage(..) => ExitCode::from(2),
            Self::Deaf => ExitCode::SUCCESS,
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Deaf,
            _ => Self::failed(format!("the output can't be written: {error}")),
        }
    }
}
