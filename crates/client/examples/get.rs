//! Gets a URL through a proxy and says how it went: `cargo run -p outgate-client --example get -- PROXY URL`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program to look at")]

use std::process::ExitCode;

use outgate_client::client::{Client, Through};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(proxy), Some(url)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: get PROXY URL");
        return ExitCode::from(2);
    };
    let through = match Through::parse(&proxy) {
        Ok(through) => through,
        Err(wrong) => {
            eprintln!("the proxy's URL: {wrong}");
            return ExitCode::from(2);
        }
    };
    let client = Client::builder().through(through).build();
    match client.get(&url).fetch(1 << 20).await {
        Ok(answer) => {
            println!("{} after {} attempt(s)", answer.status(), answer.attempts().len());
            for name in ["X-Outgate-Exit", "X-Outgate-Country", "X-Outgate-Request-Id"] {
                if let Some(value) = answer.connect_reply().and_then(|reply| reply.header(name)) {
                    println!("{name}: {value}");
                }
            }
            match answer.bytes(1 << 20).await {
                Ok(body) => println!("{}", String::from_utf8_lossy(&body)),
                Err(error) => eprintln!("{error}"),
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            for attempt in error.attempts() {
                let slug = attempt.slug.map_or("ok", |slug| slug.name());
                eprintln!(
                    "  {} #{} {} → {}: {slug} after {:?}",
                    attempt.at, attempt.number, attempt.proxy, attempt.target, attempt.took
                );
            }
            if let Some(reply) = error.reply() {
                eprintln!("  the proxy said: {} {} {}", reply.status, reply.reason, String::from_utf8_lossy(&reply.body));
            }
            ExitCode::FAILURE
        }
    }
}
