//! Who asks: the holder of the admin token, with the name it claims. For the audit trail.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::problem::Problem;

/// The field that claims a name. Nobody checks it: whoever holds the token could as well have claimed another.
const CLAIM: &str = "x-outgate-who";

/// Names are read by people in a list.
const LONGEST: usize = 100;

/// `admin`, or `admin (alice@laptop)` where a name is claimed.
pub(super) struct Who(pub(super) String);

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(claim) = parts.headers.get(CLAIM) else { return Ok(Self("admin".to_owned())) };
        let name = std::str::from_utf8(claim.as_bytes()).map(str::trim).unwrap_or_default();
        if name.is_empty() || name.chars().count() > LONGEST || name.chars().any(char::is_control) {
            return Err(Problem::invalid(format!("X-Outgate-Who must be one line of 1 to {LONGEST} characters")));
        }
        Ok(Self(format!("admin ({name})")))
    }
}
