//! The forms that make and change keys, and what is done when they are sent.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use outgate_store::amount::parse_duration;
use outgate_store::{Key, KeyState, Secret};

use super::Pages;
use super::door::{Operator, Sent, Signed, go};
use super::form::{As, Form};
use super::frame::{Page, Shown, Tab, mark};
use super::keys::{find, show_with};
use super::logins::{Note, Shown as ShownOnce};
use super::parts::{Field, Wrong};
use super::words;
use crate::api::keys::{key_patch, new_key};
use crate::api::whole;
use crate::problem::Problem;

const NEW: [(&str, As); 5] =
    [("id", As::Text), ("plan", As::Text), ("allow_ips", As::List), ("proof", As::Text), ("expires", As::Text)];
const PATCH: [(&str, As); 4] = [("plan", As::Text), ("allow_ips", As::List), ("proof", As::Text), ("expires", As::Text)];

/// `GET /new/key`.
pub(super) async fn new(State(pages): State<Pages>, Operator(signed): Operator) -> Response {
    new_form(&pages, &signed, &Form::default(), None)
}

fn new_form(pages: &Pages, signed: &Signed, form: &Form, problem: Option<&Problem>) -> Response {
    let wrong = Wrong(problem);
    let plans = plan_choices(pages, "the default plan");
    let body = html! {
        h1 { "Create a key" }
        (wrong.summary())
        form.panel.stack method="post" action="/keys" {
            (mark(signed))
            (Field { name: "id", label: "Id", hint: "4 to 32 lower-case letters and digits; empty: a random one.", value: form.text("id") }
                .line(&wrong))
            (Field { name: "plan", label: "Plan", hint: "", value: form.text("plan") }.choice(&wrong, &choices(&plans)))
            (sources(form.text("allow_ips"), &wrong))
            (proofs(form.text("proof"), &wrong))
            (expiry(form.text("expires"), &wrong))
            div.actions {
                button.primary type="submit" { "Create the key" }
                a href="/keys" { "Cancel" }
            }
        }
    };
    let page = Page::operator(pages, signed, Tab::Keys, "Create a key").show(body);
    (problem.map_or(StatusCode::OK, Problem::status), page).into_response()
}

fn plan_choices(pages: &Pages, unsaid: &str) -> Vec<(String, String)> {
    let plans = pages.desk.plans(None, 1_000);
    let named = plans.into_iter().map(|(plan, _)| (plan.name.to_string(), plan.name.to_string()));
    std::iter::once((String::new(), unsaid.to_owned())).filter(|(_, label)| !label.is_empty()).chain(named).collect()
}

fn choices(owned: &[(String, String)]) -> Vec<(&str, &str)> {
    owned.iter().map(|(value, label)| (value.as_str(), label.as_str())).collect()
}

fn sources(value: &str, wrong: &Wrong<'_>) -> Markup {
    let hint = "Addresses or networks, one per line, such as 192.0.2.7 or 198.51.100.0/24. Empty: from anywhere.";
    Field { name: "allow_ips", label: "May be used from", hint, value }.lines(wrong)
}

fn proofs(value: &str, wrong: &Wrong<'_>) -> Markup {
    let options = [("secret", "the secret, from an allowed address"), ("source", "an allowed address is enough")];
    Field { name: "proof", label: "Proof", hint: "", value }.choice(wrong, &options)
}

fn expiry(value: &str, wrong: &Wrong<'_>) -> Markup {
    let hint = "A date (2026-12-31), a time (2026-12-31T18:00:00Z) or a distance (30d). Empty: never.";
    Field { name: "expires", label: "Expires", hint, value }.line(wrong)
}

/// `POST /keys`.
pub(super) async fn create(State(pages): State<Pages>, sent: Sent<Operator>) -> Response {
    let Sent { by: Operator(signed), form } = sent;
    let mut fields = form.fields(&NEW);
    let new = new_key(&mut fields, pages.desk.now());
    let created = match fields.finish(Some(new)) {
        Ok(new) => {
            let (desk, who) = (Arc::clone(&pages.desk), signed.who());
            whole(async move { desk.create_key(&who, new).await }).await
        }
        Err(problem) => Err(problem),
    };
    match created {
        Ok((key, secret)) => {
            signed.leave(&pages, shown_once(&pages, &key, secret, None));
            go(&format!("/keys/{}", key.id))
        }
        Err(problem) => new_form(&pages, &signed, &form, Some(&problem)),
    }
}

/// The note with a key's new secret.
pub(super) fn shown_once(pages: &Pages, key: &Key, secret: Secret<String>, remark: Option<String>) -> Note {
    let line = pages.sight.proxies.first().and_then(|proxy| {
        let (scheme, address) = proxy.split_once("://")?;
        let line = format!("curl -x '{scheme}://{}:{}@{address}' https://example.com/", key.id, secret.expose());
        Some(Secret::new(line))
    });
    Note::Secret(ShownOnce { of: format!("Secret of key {}", key.id), secret, line, remark })
}

/// The buttons for what is done often.
pub(super) fn levers(signed: &Signed, key: &Key) -> Markup {
    let button = |action: &str, label: &str| {
        html! {
            form method="post" action={ "/keys/" (key.id) "/" (action) } { (mark(signed)) button type="submit" { (label) } }
        }
    };
    html! {
        div.actions #levers data-live {
            @match key.state {
                KeyState::Active => (button("suspend", "Suspend")),
                KeyState::Suspended => (button("resume", "Resume")),
                KeyState::Blocked { .. } => (button("unblock", "Lift the block")),
                KeyState::Revoked => {}
            }
        }
    }
}

/// The forms on a key's page.
pub(super) fn change_forms(pages: &Pages, signed: &Signed, key: &Key, form: &Form, problem: Option<&Problem>) -> Markup {
    let wrong = Wrong(problem);
    let plans = plan_choices(pages, "");
    let sources_now = key.allow_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let expires = key.expires.map(|at| at.to_string()).unwrap_or_default();
    let plan = key.plan.to_string();
    let said = |name: &'static str, present: &str| if problem.is_some() { form.text(name) } else { present }.to_owned();
    let path = |action: &str| format!("/keys/{}/{action}", key.id);
    html! {
        section aria-labelledby="change" {
            h2 #change { "Change" }
            (wrong.summary())
            details.panel #settings open[problem.is_some()] {
                summary { "Plan, addresses, expiry" }
                form.stack method="post" action=(path("set")) {
                    (mark(signed))
                    (Field { name: "plan", label: "Plan", hint: "", value: &said("plan", &plan) }.choice(&wrong, &choices(&plans)))
                    (sources(&said("allow_ips", &sources_now), &wrong))
                    (proofs(&said("proof", key.proof.name()), &wrong))
                    (expiry(&said("expires", &expires), &wrong))
                    button.primary type="submit" { "Save" }
                }
            }
            details.panel #rotation {
                summary { "New secret" }
                form.stack method="post" action=(path("rotate")) {
                    (mark(signed))
                    (Field { name: "grace", label: "The present secret stays good for", value: "",
                        hint: "Such as 1h or 2d, at most 90d. Empty: it ends now." }.line(&Wrong::default()))
                    button.primary type="submit" { "Make a new secret" }
                }
            }
            @if !matches!(key.state, KeyState::Blocked { .. }) {
                details.panel #blocking {
                    summary { "Block" }
                    form.stack method="post" action=(path("block")) {
                        (mark(signed))
                        (Field { name: "why", label: "Why", hint: "For you and other operators; the key's owner is not told.", value: "" }
                            .line(&Wrong::default()))
                        button type="submit" { "Block the key" }
                    }
                }
            }
            details.panel #revocation {
                summary { "Revoke" }
                form.stack method="post" action=(path("revoke")) {
                    (mark(signed))
                    p { "A revoked key never works again; its open tunnels end at once." }
                    label.check { input type="checkbox" name="sure" value="yes" required; " I mean it" }
                    button.danger type="submit" { "Revoke the key for good" }
                }
            }
        }
    }
}

/// `POST /keys/{id}/{action}`.
pub(super) async fn act(State(pages): State<Pages>, Path((id, action)): Path<(String, String)>, sent: Sent<Operator>) -> Shown {
    let Sent { by: Operator(signed), form } = sent;
    let key = find(&pages, &id)?;
    let (desk, who, id) = (Arc::clone(&pages.desk), signed.who(), key.id.clone());
    let done = match action.as_str() {
        "set" => {
            let mut fields = form.fields(&PATCH);
            let patch = key_patch(&mut fields, pages.desk.now());
            let changed = match fields.finish(Some(patch)) {
                Ok(patch) => whole(async move { desk.set_key(&who, &id, patch).await }).await,
                Err(problem) => Err(problem),
            };
            match changed {
                Ok(_) => "The key was changed; it holds from now on.",
                Err(problem) => return show_with(&pages, &signed, &key, &form, Some(&problem)).await,
            }
        }
        "rotate" => return rotate(&pages, &signed, &key, &form).await,
        "suspend" => {
            whole(async move { desk.suspend_key(&who, &id).await }).await?;
            "The key is suspended; its open tunnels were cut."
        }
        "resume" => {
            whole(async move { desk.resume_key(&who, &id).await }).await?;
            "The key is active again."
        }
        "block" => {
            let why = form.text("why").to_owned();
            whole(async move { desk.block_key(&who, &id, &why).await }).await?;
            "The key is blocked; its open tunnels were cut."
        }
        "unblock" => {
            whole(async move { desk.unblock_key(&who, &id).await }).await?;
            "The block is lifted; the key is active."
        }
        "revoke" if form.text("sure") == "yes" => {
            whole(async move { desk.revoke_key(&who, &id).await }).await?;
            "The key is revoked for good; its open tunnels were cut."
        }
        "revoke" => return Err(Problem::invalid("tick the box to say that you mean it: a revoked key never works again").into()),
        _ => return Err(Problem::no_such_route(&format!("/keys/{id}/{action}")).into()),
    };
    signed.leave(&pages, Note::Done(done.to_owned()));
    Ok(go(&format!("/keys/{}", key.id)))
}

async fn rotate(pages: &Pages, signed: &Signed, key: &Key, form: &Form) -> Shown {
    let grace = match form.text("grace") {
        "" => std::time::Duration::ZERO,
        text => parse_duration(text).map_err(|error| Problem::invalid_fields(vec![("grace".into(), error.to_string())]))?,
    };
    let (desk, who, id) = (Arc::clone(&pages.desk), signed.who(), key.id.clone());
    let (key, secret) = whole(async move { desk.rotate_key(&who, &id, grace).await }).await?;
    let remark = key.old_secret.map(|old| format!("The secret before is good until {} UTC.", words::moment(old.until)));
    signed.leave(pages, shown_once(pages, &key, secret, remark));
    Ok(go(&format!("/keys/{}", key.id)))
}
