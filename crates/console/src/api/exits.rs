//! `/v1/exits`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use outgate_store::{Exit, ExitId, Labels, parse_city, parse_label};
use serde_json::json;

use super::pages::{created, limit, paged};
use super::{ADMIN, Answer, AtDesk, whole};
use crate::desk::Desk;
use crate::exits::NewExit;
use crate::fields::{Fields, Named};
use crate::view;

pub(super) async fn list(State(desk): AtDesk, uri: Uri) -> Answer {
    let mut fields = Fields::from_query(&uri)?;
    let (after, limit) = (fields.text::<ExitId>("after"), limit(&mut fields));
    let limit = fields.finish(Some(limit))?;
    let exits = desk.exits(after.as_ref(), limit + 1);
    Ok(paged(exits, limit, |(exit, online)| view::exit(exit, online.as_ref()), |(exit, _)| json!(exit.id)))
}

pub(super) async fn show(State(desk): AtDesk, Named(id): Named<ExitId>) -> Answer {
    Ok(shown_exit(&desk, &desk.exit(&id)?))
}

pub(super) async fn enroll(State(desk): AtDesk, mut fields: Fields) -> Answer {
    let new = NewExit {
        name: fields.text("name"),
        pool: fields.text("pool"),
        labels: Labels {
            country: fields.text("country"),
            state: fields.text_by("state", parse_label),
            city: fields.text_by("city", parse_city),
            asn: fields.number("asn"),
            carrier: fields.text("carrier"),
        },
        weight: fields.number("weight"),
        max_tunnels: fields.number("max_tunnels"),
    };
    let new = fields.finish(Some(new))?;
    let door = json!(desk.exit_door().map(|door| json!({ "address": door.address.to_string(), "tls": door.tls })));
    let (exit, token) = whole(async move { desk.enroll_exit(ADMIN, new).await }).await?;
    let mut body = view::exit(&exit, None);
    body["token"] = json!(token.expose());
    body["door"] = door;
    Ok(created(&format!("/v1/exits/{}", exit.id), body))
}

pub(super) async fn revoke(State(desk): AtDesk, Named(id): Named<ExitId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_exit(&desk, &whole(async move { at.revoke_exit(ADMIN, &id).await }).await?))
}

pub(super) async fn drain(State(desk): AtDesk, Named(id): Named<ExitId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_exit(&desk, &whole(async move { at.drain_exit(ADMIN, &id).await }).await?))
}

pub(super) async fn resume(State(desk): AtDesk, Named(id): Named<ExitId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_exit(&desk, &whole(async move { at.resume_exit(ADMIN, &id).await }).await?))
}

pub(super) async fn rotate(State(desk): AtDesk, Named(id): Named<ExitId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let exit = id.clone();
    let rotation = whole(async move { desk.rotate_exit(ADMIN, &exit).await }).await?;
    let body = json!({
        "id": id,
        "before": rotation.before,
        "after": rotation.after,
        "changed": rotation.changed(),
        "took_ms": u64::try_from(rotation.took.as_millis()).unwrap_or(u64::MAX),
    });
    Ok(Json(body).into_response())
}

fn shown_exit(desk: &Desk, exit: &Exit) -> Response {
    let online = desk.exit_online(&exit.id);
    Json(view::exit(exit, online.as_ref())).into_response()
}
