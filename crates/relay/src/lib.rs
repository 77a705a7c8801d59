//! The relay: a local proxy in front of any list of upstream proxies, for programs that can't be changed.
//!
//! ```text
//! program ─→ door ─┬→ CONNECT, SOCKS5 ─→ tunnel ─┐
//!            HTTP  ├→ http://… ─→ forward ───────┼→ attempts ⇄ engine      bypass: no engine, no upstream
//!            SOCKS5└→ opened TLS ─→ forward ─────┘     └→ one try: connect, classify
//! ```
//!
//! It decides nothing: `outgate_client` knows how to reach a proxy ([`connect`](outgate_client::connect)), what an answer means
//! ([`classify`](mod@outgate_client::classify)) and whether to try again ([`engine`](outgate_client::engine)); this crate is the shell
//! around them. It is one event loop, and everything that is shared lives on it.
//!
//! - [`settings`]: everything that it is told; [`start`]: serves; [`Running::shut_down`]: stops;
//! - [`bypass`]: which targets are reached past the upstreams;
//! - [`intercept`]: certificates for targets whose TLS is opened;
//! - `door`, `socks`: programs come in; `tunnel`, `forward`, `exchange`: their requests go out; `carry`, `body`: bytes go by;
//! - `telling`: what a program is told; `visit`: what is recorded and counted; `pages`: status and metrics.
//!
//! To add a setting: 1. a field of [`Settings`] with its default; 2. a line in the binary's `config/relay.rs`; 3. a row in
//! docs/relay.md.

mod attempts;
mod body;
pub mod bypass;
mod carry;
mod client_io;
mod door;
mod exchange;
mod forward;
pub mod intercept;
mod pages;
mod relay;
pub mod settings;
mod socks;
mod telling;
mod tunnel;
mod upstreams;
mod visit;

pub use relay::{Running, start};
pub use settings::Settings;
