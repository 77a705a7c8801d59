//! `outgate relay`: programs on one side, upstreams on the other.

mod blind;
mod bypass;
mod config;
mod faults;
mod intercept;
mod programs;
mod retries;
mod ways;

use outgate_testkit::wire::{Expect, Reply, Wire};

/// Asks the relay over a connection of its own.
async fn ask(relay: std::net::SocketAddr, request: &str, expect: Expect) -> (Reply, Wire) {
    let mut wire = Wire::connect(relay).await.expect("the relay listens");
    wire.send(request.as_bytes()).await.expect("the relay reads");
    let reply = wire.reply(expect).await.unwrap_or_else(|error| panic!("{error}\nto {request}"));
    (reply, wire)
}

/// A plain GET through the relay.
async fn get(relay: std::net::SocketAddr, url: &str, fields: &str) -> Reply {
    let host = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    ask(relay, &format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"), Expect::Body).await.0
}

/// A CONNECT through the relay.
async fn connect(relay: std::net::SocketAddr, target: &str) -> (Reply, Wire) {
    ask(relay, &format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"), Expect::Tunnel).await
}

/// The id by which a record is found.
fn id(reply: &Reply) -> &str {
    reply.header("x-outgate-request-id").unwrap_or_else(|| panic!("an id in {reply:?}"))
}
