//! Does a list of jobs through a list of proxies, for comparisons with other clients: JSON in, the numbers of the jobs done out.
//!
//! Reads `{"jobs": [{"n", "method", "scheme", "host", "keyed"}], "proxies": [URL], "provider": NAME, "ca": FILE, "workers": N}`.

#![expect(clippy::print_stdout, reason = "its answer")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use outgate_client::client::{Client, Through};
use outgate_client::connect::Trust;
use outgate_client::sessions::Grammar;
use serde::Deserialize;
use tokio::sync::Semaphore;

#[derive(Deserialize)]
struct Task {
    jobs: Vec<Job>,
    proxies: Vec<String>,
    provider: String,
    ca: String,
    workers: usize,
}

#[derive(Deserialize)]
struct Job {
    n: u64,
    method: String,
    scheme: String,
    host: String,
    keyed: bool,
}

/// As long as the other clients of the comparison wait for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let task: Task = serde_json::from_reader(std::io::stdin())?;
    let trust = Trust::system_and(&std::fs::read(&task.ca)?)?;
    let mut builder = Client::builder().trust(trust).timeout(PATIENCE);
    for proxy in &task.proxies {
        let grammar = Grammar::of(&task.provider).ok_or("no such provider")?.clone();
        builder = builder.through(Through::parse(proxy)?.sessions(grammar, 64).provider(task.provider.as_str()));
    }
    let client = builder.build();
    let places = Arc::new(Semaphore::new(task.workers));
    let mut running = Vec::new();
    for job in task.jobs {
        let place = places.clone().acquire_owned().await?;
        let client = client.clone();
        running.push(tokio::spawn(async move {
            let done = did(&client, &job).await;
            drop(place);
            done.then_some(job.n)
        }));
    }
    let mut done = Vec::new();
    for job in running {
        done.extend(job.await?);
    }
    println!("{}", serde_json::json!({ "done": done }));
    Ok(())
}

async fn did(client: &Client, job: &Job) -> bool {
    let url = format!("{}://{}/page/{}", job.scheme, job.host, job.n);
    let mut call = match job.method.as_str() {
        "POST" => client.post(&url, vec![b'a'; 300]),
        _ => client.get(&url),
    };
    call = call.header("x-request-number", &job.n.to_string());
    if job.keyed {
        call = call.idempotency_key(&format!("\"{}\"", job.n));
    }
    match call.fetch(1 << 20).await {
        Ok(answer) => answer.status() == 200 && answer.bytes(1 << 20).await.is_ok_and(|body| body.starts_with(&[b'x'; 2000])),
        Err(error) => {
            tracing::debug!(%error, job = job.n, "lost");
            false
        }
    }
}
