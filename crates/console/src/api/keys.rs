//! `/v1/keys`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use ipnet::{IpNet, Ipv4Net};
use jiff::Timestamp;
use outgate_store::amount::parse_duration;
use outgate_store::{Key, KeyId, Proof, parse_until};
use serde_json::{Value, json};

use super::pages::{Page, created, limit};
use super::who::Who;
use super::{Answer, AtDesk, whole};
use crate::desk::Desk;
use crate::fields::{Fields, Named};
use crate::keys::{KeyPatch, NewKey};
use crate::view;

pub(super) async fn list(State(desk): AtDesk, uri: Uri) -> Answer {
    let mut fields = Fields::from_query(&uri)?;
    let (after, limit) = (fields.text::<KeyId>("after"), limit(&mut fields));
    let limit = fields.finish(Some(limit))?;
    let keys = desk.keys(after.as_ref(), limit + 1);
    Ok(Page::of(keys, limit, |key| key_view(&desk, key), |key| key.id.to_string()).answer(&uri, json!({})))
}

pub(super) async fn show(State(desk): AtDesk, Named(id): Named<KeyId>) -> Answer {
    Ok(shown_key(&desk, &desk.key(&id)?))
}

pub(super) async fn create(State(desk): AtDesk, Who(who): Who, mut fields: Fields) -> Answer {
    let now = desk.now();
    let new = new_key(&mut fields, now);
    let new = fields.finish(Some(new))?;
    let at = Arc::clone(&desk);
    let (key, secret) = whole(async move { at.create_key(&who, new).await }).await?;
    let mut body = key_view(&desk, &key);
    body["secret"] = json!(secret.expose());
    Ok(created(&format!("/v1/keys/{}", key.id), body))
}

pub(super) async fn set(State(desk): AtDesk, Who(who): Who, Named(id): Named<KeyId>, mut fields: Fields) -> Answer {
    let now = desk.now();
    let patch = key_patch(&mut fields, now);
    let patch = fields.finish(Some(patch))?;
    let at = Arc::clone(&desk);
    Ok(shown_key(&desk, &whole(async move { at.set_key(&who, &id, patch).await }).await?))
}

pub(super) async fn rotate(State(desk): AtDesk, Who(who): Who, Named(id): Named<KeyId>, mut fields: Fields) -> Answer {
    let grace = fields.text_by("grace", parse_duration).unwrap_or(Duration::ZERO);
    let grace = fields.finish(Some(grace))?;
    let at = Arc::clone(&desk);
    let (key, secret) = whole(async move { at.rotate_key(&who, &id, grace).await }).await?;
    let mut body = key_view(&desk, &key);
    body["secret"] = json!(secret.expose());
    Ok(Json(body).into_response())
}

pub(super) async fn suspend(State(desk): AtDesk, Who(who): Who, Named(id): Named<KeyId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_key(&desk, &whole(async move { at.suspend_key(&who, &id).await }).await?))
}

pub(super) async fn resume(State(desk): AtDesk, Who(who): Who, Named(id): Named<KeyId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_key(&desk, &whole(async move { at.resume_key(&who, &id).await }).await?))
}

pub(super) async fn revoke(State(desk): AtDesk, Who(who): Who, Named(id): Named<KeyId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_key(&desk, &whole(async move { at.revoke_key(&who, &id).await }).await?))
}

pub(super) async fn block(State(desk): AtDesk, Who(who): Who, Named(id): Named<KeyId>, mut fields: Fields) -> Answer {
    let why = fields.text::<String>("why").unwrap_or_default();
    let why = fields.finish(Some(why))?;
    let at = Arc::clone(&desk);
    Ok(shown_key(&desk, &whole(async move { at.block_key(&who, &id, &why).await }).await?))
}

pub(super) async fn unblock(State(desk): AtDesk, Who(who): Who, Named(id): Named<KeyId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_key(&desk, &whole(async move { at.unblock_key(&who, &id).await }).await?))
}

/// What a request says of a new key.
pub(crate) fn new_key(fields: &mut Fields, now: Timestamp) -> NewKey {
    NewKey {
        id: fields.text("id"),
        plan: fields.text("plan"),
        allow_ips: fields.list_by("allow_ips", source),
        proof: fields.text_by("proof", proof).unwrap_or_default(),
        expires: fields.text_by("expires", |text| parse_until(text, now)),
    }
}

/// What a request says of a key's change.
pub(crate) fn key_patch(fields: &mut Fields, now: Timestamp) -> KeyPatch {
    KeyPatch {
        plan: fields.text("plan"),
        allow_ips: fields.patch_list_by("allow_ips", source),
        proof: fields.text_by("proof", proof),
        expires: fields.patch_by("expires", |text| parse_until(text, now)),
    }
}

fn shown_key(desk: &Desk, key: &Key) -> Response {
    Json(key_view(desk, key)).into_response()
}

fn key_view(desk: &Desk, key: &Key) -> Value {
    match desk.plan(&key.plan) {
        Ok(plan) => view::key(key, &plan, desk.key_usage(&key.id), desk.now()),
        // A plan with keys on it can't be removed; only a key that was removed in this very moment gets here.
        Err(_) => json!({ "id": key.id, "plan": key.plan, "state": key.state.name() }),
    }
}

/// A network, or an address for itself. What is written as IPv4-mapped means the IPv4 addresses.
fn source(text: &str) -> Result<IpNet, String> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let net = net.map_err(|_| {
        format!("{:?} is not an address or network, such as 192.0.2.7 or 192.0.2.0/24", text.chars().take(60).collect::<String>())
    })?;
    let mapped = match (net.network().to_canonical(), net.prefix_len().checked_sub(96)) {
        (IpAddr::V4(address), Some(prefix)) if net.network().is_ipv6() => Ipv4Net::new(address, prefix).ok(),
        _ => None,
    };
    Ok(mapped.map_or(net, IpNet::V4).trunc())
}

fn proof(text: &str) -> Result<Proof, &'static str> {
    match text {
        "secret" => Ok(Proof::Secret),
        "source" => Ok(Proof::Source),
        _ => Err("must be secret or source"),
    }
}
