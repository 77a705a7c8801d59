//! The page that a web browser gets when somebody opens the proxy's own address in it.

use std::fmt::Write;

use outgate_faults::{Answer, Dialect, ReasonStyle, Slug};

use crate::head::{MAX_FIELDS, Target};
use crate::settings::ListenerSettings;

/// What follows a name in braces is put there, escaped; `{lines}` is put there as it is.
const PAGE: &str = include_str!("page.html");

/// What the page may load and do: its own style, and nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Puts the page into an answer in place of its line of text, if a browser asked for a page of this address. `head` is the
/// request's head, of which nothing gets into the page but an address that was read and written anew.
pub(crate) fn for_browser(answer: Answer, request_id: &str, head: &[u8], listener: &ListenerSettings) -> Answer {
    if answer.slug != Slug::WrongProtocol || !may_have_markup(&listener.dialect) {
        return answer;
    }
    let Some(asked) = PageRequest::read(head) else { return answer };
    let page = PAGE
        .replace("{lines}", &lines(listener, asked.host.as_deref()))
        .replace("{slug}", answer.slug.name())
        .replace("{request}", &escaped(request_id))
        // The last one: it holds words that another replacement could find.
        .replace("{sentence}", &escaped(answer.body.trim_end()));
    let mut answer = answer.with_body("text/html; charset=utf-8", page);
    answer.headers.push(("X-Content-Type-Options", "nosniff".to_owned()));
    answer.headers.push(("Content-Security-Policy", CONTENT_SECURITY_POLICY.to_owned()));
    answer
}

/// The dialects of others promise plain text, whoever asks.
fn may_have_markup(dialect: &Dialect) -> bool {
    dialect.reason_style() == ReasonStyle::Slug
}

/// A request for a page of this server, as a browser makes it.
struct PageRequest {
    /// The Host field.
    host: Option<String>,
}

impl PageRequest {
    /// Reads a request's head; `None` for any other request.
    fn read(head: &[u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        request.parse(head).ok().filter(httparse::Status::is_complete)?;
        let is_page = matches!(request.method, Some("GET" | "HEAD")) && request.path.is_some_and(|path| path.starts_with('/'));
        let value = |name: &str| {
            let field = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
            field.and_then(|field| std::str::from_utf8(field.value).ok())
        };
        let is_browser = value("Accept").is_some_and(|accept| accept.contains("text/html"));
        (is_page && is_browser).then(|| Self { host: value("Host").map(str::to_owned) })
    }
}

/// A line to paste for each way in that the listener has.
fn lines(listener: &ListenerSettings, host: Option<&str>) -> String {
    let (scheme, port) = if listener.tls.is_some() { ("https", 443) } else { ("http", 80) };
    let address = host.and_then(|host| Target::authority(host, Some(port)).ok());
    let address = address.map_or("ADDRESS:PORT".to_owned(), |address| address.to_string());
    let mut lines = String::new();
    let mut put = |scheme: &str| {
        let line = format!("curl -x {scheme}://KEY:SECRET@{address} https://example.com/");
        // Writing to a String can't fail.
        let _ = writeln!(lines, "<pre>{}</pre>", escaped(&line));
    };
    if listener.protocols.http {
        put(scheme);
    }
    // curl has no SOCKS inside of TLS.
    if listener.protocols.socks5 && listener.tls.is_none() {
        put("socks5h");
    }
    lines
}

/// Text as it stands between tags and in attributes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Protocols;

    fn listener(http: bool, socks5: bool) -> ListenerSettings {
        let protocols = Protocols { http, socks5 };
        ListenerSettings { protocols, ..ListenerSettings::plain(([127, 0, 0, 1], 0).into(), Dialect::outgate()) }
    }

    #[test]
    fn a_page_is_what_a_browser_asks_for() {
        let cases = [
            ("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html,*/*;q=0.8\r\n\r\n", true),
            ("HEAD /x?y HTTP/1.1\r\nHost: a\r\naccept: text/html\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
            ("GET /favicon.ico HTTP/1.1\r\nHost: a\r\nAccept: image/avif,image/webp\r\n\r\n", false),
            ("POST / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n", false),
            ("GET http://a/ HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n\r\n", false),
            ("GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\n", false),
            ("", false),
        ];
        for (head, expected) in cases {
            assert_eq!(PageRequest::read(head.as_bytes()).is_some(), expected, "{head:?}");
        }
    }

    #[test]
    fn lines_to_paste_hold_an_address_and_nothing_else_of_the_caller() {
        let line = |scheme: &str, at: &str| format!("<pre>curl -x {scheme}://KEY:SECRET@{at} https://example.com/</pre>\n");
        let cases = [
            (Some("proxy.example:8080"), "proxy.example:8080"),
            (Some("PROXY.example"), "proxy.example:80"),
            (Some("[2001:db8::1]:3128"), "[2001:db8::1]:3128"),
            (Some("a'b;c$(d):1"), "ADDRESS:PORT"),
            (Some("<script>alert(1)</script>"), "ADDRESS:PORT"),
            (Some("user:password@a:1"), "ADDRESS:PORT"),
            (Some(""), "ADDRESS:PORT"),
            (None, "ADDRESS:PORT"),
        ];
        for (host, at) in cases {
            assert_eq!(lines(&listener(true, false), host), line("http", at), "{host:?}");
        }
        let both = lines(&listener(true, true), Some("a:1"));
        assert_eq!(both, line("http", "a:1") + &line("socks5h", "a:1"));
        assert_eq!(lines(&listener(false, true), Some("a:1")), line("socks5h", "a:1"));
    }

    #[test]
    fn nothing_breaks_out_of_its_place() {
        assert_eq!(escaped(r#"<a href="x" b='y'>&amp;"#), "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;");
    }
}
