//! What a key may ask with its own credentials beside what is about itself: where exits are, and another exit for a session.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use axum::response::IntoResponse;
use jiff::Timestamp;
use outgate_store::live::{Place, PoolPlaces, SessionAt};
use outgate_store::own::Purpose;
use outgate_store::{Country, Key, KeyId, Plan, SecretHash, later};
use serde_json::{Value, json};

use super::{Answer, bearer, check_token};
use crate::desk::Desk;
use crate::fields::Fields;
use crate::problem::Problem;

/// Between two rotations of a key by its owner: each is a change of the ledger with an entry in the audit trail.
const PAUSE: Duration = Duration::from_secs(60);

/// Where a request came from.
#[derive(Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What these routes need.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) desk: Arc<Desk>,
    token: SecretHash,
    /// When a key's owner rotated it last.
    rotated: Arc<Mutex<HashMap<KeyId, Timestamp>>>,
}

impl Own {
    pub(super) fn new(desk: Arc<Desk>, token: SecretHash) -> Self {
        Self { desk, token, rotated: Arc::default() }
    }

    /// The key whose credentials a request shows.
    pub(super) fn caller(&self, parts: &Parts, purpose: Purpose) -> Result<Key, Problem> {
        let source = source(parts.extensions.get());
        let id = self.desk.live.authenticate(authorization(&parts.headers), source, purpose)?;
        Ok(self.desk.key(&id)?)
    }

    /// Takes a key's turn to be rotated by its owner; another one comes after a pause.
    pub(super) fn take_turn(&self, key: &KeyId) -> Result<(), Problem> {
        let now = self.desk.now();
        let mut rotated = self.rotated.lock().unwrap_or_else(PoisonError::into_inner);
        rotated.retain(|_, at| now < later(*at, PAUSE));
        if let Some(at) = rotated.get(key) {
            let wait = later(*at, PAUSE).duration_since(now);
            let wait = Duration::try_from(wait).unwrap_or(PAUSE);
            return Err(Problem::too_often(wait, format!("a key's owner may rotate it once in {} s", PAUSE.as_secs())));
        }
        rotated.insert(key.clone(), now);
        Ok(())
    }
}

/// `GET /v1/locations`: what the caller's plan allows of it; the administrator sees all.
pub(super) async fn locations(State(own): State<Own>, peer: Option<Extension<Peer>>, headers: HeaderMap, uri: Uri) -> Answer {
    let Own { desk, token, .. } = own;
    let source = source(peer.as_deref());
    let plan = if bearer(&headers).is_some() {
        check_token(&desk, &headers, source, token)?;
        None
    } else {
        let key = desk.live.authenticate(authorization(&headers), source, Purpose::Use)?;
        Some(desk.plan(&desk.key(&key)?.plan)?)
    };
    Fields::from_query(&uri)?.finish(Some(()))?;
    let pools = desk.live.locations();
    let allowed = |of: &&PoolPlaces| plan.as_ref().is_none_or(|plan| plan.pools.is_empty() || plan.pools.contains(&of.pool));
    let shown: Vec<Value> = pools.iter().filter(allowed).map(|of| pool(of, plan.as_deref())).collect();
    Ok(Json(json!({ "pools": shown })).into_response())
}

/// `POST /v1/me/sessions/{session}/rotate`.
pub(super) async fn rotate(
    State(own): State<Own>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    session: Result<Path<String>, axum::extract::rejection::PathRejection>,
    uri: Uri,
) -> Answer {
    let source = source(peer.as_deref());
    // Before anything is said about the request, as everywhere.
    own.desk.live.authenticate(authorization(&headers), source, Purpose::Use)?;
    let Path(session) = session.map_err(|_| Problem::invalid("the path can't be read"))?;
    let mut fields = Fields::from_query(&uri)?;
    let (pool, country) = (fields.text("pool"), fields.text("country"));
    let at = SessionAt { session, pool, country, state: fields.text("state"), city: fields.text("city") };
    let at = fields.finish(Some(at))?;
    let rotated = own.desk.live.rotate_session(authorization(&headers), source, &at)?;
    if !rotated.found {
        let (session, key, place) = (&at.session, &rotated.key, &rotated.place);
        return Err(Problem::not_found(format!(
            "key {key} has no session {session} in {place}: a session is one of its pool and place, give those of its user name"
        )));
    }
    Ok(Json(json!({ "key": rotated.key, "session": at.session, "place": rotated.place, "rotated": true })).into_response())
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok())
}

/// Only a router that is served without a listener (in tests) has no peer.
pub(crate) fn source(peer: Option<&Peer>) -> IpAddr {
    peer.map_or(IpAddr::from([0, 0, 0, 0]), |Peer(address)| address.ip())
}

fn pool(of: &PoolPlaces, plan: Option<&Plan>) -> Value {
    let allowed = |place: &&Place| {
        let allowed = plan.map(|plan| &plan.countries).filter(|countries| !countries.is_empty());
        allowed.is_none_or(|countries| place.country.is_some_and(|country| countries.contains(&country)))
    };
    let mut countries: BTreeMap<Country, Vec<&Place>> = BTreeMap::new();
    let (mut exits, mut nowhere) = (0, 0);
    for place in of.places.iter().filter(allowed) {
        exits += place.exits;
        match place.country {
            Some(country) => countries.entry(country).or_default().push(place),
            None => nowhere += place.exits,
        }
    }
    let countries: Vec<Value> = countries.into_iter().map(|(country, places)| in_country(country, &places)).collect();
    json!({
        "pool": of.pool,
        "kind": of.kind,
        "targeting": of.targeting,
        "exits": exits,
        "elsewhere": nowhere,
        "countries": countries,
    })
}

fn in_country(country: Country, places: &[&Place]) -> Value {
    let mut states: BTreeMap<&str, u32> = BTreeMap::new();
    for place in places {
        if let Some(state) = &place.state {
            *states.entry(state).or_default() += place.exits;
        }
    }
    let state = |(label, exits): (&str, u32)| json!({ "state": label, "name": country.state_name(label), "exits": exits });
    let states = states.into_iter().map(state);
    let states: Vec<Value> = states.collect();
    let cities = places.iter().filter(|place| place.city.is_some());
    let cities = cities.map(|place| json!({ "city": place.city, "state": place.state, "exits": place.exits }));
    json!({
        "country": country,
        "name": country.name(),
        "exits": places.iter().map(|place| place.exits).sum::<u32>(),
        "states": states,
        "cities": cities.collect::<Vec<Value>>(),
    })
}
