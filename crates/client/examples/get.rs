//! Gets a URL through a proxy and says how it went: `cargo run -p outgate-client --example get -- PROXY URL`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program to look at")]

use std::fmt::Write as _;
use std::process::ExitCode;

use outgate_client::client::{Answer, Client, Error, Through};

/// No page that is printed here is longer.
const MOST: usize = 1 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(proxy), Some(url)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: get PROXY URL");
        return ExitCode::from(2);
    };
    match get(&proxy, &url).await {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// What is to be told of it, good or bad.
pub(crate) async fn get(proxy: &str, url: &str) -> Result<String, String> {
    let through = Through::parse(proxy).map_err(|wrong| format!("the proxy's URL: {wrong}"))?;
    let client = Client::builder().through(through).build();
    let answer = client.get(url).fetch(MOST).await.map_err(|error| told(&error))?;
    answered(answer).await.map_err(|error| told(&error))
}

async fn answered(answer: Answer) -> Result<String, Error> {
    let mut text = format!("{} after {} attempt(s)\n", answer.status(), answer.attempts().len());
    for name in ["X-Outgate-Exit", "X-Outgate-Country", "X-Outgate-Request-Id"] {
        if let Some(value) = answer.connect_reply().and_then(|reply| reply.header(name)) {
            let _ = writeln!(text, "{name}: {value}");
        }
    }
    let body = answer.bytes(MOST).await?;
    Ok(text + &String::from_utf8_lossy(&body))
}

fn told(error: &Error) -> String {
    let mut text = error.to_string();
    for attempt in error.attempts() {
        let (slug, took) = (attempt.slug.map_or("ok", |slug| slug.name()), attempt.took);
        let _ =
            write!(text, "\n  {} #{} {} → {}: {slug} after {took:?}", attempt.at, attempt.number, attempt.proxy, attempt.target);
    }
    if let Some(reply) = error.reply() {
        let _ = write!(text, "\n  the proxy said: {} {} {}", reply.status, reply.reason, String::from_utf8_lossy(&reply.body));
    }
    text
}
