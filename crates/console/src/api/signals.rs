//! `/v1/signals` and `/v1/incidents`: how the gateway is, and what was wrong with it.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::IntoResponse;
use outgate_signals::{Incident, IncidentId, Signal};
use outgate_store::parse_since;
use serde_json::{Value, json};

use super::pages::{Page, limit};
use super::{Answer, AtDesk};
use crate::desk::DeskError;
use crate::fields::Fields;
use crate::problem::Problem;

/// Longer than any incident's name.
const LONGEST: usize = 64;

/// There are few enough for one page: the bounds of the gateway, its pools, and the countries in which something happens.
pub(super) async fn list(State(desk): AtDesk, uri: Uri) -> Answer {
    Fields::from_query(&uri)?.finish(Some(()))?;
    let signals = desk.watch(|watch| watch.signals());
    let items: Vec<Value> = signals.iter().map(Signal::to_json).collect();
    Ok(Json(json!({ "items": items })).into_response())
}

pub(super) async fn incidents(State(desk): AtDesk, uri: Uri) -> Answer {
    let now = desk.now();
    let mut fields = Fields::from_query(&uri)?;
    let since = fields.text_by("since", |text| parse_since(text, now));
    let open = fields.text_by("open", |text| text.parse::<bool>().map_err(|_| "must be true or false"));
    let after = fields.text_by("after", |text| Ok::<_, String>(text.to_owned()));
    let most = limit(&mut fields);
    fields.finish(Some(()))?;
    let wanted = |incident: &&Incident| {
        open.is_none_or(|open| incident.is_open() == open)
            && since.is_none_or(|since| incident.closed.is_none_or(|closed| closed >= since))
    };
    let rows: Vec<Incident> = desk.watch(|watch| {
        let from = after.map_or(0, |after| watch.incidents().position(|i| i.id.0 == after).map_or(usize::MAX, |at| at + 1));
        watch.incidents().skip(from).filter(wanted).take(most + 1).cloned().collect()
    });
    Ok(Page::of(rows, most, Incident::to_json, |incident| incident.id.0.clone()).answer(&uri, json!({})))
}

pub(super) async fn incident(State(desk): AtDesk, path: Result<Path<String>, PathRejection>, uri: Uri) -> Answer {
    let Path(mut id) = path.map_err(|_| Problem::invalid("the path can't be read"))?;
    Fields::from_query(&uri)?.finish(Some(()))?;
    id = id.chars().take(LONGEST).collect();
    let found = desk.watch(|watch| watch.incident(&IncidentId(id.clone())).map(Incident::to_json));
    let incident = found.ok_or(DeskError::NotFound { what: "incident", id })?;
    Ok(Json(incident).into_response())
}
