//! Fifty requests at once through a list of proxies: what one request learns spares the others.
//! `cargo run -p outgate-client --example many -- URL PROXY [PROXY]…`

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
        eprintln!("usage: many URL PROXY [PROXY]…");
        return ExitCode::from(2);
    };
    match many(&url, arguments).await {
        Ok(outcomes) => {
            println!("{outcomes:?}");
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            eprintln!("{wrong}");
            ExitCode::from(2)
        }
    }
}

/// How many requests ended how.
pub(crate) async fn many(url: &str, proxies: impl Iterator<Item = String>) -> Result<BTreeMap<String, u32>, String> {
    let mut builder = Client::builder().timeout(Duration::from_secs(30));
    // Each is used while those before it can't be.
    for (tier, proxy) in (0..).zip(proxies) {
        let through = Through::parse(&proxy).map_err(|wrong| format!("the proxy's URL: {wrong}"))?;
        let grammar = Grammar::of("outgate").ok_or("Outgate's own grammar is missing")?.clone();
        builder = builder.through(through.sessions(grammar, 16).tier(tier));
    }
    let client = builder.build();
    let calls: Vec<_> = (0..50).map(|_| tokio::spawn(client.get(url).fetch(1 << 20))).collect();
    let mut outcomes = BTreeMap::new();
    for call in calls {
        let outcome = match call.await.map_err(|error| error.to_string())? {
            Ok(answer) => answer.status().to_string(),
            Err(error) => error.slug().map_or_else(|| error.to_string(), |slug| slug.name().to_owned()),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    Ok(outcomes)
}
