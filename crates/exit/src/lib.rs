//! The exit agent: dials a gateway, stays linked, and carries its tunnels out to their targets.
//!
//! - [`settings`]: what the operator says; the gateway's URL and the token.
//! - [`agent`]: [`run`]: keep links up, drain, end. The life of the agent reads there.
//! - `keeper`: the life of one link: connect, wait for its end, come back.
//! - `transport`: the way to the gateway, plain or TLS; [`proxy`]: through an HTTP proxy; [`source`]: from which address.
//! - `serve`: one link's tunnels: dial the target or the echo, answer.
//! - `relay`: bytes between a target and a tunnel, without a buffer while idle; `throttle`: the cap on their speed.
//! - [`hook`]: how it changes its address when asked to.
//! - [`status`]: what it is doing, in numbers.
//!
//! It runs on one thread: [`run`] wants a `LocalSet` around it, because dialing is not `Send`.
//!
//! To add something the gateway can ask of an exit: 1. a frame in `outgate-link`, 2. an arm where `serve` takes what
//! the link hands out, 3. a test in `tests/agent.rs` with a gateway of a few lines.

pub mod agent;
pub mod hook;
mod keeper;
pub mod proxy;
mod relay;
mod serve;
pub mod settings;
pub mod source;
pub mod status;
mod throttle;
mod transport;

pub use agent::{Event, ExitEnd, run};
pub use hook::{Hook, HookUrl};
pub use proxy::Proxy;
pub use settings::{GatewayUrl, Labels, MOST_LINKS, OnEvent, Reconnect, Rotation, Security, Settings, Token, UrlError};
pub use source::Source;
pub use status::{Phase, Status, Watch};
