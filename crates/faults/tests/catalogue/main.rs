//! The catalogue against its specification: rows, dialects, answers, documentation.

mod answers;
mod custom;
mod dialects;
mod docs;
mod rows;
mod structured;

use outgate_faults::{Fault, Slug, Teller};

/// A teller with plausible values.
const TELLER: Teller<'static> =
    Teller { hop: "gw-1", request_id: "01JADZ7T3E", realm: "outgate", date: "Sat, 21 Nov 2026 07:00:00 GMT", docs_url: None };

/// The fault of a slug with its example facts.
fn example(slug: Slug) -> Fault {
    with_facts(slug, |at| slug.row().examples[at].to_owned())
}

/// The fault of a slug with chosen facts.
fn with_facts(slug: Slug, fact: impl Fn(usize) -> String) -> Fault {
    let facts: Vec<_> = slug.row().facts.iter().enumerate().map(|(at, name)| ((*name).to_owned(), fact(at))).collect();
    Fault::from_wire(slug.name(), &facts).expect("every slug parses from its own name")
}
