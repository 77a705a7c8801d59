//! The operator's pages of plans.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use outgate_store::{Plan, PlanName};

use super::Pages;
use super::door::{Operator, Sent, Signed, go};
use super::form::{As, Form};
use super::frame::{Page, Shown, Tab, mark};
use super::logins::Note;
use super::parts::{Field, Wrong, table};
use super::words;
use crate::api::plans::plan_patch;
use crate::api::whole;
use crate::plans::texts;
use crate::problem::Problem;

/// More than anybody has; the API has pages for whoever does.
const LISTED: usize = 1_000;

const LIMITS: [(&str, As); 9] = [
    ("bytes", As::Text),
    ("period", As::Text),
    ("rate", As::Number),
    ("burst", As::Number),
    ("threads", As::Number),
    ("speed", As::Text),
    ("pools", As::List),
    ("ports", As::List),
    ("countries", As::List),
];

/// `GET /plans`.
pub(super) async fn list(State(pages): State<Pages>, Operator(signed): Operator) -> Response {
    let plans = pages.desk.plans(None, LISTED);
    let body = html! {
        div.title {
            h1 { "Plans" }
            a.button.primary href="/new/plan" { "Create a plan" }
        }
        (table("Plans", html! {
            table {
                caption { "What the keys on each plan may use" }
                thead { tr {
                    th scope="col" { "Plan" } th.number scope="col" { "Keys" } th.number scope="col" { "Bytes" } th scope="col" { "Period" }
                    th.number scope="col" { "Requests/s" } th.number scope="col" { "In flight" }
                    th.minor.number scope="col" { "Speed" } th.minor scope="col" { "Pools" } th.minor scope="col" { "Countries" }
                } }
                tbody {
                    @for (plan, keys) in &plans { (row(plan, *keys)) }
                    @if plans.is_empty() { tr { td.empty colspan="9" { "There are no plans yet. A key needs one." } } }
                }
            }
        }))
    };
    Page::operator(&pages, &signed, Tab::Plans, "Plans").show(body)
}

fn row(plan: &Plan, keys: usize) -> Markup {
    let number = |limit: Option<u32>| limit.map_or_else(|| "–".to_owned(), |limit| words::count(limit.into()));
    let list = |list: String| if list.is_empty() { "any".to_owned() } else { list };
    html! {
        tr {
            th scope="row" { a href={ "/plans/" (plan.name) } { (plan.name) } }
            td.number { (words::count(keys as u64)) }
            td.number { @match plan.bytes { Some(bytes) => (words::bytes(bytes)), None => "–" } }
            td { (plan.period) }
            td.number { (number(plan.rate)) }
            td.number { (number(plan.threads)) }
            td.number.minor { @match plan.speed { Some(speed) => (words::speed(speed as f64)), None => "–" } }
            td.minor { (list(texts(&plan.pools))) }
            td.minor { (list(texts(&plan.countries))) }
        }
    }
}

/// `GET /new/plan`.
pub(super) async fn new(State(pages): State<Pages>, Operator(signed): Operator) -> Response {
    new_form(&pages, &signed, &Form::default(), None)
}

fn new_form(pages: &Pages, signed: &Signed, form: &Form, problem: Option<&Problem>) -> Response {
    let wrong = Wrong(problem);
    let body = html! {
        h1 { "Create a plan" }
        (wrong.summary())
        form.panel.stack method="post" action="/plans" {
            (mark(signed))
            (Field { name: "name", label: "Name", hint: "Lower-case letters, digits and hyphens.", value: form.text("name") }.line(&wrong))
            (limits(|name| form.text(name).to_owned(), &wrong))
            div.actions { button.primary type="submit" { "Create the plan" } a href="/plans" { "Cancel" } }
        }
    };
    let page = Page::operator(pages, signed, Tab::Plans, "Create a plan").show(body);
    (problem.map_or(StatusCode::OK, Problem::status), page).into_response()
}

fn limits(value: impl Fn(&str) -> String, wrong: &Wrong<'_>) -> Markup {
    let field = |name, label, hint| Field { name, label, hint, value: &value(name) }.line(wrong);
    html! {
        p.hint { "An empty field sets no limit." }
        div.columns {
            (field("bytes", "Bytes in a period", "Both directions, such as 10GB."))
            (field("period", "Period", "month, or days such as 30d."))
            (field("rate", "Requests per second", ""))
            (field("burst", "Burst", "Requests that may come at once."))
            (field("threads", "In flight at once", "Requests and tunnels."))
            (field("speed", "Bytes per second", "Such as 5MB."))
            (field("pools", "Pools", "Empty: all."))
            (field("ports", "Ports", "Such as 443 8000-8100. Empty: the gateway's."))
            (field("countries", "Countries", "Such as us de. Empty: all."))
        }
    }
}

/// `POST /plans`.
pub(super) async fn create(State(pages): State<Pages>, sent: Sent<Operator>) -> Response {
    let Sent { by: Operator(signed), form } = sent;
    let mut fields = form.fields(&[&[("name", As::Text)], LIMITS.as_slice()].concat());
    let name = fields.required::<PlanName>("name");
    let patch = plan_patch(&mut fields);
    let created = match fields.finish(name) {
        Ok(name) => {
            let (desk, who) = (Arc::clone(&pages.desk), signed.who());
            whole(async move { desk.create_plan(&who, name, patch).await }).await
        }
        Err(problem) => Err(problem),
    };
    match created {
        Ok(plan) => {
            signed.leave(&pages, Note::Done(format!("The plan {} was created.", plan.name)));
            go("/plans")
        }
        Err(problem) => new_form(&pages, &signed, &form, Some(&problem)),
    }
}

/// `GET /plans/{name}`.
pub(super) async fn show(State(pages): State<Pages>, Operator(signed): Operator, Path(name): Path<String>) -> Shown {
    let plan = find(&pages, &name)?;
    Ok(one(&pages, &signed, &plan, None))
}

fn find(pages: &Pages, name: &str) -> Result<Arc<Plan>, Problem> {
    let name = name.parse::<PlanName>().map_err(|error| Problem::not_found(error.to_string()))?;
    Ok(pages.desk.plan(&name)?)
}

fn one(pages: &Pages, signed: &Signed, plan: &Plan, refused: Option<(&Form, &Problem)>) -> Response {
    let wrong = Wrong(refused.map(|(_, problem)| problem));
    let keys = pages.desk.keys_on(&plan.name);
    let value = |name: &str| match refused {
        Some((form, _)) => form.text(name).to_owned(),
        None => present(plan, name),
    };
    let body = html! {
        h1 { "Plan " (plan.name) }
        p { (words::count(keys as u64)) @if keys == 1 { " key is on it." } @else { " keys are on it." } " A change holds for all of them, at once." }
        (wrong.summary())
        form.panel.stack method="post" action={ "/plans/" (plan.name) "/set" } {
            (mark(signed))
            (limits(value, &wrong))
            button.primary type="submit" { "Save" }
        }
        @if keys == 0 {
            details.panel #removal {
                summary { "Remove" }
                form.stack method="post" action={ "/plans/" (plan.name) "/remove" } {
                    (mark(signed))
                    label.check { input type="checkbox" name="sure" value="yes" required; " I mean it" }
                    button.danger type="submit" { "Remove the plan" }
                }
            }
        }
    };
    let page = Page::operator(pages, signed, Tab::Plans, format!("Plan {}", plan.name)).show(body);
    (refused.map_or(StatusCode::OK, |(_, problem)| problem.status()), page).into_response()
}

/// What a plan has in a field of the form.
fn present(plan: &Plan, name: &str) -> String {
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    match name {
        "bytes" => number(plan.bytes),
        "period" => plan.period.to_string(),
        "rate" => number(plan.rate.map(u64::from)),
        "burst" => number(plan.burst.map(u64::from)),
        "threads" => number(plan.threads.map(u64::from)),
        "speed" => number(plan.speed),
        "pools" => texts(&plan.pools),
        "ports" => texts(&plan.ports),
        "countries" => texts(&plan.countries),
        _ => String::new(),
    }
}

/// `POST /plans/{name}/{action}`.
pub(super) async fn act(State(pages): State<Pages>, Path((name, action)): Path<(String, String)>, sent: Sent<Operator>) -> Shown {
    let Sent { by: Operator(signed), form } = sent;
    let plan = find(&pages, &name)?;
    let (desk, who, name) = (Arc::clone(&pages.desk), signed.who(), plan.name.clone());
    match action.as_str() {
        "set" => {
            let mut fields = form.fields(&LIMITS);
            let patch = plan_patch(&mut fields);
            let set = match fields.finish(Some(patch)) {
                Ok(patch) => whole(async move { desk.set_plan(&who, &name, patch).await }).await,
                Err(problem) => Err(problem),
            };
            if let Err(problem) = set {
                return Ok(one(&pages, &signed, &plan, Some((&form, &problem))));
            }
            signed.leave(&pages, Note::Done("The plan was changed; it holds for its keys from now on.".to_owned()));
            Ok(go(&format!("/plans/{}", plan.name)))
        }
        "remove" if form.text("sure") == "yes" => {
            whole(async move { desk.remove_plan(&who, &name).await }).await?;
            signed.leave(&pages, Note::Done(format!("The plan {} was removed.", plan.name)));
            Ok(go("/plans"))
        }
        "remove" => Err(Problem::invalid("tick the box to say that you mean it").into()),
        _ => Err(Problem::no_such_route(&format!("/plans/{}/{action}", plan.name)).into()),
    }
}
