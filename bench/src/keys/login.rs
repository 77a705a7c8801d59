//! The keys of a generated ledger: every number below its size is one, with an id and a secret that follow from the number.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Ids as long as real ones.
pub(super) fn id(number: u64) -> String {
    format!("key{number:07}")
}

/// Secrets as long as real ones.
pub(super) fn secret(number: u64) -> String {
    format!("{number:032}")
}

/// Who asks: a key drawn anew for each connection. A login costs the generator the same in any ledger.
pub(crate) struct Logins {
    keys: u64,
    /// Another one in each process: rounds don't draw the same keys again.
    seed: u64,
}

impl Logins {
    pub(crate) fn among(keys: u64) -> Self {
        Self { keys, seed: u64::from(std::process::id()) << 32 }
    }

    /// The header of the `turn`th connection.
    pub(crate) fn header(&self, turn: usize) -> String {
        let number = scattered(self.seed | turn as u64) % self.keys;
        let login = STANDARD.encode(format!("{}:{}", id(number), secret(number)));
        format!("Proxy-Authorization: Basic {login}\r\n")
    }
}

/// The finalizer of SplitMix64: neighbours end up far apart.
fn scattered(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn logins_are_drawn_from_all_keys() {
        let logins = Logins { keys: 100, seed: 7 << 32 };
        let seen: HashSet<String> = (0..2_000).map(|turn| logins.header(turn)).collect();
        assert_eq!(seen.len(), 100);
        let last = STANDARD.encode("key0000099:00000000000000000000000000000099");
        assert!(seen.contains(&format!("Proxy-Authorization: Basic {last}\r\n")));
    }
}
