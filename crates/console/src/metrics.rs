//! `/metrics`, for Prometheus: open to programs of this machine, to others with a token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use outgate_meter::Format;
use outgate_store::SecretHash;

use crate::api::own::Peer;
use crate::api::{bearer, own};
use crate::desk::Desk;
use crate::problem::Problem;

/// Fields by which a proxy in front says that somebody else asks.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// What the page needs.
#[derive(Clone)]
pub struct Metrics {
    /// Slows down guesses.
    pub desk: Arc<Desk>,
    /// The administrator's token, which is good here too.
    pub admin: SecretHash,
    /// A token that is good for nothing else: for a Prometheus on another machine.
    pub token: Option<SecretHash>,
    /// Writes the page.
    pub write: Arc<dyn Fn(Format) -> String + Send + Sync>,
}

impl Metrics {
    /// The route.
    pub fn route(self) -> Router {
        Router::new().route("/metrics", get(show)).with_state(self)
    }

    fn check(&self, headers: &HeaderMap, source: IpAddr) -> Result<(), Problem> {
        let Some(given) = bearer(headers) else {
            return if is_local(headers, source) { Ok(()) } else { Err(Problem::unauthorized()) };
        };
        let right = self.admin.verify(given) | self.token.is_some_and(|token| token.verify(given));
        self.desk.live.throttle_guess(source, right).map_err(Problem::throttled)?;
        if right { Ok(()) } else { Err(Problem::unauthorized()) }
    }
}

async fn show(State(metrics): State<Metrics>, peer: Option<Extension<Peer>>, headers: HeaderMap) -> Response {
    if let Err(problem) = metrics.check(&headers, own::source(peer.as_deref())) {
        return problem.into_response();
    }
    let format = Format::asked_by(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    ([(header::CONTENT_TYPE, format.content_type())], (metrics.write)(format)).into_response()
}

/// Whether a program of this machine asks for itself: not a proxy here for somebody elsewhere, nor a web page that a browser
/// here was told to find under a name of its own (DNS rebinding).
fn is_local(headers: &HeaderMap, source: IpAddr) -> bool {
    let host = headers.get(header::HOST).map(|host| Authority::try_from(host.as_bytes()));
    let by_address = match host {
        None => true,
        Some(Err(_)) => false,
        Some(Ok(host)) => {
            let host = host.host();
            host.eq_ignore_ascii_case("localhost") || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
        }
    };
    source.to_canonical().is_loopback() && by_address && !FORWARDED.iter().any(|name| headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn who_asks_from_this_machine_and_who_only_seems_to() {
        type Case<'a> = (&'a str, &'a [(&'static str, &'static str)], bool);
        let cases: [Case<'_>; 11] = [
            ("127.0.0.1", &[("host", "127.0.0.1:8081")], true),
            ("::1", &[("host", "[::1]:8081")], true),
            ("::ffff:127.0.0.1", &[("host", "LOCALHOST")], true),
            ("127.0.0.9", &[], true),
            ("192.0.2.1", &[("host", "127.0.0.1")], false),
            ("127.0.0.1", &[("host", "attacker.example")], false),
            ("127.0.0.1", &[("host", "@@")], false),
            ("127.0.0.1", &[("host", "127.0.0.1"), ("x-forwarded-for", "192.0.2.1")], false),
            ("127.0.0.1", &[("host", "localhost"), ("forwarded", "for=192.0.2.1")], false),
            ("127.0.0.1", &[("host", "localhost"), ("via", "1.1 nginx")], false),
            ("0.0.0.0", &[], false),
        ];
        for (source, fields, expected) in cases {
            let field =
                |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
            let headers: HeaderMap = fields.iter().map(field).collect();
            assert_eq!(is_local(&headers, source.parse().unwrap()), expected, "{source} {fields:?}");
        }
    }
}
