//! The exit agent: dials a gateway, stays linked, and carries its tunnels out to their targets.
//!
//! - [`settings`]: what the operator says; the gateway's URL and the token.
//! - [`agent`]: [`run`]: connect, serve, reconnect, drain. The life of the agent reads there.
//! - `transport`: the way to the gateway, plain or TLS.
//! - `serve`: one link's tunnels: dial the target or the echo, answer.
//! - `relay`: bytes between a target and a tunnel, without a buffer while idle.
//!
//! It runs on one thread: [`run`] wants a `LocalSet` around it, because dialing is not `Send`.
//!
//! To add something the gateway can ask of an exit: 1. a frame in `outgate-link`, 2. an arm where `serve` takes what
//! the link hands out, 3. a test in `tests/agent.rs` with a gateway of a few lines.

pub mod agent;
mod relay;
mod serve;
pub mod settings;
mod transport;

pub use agent::{Event, ExitEnd, run};
pub use settings::{GatewayUrl, Labels, OnEvent, Reconnect, Security, Settings, Token, UrlError};
