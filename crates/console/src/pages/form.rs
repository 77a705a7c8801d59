//! What a form sent: text fields, turned into the fields that the API's handlers read, and put back where something was wrong.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::fields::Fields;

/// No form of ours has more.
const MOST_FIELDS: usize = 64;

/// The name of the hidden field that says that the form is ours.
pub(super) const TOKEN: &str = "form_token";

/// A form as it was sent.
#[derive(Default)]
pub(super) struct Form(BTreeMap<String, String>);

/// How a field's text becomes JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// As it is.
    Text,
    /// A whole number; what is none is refused by whoever reads it.
    Number,
    /// Words between blanks, commas or line ends.
    List,
}

impl Form {
    /// Reads `application/x-www-form-urlencoded`. Of a field that comes twice the last one counts.
    pub(super) fn read(body: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(body).take(MOST_FIELDS);
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// A field's text without the blanks around it; empty if there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |text| text.trim())
    }

    /// A field exactly as it was typed: a secret.
    pub(super) fn exact(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The fields of these names, as the API would have them. An empty one says that there is no such limit.
    pub(super) fn fields(&self, names: &[(&'static str, As)]) -> Fields {
        let given = names.iter().filter(|(name, _)| self.0.contains_key(*name));
        Fields::of(given.map(|(name, kind)| ((*name).to_owned(), kind.json(self.text(name)))).collect())
    }
}

impl As {
    fn json(self, text: &str) -> Value {
        let words = || text.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty());
        match (self, text) {
            (Self::List, _) => words().collect(),
            (_, "") => Value::Null,
            (Self::Text, text) => json!(text),
            (Self::Number, text) => text.parse::<u64>().map_or_else(|_| json!(text), |number| json!(number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_what_the_api_reads() {
        let form = Form::read(b"rate=10&burst=&speed=x&ports=80%2C+443%0A8080&plan=a+b&rate=11&secret=+s+");
        assert_eq!((form.text("plan"), form.text("secret"), form.exact("secret"), form.text("none")), ("a b", "s", " s ", ""));
        let cases = [
            ("rate", As::Number, json!(11)),
            ("burst", As::Number, Value::Null),
            ("speed", As::Number, json!("x")),
            ("ports", As::List, json!(["80", "443", "8080"])),
            ("burst", As::List, json!([])),
            ("plan", As::Text, json!("a b")),
        ];
        for (name, kind, expected) in cases {
            assert_eq!(kind.json(form.text(name)), expected, "{name}");
        }
    }
}
