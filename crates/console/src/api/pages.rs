//! Pages of a listing, and the answer to a creation.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::fields::Fields;

/// How many items a page has when nobody says, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

pub(super) fn limit(fields: &mut Fields) -> usize {
    let parse = |text: &str| match text.parse() {
        Ok(limit @ 1..=LARGEST_PAGE) => Ok(limit),
        _ => Err(format!("must be a number from 1 to {LARGEST_PAGE}")),
    };
    fields.text_by("limit", parse).unwrap_or(PAGE)
}

/// `{"items": […], "next": …}`: `next`, when not null, is what `after` must be for the following page. One item more than
/// `limit` was asked for, to know whether there is one.
pub(super) fn page_of<T>(mut rows: Vec<T>, limit: usize, show: impl Fn(&T) -> Value, name: impl Fn(&T) -> Value) -> Value {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(name);
    json!({ "items": rows.iter().map(show).collect::<Vec<_>>(), "next": next })
}

pub(super) fn paged<T>(rows: Vec<T>, limit: usize, show: impl Fn(&T) -> Value, name: impl Fn(&T) -> Value) -> Response {
    Json(page_of(rows, limit, show, name)).into_response()
}

pub(super) fn created(location: &str, body: Value) -> Response {
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
