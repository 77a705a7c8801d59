//! The fault catalogue: everything that can go wrong, in one table.
//!
//! Every failure that a person may meet has one row in `catalogue.rs`: a stable slug, who owns it, whether a retry helps,
//! whom to call, one sentence for the client and a page for the engineer who looks it up at night. Status lines, headers,
//! bodies, SOCKS5 replies, log fields, metric labels, `outgate explain` and `docs/errors.md` are columns of that row or
//! functions of it; no second table anywhere classifies errors, so they cannot drift apart.
//!
//! The way of a fault:
//!
//! 1. Code that knows the reason calls its constructor in [`raise`], for example `raise::port_denied(25, "80, 443")`.
//!    The arguments are *facts*: the only values that may reach a client, rendered and made harmless at once ([`fact`]).
//! 2. The [`Fault`] travels up as an error of one pointer. On the way it may gain a wait, the exit that found it, and a detail
//!    for the operator's log that no client ever sees.
//! 3. The edge tells it once: [`Fault::answer`] in the listener's [`Dialect`], or [`socks5_reply`]. Log and metrics take
//!    [`Slug::name`].
//!
//! Three words that people mix up: the *sentence* is for the client and holds facts only; *cause* and *fix* are the page behind the
//! slug and never vary; the *detail* is the operator's.
//!
//! To add a new fault:
//! 1. add its row to `catalogue.rs`; the compiler then asks for its entry in the dialects of `builtin.rs`;
//! 2. run `UPDATE_DOCS=1 cargo test -p outgate-faults`, which rewrites `docs/errors.md`, and add the row to the golden table of the test;
//! 3. raise it, and write the provocation that makes it happen for real.
//!
//! A released slug never changes its meaning; a new meaning is a new slug.

#[macro_use]
mod table;

mod answer;
mod axes;
mod builtin;
mod catalogue;
mod dialect;
mod error_type;
pub mod fact;
mod fault;
mod markdown;
mod page;
mod phrase;
mod proxy_status;
mod row;
mod template;

pub use answer::{Answer, Body, Connection, Teller};
pub use axes::{Fixer, Lasting, Layer, Raised, Retry, Seen, SocksReply, Wait};
pub use catalogue::{Slug, raise};
pub use dialect::{Dialect, DialectSpec, FaultSpec, ReasonStyle};
pub use error_type::ErrorType;
pub use fault::{Fault, RateLimit};
pub use markdown::markdown;
pub use page::{DialectLine, Page, page, page_for_status};
pub use phrase::standard_phrase;
pub use proxy_status::{append_member, success_headers, success_member};
pub use row::Row;

/// The field names that only this software may write on the way to a client. A gateway strips them from a target's answer,
/// because whoever may write them can forge provenance. `Proxy-Status` is a list that every hop may add to, so a target's
/// value stays in front of ours ([`append_member`]); all the others are removed.
pub const OWN_HEADERS: &[&str] = &[
    "Proxy-Status",
    "X-Proxy-Error",
    "X-Outgate-Request-Id",
    "X-Outgate-Exit",
    "X-Outgate-Country",
    "X-Outgate-Session",
    "X-Outgate-Session-Moved",
    "X-Outgate-Attempts",
    "X-Outgate-Bypass",
];

/// The reply byte (RFC 1928 section 6) that says `slug` to a SOCKS5 client, which has room for nothing else.
pub fn socks5_reply(slug: Slug) -> u8 {
    slug.row().socks.byte()
}
