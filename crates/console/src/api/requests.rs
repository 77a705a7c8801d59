//! `/v1/requests`: the records of requests.

use std::str::FromStr;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::IntoResponse;
use jiff::Timestamp;
use outgate_faults::{Layer, Slug};
use outgate_records::{Filter, Privacy, Report, StatusRange, Stream};
use outgate_store::amount::parse_duration;
use outgate_store::{earlier, parse_since};
use serde_json::json;

use super::pages::limit;
use super::{Answer, AtDesk};
use crate::fields::{Fields, Named};
use crate::problem::Problem;

/// How far it is looked back when nobody says.
const REACH: Duration = Duration::from_secs(86_400);
/// The longest value of a filter.
const LONGEST: usize = 300;

pub(super) async fn list(State(desk): AtDesk, uri: Uri) -> Answer {
    let mut fields = Fields::from_query(&uri)?;
    let (filter, limit) = (filter(&mut fields, desk.now()), limit(&mut fields));
    let stream = fields.text_by("stream", stream);
    let filter = fields.finish(Some(filter))?;
    let stream = stream.unwrap_or_else(|| natural_stream(&filter));
    let since = filter.since;
    let records = desk.search.newest(stream, filter, limit).await?;
    Ok(Json(json!({ "items": records, "stream": stream.name(), "since": since.map(|at| at.to_string()) })).into_response())
}

/// The id of a request: a word.
pub(super) struct RequestId(String);

impl FromStr for RequestId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if fits { Ok(Self(text.to_ascii_lowercase())) } else { Err("a request's id is 1 to 64 letters, digits, _ and -") }
    }
}

pub(super) async fn show(State(desk): AtDesk, Named(RequestId(id)): Named<RequestId>, uri: Uri) -> Answer {
    let mut fields = Fields::from_query(&uri)?;
    let privacy = fields.text_by("privacy", |text| match text {
        "public" => Ok(Privacy::Public),
        "full" => Ok(Privacy::Full),
        _ => Err("must be public or full"),
    });
    let privacy = fields.finish(Some(privacy))?.unwrap_or(Privacy::Full);
    let shown: String = id.chars().take(64).filter(|c| !c.is_control()).collect();
    let none =
        || Problem::not_found(format!("there is no record of a request {shown}: it may be going on, or older than is kept"));
    // Nobody's id: no need to look.
    if !(1..=64).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
        return Err(none());
    }
    let found = desk.search.find(id.to_ascii_lowercase()).await?.ok_or_else(none)?;
    Ok(Json(json!(Report::of(&found.record, privacy))).into_response())
}

/// What of the records is wanted.
pub(crate) fn filter(fields: &mut Fields, now: Timestamp) -> Filter {
    let mut short =
        |name| fields.text_by(name, |text| if text.len() > LONGEST { Err("is too long") } else { Ok(text.to_owned()) });
    let [key, target, exit, country] = ["key", "target", "exit", "country"].map(&mut short);
    let [pool, session, client] = ["pool", "session", "client"].map(&mut short);
    Filter {
        since: Some(fields.text_by("since", |text| parse_since(text, now)).unwrap_or_else(|| earlier(now, REACH))),
        until: fields.text_by("until", |text| parse_since(text, now)),
        outcomes: fields.text_by("outcome", outcome).into_iter().collect(),
        failed: fields.text_by("failed", |text| text.parse::<bool>().map_err(|_| "must be true or false")).unwrap_or(false),
        layer: fields.text_by("layer", |text| Layer::parse(text).ok_or("is no layer of the catalogue")),
        status: fields.text::<StatusRange>("status"),
        key,
        target: target.map(|target| target.to_ascii_lowercase()),
        exit,
        country: country.map(|country| country.to_ascii_lowercase()),
        pool,
        session,
        client,
        slower_than_ms: fields.text_by("slower", |text| parse_duration(text).map(|time| time.as_secs_f64() * 1000.0)),
    }
}

fn outcome(text: &str) -> Result<String, &'static str> {
    let known = text == "ok" || Slug::parse(text).is_some();
    known.then(|| text.to_owned()).ok_or("must be ok or a fault of the catalogue")
}

fn stream(text: &str) -> Result<Stream, &'static str> {
    Stream::ALL.into_iter().find(|stream| stream.name() == text).ok_or("must be access or auth")
}

/// What failed at authentication lies apart.
pub(crate) fn natural_stream(filter: &Filter) -> Stream {
    let of_auth = |slug: &String| Slug::parse(slug).is_some_and(|slug| slug.row().layer == Layer::Auth);
    let meant = filter.layer == Some(Layer::Auth) || filter.outcomes.iter().any(of_auth);
    if meant { Stream::Auth } else { Stream::Access }
}
