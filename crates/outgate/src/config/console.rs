//! `[console]`: where the API and the pages are, and where the public sees how it stands.

use std::net::SocketAddr;

use super::address;
use super::reader::Section;

/// Where the console is when nobody says.
const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 8081);

/// What the section says.
#[derive(Clone, Copy)]
pub(crate) struct Console {
    /// The API and the pages; port 0 takes a free one.
    pub(crate) address: SocketAddr,
    /// The status page alone, for everybody.
    pub(crate) status: Option<SocketAddr>,
}

pub(super) fn console(mut section: Section) -> Console {
    let at = section.scalar("address", address).unwrap_or(SocketAddr::from(ADDRESS));
    let status = section.scalar("status", address);
    if status.is_some_and(|status| status == at && status.port() != 0) {
        section.problem("status", "is the console's own address, which has the status page already: take another port");
    }
    section.finish();
    Console { address: at, status }
}
