//! The API's description: one document, written by hand beside the routes and served as it is.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// OpenAPI 3.1. A test holds it against the routes.
const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /v1/openapi.json`: it holds no secrets, so that it needs none.
pub(super) async fn show() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], DOCUMENT).into_response()
}
