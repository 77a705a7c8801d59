//! `/v1/me`: what a key's owner may ask about the key, with the key's own credentials.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use outgate_store::amount::parse_duration;
use outgate_store::own::Purpose;
use outgate_store::{Grouping, Key, UsageQuery};
use serde_json::json;

use super::own::Own;
use super::pages::{Page, limit};
use super::reports::usage_query;
use super::{Answer, whole};
use crate::fields::Fields;
use crate::problem::Problem;
use crate::view;

/// The owner of a key, who reads. Who it is comes before anything is said about the request.
pub(super) struct Reader(Key);

/// The owner of a key with its present secret.
pub(super) struct Owner(Key);

impl FromRequestParts<Own> for Reader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, own: &Own) -> Result<Self, Problem> {
        own.caller(parts, Purpose::Read).map(Self)
    }
}

impl FromRequestParts<Own> for Owner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, own: &Own) -> Result<Self, Problem> {
        own.caller(parts, Purpose::Rotate).map(Self)
    }
}

/// `GET /v1/me`.
pub(super) async fn show(State(own): State<Own>, Reader(key): Reader, uri: Uri) -> Answer {
    Fields::from_query(&uri)?.finish(Some(()))?;
    let plan = own.desk.plan(&key.plan)?;
    Ok(Json(view::me(&key, &plan, own.desk.now())).into_response())
}

/// `GET /v1/me/limits`.
pub(super) async fn limits(State(own): State<Own>, Reader(key): Reader, uri: Uri) -> Answer {
    Fields::from_query(&uri)?.finish(Some(()))?;
    let plan = own.desk.plan(&key.plan)?;
    Ok(Json(view::limits(&key, &plan, own.desk.key_usage(&key.id), own.desk.now())).into_response())
}

/// `GET /v1/me/usage`.
pub(super) async fn usage(State(own): State<Own>, Reader(key): Reader, uri: Uri) -> Answer {
    let desk = own.desk;
    let mut fields = Fields::from_query(&uri)?;
    let query = usage_query(&mut fields, Some(key.id.clone()), Grouping::Hour, desk.now());
    let query = fields.finish(Some(query))?;
    let (since, by, limit) = (query.since, query.by, query.limit);
    // As it was delivered: anybody with a key may ask, and must not set the pace of deliveries.
    let rows = desk.delivered_usage(UsageQuery { limit: limit + 1, ..query }).await?;
    let plan = desk.plan(&key.plan)?;
    let period = view::period(&key, &plan, desk.key_usage(&key.id), desk.now());
    let page = Page::of(rows, limit, |row| view::usage(row, by), |row| row.group.clone());
    Ok(page.answer(&uri, json!({ "by": by.name(), "since": since.to_string(), "period": period })))
}

/// `GET /v1/me/faults`.
pub(super) async fn faults(State(own): State<Own>, Reader(key): Reader, uri: Uri) -> Answer {
    let mut fields = Fields::from_query(&uri)?;
    let limit = limit(&mut fields);
    let limit = fields.finish(Some(limit))?;
    let faults: Vec<_> = own.desk.live.own_faults(&key.id).iter().take(limit).map(view::fault).collect();
    Ok(Json(json!({ "items": faults })).into_response())
}

/// `GET /v1/me/sessions`.
pub(super) async fn sessions(State(own): State<Own>, Reader(key): Reader, uri: Uri) -> Answer {
    Fields::from_query(&uri)?.finish(Some(()))?;
    let now = own.desk.now();
    let sessions: Vec<_> = own.desk.live.own_sessions(&key.id).iter().map(|session| view::session(session, now)).collect();
    Ok(Json(json!({ "items": sessions })).into_response())
}

/// `POST /v1/me/secret`.
pub(super) async fn rotate(State(own): State<Own>, Owner(key): Owner, mut fields: Fields) -> Answer {
    let grace = fields.text_by("grace", parse_duration).unwrap_or_default();
    let grace = fields.finish(Some(grace))?;
    own.take_turn(&key.id)?;
    let (desk, id) = (own.desk, key.id);
    let (key, secret) = whole(async move { desk.rotate_key(&format!("key {id}"), &id, grace).await }).await?;
    let until = key.old_secret.map(|old| old.until.to_string());
    Ok(Json(json!({ "id": key.id, "secret": secret.expose(), "old_secret_until": until })).into_response())
}
