//! The page of a key's owner: usage, limits, the last faults with their explanations, sessions, a new secret.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};
use outgate_store::amount::parse_duration;
use outgate_store::own::{OwnSession, Purpose};
use outgate_store::{Key, KeyState, later};

use super::Pages;
use super::door::{Owner, Sent, Signed, Stranger, go};
use super::frame::{LIVE, Page, Shown, mark};
use super::logins::Note;
use super::parts::{Field, Wrong, table, time};
use super::sign_in::basic_of;
use super::{faults, key_forms, keys, requests};
use crate::api::whole;
use crate::problem::Problem;

/// Requests in flight that the page lists.
const IN_FLIGHT: usize = 20;

/// `GET /me`.
pub(super) async fn show(State(pages): State<Pages>, Owner(signed, key): Owner) -> Shown {
    let now = pages.desk.now();
    let plan = pages.desk.plan(&key.plan)?;
    let used = pages.desk.key_usage(&key.id);
    let in_flight = pages.desk.live.requests_in_flight(Some(key.id.clone()), IN_FLIGHT).await;
    let faults = pages.desk.live.own_faults(&key.id);
    let sessions = pages.desk.live.own_sessions(&key.id);
    let hours = keys::traffic_of(&pages, &key.id, now).await;
    let body = html! {
        div.title {
            h1 { "Key " span.mono { (key.id) } }
            span #state data-live { (keys::state(&key, now)) }
        }
        (standing(&key, now))
        div #now data-live { (keys::facts(&key, &plan, used, now)) }
        section aria-labelledby="last-faults" {
            h2 #last-faults { "Last faults" }
            div #faults data-live { (faults::own(&faults, now, faults::Reader::Owner)) }
        }
        section aria-labelledby="in-flight" {
            h2 #in-flight { "In flight" }
            div #flying data-live { (requests::in_flight(&in_flight, now, requests::Of::Owner)) }
        }
        section aria-labelledby="sessions-here" {
            h2 #sessions-here { "Sessions" }
            div #sessions data-live { (held(&sessions, now)) }
        }
        section aria-labelledby="traffic" {
            h2 #traffic { "Traffic of the last 24 hours" }
            (keys::traffic(&hours))
        }
        section aria-labelledby="secret-here" {
            h2 #secret-here { "Secret" }
            details.panel #rotation {
                summary { "Make a new secret" }
                (rotation(&signed))
            }
        }
        p.dim { "Programs read the same from " span.mono { "/v1/me" } ", with the key's id and secret." }
    };
    Ok(Page::owner(&pages, &signed, &key.id, format!("Key {}", key.id)).live(LIVE).show(body))
}

/// What the owner must know first when the key does not work.
fn standing(key: &Key, now: Timestamp) -> Markup {
    let why = match &key.state {
        KeyState::Active if key.expired(now) => "This key has expired: its requests are refused.",
        KeyState::Active => return html! {},
        KeyState::Suspended => "This key is suspended: its requests are refused until the operator resumes it.",
        KeyState::Blocked { .. } => "This key is blocked by the operator: its requests are refused. Ask the operator why.",
        KeyState::Revoked => "This key is revoked for good.",
    };
    html! { p.note.warn role="status" { (why) } }
}

fn held(sessions: &[OwnSession], now: Timestamp) -> Markup {
    html! {
        @if sessions.is_empty() {
            p.empty { "No session holds now. One begins with " span.mono { "-session-NAME" } " in the user name." }
        } @else {
            (table("Sessions", html! {
                table {
                    caption { "Sessions that hold" }
                    thead { tr { th scope="col" { "Session" } th scope="col" { "Pool" } th scope="col" { "Asked for" } th scope="col" { "Exit" } th scope="col" { "Until" } } }
                    tbody { @for session in sessions {
                        tr {
                            th.mono scope="row" { (session.session) }
                            td { (session.pool) }
                            td { (asked(session)) }
                            td.mono { (session.exit) }
                            td { (time(later(now, session.left))) }
                        }
                    } }
                }
            }))
        }
    }
}

fn asked(session: &OwnSession) -> String {
    let country = session.country.map(|country| country.name().to_owned());
    let parts: Vec<String> = [session.city.clone(), session.state.clone(), country].into_iter().flatten().collect();
    if parts.is_empty() { "anywhere".to_owned() } else { parts.join(", ") }
}

fn rotation(signed: &Signed) -> Markup {
    html! {
        form.stack method="post" action="/me/secret" {
            (mark(signed))
            div.field {
                label for="present" { "Present secret" }
                input #present name="present" type="password" required autocomplete="current-password";
            }
            (Field { name: "grace", label: "It stays good for", hint: "Such as 1h, so that programs can change over. Empty: it ends now.", value: "" }
                .line(&Wrong::default()))
            button.primary type="submit" { "Make a new secret" }
        }
    }
}

/// `POST /me/secret`. The present secret is asked for again: whoever finds an open browser can't take the key over.
pub(super) async fn rotate(State(pages): State<Pages>, stranger: Stranger, sent: Sent<Owner>) -> Response {
    let Sent { by: Owner(signed, key), form } = sent;
    let done = rotated(&pages, &stranger, &key, form.exact("present").trim(), form.text("grace")).await;
    match done {
        Ok(note) => {
            signed.leave(&pages, note);
            go("/me")
        }
        Err(problem) => {
            signed.leave(&pages, Note::Failed(format!("The secret was not changed: {}", problem.detail())));
            go("/me")
        }
    }
}

async fn rotated(pages: &Pages, stranger: &Stranger, key: &Key, present: &str, grace: &str) -> Result<Note, Problem> {
    let credentials = basic_of(&key.id, present);
    pages.desk.live.authenticate(Some(credentials.expose()), stranger.source, Purpose::Rotate)?;
    let grace = match grace {
        "" => Duration::ZERO,
        text => parse_duration(text).map_err(|error| Problem::invalid_fields(vec![("grace".into(), error.to_string())]))?,
    };
    let (desk, id) = (Arc::clone(&pages.desk), key.id.clone());
    let (key, secret) = whole(async move { desk.rotate_key(&format!("key {id}"), &id, grace).await }).await?;
    let remark = "Without a grace you are signed out with the old secret: sign in with this one.".to_owned();
    Ok(key_forms::shown_once(pages, &key, secret, Some(remark)))
}

/// `GET /me/requests/{id}`: the report of a request of this key.
pub(super) async fn report(State(pages): State<Pages>, Owner(signed, key): Owner, Path(id): Path<String>) -> Shown {
    let record = requests::find(&pages, &id).await?.filter(|record| record.key.as_deref() == Some(key.id.as_str()));
    // Somebody else's request is as unknown as one that never was.
    let record = record.ok_or_else(|| Problem::not_found("this key has no record of such a request"))?;
    let body = requests::told(&record, faults::Reader::Owner);
    Ok(Page::owner(&pages, &signed, &key.id, format!("Request {id}")).show(body))
}
