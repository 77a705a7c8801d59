//! The generated parts of `docs/classify.md`: checked, and written with `UPDATE_DOCS=1`.

use std::fmt::Write as _;
use std::path::Path;

use outgate_client::providers::{Basis, Providers};

use crate::{dialects, foreign};

#[test]
fn the_documentation_has_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/classify.md");
    let written = std::fs::read_to_string(&path).expect("docs/classify.md is there");
    let mut text = written.clone();
    for (name, table) in [("providers", providers()), ("dialects", dialects::table()), ("foreign", foreign::tables())] {
        text = replaced(&text, name, &table);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).expect("it can be written");
    } else {
        assert!(
            text == written,
            "docs/classify.md is not what the code says: UPDATE_DOCS=1 cargo test -p outgate-client --test classify"
        );
    }
}

/// What stands between the marks of a name, replaced.
fn replaced(text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: generated -->\n"), format!("<!-- {name}: end -->"));
    let from = text.find(&begin).unwrap_or_else(|| panic!("no {begin}")) + begin.len();
    let to = text.find(&end).unwrap_or_else(|| panic!("no {end}"));
    format!("{}{table}{}", &text[..from], &text[to..])
}

fn providers() -> String {
    let mut text =
        String::from("| name | whose | rules | documented, seen, community, unconfirmed | source |\n|---|---|---:|---|---|\n");
    for provider in Providers::builtin().iter() {
        let count = |basis: Basis| provider.rules().iter().filter(|rule| rule.basis() == basis).count();
        let counts: Vec<String> = Basis::ALL.iter().map(|basis| count(*basis).to_string()).collect();
        let thin = if provider.is_thin() { " (thin)" } else { "" };
        let (name, title, rules) = (provider.name(), provider.title(), provider.rules().len());
        let _ = writeln!(text, "| `{name}` | {title}{thin} | {rules} | {} | {} |", counts.join(", "), provider.source());
    }
    text
}
