//! The pages: rendered here, without anything from elsewhere, and whole without JavaScript.
//!
//! - [`status_router`]: what anybody may see, also on a listener of its own
//! - `sign_in`, `door`, `logins`: who may see the rest: cookies, log-ins, forms that are ours, headers
//! - `overview`, `requests`, `faults`, `keys` with `key_forms`, `plans`, `exits`, `incidents`, `audit`: the operator's
//! - `me`: a key owner's
//! - `frame`, `parts`, `chart`, `form`, `range`, `words`, `assets`: what pages are made of
//!
//! A page is a function from what the desk and the watch say to HTML. What is marked `data-live` in it is fetched anew by
//! `assets/live.js`, from the page's own address: there is no second way to ask for the same. Changes are forms whose handlers
//! read the same fields as the API's and call the same desk.
//!
//! To add a page: 1. a handler with `door::Operator` (or `Owner`) among its arguments; 2. its route here, and a tab in `frame`
//! if it is a place to go to; 3. a visit to it in `tests/pages/run.mjs`, which also looks for what a screen reader would trip over.

mod assets;
mod audit;
mod chart;
mod door;
mod exits;
mod faults;
mod form;
mod frame;
mod incidents;
mod key_forms;
mod keys;
mod logins;
mod me;
mod near;
mod overview;
mod parts;
mod plans;
mod range;
mod requests;
mod sign_in;
mod status;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::http::Uri;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use outgate_store::SecretHash;

use crate::desk::Desk;
use crate::problem::Problem;
use crate::sight::Sight;

pub(crate) use frame::trouble;

/// What every page has at hand.
#[derive(Clone)]
pub(crate) struct Pages {
    desk: Arc<Desk>,
    sight: Arc<Sight>,
    token: SecretHash,
    logins: Arc<logins::Logins>,
    near: Arc<near::Near>,
    /// Whether a log-in is offered here.
    signs_in: bool,
}

impl Pages {
    fn new(desk: Arc<Desk>, sight: Arc<Sight>, token: SecretHash, signs_in: bool) -> Self {
        Self { desk, sight, token, logins: Arc::default(), near: Arc::default(), signs_in }
    }
}

/// Every page. `token` is the hash of the admin token.
pub fn router(desk: Arc<Desk>, sight: Arc<Sight>, token: SecretHash) -> Router {
    let pages = Pages::new(desk, sight, token, true);
    let signed = Router::new()
        .route("/", get(sign_in::home))
        .route("/login", get(sign_in::form).post(sign_in::sign_in))
        .route("/logout", post(sign_in::sign_out))
        .route("/overview", get(overview::show))
        .route("/requests", get(requests::search))
        .route("/requests/{id}", get(requests::report))
        .route("/faults", get(faults::list))
        .route("/faults/{slug}", get(faults::show))
        .route("/keys", get(keys::list).post(key_forms::create))
        .route("/new/key", get(key_forms::new))
        .route("/keys/{id}", get(keys::show))
        .route("/keys/{id}/{action}", post(key_forms::act))
        .route("/plans", get(plans::list).post(plans::create))
        .route("/new/plan", get(plans::new))
        .route("/plans/{name}", get(plans::show))
        .route("/plans/{name}/{action}", post(plans::act))
        .route("/exits", get(exits::list).post(exits::enroll))
        .route("/new/exit", get(exits::new))
        .route("/exits/{id}", get(exits::show))
        .route("/exits/{id}/{action}", post(exits::act))
        .route("/incidents", get(incidents::list))
        .route("/audit", get(audit::list))
        .route("/me", get(me::show))
        .route("/me/logout", post(sign_in::owner_out))
        .route("/me/secret", post(me::rotate))
        .route("/me/requests/{id}", get(me::report));
    signed.merge(open()).layer(from_fn(door::guard)).with_state(pages)
}

/// The status page alone, for a listener that anybody may reach.
pub fn status_router(desk: Arc<Desk>, sight: Arc<Sight>) -> Router {
    // No token has this hash, and no route here asks for one.
    let pages = Pages::new(desk, sight, SecretHash::from_bytes([0; 32]), false);
    let home = Router::new().route("/", get(async || door::go("/status")));
    let routes = home.merge(open()).fallback(async |uri: Uri| frame::trouble(&Problem::no_such_route(uri.path())));
    routes.layer(from_fn(door::guard)).with_state(pages)
}

/// What anybody may see.
fn open() -> Router<Pages> {
    Router::new()
        .route("/status", get(status::show))
        .route("/status.json", get(status::json))
        .route("/assets/style.css", get(assets::style))
        .route("/assets/live.js", get(assets::script))
        .route("/assets/icon.svg", get(assets::icon))
}
