//! Other makers' answers, and how often each is named right: with the provider known, by what the answer shows, by its status.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use outgate_client::classify::{Provenance, Verdict};
use outgate_client::providers::{Provider, Providers};
use outgate_faults::Slug;
use serde_json::Value;

use crate::vector::Owned;

/// An answer with what its maker's documentation says that it means.
struct Answer {
    provider: String,
    name: String,
    truth: Vec<Slug>,
    provenance: Provenance,
    retry: Option<String>,
    evidence: Value,
}

fn answers() -> Vec<Answer> {
    let file: Value = serde_json::from_str(include_str!("../../vectors/foreign.json")).expect("it is JSON");
    let read = |value: &Value| {
        let text = |key: &str| value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}")).to_owned();
        let slug = |slug: &Value| Slug::parse(slug.as_str().expect("a text")).unwrap_or_else(|| panic!("no fault {slug}"));
        Answer {
            provider: text("provider"),
            name: text("name"),
            truth: value["truth"].as_array().expect("a list").iter().map(slug).collect(),
            provenance: Provenance::parse(&text("provenance")).expect("a known one"),
            retry: value["retry"].as_str().map(str::to_owned),
            evidence: value["evidence"].clone(),
        }
    };
    let answers: Vec<Answer> = file["answers"].as_array().expect("a list").iter().map(read).collect();
    assert!(answers.len() > 200, "{}", answers.len());
    answers
}

/// What a user of each kind has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum View {
    /// The provider is configured.
    Configured,
    /// Everything that came, from a proxy that nobody knows.
    Shown,
    /// The same, with the provider's rules taken away: what the generic rules are worth.
    Generic,
    /// The status alone, from a proxy that nobody knows.
    Status,
}

const VIEWS: [View; 4] = [View::Configured, View::Shown, View::Generic, View::Status];

fn verdict(answer: &Answer, view: View, without: &BTreeMap<String, Providers>) -> Verdict {
    let evidence = Owned::read(&answer.evidence);
    match view {
        View::Configured => evidence.of_provider(Some(&answer.provider)).classify(),
        View::Shown => evidence.at_nobodys_host().classify(),
        View::Generic => evidence.at_nobodys_host().classify_among(&without[&answer.provider]),
        View::Status => evidence.at_nobodys_host().status_only().classify(),
    }
}

/// All providers but one.
fn without() -> BTreeMap<String, Providers> {
    let names = answers().into_iter().map(|answer| answer.provider);
    names.map(|name| (name.clone(), Providers::builtin().without(&name))).collect()
}

#[test]
fn with_the_provider_known_every_documented_answer_is_named_right() {
    let without = without();
    let mut wrong = Vec::new();
    for answer in answers() {
        let verdict = verdict(&answer, View::Configured, &without);
        let named = verdict.slug.filter(|slug| answer.truth.contains(slug));
        if named.is_none() || verdict.provenance != answer.provenance {
            let (is, by) = (verdict.slug.map(|slug| slug.name()), verdict.provenance);
            wrong.push(format!("{} {}: {is:?} by {by}, not {:?}: {}", answer.provider, answer.name, answer.truth, verdict.why));
        }
        if let Some(retry) = &answer.retry {
            assert_eq!(verdict.retry.name(), retry, "{} {}", answer.provider, answer.name);
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// What must never happen, however little is known: a target's word taken for the proxy's with any sureness.
#[test]
fn doubt_is_told() {
    let without = without();
    let mut wrong = Vec::new();
    for answer in answers() {
        for view in VIEWS {
            // That somebody opens TLS in a tunnel can't be seen without his mark.
            let unseen = answer.evidence["way"] == "tunnelled" && matches!(view, View::Generic | View::Status);
            if unseen {
                continue;
            }
            let verdict = verdict(&answer, view, &without);
            let right = verdict.fits.iter().any(|slug| answer.truth.contains(slug));
            if !right && verdict.confidence <= outgate_client::classify::Confidence::Documented {
                wrong.push(format!(
                    "{} {}: {:?} {} {}",
                    answer.provider, answer.name, verdict.slug, verdict.confidence, verdict.why
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "sure and wrong:\n{}", wrong.join("\n"));
}

/// The tables for the documentation.
pub(crate) fn tables() -> String {
    let (answers, without) = (answers(), without());
    let mut text = String::from(
        "| provider | answers | configured | shows itself | rules taken away | status alone |\n|---|---:|---:|---:|---:|---:|\n",
    );
    let providers: BTreeMap<&str, Vec<&Answer>> = answers.iter().fold(BTreeMap::new(), |mut map, answer| {
        map.entry(answer.provider.as_str()).or_insert_with(Vec::new).push(answer);
        map
    });
    let share = |answers: &[&Answer], view: View| {
        let verdicts = answers.iter().map(|answer| (verdict(answer, view, &without), &answer.truth));
        let (mut named, mut among) = (0, 0);
        for (verdict, truth) in verdicts {
            named += usize::from(verdict.slug.is_some_and(|slug| truth.contains(&slug)));
            among += usize::from(verdict.fits.iter().any(|slug| truth.contains(slug)));
        }
        let percent = |n: usize| (n * 100 + answers.len() / 2) / answers.len();
        if named == among { format!("{} %", percent(named)) } else { format!("{} % ({} %)", percent(named), percent(among)) }
    };
    let mut row = |name: &str, answers: &[&Answer]| {
        let cells: Vec<String> = VIEWS.iter().map(|view| share(answers, *view)).collect();
        let _ = writeln!(text, "| {name} | {} | {} |", answers.len(), cells.join(" | "));
    };
    for (name, answers) in &providers {
        let title = Providers::builtin().named(name).map_or(*name, Provider::title);
        row(title, answers);
    }
    row("**all**", &answers.iter().collect::<Vec<_>>());
    text.push_str("\nWhat is taken for what, with the provider's rules taken away (the better half of the list is right):\n\n");
    text.push_str("| it is | named as (times) |\n|---|---|\n");
    let mut confusion: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for answer in &answers {
        let verdict = verdict(answer, View::Generic, &without);
        let named = match verdict.slug {
            Some(slug) if answer.truth.contains(&slug) => "right".to_owned(),
            Some(slug) => slug.name().to_owned(),
            None => "nothing wrong".to_owned(),
        };
        *confusion.entry(answer.truth[0].name()).or_default().entry(named).or_default() += 1;
    }
    for (truth, named) in confusion {
        let mut named: Vec<(String, usize)> = named.into_iter().collect();
        named.sort_by_key(|(name, count)| (name != "right", std::cmp::Reverse(*count)));
        let cell: Vec<String> = named.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let _ = writeln!(text, "| {truth} | {} |", cell.join(", "));
    }
    text
}
