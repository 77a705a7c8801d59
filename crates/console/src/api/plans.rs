//! `/v1/plans`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use outgate_store::PlanName;
use serde_json::json;

use super::pages::{Page, created, limit};
use super::who::Who;
use super::{Answer, AtDesk, whole};
use crate::fields::{Fields, Named};
use crate::plans::PlanPatch;
use crate::view;

pub(super) async fn list(State(desk): AtDesk, uri: Uri) -> Answer {
    let mut fields = Fields::from_query(&uri)?;
    let (after, limit) = (fields.text::<PlanName>("after"), limit(&mut fields));
    let limit = fields.finish(Some(limit))?;
    let plans = desk.plans(after.as_ref(), limit + 1);
    let page = Page::of(plans, limit, |(plan, keys)| view::plan(plan, *keys), |(plan, _)| plan.name.to_string());
    Ok(page.answer(&uri, json!({})))
}

pub(super) async fn show(State(desk): AtDesk, Named(name): Named<PlanName>) -> Answer {
    let plan = desk.plan(&name)?;
    Ok(Json(view::plan(&plan, desk.keys_on(&name))).into_response())
}

pub(super) async fn create(State(desk): AtDesk, Who(who): Who, mut fields: Fields) -> Answer {
    let name = fields.required::<PlanName>("name");
    let limits = plan_patch(&mut fields);
    let name = fields.finish(name)?;
    let location = format!("/v1/plans/{name}");
    let plan = whole(async move { desk.create_plan(&who, name, limits).await }).await?;
    Ok(created(&location, view::plan(&plan, 0)))
}

pub(super) async fn set(State(desk): AtDesk, Who(who): Who, Named(name): Named<PlanName>, mut fields: Fields) -> Answer {
    let patch = plan_patch(&mut fields);
    let patch = fields.finish(Some(patch))?;
    let keys = desk.keys_on(&name);
    let plan = whole(async move { desk.set_plan(&who, &name, patch).await }).await?;
    Ok(Json(view::plan(&plan, keys)).into_response())
}

pub(super) async fn remove(State(desk): AtDesk, Who(who): Who, Named(name): Named<PlanName>) -> Answer {
    whole(async move { desk.remove_plan(&who, &name).await }).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What a request says of a plan's limits.
pub(crate) fn plan_patch(fields: &mut Fields) -> PlanPatch {
    PlanPatch {
        bytes: fields.patch_size("bytes"),
        period: fields.patch_text("period"),
        rate: fields.patch_number("rate"),
        burst: fields.patch_number("burst"),
        threads: fields.patch_number("threads"),
        speed: fields.patch_size("speed"),
        pools: fields.patch_list("pools"),
        ports: fields.patch_numbered_list("ports"),
        countries: fields.patch_list("countries"),
    }
}
