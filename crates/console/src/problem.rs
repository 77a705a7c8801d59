//! Errors of the API as RFC 9457 problems.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use outgate_store::live::{Denied, DeniedWhy, RotateError};
use serde_json::{Value, json};

use crate::desk::DeskError;

/// An answer that says what went wrong: `application/problem+json` with `type`, `title`, `status`, `detail` and, for wrong
/// requests, `errors` with each field and its reason; `fault` is the slug, where it is a fault of the catalogue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    fields: Vec<(String, String)>,
    /// The fault of the catalogue, if it is one.
    fault: Option<&'static str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Invalid,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    TooSlow,
    Conflict,
    UnderWay,
    DoneBefore,
    KeyReused,
    TooLarge,
    UnsupportedMediaType,
    Internal,
    StoreRefused,
    StoreUnclear,
    ExitFailed,
    ExitLost,
    Credentials,
    Throttled(Duration),
    TooOften(Duration),
    Forbidden,
    NotOurForm,
    SearchTooLong,
}

impl Kind {
    /// The last part of the `type` URI, the title and the status.
    fn row(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Self::Invalid => ("invalid", "The request is not valid", StatusCode::BAD_REQUEST),
            Self::Unauthorized => ("unauthorized", "The admin token is missing or wrong", StatusCode::UNAUTHORIZED),
            Self::NotFound => ("not-found", "There is no such thing", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => ("method-not-allowed", "This can't be done here", StatusCode::METHOD_NOT_ALLOWED),
            Self::TooSlow => ("too-slow", "The request took too long to arrive", StatusCode::REQUEST_TIMEOUT),
            Self::Conflict => ("conflict", "The present state stands against it", StatusCode::CONFLICT),
            Self::UnderWay => ("under-way", "The same request is under way", StatusCode::CONFLICT),
            Self::DoneBefore => ("done-before", "The same request was done before", StatusCode::CONFLICT),
            Self::KeyReused => {
                ("idempotency-key-reused", "The Idempotency-Key stands for another request", StatusCode::UNPROCESSABLE_ENTITY)
            }
            Self::TooLarge => ("too-large", "The request is too large", StatusCode::PAYLOAD_TOO_LARGE),
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", "The request is not JSON", StatusCode::UNSUPPORTED_MEDIA_TYPE)
            }
            Self::Internal => ("internal", "Something went wrong inside", StatusCode::INTERNAL_SERVER_ERROR),
            Self::StoreRefused => ("store-refused", "The ledger can't be written now", StatusCode::SERVICE_UNAVAILABLE),
            Self::ExitFailed => ("exit-failed", "The exit could not do it", StatusCode::BAD_GATEWAY),
            Self::ExitLost => ("exit-lost", "The exit gave no answer", StatusCode::GATEWAY_TIMEOUT),
            Self::Credentials => ("credentials", "The key's credentials are missing or not good", StatusCode::UNAUTHORIZED),
            Self::Throttled(_) => ("throttled", "Too many wrong credentials", StatusCode::TOO_MANY_REQUESTS),
            Self::TooOften(_) => ("too-often", "It was done a moment ago", StatusCode::TOO_MANY_REQUESTS),
            Self::SearchTooLong => ("search-too-long", "The search takes too long", StatusCode::SERVICE_UNAVAILABLE),
            Self::Forbidden => ("forbidden", "The key may not do this", StatusCode::FORBIDDEN),
            Self::NotOurForm => ("not-our-form", "The form did not come from this console", StatusCode::FORBIDDEN),
            Self::StoreUnclear => ("store-unclear", "Nobody knows whether it was done", StatusCode::SERVICE_UNAVAILABLE),
        }
    }
}

impl Problem {
    fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), fields: Vec::new(), fault: None }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, detail)
    }

    pub(crate) fn invalid_fields(fields: Vec<(String, String)>) -> Self {
        let detail = fields.iter().map(|(field, reason)| format!("{field}: {reason}")).collect::<Vec<_>>().join("; ");
        Self { fields, ..Self::invalid(detail) }
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(Kind::TooLarge, format!("a request body may have {limit} bytes"))
    }

    pub(crate) fn too_slow() -> Self {
        Self::new(Kind::TooSlow, "the body did not arrive in time")
    }

    pub(crate) fn not_json() -> Self {
        Self::new(Kind::UnsupportedMediaType, "send Content-Type: application/json")
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(
            Kind::Unauthorized,
            "send Authorization: Bearer TOKEN with the token from console.json in the gateway's data folder",
        )
    }

    /// Nothing from there is looked at before this has passed.
    pub(crate) fn throttled(wait: Duration) -> Self {
        let wait = Duration::from_secs(wait.as_secs() + 1);
        Self::new(Kind::Throttled(wait), format!("too many wrong tokens came from this address: wait {} s", wait.as_secs()))
    }

    pub(crate) fn no_such_route(path: &str) -> Self {
        Self::not_found(format!("there is nothing at {}", path.chars().take(200).collect::<String>()))
    }

    pub(crate) fn method_not_allowed(method: &str) -> Self {
        Self::new(
            Kind::MethodNotAllowed,
            format!("{} is not among the methods of Allow", method.chars().take(20).collect::<String>()),
        )
    }

    pub(crate) fn search_too_long(limit: Duration) -> Self {
        let limit = limit.as_secs();
        Self::new(
            Kind::SearchTooLong,
            format!("not all of these records can be looked through in {limit} s: ask for less time, or use outgate logs"),
        )
    }

    pub(crate) fn under_way() -> Self {
        Self::new(Kind::UnderWay, "the first request under this Idempotency-Key has no answer yet: wait for it")
    }

    pub(crate) fn done_before() -> Self {
        Self::new(
            Kind::DoneBefore,
            "it was done under this Idempotency-Key, and its answer is no longer kept: list what there is; a secret is shown once",
        )
    }

    pub(crate) fn key_reused() -> Self {
        Self::new(Kind::KeyReused, "this Idempotency-Key came with another request before: take a new one for each request")
    }

    pub(crate) fn too_often(wait: Duration, detail: impl Into<String>) -> Self {
        Self::new(Kind::TooOften(wait), detail)
    }

    /// Whether what was asked for may have been done.
    pub(crate) fn is_unclear(&self) -> bool {
        self.kind == Kind::StoreUnclear
    }

    pub(crate) fn internal() -> Self {
        Self::new(Kind::Internal, "the gateway's log says more")
    }

    pub(crate) fn not_our_form() -> Self {
        let what =
            "it was open for too long, or its cookie is blocked, or another site sent it: nothing was done, load the page again";
        Self::new(Kind::NotOurForm, what)
    }

    /// Its HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        self.kind.row().2
    }

    /// What kind of problem it is, for people.
    pub(crate) fn title(&self) -> &'static str {
        self.kind.row().1
    }

    /// What exactly is wrong.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// What is wrong with each field.
    pub(crate) fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    fn body(&self) -> Value {
        let (name, title, status) = self.kind.row();
        let mut body = json!({
            "type": format!("urn:outgate:problem:{name}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
        });
        if !self.fields.is_empty() {
            body["errors"] = self.fields.iter().map(|(field, reason)| json!({ "field": field, "detail": reason })).collect();
        }
        if let Some(fault) = self.fault {
            body["fault"] = json!(fault);
        }
        body
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let kind = match denied.why {
            DeniedWhy::Credentials => Kind::Credentials,
            DeniedWhy::Throttled(wait) => Kind::Throttled(wait),
            DeniedWhy::Forbidden => Kind::Forbidden,
            DeniedWhy::Invalid => Kind::Invalid,
        };
        Self { fault: Some(denied.slug), ..Self::new(kind, denied.sentence) }
    }
}

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Self {
        let detail = error.to_string();
        match error {
            DeskError::Invalid(fields) => {
                Self::invalid_fields(fields.into_iter().map(|(field, reason)| (field.to_owned(), reason)).collect())
            }
            DeskError::NotFound { .. } => Self::not_found(detail),
            DeskError::Conflict(_) => Self::new(Kind::Conflict, detail),
            DeskError::Refused(_) => Self::new(Kind::StoreRefused, detail),
            DeskError::Unclear(_) => Self::new(Kind::StoreUnclear, detail),
            DeskError::Rotate(RotateError::Offline | RotateError::Elsewhere(_) | RotateError::NoHook | RotateError::Busy) => {
                Self::new(Kind::Conflict, detail)
            }
            DeskError::Rotate(RotateError::Failed(_)) => Self::new(Kind::ExitFailed, detail),
            DeskError::Rotate(RotateError::Unseen(_) | RotateError::Lost { .. }) => Self::new(Kind::ExitLost, detail),
            DeskError::NoRandomness => Self::new(Kind::Internal, detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (_, _, status) = self.kind.row();
        let mut response = (status, self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.kind {
            Kind::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"outgate admin\""));
            }
            // The lock or the full queue behind it is gone within the store's own busy timeout.
            Kind::StoreRefused => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Kind::Credentials => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"outgate\", charset=\"UTF-8\""));
            }
            Kind::UnderWay => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Kind::Throttled(wait) | Kind::TooOften(wait) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
            }
            Kind::Forbidden
            | Kind::NotOurForm
            | Kind::SearchTooLong
            | Kind::Invalid
            | Kind::NotFound
            | Kind::MethodNotAllowed
            | Kind::TooSlow
            | Kind::Conflict
            | Kind::DoneBefore
            | Kind::KeyReused
            | Kind::TooLarge
            | Kind::UnsupportedMediaType
            | Kind::Internal
            | Kind::ExitFailed
            | Kind::ExitLost
            | Kind::StoreUnclear => {}
        }
        response.extensions_mut().insert(self);
        response
    }
}
