//! Keeps the catalogue, the code that raises its faults, and their provocations together.
//!
//! Reads source text: a call of `raise::slug(` outside of tests raises a slug, and a `Slug::Variant` in the files of
//! `provocations` provokes it: those of this binary what a gateway or an exit sees, those of `users_end` what only the user's
//! end can see.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use outgate_faults::{Raised, Seen, Slug};

/// The crates of the user's end: they raise what only it can see, and what a target does that is reached without a gateway.
const USERS_END: [&str; 3] = ["client", "relay", "doctor"];

/// Fewer of something than there surely are means that the search is broken, not that there are none.
const AT_LEAST: usize = 15;

#[test]
fn what_the_catalogue_says_is_raised_is_raised() {
    for seen in Seen::ALL {
        let raised = raised_in_code(*seen);
        let due = Slug::ALL.iter().filter(|slug| slug.row().seen == *seen && slug.row().raised == Raised::Yes);
        let missing = due.filter(|slug| !raised.contains(slug));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<&Slug>::new(), "raised nowhere: mark it NotYet, or raise it");
    }
}

#[test]
fn what_is_raised_is_marked_so() {
    for seen in Seen::ALL {
        let raised = raised_in_code(*seen);
        // Where the safety net is raised nobody knows a way to come, so nothing can provoke it.
        let net = |slug: &&Slug| slug.row().raised == Raised::NotYet("safety net");
        let early = raised.iter().filter(|slug| slug.row().raised != Raised::Yes && !net(slug));
        assert_eq!(early.collect::<Vec<_>>(), Vec::<&Slug>::new(), "raised, but the catalogue says NotYet");
    }
    let raised = raised_in_code(Seen::Gateway);
    let misplaced = raised.iter().filter(|slug| slug.row().seen == Seen::UserEnd);
    assert_eq!(misplaced.collect::<Vec<_>>(), Vec::<&Slug>::new(), "only the user's end can see it");
}

#[test]
fn what_is_raised_has_a_provocation() {
    for (seen, folder) in [(Seen::Gateway, "tests/it/provocations"), (Seen::UserEnd, "tests/users_end/provocations")] {
        let provoked = provoked_in(folder);
        let due = Slug::ALL.iter().filter(|slug| slug.row().seen == seen && slug.row().raised == Raised::Yes);
        let missing = due.filter(|slug| !provoked.contains(slug));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<&Slug>::new(), "nothing in {folder} makes it happen");
        let early = provoked.iter().filter(|slug| slug.row().raised != Raised::Yes);
        assert_eq!(early.collect::<Vec<_>>(), Vec::<&Slug>::new(), "provoked, but the catalogue says NotYet");
    }
}

/// The slugs that code raises at one of the ends; the catalogue's own crate and tests don't count.
fn raised_in_code(seen: Seen) -> BTreeSet<Slug> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in children(&crates) {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let ours = name != "faults" && name != "testkit" && USERS_END.contains(&name) == (seen == Seen::UserEnd);
        if ours && folder.join("src").is_dir() {
            collect_sources(&folder.join("src"), &mut files);
        }
    }
    let text = code_of(&files, 20);
    let raised: BTreeSet<Slug> = words_after(&text, "raise::").filter_map(Slug::parse).collect();
    assert!(raised.len() >= AT_LEAST, "{raised:?}");
    raised
}

/// The slugs that the provocations in a folder name.
fn provoked_in(folder: &str) -> BTreeSet<Slug> {
    let mut files = Vec::new();
    collect_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut files);
    // What it says of slugs is no provocation.
    files.retain(|file| !file.ends_with("outputs.rs"));
    let text = code_of(&files, 2);
    let names: BTreeSet<&str> = words_after(&text, "Slug::").collect();
    let provoked: BTreeSet<Slug> =
        Slug::ALL.iter().copied().filter(|slug| names.contains(format!("{slug:?}").as_str())).collect();
    assert!(provoked.len() >= AT_LEAST, "{provoked:?}");
    provoked
}

/// The identifiers that follow `prefix`.
fn words_after<'t>(text: &'t str, prefix: &str) -> impl Iterator<Item = &'t str> {
    text.match_indices(prefix).map(|(at, found)| {
        let rest = &text[at + found.len()..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// The files' lines that are code: no comments and no test modules.
fn code_of(files: &[PathBuf], at_least: usize) -> String {
    assert!(files.len() >= at_least, "{files:?}");
    let mut code = String::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut in_tests = false;
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            in_tests |= line == "#[cfg(test)]";
            if !in_tests {
                code.push_str(line);
                code.push('\n');
            }
            // Where an item at the margin ends, whether it has a body here or in a file of its own.
            in_tests &= line != "}" && !(line.starts_with("mod ") && line.ends_with(';'));
        }
    }
    code
}

/// Every source file below a folder but those that hold nothing but tests.
fn collect_sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in children(folder) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            collect_sources(&path, files);
        } else if name.ends_with(".rs") && name != "tests.rs" && !name.ends_with("_tests.rs") {
            files.push(path);
        }
    }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    paths
}
