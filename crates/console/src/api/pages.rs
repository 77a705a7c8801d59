//! Pages of a listing, and the answer to a creation.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, Uri, header};
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

/// One page of a listing.
pub(super) struct Page {
    items: Vec<Value>,
    next: Option<String>,
}

impl Page {
    /// The first `limit` of the rows: one more than that was asked for, to know whether more follow. `name` is what `after` must
    /// be for the page that follows a row.
    pub(super) fn of<T>(mut rows: Vec<T>, limit: usize, show: impl Fn(&T) -> Value, name: impl Fn(&T) -> String) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(name);
        Self { items: rows.iter().map(show).collect(), next }
    }

    /// `{"items": […], "next": …}`, more fields beside them, and the following page's address in `Link` (RFC 8288).
    pub(super) fn answer(self, uri: &Uri, beside: Value) -> Response {
        let mut body = beside;
        body["items"] = Value::Array(self.items);
        body["next"] = json!(self.next);
        let mut response = Json(body).into_response();
        let link = self.next.and_then(|next| HeaderValue::try_from(format!("<{}>; rel=\"next\"", following(uri, &next))).ok());
        if let Some(link) = link {
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}

/// The same question, from `after` on. What follows a page is a name, a number or an hour: nothing in them needs an escape.
fn following(uri: &Uri, after: &str) -> String {
    let kept = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("after="));
    let mut query: Vec<&str> = kept.collect();
    let after = format!("after={after}");
    query.push(&after);
    format!("{}?{}", uri.path(), query.join("&"))
}

pub(super) fn created(location: &str, body: Value) -> Response {
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_following_page_is_the_same_question() {
        let cases = [
            ("/v1/keys", "/v1/keys?after=b"),
            ("/v1/keys?", "/v1/keys?after=b"),
            ("/v1/keys?limit=2", "/v1/keys?limit=2&after=b"),
            ("/v1/keys?after=a&limit=2", "/v1/keys?limit=2&after=b"),
        ];
        for (asked, expected) in cases {
            assert_eq!(following(&asked.parse().expect("a URI"), "b"), expected, "{asked}");
        }
    }
}
