//! Chooses the way out: reads what the user name targets, against what its pool offers.

use std::time::Duration;

use outgate_egress::Host;
use outgate_faults::{Fault, raise};
use outgate_store::{Country, PoolKind, parse_label};

use crate::admit::Permit;
use crate::credentials::{Modifiers, unknown_modifier};
use crate::fleet::Wanted;
use crate::head::Target;
use crate::settings::SessionRules;

/// The name of the built-in target.
pub const ECHO_HOST: &str = "echo.outgate";

/// A way out.
#[derive(Debug)]
pub(crate) enum Route {
    /// From the gateway's own addresses.
    Direct,
    /// Through an exit that is like this.
    Exit(Wanted, Option<Session>),
}

/// The session that a request belongs to.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) name: String,
    /// From its first use.
    pub(crate) ttl: Duration,
}

/// Whether this is the built-in echo target, which the gateway answers itself.
pub(crate) fn is_echo(target: &Target) -> bool {
    matches!(&target.host, Host::Name(name) if name == ECHO_HOST) && matches!(target.port, 80 | 443)
}

/// The way out for a permit.
pub(crate) fn choose(permit: &Permit, sessions: &SessionRules) -> Result<Route, Fault> {
    let Modifiers { country, state, city, session, ttl, unknown, .. } = &permit.modifiers;
    if let Some(word) = unknown {
        return Err(unknown_modifier(word));
    }
    if permit.modifiers.targets() && !permit.pool.targeting {
        return Err(raise::targeting_unsupported(&permit.pool.name));
    }
    let country = match country {
        Some(text) => Some(Country::parse(text).map_err(|_| raise::country_invalid(text))?),
        None => None,
    };
    let state = match state {
        Some(text) => {
            Some(parse_label(text).map_err(|_| raise::state_invalid(text, country.map_or("any".into(), |c| c.to_string())))?)
        }
        None => None,
    };
    let city = match city.as_deref() {
        // Any city of the state.
        Some("ran") | None => None,
        Some(text) => Some(parse_label(&text.replace(['-', '_'], "")).map_err(|_| raise::city_invalid(text))?),
    };
    if let Some(text) = session
        && (text.is_empty() || text.len() > 64 || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'))
    {
        return Err(raise::session_invalid("a session is 1 to 64 letters, digits, - and _"));
    }
    let ttl = match ttl {
        Some(text) => {
            let minutes = text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
            let minutes = minutes.filter(|minutes| (sessions.ttl_min..=sessions.ttl_max).contains(minutes));
            let range = format_args!("{} to {} minutes", sessions.ttl_min, sessions.ttl_max);
            Duration::from_secs(60 * u64::from(minutes.ok_or_else(|| raise::ttl_invalid(text, range))?))
        }
        None => sessions.ttl,
    };
    if permit.pool.kind == PoolKind::Direct {
        return Ok(Route::Direct);
    }
    let countries = permit.account.plan.countries.clone();
    let session = session.clone().map(|name| Session { name, ttl });
    Ok(Route::Exit(Wanted { country, state, city, countries }, session))
}
