//! The running gateway's admin API: found through the data folder or a URL, asked over HTTP/1.1.

use std::path::Path;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use outgate_console::ConsoleFile;
use outgate_console::console_file::ConsoleFileError;
use outgate_store::Secret;
use serde_json::Value;
use tokio::net::TcpStream;

use super::output::List;
use super::trouble::Trouble;
use super::who::claimed;

/// A console on the other side of the world answers within this, or isn't there.
const REACH: Duration = Duration::from_secs(5);

/// Longer than the console itself may take for one request (three attempts at its store).
const ANSWER: Duration = Duration::from_secs(30);

/// A page of a thousand items is far below.
const LARGEST: usize = 16 << 20;

/// Items per page of a listing: the most the API gives.
const PAGE: usize = 1_000;

/// Where a gateway was found.
#[derive(Debug)]
enum Found {
    /// In this data folder, left by this process.
    Folder(String, u32),
    /// On the command line.
    Url,
}

/// A running gateway's console.
pub(super) struct Console {
    authority: String,
    base: String,
    token: Secret<String>,
    found: Found,
}

impl Console {
    /// From `--console` with the token of the environment, else from the data folder.
    pub(super) fn find(data: &Path, url: Option<&str>, token: Option<String>) -> Result<Self, Trouble> {
        match url {
            Some(url) => {
                let token = token.ok_or_else(|| {
                    Trouble::usage("--console needs the admin token in OUTGATE_ADMIN_TOKEN")
                        .next("It is the admin_token in console.json of the gateway's data folder:\nOUTGATE_ADMIN_TOKEN=… outgate keys list --console http://127.0.0.1:8081")
                })?;
                let (authority, base) = parse_url(url).map_err(|reason| Trouble::usage(format!("--console {url}: {reason}")))?;
                Ok(Self { authority, base, token: Secret::new(token), found: Found::Url })
            }
            None => {
                let file = ConsoleFile::read(data).map_err(|error| match error {
                    ConsoleFileError::Missing(path) => Trouble::failed(format!("no gateway is running with the data folder {}", data.display())).next(format!(
                        "({} is not there)\nStart one:         outgate quickstart\nor point to it:    --data DIR, its data folder\nor to its console: --console URL, with the token in OUTGATE_ADMIN_TOKEN",
                        path.display()
                    )),
                    ConsoleFileError::Unreadable(..) => Trouble::failed(error.to_string()).next("Only the gateway's own user can read it: run this as that user, or use --console URL with OUTGATE_ADMIN_TOKEN."),
                    ConsoleFileError::Damaged(_) => Trouble::failed(error.to_string()),
                })?;
                let (authority, base) = parse_url(&file.console_url)
                    .map_err(|reason| Trouble::failed(format!("console_url in {}: {reason}", data.display())))?;
                Ok(Self { authority, base, token: file.admin_token, found: Found::Folder(data.display().to_string(), file.pid) })
            }
        }
    }

    pub(super) async fn read(&self, path: &str) -> Result<Value, Trouble> {
        self.ask(Method::GET, path, None).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// A post that the console itself answers only when something far away is done.
    pub(super) async fn post_patiently(&self, path: &str, body: &Value, patience: Duration) -> Result<Value, Trouble> {
        self.ask_within(Method::POST, path, Some(body), patience).await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Value, Trouble> {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Value, Trouble> {
        self.ask(Method::DELETE, path, None).await
    }

    /// A whole listing, page by page. `path` may already have a query.
    pub(super) async fn read_all(&self, path: &str, mut list: List<'_, '_>) -> Result<(), Trouble> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut after = String::new();
        loop {
            let page = self.read(&format!("{path}{separator}limit={PAGE}{after}")).await?;
            let items = page["items"].as_array().ok_or_else(|| self.foreign("no items"))?;
            list.page(items)?;
            match page["next"].as_str() {
                Some(next) => after = format!("&after={}", encoded(next)),
                None => return list.end(),
            }
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Trouble> {
        self.ask_within(method, path, body, ANSWER).await
    }

    async fn ask_within(&self, method: Method, path: &str, body: Option<&Value>, patience: Duration) -> Result<Value, Trouble> {
        let stream = tokio::time::timeout(REACH, TcpStream::connect(&self.authority)).await;
        let stream = stream
            .map_err(|_| self.unreachable(&format!("it did not answer within {} s", REACH.as_secs())))?
            .map_err(|error| self.unreachable(&error.to_string()))?;
        let request = self.request(method, path, body)?;
        let exchange = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            let exchange = async {
                let response = sender.send_request(request).await?;
                let status = response.status().as_u16();
                let body = Limited::new(response.into_body(), LARGEST).collect().await;
                Ok::<_, hyper::Error>((status, body.map(|body| body.to_bytes())))
            };
            tokio::pin!(exchange, connection);
            tokio::select! {
                done = &mut exchange => done,
                // The connection may end first; what it has read is still the exchange's to take.
                ended = &mut connection => {
                    ended?;
                    exchange.await
                }
            }
        };
        let (status, body) = tokio::time::timeout(patience, exchange)
            .await
            .map_err(|_| self.unreachable(&format!("it did not answer within {} s", patience.as_secs())))?
            .map_err(|error| self.unreachable(&error.to_string()))?;
        let body = body.map_err(|error| self.unreachable(&error.to_string()))?;
        if status == 204 {
            return Ok(Value::Null);
        }
        let value: Value = serde_json::from_slice(&body).map_err(|_| self.foreign(&format!("status {status} without JSON")))?;
        if (200..300).contains(&status) { Ok(value) } else { Err(self.refusal(status, &value)) }
    }

    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Request<Full<Bytes>>, Trouble> {
        let body_bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut request = Request::builder();
        if let Some(who) = claimed().and_then(|name| HeaderValue::from_bytes(name.as_bytes()).ok()) {
            request = request.header("x-outgate-who", who);
        }
        request
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, format!("Bearer {}", self.token.expose()))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body_bytes))
            // The only part that comes from outside and wasn't parsed is the token; it must not be repeated here.
            .map_err(|_| Trouble::usage("the admin token can't be sent: it must consist of visible ASCII characters"))
    }

    fn refusal(&self, status: u16, problem: &Value) -> Trouble {
        let detail = problem["detail"].as_str().map_or_else(|| format!("the console answered {status}"), str::to_owned);
        let trouble = Trouble::failed(detail);
        match (status, &self.found) {
            (401, Found::Url) => Trouble::failed("the console refused the admin token").next(
                "OUTGATE_ADMIN_TOKEN must be the admin_token in console.json of the data folder of the gateway behind that URL.",
            ),
            (401, Found::Folder(folder, _)) => Trouble::failed("the console refused the admin token")
                .next(format!("{folder}/console.json is from another run: was its gateway replaced by one with another --data?")),
            _ => trouble,
        }
    }

    fn unreachable(&self, reason: &str) -> Trouble {
        let trouble = Trouble::failed(format!("the console at {} can't be reached: {reason}", self.authority));
        match &self.found {
            Found::Folder(folder, process) => trouble.next(format!(
                "{folder}/console.json was left there by process {process}, which has probably ended.\nStart the gateway again (outgate quickstart --data {folder}), or point to another: --data DIR or --console URL"
            )),
            Found::Url => trouble.next("Is the gateway running, and is this the console's address rather than the proxy's?"),
        }
    }

    fn foreign(&self, what: &str) -> Trouble {
        Trouble::failed(format!("what answers at {} is not an outgate console ({what})", self.authority))
            .next("The console has a port of its own: --console http://127.0.0.1:8081 for quickstart.")
    }
}

/// `http://host:port/base` as authority and base path.
fn parse_url(url: &str) -> Result<(String, String), String> {
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = with_scheme.parse().map_err(|_| "not a URL; write http://HOST:PORT".to_owned())?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("the console speaks plain HTTP: use http://, over a tunnel if it is far away".to_owned()),
        _ => return Err("not a URL; write http://HOST:PORT".to_owned()),
    }
    let authority = uri.authority().ok_or("it names no host")?;
    if authority.as_str().contains('@') {
        return Err("credentials don't belong in it: the token comes from OUTGATE_ADMIN_TOKEN".to_owned());
    }
    let authority = if authority.port().is_some() { authority.to_string() } else { format!("{authority}:80") };
    Ok((authority, uri.path().trim_end_matches('/').to_owned()))
}

/// Percent-encodes what isn't unreserved (RFC 3986 section 2.3).
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn urls() {
        let cases = [
            ("http://127.0.0.1:8081", Some(("127.0.0.1:8081", ""))),
            ("127.0.0.1:8081", Some(("127.0.0.1:8081", ""))),
            ("http://[::1]:8081/", Some(("[::1]:8081", ""))),
            ("http://ops.example/outgate/", Some(("ops.example:80", "/outgate"))),
            ("https://ops.example", None),
            ("http://a:b@ops.example", None),
            ("ftp://ops.example", None),
            ("http://", None),
            ("", None),
        ];
        for (url, expected) in cases {
            let expected = expected.map(|(authority, base)| (authority.to_owned(), base.to_owned()));
            assert_eq!(parse_url(url).ok(), expected, "{url:?}");
        }
        assert_eq!(encoded("2026-11-21T07:00Z ü"), "2026-11-21T07%3A00Z%20%C3%BC");
    }
}
