//! The engine against a provider where everything goes wrong that documents 000 to 004 name, in simulated time.
//!
//! `SHOW=1 cargo test -p outgate-client --test simulation -- --nocapture` prints every run, with what was lost where.

mod clients;
mod mixes;
mod score;
mod world;

use mixes::Mix;
use outgate_client::engine::Rules;
use world::World;

const REQUESTS: usize = 10_000;

fn run(mix: &Mix, seed: u64) -> Vec<String> {
    let jobs = mix.jobs(REQUESTS, seed);
    let engine = clients::engine(World::new(mix, seed), &jobs, Rules::default(), seed);
    let never = clients::simple("never retries", World::new(mix, seed), &jobs, 1);
    let snippet = clients::simple("document 000", World::new(mix, seed), &jobs, 3);
    if std::env::var_os("SHOW").is_some() {
        println!("{} (seed {seed})\n  {}\n  {}\n  {}", mix.name, engine.line(), snippet.line(), never.line());
        for (what, many) in &engine.losses {
            println!("      {many:>5} {what}");
        }
    }
    let mut wrong = Vec::new();
    if engine.share() < 9800 {
        wrong.push(format!("{} (seed {seed}): {}", mix.name, engine.line()));
    }
    if engine.wasted > never.wasted {
        wrong.push(format!("{} (seed {seed}): {} wasted, a client that never retries {}", mix.name, engine.wasted, never.wasted));
    }
    wrong
}

fn all(mixes: &[Mix], seeds: &[u64]) {
    let wrong: Vec<String> = mixes.iter().flat_map(|mix| seeds.iter().flat_map(|seed| run(mix, *seed))).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_the_numbers_were_chosen_on() {
    all(&mixes::tuned(), &[1]);
}

#[test]
fn what_the_engine_had_not_seen() {
    all(&mixes::held_out(), &[11, 12]);
}
