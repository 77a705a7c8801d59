//! The routes: read the request's fields, call the desk, show the result.

pub(crate) mod exits;
mod idempotency;
pub(crate) mod keys;
mod me;
mod openapi;
pub(crate) mod own;
mod pages;
pub(crate) mod plans;
mod reports;
pub(crate) mod requests;
mod signals;
mod who;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use outgate_store::SecretHash;
use serde_json::json;

use crate::desk::{Desk, DeskError};
use crate::pages::trouble as pages_trouble;
use crate::problem::Problem;
use idempotency::{Answered, once};

type Answer = Result<Response, Problem>;
type AtDesk = State<Arc<Desk>>;

/// Every route. `token` is the hash of the admin token; `extra` brings routes of its own (a key's own API), which see to
/// their authentication themselves.
pub fn router(desk: Arc<Desk>, token: SecretHash, extra: Router) -> Router {
    let own = Router::new()
        .route("/v1/locations", get(own::locations))
        .route("/v1/me", get(me::show))
        .route("/v1/me/usage", get(me::usage))
        .route("/v1/me/limits", get(me::limits))
        .route("/v1/me/faults", get(me::faults))
        .route("/v1/me/sessions", get(me::sessions))
        .route("/v1/me/sessions/{session}/rotate", post(own::rotate))
        .route("/v1/me/secret", post(me::rotate))
        .with_state(own::Own::new(desk.clone(), token));
    let answered = Arc::new(Answered::new(desk.clock()));
    let lock = Lock { desk: desk.clone(), token };
    Router::new()
        .route("/v1/plans", get(plans::list).post(plans::create))
        .route("/v1/plans/{name}", get(plans::show).patch(plans::set).delete(plans::remove))
        .route("/v1/keys", get(keys::list).post(keys::create))
        .route("/v1/keys/{id}", get(keys::show).patch(keys::set))
        .route("/v1/keys/{id}/rotate", post(keys::rotate))
        .route("/v1/keys/{id}/suspend", post(keys::suspend))
        .route("/v1/keys/{id}/resume", post(keys::resume))
        .route("/v1/keys/{id}/revoke", post(keys::revoke))
        .route("/v1/keys/{id}/block", post(keys::block))
        .route("/v1/keys/{id}/unblock", post(keys::unblock))
        .route("/v1/exits", get(exits::list).post(exits::enroll))
        .route("/v1/exits/{id}", get(exits::show).patch(exits::set))
        .route("/v1/exits/{id}/revoke", post(exits::revoke))
        .route("/v1/exits/{id}/drain", post(exits::drain))
        .route("/v1/exits/{id}/resume", post(exits::resume))
        .route("/v1/exits/{id}/rotate", post(exits::rotate))
        .route("/v1/usage", get(reports::usage))
        .route("/v1/audit", get(reports::audit))
        .route("/v1/requests", get(requests::list))
        .route("/v1/requests/{id}", get(requests::show))
        .route("/v1/health", get(reports::health))
        .route("/v1/signals", get(signals::list))
        .route("/v1/incidents", get(signals::incidents))
        .route("/v1/incidents/{id}", get(signals::incident))
        .route_layer(from_fn_with_state(answered, once))
        .route_layer(from_fn_with_state(lock, require_token))
        .with_state(desk)
        .merge(own)
        .route("/v1/openapi.json", get(openapi::show))
        .route("/healthz", get(async || Json(json!({ "status": "ok" }))))
        .merge(extra)
        .fallback(nothing_there)
        .method_not_allowed_fallback(async |method: Method| Problem::method_not_allowed(method.as_str()))
        .layer(from_fn(private))
}

/// What the operator's routes are behind.
#[derive(Clone)]
struct Lock {
    desk: Arc<Desk>,
    token: SecretHash,
}

async fn require_token(State(lock): State<Lock>, request: Request, next: Next) -> Response {
    let source = own::source(request.extensions().get());
    match check_token(&lock.desk, request.headers(), source, lock.token) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Whether a request carries the admin token; guesses at it are slowed down like those at a key's secret.
fn check_token(desk: &Desk, headers: &HeaderMap, source: IpAddr, token: SecretHash) -> Result<(), Problem> {
    let given = bearer(headers).ok_or_else(Problem::unauthorized)?;
    let right = token.verify(given);
    desk.live.throttle_guess(source, right).map_err(Problem::throttled)?;
    if right { Ok(()) } else { Err(Problem::unauthorized()) }
}

/// The token that a request carries, right or wrong.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let given = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7);
    given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer ")).map(|(_, token)| token)
}

/// Says that there is nothing, to a program or to a person.
async fn nothing_there(headers: HeaderMap, uri: Uri) -> Response {
    let problem = Problem::no_such_route(uri.path());
    let reads_pages =
        headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    if reads_pages { pages_trouble(&problem) } else { problem.into_response() }
}

/// Answers may carry a secret that is shown once: nothing on the way keeps them, unless they say themselves that it may.
async fn private(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Runs a change to its end even if the client hangs up: between the store and the running gateway nothing may get lost.
pub(crate) async fn whole<T: Send + 'static>(
    change: impl Future<Output = Result<T, DeskError>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(change).await {
        Ok(done) => Ok(done?),
        Err(error) => {
            tracing::error!(%error, "a change of the console ended early");
            Err(Problem::internal())
        }
    }
}
