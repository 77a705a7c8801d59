//! docs/metrics.md has a row for every family, as the code has it, and the dashboard and the rules speak of none that is not there.

use std::path::{Path, PathBuf};

use outgate_meter::families::{FAMILIES, Kind, Scope};

const BEGIN: &str = "<!-- families: written by UPDATE_DOCS=1 cargo test -p outgate-meter -->\n";
const END: &str = "<!-- end -->";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn table() -> String {
    let mut table = "\n| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for family in FAMILIES {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let mark = if family.scope == Scope::Gateway { " *" } else { "" };
        let row =
            [format!("`{}`{mark}", family.sample()), family.type_name().to_owned(), labels.join(", "), family.help.to_owned()];
        table.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    table.push('\n');
    table
}

#[test]
fn the_page_is_as_the_code_has_it() {
    let path = root().join("docs/metrics.md");
    let text = std::fs::read_to_string(&path).expect("docs/metrics.md");
    let (before, rest) = text.split_once(BEGIN).expect("the table has a beginning");
    let (_, after) = rest.split_once(END).expect("the table has an end");
    let expected = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, expected).expect("docs/metrics.md can be written");
        return;
    }
    assert!(text == expected, "run UPDATE_DOCS=1 cargo test -p outgate-meter");
}

/// Every metric that the deployment speaks of, once.
fn spoken_of() -> Vec<String> {
    let files =
        ["deploy/prometheus/outgate.rules.yml", "deploy/prometheus/outgate.rules.test.yml", "deploy/grafana/outgate.json"];
    let mut names = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        names.extend(words.filter(|word| word.starts_with("outgate_") || word.starts_with("process_")).map(str::to_owned));
    }
    names.sort();
    names.dedup();
    names
}

#[test]
fn nothing_speaks_of_a_metric_that_is_not_there() {
    let samples = FAMILIES.iter().flat_map(|family| match family.kind {
        Kind::Histogram(_) => ["_bucket", "_sum", "_count"].map(|suffix| format!("{}{suffix}", family.name)).to_vec(),
        Kind::Counter | Kind::Gauge | Kind::Info => vec![family.sample()],
    });
    let samples: Vec<String> = samples.collect();
    let names = spoken_of();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(samples.contains(&name), "{name} is no metric of ours");
    }
}
