//! Chooses the way out: reads what the user name targets, against what its pool offers.

use std::time::Duration;

use outgate_egress::Host;
use outgate_faults::{Fault, raise};
use outgate_fleet::Stay;
use outgate_store::{Country, PoolKind, parse_city};

use crate::admit::Permit;
use crate::credentials::Modifiers;
use crate::fleet::Wanted;
use crate::head::Target;
use crate::offers::Offers;
use crate::settings::{PoolSettings, SessionRules};

/// The longest name of a session.
const SESSION_LENGTH: usize = 64;
/// The city that stands for any.
const ANY_CITY: &str = "ran";
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

impl Session {
    /// As the fleet asks for it.
    pub(crate) fn stay<'a>(&'a self, permit: &'a Permit, rules: &SessionRules) -> Stay<'a> {
        let ttl = u64::try_from(self.ttl.as_nanos()).unwrap_or(u64::MAX);
        Stay { key: permit.account.key.id.as_str(), session: &self.name, ttl, strict: rules.strict }
    }
}

/// Where the exit is to be, as a user name asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) country: Option<Country>,
    pub(crate) state: Option<String>,
    pub(crate) city: Option<String>,
}

/// Whether this is the built-in echo target, which the gateway answers itself.
pub(crate) fn is_echo(target: &Target) -> bool {
    matches!(&target.host, Host::Name(name) if name == ECHO_HOST) && matches!(target.port, 80 | 443)
}

/// The way out for a permit.
pub(crate) fn choose(permit: &Permit, sessions: &SessionRules, offers: &Offers, nanos: u64) -> Result<Route, Fault> {
    let modifiers = &permit.modifiers;
    modifiers.well_formed()?;
    let Place { country, state, city } = place(&permit.pool, modifiers, offers, nanos)?;
    if let Some(session) = &modifiers.session {
        check_session(session)?;
    }
    let ttl = modifiers.ttl.as_deref().map(|text| lifetime(text, sessions)).transpose()?.unwrap_or(sessions.ttl);
    if permit.pool.kind == PoolKind::Direct {
        return Ok(Route::Direct);
    }
    let countries = permit.account.plan.countries.clone();
    let session = modifiers.session.clone().map(|name| Session { name, ttl });
    Ok(Route::Exit(Wanted { country, state, city, countries }, session))
}

/// Reads country, state and city, each against the one before: a state is one of its country, a city is one that exits of the
/// pool offer there.
pub(crate) fn place(pool: &PoolSettings, modifiers: &Modifiers, offers: &Offers, nanos: u64) -> Result<Place, Fault> {
    if modifiers.targets() && !pool.targeting {
        return Err(raise::targeting_unsupported(&pool.name));
    }
    let country = modifiers.country.as_deref().map(country).transpose()?;
    let state = modifiers.state.as_deref().map(|text| state(text, country)).transpose()?;
    let city = match modifiers.city.as_deref() {
        Some(ANY_CITY) | None => None,
        Some(text) => Some(city(text, country, state.as_deref(), &pool.name, offers, nanos)?),
    };
    Ok(Place { country, state, city })
}

fn country(text: &str) -> Result<Country, Fault> {
    Country::parse(text).map_err(|_| {
        let meant = Country::meant_by(text).map(|country| country.to_string());
        raise::country_invalid(text, meant.unwrap_or_default())
    })
}

fn state(text: &str, country: Option<Country>) -> Result<String, Fault> {
    let Some(country) = country else {
        return Err(raise::state_invalid(text, "a country that is not named", format_args!("country-CC-state-{text}")));
    };
    if country.has_state(text) {
        return Ok(text.to_owned());
    }
    Err(raise::state_invalid(text, country, country.state_meant_by(text).unwrap_or_default()))
}

fn city(
    text: &str,
    country: Option<Country>,
    state: Option<&str>,
    pool: &outgate_store::PoolName,
    offers: &Offers,
    nanos: u64,
) -> Result<String, Fault> {
    let Some(country) = country else {
        return Err(raise::city_invalid(text, "a country that is not named", format_args!("country-CC-city-{text}")));
    };
    let place = || state.map_or_else(|| country.to_string(), |state| format!("{country}-{state}"));
    let label = parse_city(text).map_err(|_| raise::city_invalid(text, place(), ""))?;
    match offers.check(pool, country, state, &label, nanos) {
        Ok(()) => Ok(label),
        Err(meant) => Err(raise::city_invalid(text, place(), meant.unwrap_or_default())),
    }
}

/// Whether a text can be a session's name.
pub(crate) fn check_session(text: &str) -> Result<(), Fault> {
    if text.is_empty() {
        return Err(raise::session_invalid("it has no value"));
    }
    if text.len() > SESSION_LENGTH || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Err(raise::session_invalid("a session is 1 to 64 letters, digits, - and _"));
    }
    Ok(())
}

/// How long a session is to last.
fn lifetime(text: &str, rules: &SessionRules) -> Result<Duration, Fault> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let minutes = text.parse().ok().filter(|minutes| digits && (rules.ttl_min..=rules.ttl_max).contains(minutes));
    let range = format_args!("{} to {} minutes", rules.ttl_min, rules.ttl_max);
    minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes))).ok_or_else(|| raise::ttl_invalid(text, range))
}

#[cfg(test)]
mod tests {
    use outgate_store::{Labels, PoolName};

    use super::*;

    #[test]
    fn places_are_read_against_each_other_and_the_fleet() {
        let pool = PoolSettings { name: PoolName::parse("residential").unwrap(), kind: PoolKind::Residential, targeting: true };
        let offers = Offers::default();
        for (country, state, city) in [("us", "ca", "losangeles"), ("us", "ny", "newyork"), ("br", "sp", "saopaulo")] {
            let labels = Labels {
                country: Country::parse(country).ok(),
                state: Some(state.into()),
                city: Some(city.into()),
                ..Labels::default()
            };
            offers.arrived(&pool.name, &labels, 0);
        }
        let of = |text: &str| place(&pool, &Modifiers::parse(text), &offers, 0);
        let places = [
            ("", (None, None, None)),
            ("country-us", (Some("us"), None, None)),
            ("country-us-state-ca", (Some("us"), Some("ca"), None)),
            ("country-de-state-be", (Some("de"), Some("be"), None)),
            ("state-ca-country-us", (Some("us"), Some("ca"), None)),
            ("country-us-state-ca-city-losangeles", (Some("us"), Some("ca"), Some("losangeles"))),
            ("country-us-city-los-angeles", (Some("us"), None, Some("losangeles"))),
            ("country-us-city-Los Angeles", (Some("us"), None, Some("losangeles"))),
            ("country-us-city-NEW_YORK", (Some("us"), None, Some("newyork"))),
            ("country-br-city-São Paulo", (Some("br"), None, Some("saopaulo"))),
            ("country-us-state-ca-city-ran", (Some("us"), Some("ca"), None)),
            ("country-us-city-ran", (Some("us"), None, None)),
            ("city-ran", (None, None, None)),
        ];
        for (text, (country, state, city)) in places {
            let expected = Place {
                country: country.map(|code| Country::parse(code).unwrap()),
                state: state.map(str::to_owned),
                city: city.map(str::to_owned),
            };
            assert_eq!(of(text).map_err(|fault| fault.sentence()), Ok(expected), "{text:?}");
        }
        let code = "is not a country code (ISO 3166-1 alpha-2, such as us or de)";
        let faults = [
            ("country-zz", format!("'zz' {code}")),
            ("country-", format!("'' {code}")),
            ("country-US", format!("'US' {code}: did you mean \"us\"?")),
            ("country-uk", format!("'uk' {code}: did you mean \"gb\"?")),
            ("country-usa", format!("'usa' {code}: did you mean \"us\"?")),
            ("country-germany", format!("'germany' {code}: did you mean \"de\"?")),
            ("country-us-state-california", "'california' is not a subdivision of us (ISO 3166-2): did you mean \"ca\"?".into()),
            ("country-us-state-CA", "'CA' is not a subdivision of us (ISO 3166-2): did you mean \"ca\"?".into()),
            ("country-de-state-ca", "'ca' is not a subdivision of de (ISO 3166-2)".into()),
            ("country-us-state-", "'' is not a subdivision of us (ISO 3166-2)".into()),
            (
                "state-ca",
                "'ca' is not a subdivision of a country that is not named (ISO 3166-2): did you mean \"country-CC-state-ca\"?"
                    .into(),
            ),
            (
                "city-berlin",
                "no city 'berlin' is offered in a country that is not named (city-ran takes any): \
                 did you mean \"country-CC-city-berlin\"?"
                    .into(),
            ),
            ("country-us-city-berlin", "no city 'berlin' is offered in us (city-ran takes any)".into()),
            (
                "country-us-state-ca-city-losangels",
                "no city 'losangels' is offered in us-ca (city-ran takes any): did you mean \"losangeles\"?".into(),
            ),
            ("country-us-state-ca-city-newyork", "no city 'newyork' is offered in us-ca (city-ran takes any)".into()),
            ("country-us-city-", "no city '' is offered in us (city-ran takes any)".into()),
            ("country-us-city-東京", "no city '??' is offered in us (city-ran takes any)".into()),
        ];
        for (text, sentence) in faults {
            assert_eq!(of(text).map_err(|fault| fault.sentence()), Err(sentence), "{text:?}");
        }
        let closed = PoolSettings { targeting: false, ..pool.clone() };
        for text in ["country-us", "country-zz", "state-ca", "city-ran"] {
            let told = place(&closed, &Modifiers::parse(text), &offers, 0).map_err(|fault| fault.sentence());
            assert_eq!(told, Err("pool 'residential' does not accept targeting".into()), "{text:?}");
        }
    }

    #[test]
    fn sessions_and_their_minutes() {
        let longest = "a".repeat(64);
        for (text, good) in [("ab12", true), ("A-b_1", true), (&longest, true), ("", false), ("a.b", false), ("ä", false)] {
            assert_eq!(check_session(text).is_ok(), good, "{text:?}");
        }
        assert!(check_session(&"a".repeat(65)).is_err());
        let cases = [
            ("1", Some(1)),
            ("010", Some(10)),
            ("1440", Some(1440)),
            ("0", None),
            ("1441", None),
            ("+5", None),
            ("-5", None),
            ("5m", None),
            ("", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            let minutes = lifetime(text, &SessionRules::default()).ok().map(|ttl| ttl.as_secs() / 60);
            assert_eq!(minutes, expected, "{text:?}");
        }
    }
}
