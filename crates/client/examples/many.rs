//! Many requests at once, through two accounts with sessions: what one request learns spares the others.
//! `cargo run -p outgate-client --example many -- URL PROXY [PROXY]`

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program to look at")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use outgate_client::client::{Client, Through};
use outgate_client::sessions::Grammar;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(url) = arguments.next() else {
        eprintln!("usage: many URL PROXY [PROXY]");
        return ExitCode::from(2);
    };
    let mut builder = Client::builder().timeout(Duration::from_secs(30));
    for (tier, proxy) in (0..).zip(arguments) {
        match (Through::parse(&proxy), Grammar::of("outgate")) {
            // The second is used while the first can't be.
            (Ok(through), Some(grammar)) => builder = builder.through(through.sessions(grammar.clone(), 16).tier(tier)),
            (Err(wrong), _) => {
                eprintln!("the proxy's URL: {wrong}");
                return ExitCode::from(2);
            }
            (_, None) => return ExitCode::FAILURE,
        }
    }
    let client = builder.build();
    let calls: Vec<_> = (0..50)
        .map(|_| {
            let call = client.get(&url).fetch(1 << 20);
            tokio::spawn(async move {
                match call.await {
                    Ok(answer) => answer.status().to_string(),
                    Err(error) => error.slug().map_or_else(|| error.to_string(), |slug| slug.name().to_owned()),
                }
            })
        })
        .collect();
    let mut outcomes = BTreeMap::<String, u32>::new();
    for call in calls {
        *outcomes.entry(call.await.unwrap_or_else(|error| error.to_string())).or_default() += 1;
    }
    println!("{outcomes:?}");
    ExitCode::SUCCESS
}
