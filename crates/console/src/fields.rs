//! A request's fields, from JSON or from the query, with every mistake named in one answer.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{Uri, header};
use http_body_util::BodyExt;
use outgate_store::amount::parse_bytes;
use serde_json::{Map, Value};

use crate::plans::Patch;
use crate::problem::Problem;

/// Far above what 256 networks and a plan take.
const BODY_LIMIT: usize = 64 << 10;
/// What is too large is read on up to here: an answer given while the client still writes would be lost in the reset.
const BODY_DRAIN: usize = 1 << 20;
const BODY_TIME: Duration = Duration::from_secs(10);

/// The fields of a request. Read each one, then [`Fields::finish`]: it refuses what nobody asked for.
pub(crate) struct Fields {
    given: Map<String, Value>,
    known: Vec<&'static str>,
    problems: Vec<(String, String)>,
}

impl Fields {
    fn from_json(body: &[u8]) -> Result<Self, Problem> {
        // A request without a body says nothing about any field.
        let given = match body {
            [] => Map::new(),
            body => match serde_json::from_slice(body) {
                Ok(Value::Object(given)) => given,
                Ok(_) => return Err(Problem::invalid("the body must be a JSON object")),
                Err(error) => {
                    return Err(Problem::invalid(format!("the body is not JSON: {error}")));
                }
            },
        };
        Ok(Self { given, known: Vec::new(), problems: Vec::new() })
    }

    /// Fields that somebody else has read.
    pub(crate) fn of(given: Map<String, Value>) -> Self {
        Self { given, known: Vec::new(), problems: Vec::new() }
    }

    pub(crate) fn from_query(uri: &Uri) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|_| Problem::invalid("the query can't be read"))?.0;
        let mut fields = Self { given: Map::new(), known: Vec::new(), problems: Vec::new() };
        for (name, value) in pairs {
            if fields.given.insert(name.clone(), Value::String(value)).is_some() {
                fields.problems.push((name, "is given twice".into()));
            }
        }
        Ok(fields)
    }

    /// A text that `T` parses; `null` counts as absent.
    pub(crate) fn text<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        self.read(name, parsed)
    }

    /// A text, read by a function.
    pub(crate) fn text_by<T, E: Display>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.read(name, |value| parse(as_text(value)?).map_err(|error| error.to_string()))
    }

    /// Like [`Fields::text`], but absence is a mistake.
    pub(crate) fn required<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        if self.given.get(name).is_none_or(Value::is_null) {
            self.known.push(name);
            self.problems.push((name.into(), "is required".into()));
            return None;
        }
        self.text(name)
    }

    /// A whole number.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self, name: &'static str) -> Option<T> {
        self.read(name, number)
    }

    /// A list of texts, each read by a function.
    pub(crate) fn list_by<T, E: Display>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        self.read(name, |value| list(value, |item| parse(as_text(item)?).map_err(|error| error.to_string()))).unwrap_or_default()
    }

    /// A change of a number.
    pub(crate) fn patch_number<T: TryFrom<u64>>(&mut self, name: &'static str) -> Patch<T> {
        self.patch(name, number)
    }

    /// A change of a size: a number of bytes, or a text such as `10GB`.
    pub(crate) fn patch_size(&mut self, name: &'static str) -> Patch<u64> {
        self.patch(name, |value| match value {
            Value::String(text) => parse_bytes(text).map_err(|error| error.to_string()),
            value => number(value),
        })
    }

    /// A change of a text.
    pub(crate) fn patch_text<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Patch<T> {
        self.patch(name, parsed)
    }

    /// A change of a list of texts.
    pub(crate) fn patch_list<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Patch<Vec<T>> {
        self.patch(name, |value| list(value, parsed))
    }

    /// A change of a list; an element may be a text or a number (a port).
    pub(crate) fn patch_numbered_list<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Patch<Vec<T>> {
        self.patch(name, |value| list(value, parsed_or_number))
    }

    /// A change of a text, read by a function.
    pub(crate) fn patch_by<T, E: Display>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, E>) -> Patch<T> {
        self.patch(name, |value| parse(as_text(value)?).map_err(|error| error.to_string()))
    }

    /// A change of a list of texts, each read by a function.
    pub(crate) fn patch_list_by<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Patch<Vec<T>> {
        self.patch(name, |value| list(value, |item| parse(as_text(item)?).map_err(|error| error.to_string())))
    }

    /// The end of reading: what was read, unless anything was wrong.
    pub(crate) fn finish<T>(mut self, read: Option<T>) -> Result<T, Problem> {
        for name in self.given.keys() {
            if !self.known.iter().any(|known| known == name) {
                let known = self.known.join(", ");
                let shown = name.chars().take(80).collect();
                let reason = if known.is_empty() {
                    "is unknown: nothing is expected".into()
                } else {
                    format!("is unknown: known are {known}")
                };
                self.problems.push((shown, reason));
            }
        }
        match read {
            Some(read) if self.problems.is_empty() => Ok(read),
            _ => Err(Problem::invalid_fields(self.problems)),
        }
    }

    fn patch<T>(&mut self, name: &'static str, read: impl FnOnce(&Value) -> Result<T, String>) -> Patch<T> {
        if self.given.get(name).is_some_and(Value::is_null) {
            self.known.push(name);
            return Patch::Clear;
        }
        self.read(name, read).map_or(Patch::Keep, Patch::Set)
    }

    fn read<T>(&mut self, name: &'static str, read: impl FnOnce(&Value) -> Result<T, String>) -> Option<T> {
        self.known.push(name);
        let value = self.given.get(name).filter(|value| !value.is_null())?;
        match read(value) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.problems.push((name.into(), reason));
                None
            }
        }
    }
}

fn as_text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "must be a text".into())
}

fn parsed<T: FromStr<Err: Display>>(value: &Value) -> Result<T, String> {
    as_text(value)?.parse().map_err(|error: T::Err| error.to_string())
}

fn parsed_or_number<T: FromStr<Err: Display>>(value: &Value) -> Result<T, String> {
    match value {
        Value::Number(_) => number::<u64>(value)?.to_string().parse().map_err(|error: T::Err| error.to_string()),
        value => parsed(value),
    }
}

fn number<T: TryFrom<u64>>(value: &Value) -> Result<T, String> {
    let number = value.as_u64().or_else(|| value.as_f64().and_then(whole)).ok_or("must be a whole number, not negative")?;
    T::try_from(number).map_err(|_| format!("{number} is too large"))
}

/// JSON knows no integers: `5.0` is `5`. Beyond 2^53 a float is not exact.
fn whole(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number)).then_some(number as u64)
}

fn list<T>(value: &Value, read: impl Fn(&Value) -> Result<T, String>) -> Result<Vec<T>, String> {
    value.as_array().ok_or("must be a list")?.iter().map(read).collect()
}

impl<S: Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
        if kind.is_some_and(|kind| !kind.starts_with(b"application/json")) {
            return Err(Problem::not_json());
        }
        Self::from_json(&body_in_time(request.into_body()).await?)
    }
}

/// A request's whole body, within its bounds of size and time.
pub(crate) async fn body_in_time(body: Body) -> Result<Vec<u8>, Problem> {
    tokio::time::timeout(BODY_TIME, whole_body(body)).await.map_err(|_| Problem::too_slow())?
}

async fn whole_body(mut body: Body) -> Result<Vec<u8>, Problem> {
    let mut whole = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::invalid("the body ended early"))?;
        let Some(data) = frame.data_ref() else {
            continue;
        };
        length += data.len();
        if length <= BODY_LIMIT {
            whole.extend_from_slice(data);
        } else if length > BODY_DRAIN {
            break;
        }
    }
    if length > BODY_LIMIT { Err(Problem::too_large(BODY_LIMIT)) } else { Ok(whole) }
}

/// The name in a route's path. One that can't be a name is one that isn't there.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: FromStr<Err: Display>, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let unreadable = |_| Problem::invalid("the path can't be read");
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(unreadable)?;
        text.parse().map(Self).map_err(|error: T::Err| Problem::not_found(error.to_string()))
    }
}
