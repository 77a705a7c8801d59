//! The page behind a slug: what `outgate explain` prints and the documentation contains.

use crate::{Dialect, Row, Slug};

/// Everything there is to say about one slug.
#[derive(Clone, Debug)]
pub struct Page {
    /// The slug.
    pub slug: Slug,
    /// Its row: layer, retry class, who fixes it, cause, fix.
    pub row: &'static Row,
    /// The sentence with example facts.
    pub example: String,
    /// Name, status and whole reason phrase in every built-in dialect.
    pub dialects: Vec<DialectLine>,
    /// The SOCKS5 reply byte.
    pub socks5: u8,
}

/// How one dialect says it.
#[derive(Clone, Debug)]
pub struct DialectLine {
    /// The dialect's name.
    pub dialect: &'static str,
    /// The status.
    pub status: u16,
    /// The reason phrase.
    pub reason: String,
    /// The body that the dialect prescribes, if it does.
    pub body: Option<String>,
}

/// The page of a slug.
pub fn page(slug: Slug) -> Page {
    let row = slug.row();
    let dialects = builtins()
        .map(|(name, dialect)| DialectLine {
            dialect: name,
            status: dialect.status(slug),
            reason: dialect.reason(slug),
            body: dialect.fixed_body(slug).map(str::to_owned),
        })
        .collect();
    Page { slug, row, example: row.example(), dialects, socks5: row.socks.byte() }
}

/// Every slug that the dialect says with this status, in the order of the catalogue; the target's own answers are among them.
pub fn page_for_status(status: u16, dialect: &Dialect) -> Vec<Slug> {
    Slug::ALL.iter().copied().filter(|slug| dialect.status(*slug) == status).collect()
}

/// The built-in dialects and their names.
pub(crate) fn builtins() -> impl Iterator<Item = (&'static str, Dialect)> {
    Dialect::BUILTIN.iter().filter_map(|name| Some((*name, Dialect::builtin(name)?)))
}
