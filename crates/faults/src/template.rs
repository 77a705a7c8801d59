//! The little template language of sentences: `{fact}`, and `{fact?text with {} in it}` that vanishes with an empty fact.

/// A piece of a template.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Fact(&'a str),
    /// Shown only when the fact is not empty.
    Optional {
        fact: &'a str,
        before: &'a str,
        after: &'a str,
    },
}

/// Cuts a template into its pieces; `Err` says what is wrong with it.
pub(crate) fn pieces(template: &str) -> Result<Vec<Piece<'_>>, &'static str> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        if rest.as_bytes()[at] == b'}' {
            return Err("a } without its {");
        }
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        rest = &rest[at + 1..];
        let end = rest.find(['}', '?']).ok_or("a { without its }")?;
        let fact = &rest[..end];
        if fact.is_empty() || !fact.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return Err("a fact's name is lower-case letters and _");
        }
        let optional = rest.as_bytes()[end] == b'?';
        rest = &rest[end + 1..];
        if optional {
            let (before, tail) = rest.split_once("{}").ok_or("an optional text without {}")?;
            let (after, tail) = tail.split_once('}').ok_or("a { without its }")?;
            pieces.push(Piece::Optional { fact, before, after });
            rest = tail;
        } else {
            pieces.push(Piece::Fact(fact));
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// Fills a template in one pass, so that braces inside a fact mean nothing. A broken template is shown as it stands:
/// the catalogue's own are checked by a test, an operator's when the dialect is built.
pub(crate) fn render<'f>(template: &str, fact: impl Fn(&str) -> &'f str) -> String {
    let Ok(pieces) = pieces(template) else {
        return template.to_owned();
    };
    let mut text = String::with_capacity(template.len() + 64);
    for piece in pieces {
        match piece {
            Piece::Text(words) => text.push_str(words),
            Piece::Fact(name) => text.push_str(fact(name)),
            Piece::Optional { fact: name, before, after } => {
                let value = fact(name);
                if !value.is_empty() {
                    text.push_str(before);
                    text.push_str(value);
                    text.push_str(after);
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{pieces, render};

    #[test]
    fn fills_facts_and_drops_empty_options() {
        let template = r#"unknown modifier "{modifier}"{hint?: did you mean "{}"?}"#;
        let with = |hint: &'static str| render(template, move |name| if name == "hint" { hint } else { "contry" });
        assert_eq!(with("country"), r#"unknown modifier "contry": did you mean "country"?"#);
        assert_eq!(with(""), r#"unknown modifier "contry""#);
    }

    #[test]
    fn a_fact_is_not_a_template() {
        assert_eq!(render("<{a}>", |_| "{a}{b?{}}"), "<{a}{b?{}}>");
    }

    #[test]
    fn broken_templates_are_refused() {
        for broken in ["{", "}", "{a", "{}", "{A}", "{a?b}", "{a?{}", "x}y"] {
            assert!(pieces(broken).is_err(), "{broken}");
        }
    }
}
