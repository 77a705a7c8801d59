//! Members of the `Proxy-Status` field (RFC 9209), in the syntax of structured fields (RFC 8941).

use crate::{Fault, fact};
use std::fmt::Write;

/// The most bytes of a target's own `Proxy-Status` that are kept in front of ours.
const LONGEST_FOREIGN: usize = 1024;

/// The value for an answer that tells `fault` at the hop named `hop`. A fault that an exit found is the exit's member, the
/// first because it is closest to the target; ours follows.
pub(crate) fn fault_value(fault: &Fault, hop: &str) -> String {
    let mut value = bare_item(fault.found_at().unwrap_or(hop));
    if let Some(kind) = fault.row().error_type {
        push(&mut value, format_args!("; error={kind}"));
    }
    push(&mut value, format_args!("; details={}", string(&fault.told())));
    for (key, text) in fault.params() {
        push(&mut value, format_args!("; {key}={}", string(&text)));
    }
    if fault.attempts() > 1 {
        push(&mut value, format_args!("; attempts={}", fault.attempts()));
    }
    if fault.found_at().is_some() {
        for hop in fault.relayed_by().into_iter().chain([hop]) {
            push(&mut value, format_args!(", {}", bare_item(hop)));
        }
    }
    value
}

/// This hop's member for a success: `hop` on the 200 to a CONNECT, `hop; received-status=404` on a forwarded answer.
pub fn success_member(hop: &str, received_status: Option<u16>) -> String {
    let mut member = String::with_capacity(64);
    push_success(&mut member, hop, received_status);
    member
}

/// `member` behind the value that came from the hop before: the last member is the one closest to the client. A value that
/// is no list of structured fields would make the whole field unreadable and is dropped.
pub fn append_member(existing: Option<&str>, member: &str) -> String {
    let mut value = before(existing);
    value.push_str(member);
    value
}

/// The `Proxy-Status` of a success: the members of those `on_the_way` from the target (an exit, the gateway that holds it), then
/// this hop's. `received_status` is the target's status on a forwarded answer, none on the 200 to a CONNECT.
pub fn success_headers<'a>(
    existing: Option<&str>,
    on_the_way: impl IntoIterator<Item = &'a str>,
    hop: &str,
    received_status: Option<u16>,
) -> String {
    let mut value = before(existing);
    for name in on_the_way {
        push_item(&mut value, name);
        value.push_str(", ");
    }
    push_success(&mut value, hop, received_status);
    value
}

/// What the hops before said, ready for another member.
fn before(existing: Option<&str>) -> String {
    let mut value = String::with_capacity(64);
    if let Some(before) = existing.map(|value| value.trim_matches([' ', '\t']))
        && before.len() <= LONGEST_FOREIGN
        && is_list(before)
    {
        value.push_str(before);
        value.push_str(", ");
    }
    value
}

fn push_success(value: &mut String, hop: &str, received_status: Option<u16>) {
    push_item(value, hop);
    if let Some(status) = received_status {
        push(value, format_args!("; received-status={status}"));
    }
}

/// A name as a token if it is one that is not too long, else as a string.
fn push_item(value: &mut String, name: &str) {
    if name.len() <= crate::fault::LONGEST_NAME && is_token(name) {
        value.push_str(name);
    } else {
        value.push_str(&bare_item(name));
    }
}

fn is_token(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '*') && name.bytes().all(is_token_byte)
}

/// A name as a token if it is one, else as a string.
fn bare_item(name: &str) -> String {
    let name = fact::bounded(name, crate::fault::LONGEST_NAME);
    if is_token(&name) { name } else { string(&name) }
}

/// A string item. What is not printable ASCII cannot be in one and becomes `?`.
pub(crate) fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether `key` can be a parameter's key.
pub(crate) fn is_key(key: &str) -> bool {
    let tail = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.*".contains(&b);
    key.starts_with(|c: char| c.is_ascii_lowercase() || c == '*') && key.bytes().all(tail)
}

fn is_token_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b)
}

fn push(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(words);
}

/// Whether `value` is a list of items with parameters (RFC 8941 section 3.1, without inner lists, which 9209 does not use).
fn is_list(value: &str) -> bool {
    let mut rest = value;
    loop {
        let Some(mut tail) = skip_item(rest) else {
            return false;
        };
        while let Some(parameter) = tail.strip_prefix(';') {
            let parameter = parameter.trim_start_matches(' ');
            let end = parameter.find(['=', ';', ',', ' ', '\t']).unwrap_or(parameter.len());
            if !is_key(&parameter[..end]) {
                return false;
            }
            tail = &parameter[end..];
            if let Some(item) = tail.strip_prefix('=') {
                let Some(after) = skip_item(item) else {
                    return false;
                };
                tail = after;
            }
        }
        tail = tail.trim_start_matches([' ', '\t']);
        if tail.is_empty() {
            return true;
        }
        let Some(next) = tail.strip_prefix(',') else {
            return false;
        };
        rest = next.trim_start_matches([' ', '\t']);
    }
}

/// What follows a bare item: string, byte sequence, boolean, number or token.
fn skip_item(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let end = match bytes.first()? {
        b'"' => {
            let mut at = 1;
            loop {
                match bytes.get(at)? {
                    b'"' => break at + 1,
                    b'\\' if matches!(bytes.get(at + 1)?, b'"' | b'\\') => at += 2,
                    b' '..=b'[' | b']'..=b'~' => at += 1,
                    _ => return None,
                }
            }
        }
        b':' => {
            let inner = text[1..].find(':')?;
            let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
            text[1..=inner].bytes().all(base64).then_some(inner + 2)?
        }
        b'?' => matches!(bytes.get(1)?, b'0' | b'1').then_some(2)?,
        b'-' | b'0'..=b'9' => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let end = digits.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(digits.len());
            let number = &digits[..end];
            let fits = number.len() <= 16 && number.starts_with(|c: char| c.is_ascii_digit());
            (fits && !number.ends_with('.') && number.matches('.').count() <= 1).then_some(text.len() - digits.len() + end)?
        }
        b'*' | b'a'..=b'z' | b'A'..=b'Z' => bytes.iter().position(|b| !is_token_byte(*b)).unwrap_or(bytes.len()),
        _ => return None,
    };
    text.get(end..)
}

#[cfg(test)]
mod tests {
    use super::{append_member, bare_item, is_list, success_headers, success_member};

    #[test]
    fn names_are_tokens_or_strings() {
        let cases =
            [("outgate", "outgate"), ("gw-1.example", "gw-1.example"), ("1st", "\"1st\""), ("a b", "\"a b\""), ("", "\"\"")];
        for (name, expected) in cases {
            assert_eq!(bare_item(name), expected);
        }
    }

    #[test]
    fn a_readable_value_stays_in_front() {
        assert_eq!(success_member("gw", Some(404)), "gw; received-status=404");
        assert_eq!(append_member(Some("cdn; received-status=200"), "gw"), "cdn; received-status=200, gw");
        assert_eq!(append_member(Some("a \"b"), "gw"), "gw");
        assert_eq!(append_member(None, "gw"), "gw");
        assert_eq!(success_headers(None, Some("x1"), "gw", None), "x1, gw");
        assert_eq!(success_headers(None, ["1x", "gw2"], "gw", Some(200)), "\"1x\", gw2, gw; received-status=200");
    }

    #[test]
    fn lists_are_told_from_garbage() {
        for good in
            ["a", "a, b", "a;b;c=1, \"d e\";f=\"g, \\\" h\"", "r; error=dns_error; rcode=\"NXDOMAIN\"", "a;p=:aGk=:;q=?1;n=-1.5"]
        {
            assert!(is_list(good), "{good}");
        }
        for bad in ["", ",", "a,", "a b", "a;", "a;B=1", "\"a", "a;b=", "a;b=\"\u{e9}\"", "(a b)", "a;n=1.", ":x"] {
            assert!(!is_list(bad), "{bad}");
        }
    }
}
