//! The binary from outside: real sockets, real processes, throw-away servers.
//!
//! What belongs where: `provocations` makes every fault of the catalogue happen and checks all its outputs; `matrix` does so by
//! every way in; `blind` shows each answer that they get to the classifier;
//! `documents` holds documents 000 and 001 against their dialects, row by row; `http` is forwarding by the
//! rules of RFC 9110 and 9112; `failover` is exits that fail and sessions that move; `fleet` is pools, places, sessions and
//! health with exits by the hundred; `agent` is `outgate exit` as a process; `geo` is where exits are by their addresses;
//! `own` is what a key asks about itself; `credentials` is every odd way to say who one is; `page` is what a web browser sees;
//! `transfer` moves bytes in bulk and holds tunnels open; `ledger` is usage, plans and key states under traffic; `life` is
//! reloads, restarts and the end; `cluster` is several gateways that share their exits, `sharing` several that share their
//! keys' limits; `attack` is hostile input, `hostile` hostile frames of HTTP/2; `command` is the command line; `matrix` is
//! every fault by every way in; `seeing` is what operators see; `tidy` keeps the catalogue, its pages and its provocations together.

mod agent;
mod attack;
mod blind;
mod cluster;
mod command;
mod credentials;
mod documents;
mod failover;
mod fleet;
mod geo;
mod hostile;
mod http;
mod ledger;
mod life;
mod matrix;
mod own;
mod page;
mod provocations;
mod seeing;
mod sharing;
mod tidy;
mod transfer;

/// The binary under test.
const OUTGATE: &str = env!("CARGO_BIN_EXE_outgate");
