//! The trace that a client says its request belongs to (W3C Trace Context, section 3.2), and who is told of requests besides.

use outgate_records::Entry;

/// Is told of every request that ended. On the event loop: it must not wait.
pub trait Tracer: Send + Sync {
    /// A request ended; `parent` is the client's `traceparent`, if it sent a good one.
    fn ended(&self, entry: &Entry<'_>, parent: Option<&str>);
}

/// A `traceparent` that is one: `00-` + 32 hex digits of trace, `-`, 16 of the parent, `-`, 2 of flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent(Box<str>);

impl TraceParent {
    /// None if it is malformed: then it says nothing (section 3.2.2.3). A later version may have more behind the flags.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let mut parts = text.split('-');
        let mut part = |length: usize| {
            let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            parts.next().filter(|part| part.len() == length && part.bytes().all(hex))
        };
        let (version, trace, parent, _flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let is_set = |id: &str| id.bytes().any(|byte| byte != b'0');
        let whole = version != "ff" && (version != "00" || parts.next().is_none()) && is_set(trace) && is_set(parent);
        whole.then(|| Self(text[..55].into()))
    }

    /// All of it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The trace's id: 32 hex digits.
    pub(crate) fn trace_id(&self) -> &str {
        &self.0[3..35]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_standard_allows_is_a_trace() {
        let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for (text, good) in [
            (format!("00-{trace}-{parent}-01"), true),
            (format!("cc-{trace}-{parent}-01-more"), true),
            (format!("00-{trace}-{parent}-01-more"), false),
            (format!("ff-{trace}-{parent}-01"), false),
            (format!("00-{}-{parent}-01", "0".repeat(32)), false),
            (format!("00-{trace}-{}-01", "0".repeat(16)), false),
            (format!("00-{}-{parent}-01", trace.to_uppercase()), false),
            (format!("00-{trace}-{parent}"), false),
            (format!("00-{trace}-{parent}-1"), false),
            (String::new(), false),
            ("\u{fc}".repeat(60), false),
        ] {
            let parsed = TraceParent::parse(text.as_bytes());
            assert_eq!(parsed.is_some(), good, "{text}");
            assert!(parsed.is_none_or(|parsed| parsed.trace_id() == trace));
        }
    }
}
