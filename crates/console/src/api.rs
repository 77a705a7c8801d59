//! The routes: read the request's fields, call the desk, show the result.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ipnet::{IpNet, Ipv4Net};
use outgate_store::amount::parse_duration;
use outgate_store::{
    AuditQuery, Exit, ExitId, Grouping, Key, KeyId, Labels, PlanName, Proof, SecretHash, UsageQuery, earlier, parse_label,
    parse_since, parse_until,
};
use serde_json::{Value, json};

use crate::desk::{Desk, DeskError};
use crate::exits::NewExit;
use crate::fields::{Fields, Named};
use crate::keys::NewKey;
use crate::plans::PlanPatch;
use crate::problem::Problem;
use crate::view;

/// How many items a page has when nobody says, and at most.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 1_000;

/// Whoever holds the admin token.
const ADMIN: &str = "admin";

type Answer = Result<Response, Problem>;
type AtDesk = State<Arc<Desk>>;

/// Every route. `token` is the hash of the admin token; `extra` brings routes of its own (a key's own API), which see to
/// their authentication themselves.
pub fn router(desk: Arc<Desk>, token: SecretHash, extra: Router) -> Router {
    Router::new()
        .route("/v1/plans", get(list_plans).post(create_plan))
        .route("/v1/plans/{name}", get(show_plan).patch(set_plan).delete(remove_plan))
        .route("/v1/keys", get(list_keys).post(create_key))
        .route("/v1/keys/{id}", get(show_key))
        .route("/v1/keys/{id}/rotate", post(rotate_key))
        .route("/v1/keys/{id}/suspend", post(suspend_key))
        .route("/v1/keys/{id}/resume", post(resume_key))
        .route("/v1/keys/{id}/revoke", post(revoke_key))
        .route("/v1/keys/{id}/block", post(block_key))
        .route("/v1/keys/{id}/unblock", post(unblock_key))
        .route("/v1/exits", get(list_exits).post(enroll_exit))
        .route("/v1/exits/{id}", get(show_exit))
        .route("/v1/exits/{id}/revoke", post(revoke_exit))
        .route("/v1/exits/{id}/drain", post(drain_exit))
        .route("/v1/exits/{id}/resume", post(resume_exit))
        .route("/v1/usage", get(usage))
        .route("/v1/audit", get(audit))
        .route_layer(from_fn_with_state(token, require_token))
        .with_state(desk)
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
        .merge(extra)
        .fallback(async |uri: Uri| Problem::no_such_route(uri.path()))
        .method_not_allowed_fallback(async |method: Method| Problem::method_not_allowed(method.as_str()))
        .layer(from_fn(private))
}

async fn require_token(State(token): State<SecretHash>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.as_bytes().split_at_checked(7));
    match given {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case(b"bearer ") && token.verify(given) => next.run(request).await,
        _ => Problem::unauthorized().into_response(),
    }
}

/// Answers may carry a secret that is shown once: nothing on the way keeps them.
async fn private(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Runs a change to its end even if the client hangs up: between the store and the running gateway nothing may get lost.
async fn whole<T: Send + 'static>(change: impl Future<Output = Result<T, DeskError>> + Send + 'static) -> Result<T, Problem> {
    match tokio::spawn(change).await {
        Ok(done) => Ok(done?),
        Err(error) => {
            tracing::error!(%error, "a change of the console ended early");
            Err(Problem::internal())
        }
    }
}

// Plans.

async fn list_plans(State(desk): AtDesk, uri: Uri) -> Answer {
    let mut fields = Fields::from_query(&uri)?;
    let (after, limit) = (fields.text::<PlanName>("after"), limit(&mut fields));
    let limit = fields.finish(Some(limit))?;
    let plans = desk.plans(after.as_ref(), limit + 1);
    Ok(paged(plans, limit, |(plan, keys)| view::plan(plan, *keys), |(plan, _)| json!(plan.name)))
}

async fn show_plan(State(desk): AtDesk, Named(name): Named<PlanName>) -> Answer {
    let plan = desk.plan(&name)?;
    Ok(Json(view::plan(&plan, desk.keys_on(&name))).into_response())
}

async fn create_plan(State(desk): AtDesk, mut fields: Fields) -> Answer {
    let name = fields.required::<PlanName>("name");
    let limits = plan_patch(&mut fields);
    let name = fields.finish(name)?;
    let location = format!("/v1/plans/{name}");
    let plan = whole(async move { desk.create_plan(ADMIN, name, limits).await }).await?;
    Ok(created(&location, view::plan(&plan, 0)))
}

async fn set_plan(State(desk): AtDesk, Named(name): Named<PlanName>, mut fields: Fields) -> Answer {
    let patch = plan_patch(&mut fields);
    let patch = fields.finish(Some(patch))?;
    let keys = desk.keys_on(&name);
    let plan = whole(async move { desk.set_plan(ADMIN, &name, patch).await }).await?;
    Ok(Json(view::plan(&plan, keys)).into_response())
}

async fn remove_plan(State(desk): AtDesk, Named(name): Named<PlanName>) -> Answer {
    whole(async move { desk.remove_plan(ADMIN, &name).await }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn plan_patch(fields: &mut Fields) -> PlanPatch {
    PlanPatch {
        bytes: fields.patch_size("bytes"),
        period: fields.patch_text("period"),
        rate: fields.patch_number("rate"),
        burst: fields.patch_number("burst"),
        threads: fields.patch_number("threads"),
        speed: fields.patch_size("speed"),
        pools: fields.patch_list("pools"),
        ports: fields.patch_list("ports"),
        countries: fields.patch_list("countries"),
    }
}

// Keys.

async fn list_keys(State(desk): AtDesk, uri: Uri) -> Answer {
    let mut fields = Fields::from_query(&uri)?;
    let (after, limit) = (fields.text::<KeyId>("after"), limit(&mut fields));
    let limit = fields.finish(Some(limit))?;
    let keys = desk.keys(after.as_ref(), limit + 1);
    Ok(paged(keys, limit, |key| key_view(&desk, key), |key| json!(key.id)))
}

async fn show_key(State(desk): AtDesk, Named(id): Named<KeyId>) -> Answer {
    Ok(shown_key(&desk, &desk.key(&id)?))
}

async fn create_key(State(desk): AtDesk, mut fields: Fields) -> Answer {
    let now = desk.now();
    let new = NewKey {
        id: fields.text("id"),
        plan: fields.text("plan"),
        allow_ips: fields.list_by("allow_ips", source),
        proof: fields.text_by("proof", proof).unwrap_or_default(),
        expires: fields.text_by("expires", |text| parse_until(text, now)),
    };
    let new = fields.finish(Some(new))?;
    let at = Arc::clone(&desk);
    let (key, secret) = whole(async move { at.create_key(ADMIN, new).await }).await?;
    let mut body = key_view(&desk, &key);
    body["secret"] = json!(secret.expose());
    Ok(created(&format!("/v1/keys/{}", key.id), body))
}

async fn rotate_key(State(desk): AtDesk, Named(id): Named<KeyId>, mut fields: Fields) -> Answer {
    let grace = fields.text_by("grace", parse_duration).unwrap_or(Duration::ZERO);
    let grace = fields.finish(Some(grace))?;
    let at = Arc::clone(&desk);
    let (key, secret) = whole(async move { at.rotate_key(ADMIN, &id, grace).await }).await?;
    let mut body = key_view(&desk, &key);
    body["secret"] = json!(secret.expose());
    Ok(Json(body).into_response())
}

async fn suspend_key(State(desk): AtDesk, Named(id): Named<KeyId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_key(&desk, &whole(async move { at.suspend_key(ADMIN, &id).await }).await?))
}

async fn resume_key(State(desk): AtDesk, Named(id): Named<KeyId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_key(&desk, &whole(async move { at.resume_key(ADMIN, &id).await }).await?))
}

async fn revoke_key(State(desk): AtDesk, Named(id): Named<KeyId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_key(&desk, &whole(async move { at.revoke_key(ADMIN, &id).await }).await?))
}

async fn block_key(State(desk): AtDesk, Named(id): Named<KeyId>, mut fields: Fields) -> Answer {
    let why = fields.text::<String>("why").unwrap_or_default();
    let why = fields.finish(Some(why))?;
    let at = Arc::clone(&desk);
    Ok(shown_key(&desk, &whole(async move { at.block_key(ADMIN, &id, &why).await }).await?))
}

async fn unblock_key(State(desk): AtDesk, Named(id): Named<KeyId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_key(&desk, &whole(async move { at.unblock_key(ADMIN, &id).await }).await?))
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

// Exits.

async fn list_exits(State(desk): AtDesk, uri: Uri) -> Answer {
    let mut fields = Fields::from_query(&uri)?;
    let (after, limit) = (fields.text::<ExitId>("after"), limit(&mut fields));
    let limit = fields.finish(Some(limit))?;
    let exits = desk.exits(after.as_ref(), limit + 1);
    Ok(paged(exits, limit, |(exit, online)| view::exit(exit, online.as_ref()), |(exit, _)| json!(exit.id)))
}

async fn show_exit(State(desk): AtDesk, Named(id): Named<ExitId>) -> Answer {
    Ok(shown_exit(&desk, &desk.exit(&id)?))
}

async fn enroll_exit(State(desk): AtDesk, mut fields: Fields) -> Answer {
    let new = NewExit {
        name: fields.text("name"),
        pool: fields.text("pool"),
        labels: Labels {
            country: fields.text("country"),
            state: fields.text_by("state", parse_label),
            city: fields.text_by("city", parse_label),
            asn: fields.number("asn"),
            carrier: fields.text("carrier"),
        },
    };
    let new = fields.finish(Some(new))?;
    let (exit, token) = whole(async move { desk.enroll_exit(ADMIN, new).await }).await?;
    let mut body = view::exit(&exit, None);
    body["token"] = json!(token.expose());
    Ok(created(&format!("/v1/exits/{}", exit.id), body))
}

async fn revoke_exit(State(desk): AtDesk, Named(id): Named<ExitId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_exit(&desk, &whole(async move { at.revoke_exit(ADMIN, &id).await }).await?))
}

async fn drain_exit(State(desk): AtDesk, Named(id): Named<ExitId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_exit(&desk, &whole(async move { at.drain_exit(ADMIN, &id).await }).await?))
}

async fn resume_exit(State(desk): AtDesk, Named(id): Named<ExitId>, fields: Fields) -> Answer {
    fields.finish(Some(()))?;
    let at = Arc::clone(&desk);
    Ok(shown_exit(&desk, &whole(async move { at.resume_exit(ADMIN, &id).await }).await?))
}

fn shown_exit(desk: &Desk, exit: &Exit) -> Response {
    let online = desk.exit_online(&exit.id);
    Json(view::exit(exit, online.as_ref())).into_response()
}

// Usage and audit.

async fn usage(State(desk): AtDesk, uri: Uri) -> Answer {
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

async fn audit(State(desk): AtDesk, uri: Uri) -> Answer {
    let mut fields = Fields::from_query(&uri)?;
    let query = AuditQuery { subject: fields.text("subject"), before: fields.text("after"), limit: limit(&mut fields) };
    let query = fields.finish(Some(query))?;
    let limit = query.limit;
    let rows = desk.audit(AuditQuery { limit: limit + 1, ..query }).await?;
    Ok(paged(rows, limit, view::audit, |row| json!(row.number.to_string())))
}

// Pages.

fn limit(fields: &mut Fields) -> usize {
    let parse = |text: &str| match text.parse() {
        Ok(limit @ 1..=LARGEST_PAGE) => Ok(limit),
        _ => Err(format!("must be a number from 1 to {LARGEST_PAGE}")),
    };
    fields.text_by("limit", parse).unwrap_or(PAGE)
}

/// `{"items": […], "next": …}`: `next`, when not null, is what `after` must be for the following page. One item more than
/// `limit` was asked for, to know whether there is one.
fn page_of<T>(mut rows: Vec<T>, limit: usize, show: impl Fn(&T) -> Value, name: impl Fn(&T) -> Value) -> Value {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(name);
    json!({ "items": rows.iter().map(show).collect::<Vec<_>>(), "next": next })
}

fn paged<T>(rows: Vec<T>, limit: usize, show: impl Fn(&T) -> Value, name: impl Fn(&T) -> Value) -> Response {
    Json(page_of(rows, limit, show, name)).into_response()
}

fn created(location: &str, body: Value) -> Response {
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
