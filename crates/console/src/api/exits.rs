//! `/v1/exits`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use outgate_store::{Exit, ExitId, Labels, parse_city, parse_label};
use serde_json::json;

use super::pages::{Page, created, limit};
use super::who::Who;
use super::{Answer, AtDesk, whole};
use crate::desk::Desk;
use crate::exits::{ExitPatch, NewExit};
use crate::fields::{Fields, Named};
use crate::view;

pub(super) async fn list(State(desk): AtDesk, uri: Uri) -> Answer {
    let mut fields = Fields::from_query(&uri)?;
    let (after, limit) = (fields.text::<ExitId>("after"), limit(&mut fields));
    let limit = fields.finish(Some(limit))?;
    let exits = desk.exits(after.as_ref(), limit + 1);
    let page = Page::of(exits, limit, |(exit, online)| view::exit(exit, online.as_ref()), |(exit, _)| exit.id.to_string());
    Ok(page.answer(&uri, json!({})))
}

pub(super) async fn show(State(desk): AtDesk, Named(id): Named<ExitId>) -> Answer {
    Ok(shown_exit(&desk, &desk.exit(&id)?))
}

pub(super) async fn enroll(State(desk): AtDesk, Who(who): Who, mut fields: Fields) -> Answer {
    let new = new_exit(&mut fields);
    let new = fields.finish(Some(new))?;
    let door = json!(desk.exit_door().map(|door| json!({ "address": door.address.to_string(), "tls": door.tls })));
    let (exit, token) = whole(async move { desk.enroll_exit(&who, new).await }).await?;
    let mut body = view::exit(&exit, None);
    body["token"] = json!(token.expose());
    body["door"] = door;
    Ok(created(&format!("/v1/exits/{}", exit.id), body))
}

pub(super) async fn set(State(desk): AtDesk, Who(who): Who, Named(id): Named<ExitId>, mut fields: Fields) -> Answer {
    let patch = exit_patch(&mut fields);
    let patch = fields.finish(Some(patch))?;
    let at = Arc::clone(&desk);
    Ok(shown_exit(&desk, &whole(async move { at.set_exit(&who, &id, patch).await }).await?))
}

pub(super) async fn revoke(State(desk): AtDesk, Who(who): Who, Named(id): Named<ExitId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_exit(&desk, &whole(async move { at.revoke_exit(&who, &id).await }).await?))
}

pub(super) async fn drain(State(desk): AtDesk, Who(who): Who, Named(id): Named<ExitId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_exit(&desk, &whole(async move { at.drain_exit(&who, &id).await }).await?))
}

pub(super) async fn resume(State(desk): AtDesk, Who(who): Who, Named(id): Named<ExitId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_exit(&desk, &whole(async move { at.resume_exit(&who, &id).await }).await?))
}

pub(super) async fn rotate(State(desk): AtDesk, Who(who): Who, Named(id): Named<ExitId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let exit = id.clone();
    let rotation = whole(async move { desk.rotate_exit(&who, &exit).await }).await?;
    let body = json!({
        "id": id,
        "before": rotation.before,
        "after": rotation.after,
        "changed": rotation.changed(),
        "took_ms": u64::try_from(rotation.took.as_millis()).unwrap_or(u64::MAX),
    });
    Ok(Json(body).into_response())
}

/// What a request says of an exit to be enrolled.
pub(crate) fn new_exit(fields: &mut Fields) -> NewExit {
    NewExit {
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
    }
}

/// What a request says of an exit's change.
pub(crate) fn exit_patch(fields: &mut Fields) -> ExitPatch {
    ExitPatch {
        name: fields.patch_text("name"),
        weight: fields.patch_number("weight"),
        max_tunnels: fields.patch_number("max_tunnels"),
    }
}

fn shown_exit(desk: &Desk, exit: &Exit) -> Response {
    let online = desk.exit_online(&exit.id);
    Json(view::exit(exit, online.as_ref())).into_response()
}
