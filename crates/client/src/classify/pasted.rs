//! A reply as people paste it: raw, from `curl -v` or `curl -i`, or no more than the error that a library printed.

use crate::classify::{Evidence, Fields, Way};

/// The most bytes of a paste that are read.
const LONGEST: usize = 256 * 1024;

/// What was read off a paste.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pasted {
    /// The status of the last answer in it.
    pub status: u16,
    /// Its reason phrase.
    pub reason: String,
    /// Its fields.
    pub headers: Vec<(String, String)>,
    /// What follows.
    pub body: String,
    /// How the request was put, where the paste shows it.
    pub way: Option<Way>,
}

/// What libraries print of a failed CONNECT; the status follows.
const PRINTED: &[&str] = &[
    "tunnel failed, response ",
    "tunnel connection failed: ",
    "http code ",
    "unexpected status code ",
    "proxy response: ",
    "status code: ",
    "statuscode=",
];

impl Pasted {
    /// Reads a paste. `None` if there is no answer in it.
    pub fn read(text: &str) -> Option<Pasted> {
        let end = (0..=text.len().min(LONGEST)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let text = &text[..end];
        let mut found: Option<Pasted> = None;
        let mut asked = None;
        let mut opened = false;
        let mut in_head = false;
        for line in text.lines() {
            let (mark, line) = unmarked(line);
            if mark == Mark::Sent {
                asked = asked.or_else(|| asked_by(line));
                continue;
            }
            if mark == Mark::Told {
                continue;
            }
            if let Some((status, reason)) = status_line(line) {
                // A 200 to CONNECT, and then the target's answer through the tunnel.
                opened |= found.as_ref().is_some_and(|last| (200..300).contains(&last.status));
                found = Some(Pasted { status, reason, ..Pasted::default() });
                in_head = true;
                continue;
            }
            let Some(reply) = &mut found else { continue };
            match line.split_once(':') {
                _ if in_head && line.trim().is_empty() => in_head = false,
                Some((name, value)) if in_head => reply.headers.push((name.trim().to_owned(), value.trim().to_owned())),
                _ if in_head => {}
                _ => {
                    reply.body.push_str(line);
                    reply.body.push('\n');
                }
            }
        }
        let mut reply = found.or_else(|| printed(text))?;
        reply.way = if opened { Some(Way::Tunnelled) } else { asked.or(reply.way) };
        Some(reply)
    }

    /// As evidence: the way it shows, or `otherwise`.
    pub fn evidence<'a>(&'a self, otherwise: Way, proxy: &'a str, target: &'a str) -> Evidence<'a> {
        Evidence {
            status: Some(self.status),
            reason: Some(&self.reason),
            headers: Fields::List(&self.headers),
            body: Some(self.body.as_bytes()),
            ..Evidence::of(self.way.unwrap_or(otherwise), proxy, target)
        }
    }
}

/// What `curl -v` puts in front of a line.
#[derive(PartialEq, Eq)]
enum Mark {
    /// `>`: sent.
    Sent,
    /// `*`: curl's own words.
    Told,
    /// `<` or nothing: received.
    Received,
}

fn unmarked(line: &str) -> (Mark, &str) {
    match line.split_at_checked(2) {
        Some(("> ", rest)) => (Mark::Sent, rest),
        Some(("* ", rest)) => (Mark::Told, rest),
        Some(("< ", rest)) => (Mark::Received, rest),
        _ if line == "<" => (Mark::Received, ""),
        _ if line == ">" => (Mark::Sent, ""),
        _ => (Mark::Received, line),
    }
}

fn asked_by(line: &str) -> Option<Way> {
    let (method, target) = line.split_once(' ')?;
    if method == "CONNECT" {
        return Some(Way::Connect);
    }
    (target.starts_with("http://") && method.bytes().all(|b| b.is_ascii_uppercase())).then_some(Way::Forwarded)
}

fn status_line(line: &str) -> Option<(u16, String)> {
    let rest = line.strip_prefix("HTTP/")?;
    let (version, rest) = rest.split_once(' ')?;
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let known = matches!(version, "1.0" | "1.1" | "2" | "2.0" | "3");
    let status = status.trim().parse().ok().filter(|status| known && (100..1000).contains(status))?;
    Some((status, reason.trim().to_owned()))
}

/// `Tunnel connection failed: 407 Proxy Authentication Required` and the like.
fn printed(text: &str) -> Option<Pasted> {
    let lower = text.to_ascii_lowercase();
    let from = PRINTED.iter().find_map(|words| lower.find(words).map(|at| at + words.len()))?;
    let rest = text.get(from..)?.lines().next()?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let status = rest[..digits].parse().ok().filter(|status| (100..1000).contains(status))?;
    // What is printed as a value of the language ends with its quote.
    let reason = rest[digits..].split(['\'', '"']).next().unwrap_or_default().trim();
    let reason = if reason.starts_with("from proxy") { String::new() } else { reason.to_owned() };
    Some(Pasted { status, reason, way: Some(Way::Connect), ..Pasted::default() })
}

#[cfg(test)]
mod tests {
    use super::Pasted;
    use crate::classify::Way;

    #[test]
    fn raw_with_any_line_ends() {
        for end in ["\r\n", "\n"] {
            let raw = ["HTTP/1.1 403 Forbidden (port_denied)", "X-Proxy-Error: port_denied", "", "port 25"].join(end);
            let reply = Pasted::read(&raw).expect("an answer");
            assert_eq!((reply.status, reply.reason.as_str()), (403, "Forbidden (port_denied)"));
            assert_eq!(reply.headers, [("X-Proxy-Error".to_owned(), "port_denied".to_owned())]);
            assert_eq!((reply.body.as_str(), reply.way), ("port 25\n", None));
        }
    }

    #[test]
    fn what_curl_prints() {
        let text = "* Trying 192.0.2.1\n> CONNECT a.example:443 HTTP/1.1\n> Host: a\n>\n< HTTP/1.1 407 Auth\n< Proxy-Status: gw\n<\nno\n";
        let reply = Pasted::read(text).expect("an answer");
        assert_eq!((reply.status, reply.way, reply.headers.len()), (407, Some(Way::Connect), 1));
        let text = "> CONNECT a:443 HTTP/1.1\n< HTTP/1.1 200 OK\n<\n> GET / HTTP/2\n< HTTP/2 403\n< server: x\n<\n<h1>no</h1>";
        let reply = Pasted::read(text).expect("an answer");
        assert_eq!((reply.status, reply.way), (403, Some(Way::Tunnelled)));
        let reply = Pasted::read("> GET http://a.example/ HTTP/1.1\n< HTTP/1.1 502 Bad Gateway\n<\n").expect("an answer");
        assert_eq!(reply.way, Some(Way::Forwarded));
    }

    #[test]
    fn what_libraries_print() {
        let cases = [
            ("curl: (56) CONNECT tunnel failed, response 454", 454, ""),
            ("curl: (56) Received HTTP code 407 from proxy after CONNECT", 407, ""),
            ("OSError('Tunnel connection failed: 403 Forbidden (port_denied)')", 403, "Forbidden (port_denied)"),
        ];
        for (text, status, reason) in cases {
            let reply = Pasted::read(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((reply.status, reply.reason.as_str(), reply.way), (status, reason, Some(Way::Connect)), "{text}");
        }
        for none in ["", "hello", "HTTP/1.1", "HTTP/9 200", "connection reset by peer"] {
            assert_eq!(Pasted::read(none), None, "{none}");
        }
    }
}
