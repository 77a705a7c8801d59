//! `/v1/usage`, `/v1/audit` and `/v1/health`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::IntoResponse;
use jiff::Timestamp;
use outgate_store::{AuditQuery, Grouping, KeyId, UsageQuery, earlier, parse_since};
use serde_json::json;

use super::pages::{Page, limit};
use super::{Answer, AtDesk};
use crate::fields::Fields;
use crate::view;

/// How far a report goes back when nobody says.
const REACH: Duration = Duration::from_secs(86_400);

pub(super) async fn usage(State(desk): AtDesk, uri: Uri) -> Answer {
    let mut fields = Fields::from_query(&uri)?;
    let key = fields.text("key");
    let query = usage_query(&mut fields, key, Grouping::Key, desk.now());
    let query = fields.finish(Some(query))?;
    let (since, by, limit) = (query.since, query.by, query.limit);
    let rows = desk.usage(UsageQuery { limit: limit + 1, ..query }).await?;
    let page = Page::of(rows, limit, |row| view::usage(row, by), |row| row.group.clone());
    Ok(page.answer(&uri, json!({ "by": by.name(), "since": since.to_string() })))
}

/// What every question about usage may say.
pub(super) fn usage_query(fields: &mut Fields, key: Option<KeyId>, by: Grouping, now: Timestamp) -> UsageQuery {
    UsageQuery {
        key,
        since: fields.text_by("since", |text| parse_since(text, now)).unwrap_or_else(|| earlier(now, REACH)),
        by: fields.text("by").unwrap_or(by),
        after: fields.text("after"),
        limit: limit(fields),
    }
}

pub(super) async fn audit(State(desk): AtDesk, uri: Uri) -> Answer {
    let now = desk.now();
    let mut fields = Fields::from_query(&uri)?;
    let since = fields.text_by("since", |text| parse_since(text, now));
    let query = AuditQuery { subject: fields.text("subject"), before: fields.text("after"), limit: limit(&mut fields) };
    let query = fields.finish(Some(query))?;
    let limit = query.limit;
    let mut rows = desk.audit(AuditQuery { limit: limit + 1, ..query }).await?;
    // Newest first: from the first that is too old on, all are.
    if let Some(old) = rows.iter().position(|row| since.is_some_and(|since| row.entry.at < since)) {
        rows.truncate(old);
    }
    Ok(Page::of(rows, limit, view::audit, |row| row.number.to_string()).answer(&uri, json!({})))
}

pub(super) async fn health(State(desk): AtDesk, uri: Uri) -> Answer {
    Fields::from_query(&uri)?.finish(Some(()))?;
    Ok(Json(view::standing(&desk.standing())).into_response())
}
