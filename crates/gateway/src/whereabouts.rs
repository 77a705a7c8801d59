//! Where an exit is, of three witnesses: the operator who enrolled it, the geo databases, the exit itself.
//!
//! In this order. The operator is believed before a database, because he may know better (an address that moved, a tunnel
//! broker). A database is believed before the exit, because what is sold is the country and the exit may be a stranger's; so
//! where databases are in use, an exit on a public address can't choose its country, not even one that they don't know. An
//! address that is not public is in no database, and whoever has one is the operator's neighbour: its own word counts.

use std::net::IpAddr;

use outgate_link::Hello;
use outgate_store::{Country, Exit, Labels, PoolName, parse_city};

use crate::geo::Geo;

/// The pool of an exit and its labels, or why it can't be told.
pub(crate) fn whereabouts(exit: &Exit, hello: &Hello, geo: Option<&Geo>, peer: IpAddr) -> Result<(PoolName, Labels), String> {
    let pool = match (&exit.pool, &hello.pool) {
        (Some(pool), _) => pool.clone(),
        (None, Some(told)) => PoolName::parse(told).map_err(|e| e.to_string())?,
        (None, None) => PoolName::parse("residential").map_err(|e| e.to_string())?,
    };
    let mut own = own(hello)?;
    let located = geo.and_then(|geo| geo.locate(peer)).inspect(|found| {
        if own.country.is_some() && own.country != found.country {
            tracing::warn!(exit = %exit.id, %peer, says = ?own.country, database = ?found.country,
                "an exit's word on where it is does not stand against the geo database");
            (own.country, own.state, own.city) = (None, None, None);
        }
    });
    let labels = agreed(&[&exit.labels, &located.unwrap_or_default(), &own]);
    match (labels.country, &labels.state) {
        (Some(country), Some(state)) if !country.has_state(state) => {
            let meant = country.state_meant_by(state).map_or_else(String::new, |meant| format!(": did you mean {meant}?"));
            Err(format!("state {state} is not a subdivision of {country} (ISO 3166-2){meant}"))
        }
        _ => Ok((pool, labels)),
    }
}

fn own(hello: &Hello) -> Result<Labels, String> {
    let country = hello.country.as_deref().map(Country::parse).transpose().map_err(|e| e.to_string())?;
    let city = hello.city.as_deref().map(parse_city).transpose().map_err(|e| e.to_string())?;
    Ok(Labels { country, state: hello.state.clone(), city, asn: hello.asn, carrier: None })
}

/// Each label from the first witness that has it. A part of a place is only taken from one who agrees on the whole: the city
/// of a database that sees the exit in another state than the operator does would be in no state at all.
fn agreed(witnesses: &[&Labels]) -> Labels {
    let country = witnesses.iter().find_map(|witness| witness.country);
    let in_country =
        || witnesses.iter().filter(|witness| country.is_some() && witness.country.is_none_or(|c| Some(c) == country));
    let state = in_country().find_map(|witness| witness.state.clone());
    let in_state = || in_country().filter(|witness| witness.state.is_none() || witness.state == state);
    let city = in_state().find_map(|witness| witness.city.clone());
    let asn = witnesses.iter().find_map(|witness| witness.asn);
    let in_network = || witnesses.iter().filter(|witness| witness.asn.is_none() || witness.asn == asn);
    let carrier = in_network().find_map(|witness| witness.carrier.clone());
    Labels { country, state, city, asn, carrier }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `us-ca-losangeles`, any part of it empty.
    fn at(place: &str) -> Labels {
        let mut parts = place.split('-').map(|part| Some(part.to_owned()).filter(|part| !part.is_empty()));
        let mut part = || parts.next().flatten();
        Labels { country: part().and_then(|code| Country::parse(&code).ok()), state: part(), city: part(), ..Labels::default() }
    }

    #[test]
    fn the_first_witness_is_completed_by_those_who_agree() {
        let cases = [
            // operator, database, exit itself, agreed
            ("", "", "us-ca-losangeles", "us-ca-losangeles"),
            ("", "us-ca-losangeles", "us-ny-newyork", "us-ca-losangeles"),
            ("us", "us-ca-losangeles", "", "us-ca-losangeles"),
            ("us-ny", "us-ca-losangeles", "", "us-ny-"),
            ("us-ca", "us-ca-sanjose", "us-ca-losangeles", "us-ca-sanjose"),
            ("us-ca-fresno", "us-ca-sanjose", "", "us-ca-fresno"),
            ("de", "us-ca-losangeles", "", "de--"),
            ("de", "us-ca-losangeles", "de-be-berlin", "de-be-berlin"),
            ("", "us", "--losangeles", "us--losangeles"),
            ("", "", "-ca-losangeles", "--"),
            ("", "us-ca", "us--fresno", "us-ca-fresno"),
        ];
        for (operator, database, own, expected) in cases {
            let agreed = agreed(&[&at(operator), &at(database), &at(own)]);
            assert_eq!(agreed, at(expected), "{operator} | {database} | {own}");
        }
    }

    #[test]
    fn a_carrier_is_that_of_the_network() {
        let network = |asn, carrier: Option<&str>| Labels { asn, carrier: carrier.map(str::to_owned), ..Labels::default() };
        let operator = network(Some(1), None);
        let database = network(Some(2), Some("Two"));
        assert_eq!(agreed(&[&operator, &database]), network(Some(1), None));
        assert_eq!(agreed(&[&network(None, None), &database]), database);
        assert_eq!(agreed(&[&network(None, Some("Ours")), &database]), network(Some(2), Some("Ours")));
    }
}
