//! The answer that tells a fault over HTTP: status, reason, headers and a one-line body, ready for one write.

use crate::proxy_status::{fault_value, string};
use crate::{Dialect, Fault, Slug, fact};

/// The most bytes of the texts that the edge brings along.
const LONGEST_TEXT: usize = 64;
/// The most bytes of a documentation URL.
const LONGEST_URL: usize = 100;

/// Who tells the fault, and to which request.
#[derive(Clone, Copy, Debug)]
pub struct Teller<'a> {
    /// This hop's name in `Proxy-Status`.
    pub hop: &'a str,
    /// The request id, the link to the operator's record.
    pub request_id: &'a str,
    /// The realm of the `Basic` challenge on a 407.
    pub realm: &'a str,
    /// Now, as an HTTP date (RFC 9110 section 5.6.7).
    pub date: &'a str,
    /// Where the pages of the catalogue are published, if anywhere: a `Link` then leads to the slug's section.
    pub docs_url: Option<&'a str>,
}

/// Whether to send the body: the answer to HEAD has none, but the length it would have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// Send it.
    Send,
    /// Leave it away (HEAD).
    Omit,
}

/// What becomes of the connection after the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Connection {
    /// It stays usable, unless the dialect closes after every answer.
    KeepAlive,
    /// It closes.
    Close,
}

/// A whole answer. It is at most about 1200 bytes, one segment: some clients read no more of a failed CONNECT. Only
/// [`Answer::with_body`] makes it longer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Answer {
    /// The slug it tells.
    pub slug: Slug,
    /// The status in the dialect.
    pub status: u16,
    /// The reason phrase: never empty, printable ASCII.
    pub reason: String,
    /// The fields, without `Connection`.
    pub headers: Vec<(&'static str, String)>,
    /// One line of printable ASCII, unless [`Answer::with_body`] put another in its place.
    pub body: String,
    /// Whether the dialect closes the connection whatever the edge wants.
    pub close: bool,
}

impl Fault {
    /// Tells this fault in a dialect.
    pub fn answer(&self, dialect: &Dialect, teller: &Teller<'_>) -> Answer {
        let slug = self.slug();
        let status = dialect.status(slug);
        let body = dialect.body(self);
        let mut headers = vec![
            ("Date", fact::bounded(teller.date, LONGEST_TEXT)),
            ("Proxy-Status", fault_value(self, teller.hop)),
            ("X-Proxy-Error", slug.name().to_owned()),
            ("X-Outgate-Request-Id", fact::bounded(teller.request_id, LONGEST_TEXT)),
        ];
        if status == 407 {
            let realm = string(&fact::bounded(teller.realm, LONGEST_TEXT));
            headers.push(("Proxy-Authenticate", format!("Basic realm={realm}, charset=\"UTF-8\"")));
        }
        if let Some(wait) = self.retry_after() {
            // Rounded up, and never 0: a client that comes back a moment too early only fails again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.push(("Retry-After", seconds.max(1).to_string()));
        }
        if let Some(limit) = self.rate_limit().filter(|_| status == 429) {
            let policy = string(&fact::bounded(&limit.policy, LONGEST_TEXT));
            headers.push(("RateLimit-Policy", format!("{policy};q={};w={}", limit.quota, limit.window)));
            headers.push(("RateLimit", format!("{policy};r={};t={}", limit.remaining, limit.reset)));
        }
        if let Some(url) = teller.docs_url {
            let url = fact::bounded(url, LONGEST_URL).replace(['<', '>', ' '], "");
            headers.push(("Link", format!("<{url}#{slug}>; rel=\"help\"")));
        }
        headers.push(("Content-Type", "text/plain".to_owned()));
        headers.push(("Content-Length", body.len().to_string()));
        Answer { slug, status, reason: dialect.reason(slug), headers, body, close: dialect.closes() }
    }
}

impl Answer {
    /// The whole answer in HTTP/1.1, for a single write.
    pub fn to_http1(&self, body: Body, connection: Connection) -> Vec<u8> {
        let mut text = String::with_capacity(1024);
        text.push_str("HTTP/1.1 ");
        text.push_str(&self.status.to_string());
        text.push(' ');
        text.push_str(&self.reason);
        text.push_str("\r\n");
        for (name, value) in &self.headers {
            for part in [name, ": ", value, "\r\n"] {
                text.push_str(part);
            }
        }
        text.push_str(match self.connection(connection) {
            Connection::Close => "Connection: close\r\n\r\n",
            Connection::KeepAlive => "Connection: keep-alive\r\n\r\n",
        });
        if body == Body::Send {
            text.push_str(&self.body);
        }
        text.into_bytes()
    }

    /// The same fault with another body, of this media type.
    pub fn with_body(mut self, kind: &str, body: String) -> Answer {
        for (name, value) in &mut self.headers {
            match *name {
                "Content-Type" => kind.clone_into(value),
                "Content-Length" => *value = body.len().to_string(),
                _ => {}
            }
        }
        Answer { body, ..self }
    }

    /// What becomes of the connection, given what the edge wants.
    pub fn connection(&self, wanted: Connection) -> Connection {
        if self.close { Connection::Close } else { wanted }
    }

    /// The fields for HTTP/2: lower-case names, no `Connection`. Status and body go as they are; there is no reason phrase.
    pub fn http2_headers(&self) -> impl Iterator<Item = (String, &str)> {
        self.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
    }

    /// The value of a field, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}
