//! The way out: from a host name and a port to a connected socket, or to the reason why not.
//!
//! Both hops that connect to targets, the gateway (`direct`) and the exit agent, go through
//! [`Egress::dial`]: read the host ([`host`]), resolve it ([`resolve`]), judge every address
//! ([`guard`]), race connections to the judged addresses only ([`dial`]). A name is looked up once
//! per dial and never again between judging and connecting, so a DNS answer that changes in between
//! (rebinding) gains nothing.
//!
//! To add an address class to the guard: 1. add a row to a table in [`guard`] with its registry
//! entry; 2. add a case to its test table.

pub mod dial;
pub mod guard;
pub mod host;
pub mod resolve;
mod sys;

pub use dial::{DialError, Dialed, Egress, EgressSettings};
pub use guard::{Guard, Verdict};
pub use host::{Host, HostError};
pub use resolve::{DnsError, DnsSettings, Resolver};
