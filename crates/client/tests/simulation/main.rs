//! The engine against a provider where everything goes wrong that documents 000 to 004 name, in simulated time.
//!
//! `SHOW=1 cargo test -p outgate-client --test simulation -- --nocapture` prints every run, with what was lost where.

#![expect(clippy::print_stdout, reason = "the comparison is to be looked at")]

mod clients;
mod mixes;
mod score;
mod world;

use mixes::Mix;
use outgate_client::engine::Rules;
use score::Score;
use world::World;

const REQUESTS: usize = 10_000;

/// One mix: its row of the table, and what is wrong with it.
fn run(mix: &Mix, seed: u64) -> (String, Vec<String>) {
    let jobs = mix.jobs(REQUESTS, seed);
    let engine = clients::engine(World::new(mix, seed), &jobs, Rules::default(), seed);
    let never = clients::simple("never retries", World::new(mix, seed), &jobs, 1);
    let thrice = clients::simple("three attempts", World::new(mix, seed), &jobs, 3);
    if std::env::var_os("SHOW").is_some() {
        println!("{} (seed {seed})\n  {}\n  {}\n  {}", mix.name, engine.line(), thrice.line(), never.line());
        for (what, many) in &engine.losses {
            println!("      {many:>5} {what}");
        }
    }
    let mut wrong = Vec::new();
    let mut check = |fine: bool, what: &str| {
        if !fine {
            wrong.push(format!("{} (seed {seed}): {what}\n  {}\n  {}", mix.name, engine.line(), never.line()));
        }
    };
    check(engine.share() >= 9800, "less than 98 % of the feasible requests went well");
    check(
        engine.wasted <= never.wasted && (engine.wasted < never.wasted || never.wasted == 0),
        "as much was wasted as by not retrying",
    );
    check(engine.duplicates == 0, "a POST was carried out twice");
    let cells = [&engine, &thrice, &never].map(Score::cells).join(" | ");
    (format!("| {} | {cells} |\n", mix.name), wrong)
}

#[test]
fn the_engine_does_better_than_not_retrying_on_mixes_it_had_seen_and_others() {
    let mut table = String::from(
        "| mix | engine: good | attempts | wasted | three attempts: good | attempts | wasted | never again: good | attempts | wasted |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut wrong = Vec::new();
    for (mixes, seed) in [(mixes::seen(), 1), (mixes::held_out(), 11)] {
        for mix in &mixes {
            let (row, faults) = run(mix, seed);
            table.push_str(&row);
            wrong.extend(faults);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    in_the_documentation(&table);
}

/// Other seeds than those of the table.
#[test]
#[ignore = "half a minute; the seeds of the table are run always"]
fn other_seeds() {
    let wrong: Vec<_> = mixes::seen()
        .iter()
        .chain(&mixes::held_out())
        .flat_map(|mix| [21, 22, 23].map(|seed| run(mix, seed).1))
        .flatten()
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn in_the_documentation(table: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/library.md");
    let page = std::fs::read_to_string(path).expect("docs/library.md");
    let (head, rest) = page.split_once("<!-- simulation -->\n").expect("a mark");
    let (_, tail) = rest.split_once("<!-- /simulation -->").expect("its end");
    let with = format!("{head}<!-- simulation -->\n{table}<!-- /simulation -->{tail}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, with).expect("docs/library.md can be written");
    } else {
        assert!(
            page == with,
            "docs/library.md is not what the code says: UPDATE_DOCS=1 cargo test -p outgate-client --test simulation"
        );
    }
}
