//! The style and the one script, served from here and kept by browsers until they change.

use axum::http::{HeaderName, header};
use axum::response::IntoResponse;

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/live.js");
const ICON: &str = include_str!("assets/icon.svg");

/// Where they find the icon.
pub(super) const ICON_PATH: &str = "/assets/icon.svg";

/// Where the pages find their style. The version is of this crate: a new one is a new address.
pub(super) const STYLE_PATH: &str = concat!("/assets/style.css?v=", env!("CARGO_PKG_VERSION"));

/// Where they find the script.
pub(super) const SCRIPT_PATH: &str = concat!("/assets/live.js?v=", env!("CARGO_PKG_VERSION"));

/// An hour: a gateway may be built anew under the same version.
const KEPT: (HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=3600");

/// `GET /assets/style.css`.
pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), KEPT], STYLE)
}

/// `GET /assets/live.js`.
pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), KEPT], SCRIPT)
}

/// `GET /assets/icon.svg`.
pub(super) async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml"), KEPT], ICON)
}
