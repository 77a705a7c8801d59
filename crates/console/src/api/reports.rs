//! `/v1/usage` and `/v1/audit`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::IntoResponse;
use outgate_store::{AuditQuery, Grouping, UsageQuery, earlier, parse_since};
use serde_json::json;

use super::pages::{limit, page_of, paged};
use super::{Answer, AtDesk};
use crate::fields::Fields;
use crate::view;

pub(super) async fn usage(State(desk): AtDesk, uri: Uri) -> Answer {
    let now = desk.now();
    let mut fields = Fields::from_query(&uri)?;
    let query = UsageQuery {
        key: fields.text("key"),
        since: fields
            .text_by("since", |text| parse_since(text, now))
            .unwrap_or_else(|| earlier(now, Duration::from_secs(86_400))),
        by: fields.text("by").unwrap_or(Grouping::Key),
        after: fields.text("after"),
        limit: limit(&mut fields),
    };
    let query = fields.finish(Some(query))?;
    let (since, by, limit) = (query.since, query.by, query.limit);
    let rows = desk.usage(UsageQuery { limit: limit + 1, ..query }).await?;
    let mut body = page_of(rows, limit, |row| view::usage(row, by), |row| json!(row.group));
    body["by"] = json!(by.name());
    body["since"] = json!(since.to_string());
    Ok(Json(body).into_response())
}

pub(super) async fn audit(State(desk): AtDesk, uri: Uri) -> Answer {
    let mut fields = Fields::from_query(&uri)?;
    let query = AuditQuery { subject: fields.text("subject"), before: fields.text("after"), limit: limit(&mut fields) };
    let query = fields.finish(Some(query))?;
    let limit = query.limit;
    let rows = desk.audit(AuditQuery { limit: limit + 1, ..query }).await?;
    Ok(paged(rows, limit, view::audit, |row| json!(row.number.to_string())))
}
