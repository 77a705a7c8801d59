//! `[metrics]`: whether requests are counted, how they are shown, and who may see them from elsewhere.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use outgate_gateway::settings::Counting;
use outgate_meter::Countries;
use outgate_store::{Secret, SecretHash};
use outgate_telemetry::Telemetry;

use super::reader::Section;
use super::{boolean, infallible};

/// What the section says.
pub(crate) struct Metrics {
    /// Whether requests are counted at all.
    pub(crate) counting: Counting,
    /// How `/metrics` tells countries.
    pub(crate) countries: Countries,
    /// Opens `/metrics` to other machines, beside the admin token.
    pub(crate) token: Option<SecretHash>,
    /// Who exports it; that is not the file's to say.
    pub(crate) telemetry: Option<Arc<Telemetry>>,
}

/// The shortest token that is no guess.
const SHORTEST: usize = 16;

pub(super) fn metrics(mut section: Section) -> Metrics {
    let enabled = section.scalar("enabled", boolean).unwrap_or(true);
    let countries = section.scalar("countries", boolean).unwrap_or(true);
    let file = section.scalar("token_file", infallible).map(PathBuf::from);
    let token = file.and_then(|file| {
        section.names_file("token_file", &file);
        token(&file).map_err(|what| section.problem("token_file", what)).ok()
    });
    section.finish();
    Metrics {
        counting: if enabled { Counting::On } else { Counting::Off },
        countries: if countries { Countries::Apart } else { Countries::Together },
        token,
        telemetry: None,
    }
}

fn token(file: &Path) -> Result<SecretHash, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: can't be read: {e}", file.display()))?;
    let token = Secret::new(text.trim().to_owned());
    match token.expose().len() {
        SHORTEST.. => Ok(token.hash()),
        _ => Err(format!("{}: a token has at least {SHORTEST} characters, as openssl rand -hex 32 makes it", file.display())),
    }
}
