//! The protocol between a gateway and the exits that dial in, and between gateways: many tunnels over one WebSocket.
//!
//! An exit dials, upgrades and says `Hello`; the gateway answers `Welcome`. From then on the gateway asks for tunnels
//! (`Connect`), the exit answers (`Connected` or `Refused`), and both send `Data` within the credit the other side
//! gave (`Window`). Each side ends its direction (`End`) or breaks the tunnel off (`Reset`). The exit pings; silence
//! means death.
//!
//! A gateway that shares its exits dials another one and plays the exit's part: its [`Hello`] names the gateway, it tells of
//! each exit (`Offer`, `Withdraw`), and is asked for tunnels [`Through`] one of them.
//!
//! - [`frame`]: the header, the kinds, violations.
//! - [`words`]: what control frames say.
//! - [`mux`]: the state of one end, without socket or clock: credit, fairness, bounds.
//! - [`handle`]: [`Link`], [`Incoming`], [`Asked`]: what programs hold.
//! - [`tunnel`]: [`Tunnel`]: one stream, read and written as tokio does.
//! - [`upgrade`]: the HTTP exchange before the first message.
//! - [`shell`]: how a link begins on a connection, and the task that moves its messages.
//!
//! Nothing here knows faults: a [`Refusal`] carries a slug and its facts, and the two ends translate.
//!
//! To add a new frame: 1. a row in [`frame::Kind`] with its length rule, 2. its payload in [`words`], 3. an arm in
//! `Mux::on_frame` (`mux/receive.rs`) and a method that sends it, 4. a test with both ends in `mux/tests.rs`; if an
//! older peer must not see it, let [`Hello`] or [`Welcome`] say who knows it.

pub mod frame;
pub mod handle;
pub mod mux;
pub mod shell;
pub mod tunnel;
pub mod upgrade;
pub mod words;

pub use handle::{Asked, ConnectError, Incoming, Link};
pub use mux::{Limits, Rest, Stats};
pub use tunnel::Tunnel;
pub use words::{
    Connect, Connected, Goodbye, Hello, LinkEnd, News, Offer, Refusal, ResetReason, Rotate, Rotated, Standing, Through, Welcome,
};
