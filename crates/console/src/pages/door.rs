//! Who may see a page: cookies, log-ins, the marks of our own forms, and the headers that every page carries.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use outgate_store::{Key, KeyState, Secret, SecretHash};

use super::Pages;
use super::form::{Form, TOKEN};
use super::frame::trouble;
use super::logins::{Note, Visitor};
use crate::api::own::{Peer, source};
use crate::fields::body_in_time;
use crate::problem::Problem;

/// Only what this server itself serves; no frame around it, no form of it that leads elsewhere.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=(), payment=(), usb=()"),
];

/// Puts the headers on everything that goes out.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    protect(response.headers_mut());
    response
}

/// Puts them on one answer.
pub(super) fn protect(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// Whether the visitor's browser came by TLS, as the server in front of the console says. Believed without proof: whoever lies
/// about it only keeps the browser from sending its own cookie.
fn is_secure(headers: &HeaderMap) -> bool {
    headers.get("x-forwarded-proto").is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

/// The cookie of a log-in. The prefix makes a browser refuse one that was set without TLS or by a neighbouring domain.
fn cookie_name(headers: &HeaderMap) -> &'static str {
    if is_secure(headers) { "__Host-outgate" } else { "outgate" }
}

/// What keeps a stranger's page from signing somebody in: the log-in form and this cookie say the same.
fn form_cookie_name(headers: &HeaderMap) -> &'static str {
    if is_secure(headers) { "__Host-outgate-form" } else { "outgate-form" }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
}

fn set_cookie(headers: &HeaderMap, name: &str, value: &str, lifetime: &str) -> (HeaderName, String) {
    let secure = if is_secure(headers) { "; Secure" } else { "" };
    (header::SET_COOKIE, format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{lifetime}{secure}"))
}

/// Goes there with GET (RFC 9110, section 15.4.4).
pub(super) fn go(to: &str) -> Response {
    let to = HeaderValue::from_str(to).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

/// A page of ours to go to after the log-in; nothing that a browser could take for another host.
pub(super) fn own_page(to: &str) -> Option<&str> {
    let inside = to.starts_with('/') && !to.starts_with("//") && to.len() <= 512;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.?&=%+".contains(c);
    (inside && to.chars().all(plain)).then_some(to)
}

/// A visitor who is signed in, whoever it is.
#[derive(Clone)]
pub(super) struct Signed {
    pub(super) visitor: Visitor,
    /// What the page's forms must carry.
    pub(super) token: String,
    cookie: String,
}

impl Signed {
    /// Who is signed in; `None` too when a key's owner may no longer read about it from here.
    pub(super) fn of(parts: &Parts, pages: &Pages) -> Option<Self> {
        let cookie = cookie(&parts.headers, cookie_name(&parts.headers))?;
        let seen = pages.logins.find(cookie, pages.desk.now())?;
        if let Visitor::Owner { key, shown } = &seen.visitor {
            let source = source(parts.extensions.get());
            if !pages.desk.key(key).is_ok_and(|key| may_go_on(&key, shown, source, pages.desk.now())) {
                pages.logins.end(cookie);
                return None;
            }
        }
        Some(Self { visitor: seen.visitor, token: seen.token, cookie: cookie.to_owned() })
    }

    /// Leaves a note for the next page.
    pub(super) fn leave(&self, pages: &Pages, note: Note) {
        pages.logins.leave(&self.cookie, note);
    }

    /// The note that was left for this page.
    pub(super) fn note(&self, pages: &Pages) -> Option<Note> {
        pages.logins.take(&self.cookie)
    }

    /// Who it is, for the audit trail.
    pub(super) fn who(&self) -> String {
        match &self.visitor {
            Visitor::Operator { name: Some(name) } => format!("admin ({name})"),
            Visitor::Operator { name: None } => "admin (console)".to_owned(),
            Visitor::Owner { key, .. } => format!("key {key}"),
        }
    }
}

/// Whether the secret that a key's owner showed at log-in is still one of the key's, and the address still on its list.
fn may_go_on(key: &Key, shown: &SecretHash, source: IpAddr, now: jiff::Timestamp) -> bool {
    let old = key.old_secret.is_some_and(|old| old.hash == *shown && now < old.until);
    key.state != KeyState::Revoked && (key.secret == *shown || old) && key.allows_source(source)
}

/// The operator.
pub(super) struct Operator(pub(super) Signed);

/// A key's owner, and the key as it is now.
pub(super) struct Owner(pub(super) Signed, pub(super) Key);

impl FromRequestParts<Pages> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Response> {
        match Signed::of(parts, pages) {
            Some(signed) if matches!(signed.visitor, Visitor::Operator { .. }) => Ok(Self(signed)),
            _ => Err(to_login(parts)),
        }
    }
}

impl FromRequestParts<Pages> for Owner {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Response> {
        let signed = Signed::of(parts, pages);
        let key = signed.as_ref().and_then(|signed| match &signed.visitor {
            Visitor::Owner { key, .. } => pages.desk.key(key).ok(),
            Visitor::Operator { .. } => None,
        });
        signed.zip(key).map(|(signed, key)| Self(signed, key)).ok_or_else(|| to_login(parts))
    }
}

/// To the log-in, and from there back here.
fn to_login(parts: &Parts) -> Response {
    let here = parts.uri.path_and_query().map_or("/", |here| here.as_str());
    match own_page(here).filter(|here| parts.method == Method::GET && *here != "/") {
        Some(here) => go(&format!("/login?to={}", form_urlencoded::byte_serialize(here.as_bytes()).collect::<String>())),
        None => go("/login"),
    }
}

/// A form that a visitor sent who is who they must be, and that is one of ours.
pub(super) struct Sent<W> {
    pub(super) by: W,
    pub(super) form: Form,
}

/// Whoever can send forms.
pub(super) trait Sender: FromRequestParts<Pages, Rejection = Response> {
    /// What the form must carry.
    fn token(&self) -> &str;
}

impl Sender for Operator {
    fn token(&self) -> &str {
        &self.0.token
    }
}

impl Sender for Owner {
    fn token(&self) -> &str {
        &self.0.token
    }
}

impl<W: Sender + Send> FromRequest<Pages> for Sent<W> {
    type Rejection = Response;

    async fn from_request(request: Request, pages: &Pages) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let by = W::from_request_parts(&mut parts, pages).await?;
        let form = read_form(&parts.headers, body).await?;
        // Hashes are compared, in a time that tells nothing.
        if !SecretHash::of(by.token().as_bytes()).verify(form.exact(TOKEN).as_bytes()) {
            return Err(trouble(&Problem::not_our_form()));
        }
        Ok(Self { by, form })
    }
}

async fn read_form(headers: &HeaderMap, body: Body) -> Result<Form, Response> {
    if !is_from_here(headers) {
        return Err(trouble(&Problem::not_our_form()));
    }
    let body = body_in_time(body).await.map_err(|problem| trouble(&problem))?;
    Ok(Form::read(&body))
}

/// Whether a browser says that a page of ours sent it. One that says nothing is judged by the form's token alone.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin";
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        // Our pages send no referrer, and some browsers then no origin either.
        (None | Some("null"), _) => true,
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, of)| of == host),
        (Some(_), None) => false,
    }
}

/// What belongs to the log-in form: where the visitor comes from, and what form and cookie must both say.
pub(super) struct Stranger {
    pub(super) source: IpAddr,
    headers: HeaderMap,
}

impl FromRequestParts<Pages> for Stranger {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _pages: &Pages) -> Result<Self, Self::Rejection> {
        Ok(Self { source: source(parts.extensions.get::<Peer>()), headers: parts.headers.clone() })
    }
}

impl Stranger {
    /// The token that the log-in form carries; the one of a form that is open in another tab stays good.
    pub(super) fn token(&self, pages: &Pages) -> Result<Secret<String>, Problem> {
        match cookie(&self.headers, form_cookie_name(&self.headers)).filter(|token| token.len() == 32) {
            Some(token) if token.bytes().all(|byte| byte.is_ascii_alphanumeric()) => Ok(Secret::new(token.to_owned())),
            _ => Secret::random(&pages.desk.random).map_err(|_| Problem::internal()),
        }
    }

    /// The cookie that goes with the form.
    pub(super) fn form_cookie(&self, token: &Secret<String>) -> (HeaderName, String) {
        set_cookie(&self.headers, form_cookie_name(&self.headers), token.expose(), "; Max-Age=3600")
    }

    /// Reads the log-in form, if it is ours.
    pub(super) async fn form(&self, body: Body) -> Result<Form, Response> {
        let form = read_form(&self.headers, body).await?;
        let expected = cookie(&self.headers, form_cookie_name(&self.headers)).unwrap_or_default();
        let ours = !expected.is_empty() && SecretHash::of(expected.as_bytes()).verify(form.exact(TOKEN).as_bytes());
        if ours { Ok(form) } else { Err(trouble(&Problem::not_our_form())) }
    }

    /// The log-in's cookie.
    pub(super) fn signed_in(&self, cookie: &Secret<String>) -> (HeaderName, String) {
        // Without an age it ends with the browser; how long it is good for is the server's to know.
        set_cookie(&self.headers, cookie_name(&self.headers), cookie.expose(), "")
    }

    /// Ends whatever log-in the browser has, here and there.
    pub(super) fn sign_out(&self, pages: &Pages) -> (HeaderName, String) {
        let name = cookie_name(&self.headers);
        if let Some(cookie) = cookie(&self.headers, name) {
            pages.logins.end(cookie);
        }
        set_cookie(&self.headers, name, "", "; Max-Age=0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_our_own_pages_are_gone_back_to() {
        for good in ["/keys", "/keys/ab12?range=1h&x=%20", "/"] {
            assert_eq!(own_page(good), Some(good));
        }
        for bad in ["", "keys", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb", "/\u{e9}"] {
            assert_eq!(own_page(bad), None, "{bad:?}");
        }
        assert_eq!(own_page(&format!("/{}", "a".repeat(600))), None);
    }

    #[test]
    fn forms_of_other_origins_are_told_from_ours() {
        let cases: [(&[(&str, &str)], bool); 8] = [
            (&[], true),
            (&[("sec-fetch-site", "same-origin"), ("origin", "null")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("origin", "null"), ("host", "a:1")], true),
            (&[("origin", "http://a:1"), ("host", "a:1")], true),
            (&[("origin", "http://a:2"), ("host", "a:1")], false),
            (&[("origin", "http://evil.example"), ("host", "a:1")], false),
        ];
        for (lines, expected) in cases {
            let headers: HeaderMap =
                lines.iter().map(|(n, v)| (HeaderName::try_from(*n).unwrap(), HeaderValue::try_from(*v).unwrap())).collect();
            assert_eq!(is_from_here(&headers), expected, "{lines:?}");
        }
    }

    #[test]
    fn cookies_are_found_by_their_whole_name_and_are_strict() {
        let some = headers(&[("cookie", "a=1; outgate-form=f; outgate=x; outgate2=y")]);
        assert_eq!(
            (cookie(&some, "outgate"), cookie(&some, "outgate-form"), cookie(&some, "gate")),
            (Some("x"), Some("f"), None)
        );
        let (_, plain) = set_cookie(&some, cookie_name(&some), "v", "");
        assert_eq!(plain, "outgate=v; Path=/; HttpOnly; SameSite=Strict");
        let behind_tls = headers(&[("x-forwarded-proto", "https")]);
        let (_, secure) = set_cookie(&behind_tls, cookie_name(&behind_tls), "v", "");
        assert_eq!(secure, "__Host-outgate=v; Path=/; HttpOnly; SameSite=Strict; Secure");
    }
}
