//! What filters and summaries look at of a record, borrowed from its line.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use crate::record::{Milliseconds, Record};

/// A record's fields that filters and summaries look at. The others are stepped over.
#[derive(Deserialize)]
pub(crate) struct Glance<'a> {
    #[serde(borrow)]
    pub(crate) time: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) request_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) outcome: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) client: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) target: Cow<'a, str>,
    #[serde(default)]
    pub(crate) status: Option<u16>,
    #[serde(borrow, default)]
    pub(crate) layer: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) key: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) exit: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) country: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) pool: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) session: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) bytes_up: u64,
    #[serde(default)]
    pub(crate) bytes_down: u64,
    #[serde(default)]
    pub(crate) ms: Milliseconds,
}

/// A text that is borrowed where the line has it as it is, also inside an `Option`, where serde alone would copy it.
pub(crate) struct Text<'a>(Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;
        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrowing)
    }
}

impl<'a> Glance<'a> {
    /// Reads a line; none if it is no record.
    pub(crate) fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The same of a record that was read already.
    pub(crate) fn of(record: &'a Record) -> Self {
        let text = |text: &'a Option<String>| text.as_deref().map(|text| Text(Cow::Borrowed(text)));
        Self {
            time: record.time.to_string().into(),
            request_id: record.request_id.as_str().into(),
            outcome: record.outcome.as_str().into(),
            client: record.client.as_str().into(),
            target: record.target.as_str().into(),
            status: record.status,
            layer: text(&record.layer),
            key: text(&record.key),
            exit: text(&record.exit),
            country: text(&record.country),
            pool: text(&record.pool),
            session: text(&record.session),
            bytes_up: record.bytes_up,
            bytes_down: record.bytes_down,
            ms: record.ms,
        }
    }
}
