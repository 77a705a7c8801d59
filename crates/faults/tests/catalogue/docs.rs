//! `docs/errors.md` is what the catalogue says; `UPDATE_DOCS=1` rewrites it.

use outgate_faults::{Slug, markdown, page};
use std::path::Path;

#[test]
fn the_document_is_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let fresh = markdown();
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &fresh).expect("docs/errors.md can be written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == fresh, "docs/errors.md differs from the catalogue: run UPDATE_DOCS=1 cargo test -p outgate-faults");
}

#[test]
fn the_document_has_a_section_and_a_line_for_each_slug() {
    let text = markdown();
    for slug in Slug::ALL {
        assert_eq!(text.matches(&format!("\n### {slug}\n")).count(), 1, "{slug}");
        assert_eq!(text.matches(&format!("\n| [{slug}](#{slug}) |")).count(), 1, "{slug}");
        assert_eq!(page(*slug).dialects.len(), 4, "{slug}");
    }
}
