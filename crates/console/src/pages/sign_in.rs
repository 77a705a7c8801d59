//! Signing in, as the operator or as a key's owner, and signing out.

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use outgate_store::own::Purpose;
use outgate_store::{KeyId, Secret, SecretHash};

use super::Pages;
use super::door::{Operator, Owner, Sent, Signed, Stranger, go, own_page};
use super::form::{Form, TOKEN};
use super::frame::{Page, trouble};
use super::logins::Visitor;
use crate::problem::Problem;

/// Names in the audit trail are read by people in a list.
const LONGEST_NAME: usize = 60;

/// What the log-in form shows beside its fields.
#[derive(Default)]
struct Asked<'a> {
    to: Option<&'a str>,
    name: &'a str,
    key: &'a str,
    wrong: Option<Wrong>,
}

/// Which of the two forms was refused, and why.
enum Wrong {
    Operator(String),
    Owner(String),
}

/// `GET /`: to where the visitor belongs.
pub(super) async fn home(State(pages): State<Pages>, request: axum::extract::Request) -> Response {
    let (parts, _) = request.into_parts();
    match Signed::of(&parts, &pages).map(|signed| signed.visitor) {
        Some(Visitor::Operator { .. }) => go("/overview"),
        Some(Visitor::Owner { .. }) => go("/me"),
        None => go("/login"),
    }
}

/// `GET /login`.
pub(super) async fn form(State(pages): State<Pages>, stranger: Stranger, query: Query<Vec<(String, String)>>) -> Response {
    let to = query.iter().find(|(name, _)| name == "to").and_then(|(_, to)| own_page(to));
    page(&pages, &stranger, StatusCode::OK, &Asked { to, ..Asked::default() })
}

/// `POST /login`.
pub(super) async fn sign_in(State(pages): State<Pages>, stranger: Stranger, body: Body) -> Response {
    let form = match stranger.form(body).await {
        Ok(form) => form,
        Err(response) => return response,
    };
    let visitor = if form.text("as") == "owner" { owner(&pages, &stranger, &form) } else { operator(&pages, &stranger, &form) };
    let to = own_page(form.text("to"));
    match visitor {
        Ok(visitor) => {
            let home = match visitor {
                Visitor::Operator { .. } => to.unwrap_or("/overview"),
                // An owner has one page; where somebody else wanted to go is none of theirs.
                Visitor::Owner { .. } => "/me",
            };
            // What was signed in on this browser before ends.
            stranger.sign_out(&pages);
            match pages.logins.begin(visitor, &pages.desk.random, pages.desk.now()) {
                Ok(cookie) => (AppendHeaders([stranger.signed_in(&cookie)]), go(home)).into_response(),
                Err(_) => trouble(&Problem::internal()),
            }
        }
        Err((status, wrong)) => {
            let asked = Asked { to, name: form.text("name"), key: form.text("key"), wrong: Some(wrong) };
            page(&pages, &stranger, status, &asked)
        }
    }
}

/// `POST /logout`, for the operator.
pub(super) async fn sign_out(State(pages): State<Pages>, stranger: Stranger, _sent: Sent<Operator>) -> Response {
    (AppendHeaders([stranger.sign_out(&pages)]), go("/login")).into_response()
}

/// `POST /me/logout`.
pub(super) async fn owner_out(State(pages): State<Pages>, stranger: Stranger, _sent: Sent<Owner>) -> Response {
    (AppendHeaders([stranger.sign_out(&pages)]), go("/login")).into_response()
}

fn operator(pages: &Pages, stranger: &Stranger, form: &Form) -> Result<Visitor, (StatusCode, Wrong)> {
    let right = pages.token.verify(form.exact("token").trim().as_bytes());
    let refused = |status, why: &str| Err((status, Wrong::Operator(why.to_owned())));
    if let Err(wait) = pages.desk.live.throttle_guess(stranger.source, right) {
        let why = format!("Too many wrong tokens came from your address. Wait {} s.", wait.as_secs() + 1);
        return refused(StatusCode::TOO_MANY_REQUESTS, &why);
    }
    if !right {
        let why = "This is not the admin token. It stands in console.json in the gateway's data folder.";
        return refused(StatusCode::FORBIDDEN, why);
    }
    let name = form.text("name");
    if name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        return refused(StatusCode::BAD_REQUEST, &format!("A name has at most {LONGEST_NAME} characters."));
    }
    Ok(Visitor::Operator { name: (!name.is_empty()).then(|| name.to_owned()) })
}

/// A key's owner proves to be it as at the proxy, by the same code and with the same throttle.
fn owner(pages: &Pages, stranger: &Stranger, form: &Form) -> Result<Visitor, (StatusCode, Wrong)> {
    let refused = |status, why: String| (status, Wrong::Owner(why));
    let (key, secret) = (form.text("key"), form.exact("secret").trim());
    let id = pages.desk.live.authenticate(Some(basic(key, secret).expose()), stranger.source, Purpose::Read);
    let id = id.map_err(|denied| {
        let throttled = matches!(denied.why, outgate_store::live::DeniedWhy::Throttled(_));
        let status = if throttled { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::FORBIDDEN };
        refused(status, format!("Refused ({}): {}.", denied.slug, denied.sentence))
    })?;
    let shown = SecretHash::of(secret.as_bytes());
    // An address may prove a key at the proxy. A cookie outlives the visit from that address, so it takes the secret here.
    let found = pages.desk.key(&id).ok().filter(|key| key.verify(secret.as_bytes(), pages.desk.now()));
    match found {
        Some(key) => Ok(Visitor::Owner { key: key.id, shown }),
        None => Err(refused(StatusCode::FORBIDDEN, "Refused (credentials_wrong): sign in with the key's secret.".to_owned())),
    }
}

/// Credentials as HTTP Basic has them (RFC 7617).
pub(super) fn basic(key: &str, secret: &str) -> Secret<String> {
    Secret::new(format!("Basic {}", STANDARD.encode(format!("{key}:{secret}"))))
}

/// The same for a key that is known by its id.
pub(super) fn basic_of(key: &KeyId, secret: &str) -> Secret<String> {
    basic(key.as_str(), secret)
}

fn page(pages: &Pages, stranger: &Stranger, status: StatusCode, asked: &Asked<'_>) -> Response {
    let token = match stranger.token(pages) {
        Ok(token) => token,
        Err(problem) => return trouble(&problem),
    };
    let headers = AppendHeaders([stranger.form_cookie(&token)]);
    let body = html! {
        h1 { "Sign in" }
        div.two {
            section.panel aria-labelledby="as-operator" {
                h2 #as-operator { "Operator" }
                p.dim { "See and change everything this gateway does." }
                form method="post" action="/login" {
                    (hidden(&token, "operator", asked.to))
                    @if let Some(Wrong::Operator(why)) = &asked.wrong { (refusal("operator-wrong", why)) }
                    label for="token" { "Admin token" }
                    input #token name="token" type="password" required autocomplete="current-password"
                        aria-describedby=[matches!(asked.wrong, Some(Wrong::Operator(_))).then_some("operator-wrong")];
                    label for="name" { "Your name " span.dim { "for the audit trail, optional" } }
                    input #name name="name" autocomplete="name" maxlength=(LONGEST_NAME) value=(asked.name);
                    button.primary type="submit" { "Sign in as operator" }
                }
            }
            section.panel aria-labelledby="as-owner" {
                h2 #as-owner { "Owner of a key" }
                p.dim { "Usage, limits and the last faults of one key." }
                form method="post" action="/login" {
                    (hidden(&token, "owner", None))
                    @if let Some(Wrong::Owner(why)) = &asked.wrong { (refusal("owner-wrong", why)) }
                    label for="key" { "Key id" }
                    input #key name="key" required autocomplete="username" autocapitalize="none" spellcheck="false" value=(asked.key)
                        aria-describedby=[matches!(asked.wrong, Some(Wrong::Owner(_))).then_some("owner-wrong")];
                    label for="secret" { "Secret" }
                    input #secret name="secret" type="password" required autocomplete="current-password";
                    button.primary type="submit" { "Sign in as owner" }
                }
            }
        }
        p.dim { "Looking for the state of the service? It is on the " a href="/status" { "status page" } "." }
    };
    let response = Page::open(pages, "Sign in").show(body);
    (status, headers, [(header::VARY, "Cookie")], response).into_response()
}

fn hidden(token: &Secret<String>, whose: &str, to: Option<&str>) -> Markup {
    html! {
        input type="hidden" name=(TOKEN) value=(token.expose());
        input type="hidden" name="as" value=(whose);
        @if let Some(to) = to { input type="hidden" name="to" value=(to); }
    }
}

fn refusal(id: &str, why: &str) -> Markup {
    html! { p #(id) .refusal role="alert" { (why) } }
}
