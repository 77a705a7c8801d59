//! Bytes that can be made and checked on both ends without being stored.

/// The byte at `offset` of the one endless payload: every origin serves a prefix of it, so a reader can check what
/// it got, byte by byte, from the offset alone. No power of two is a multiple of its period (251 * 256 bytes, 251 is
/// prime), so a buffer's worth that was lost, repeated or reordered cannot go unnoticed.
#[must_use]
pub const fn byte_at(offset: u64) -> u8 {
    ((offset % 251) as u8) ^ ((offset / 251) as u8)
}

/// Bytes `offset..offset + length` of the payload.
#[must_use]
pub fn slice(offset: u64, length: usize) -> Vec<u8> {
    (offset..offset + length as u64).map(byte_at).collect()
}

/// A running checksum (64-bit FNV-1a, <http://www.isthe.com/chongo/tech/comp/fnv/>): not for attackers, only for
/// blocks that went missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    state: u64,
    length: u64,
}

impl Checksum {
    /// The checksum of no bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { state: 0xcbf2_9ce4_8422_2325, length: 0 }
    }

    /// The checksum of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = Self::new();
        sum.add(bytes);
        sum
    }

    /// The checksum of the first `length` bytes of the payload.
    #[must_use]
    pub fn of_payload(length: u64) -> Self {
        let mut sum = Self::new();
        let mut offset = 0;
        while offset < length {
            let block = (length - offset).min(65_536) as usize;
            sum.add(&slice(offset, block));
            offset += block as u64;
        }
        sum
    }

    /// Takes in the next `bytes`.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state = (self.state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.length += bytes.len() as u64;
    }

    /// How many bytes were taken in.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// 16 hexadecimal digits, as in the origin's `X-Checksum`.
    #[must_use]
    pub fn hex(&self) -> String {
        format!("{:016x}", self.state)
    }
}

impl Default for Checksum {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_published_function() {
        assert_eq!(Checksum::of(b"").hex(), "cbf29ce484222325");
        assert_eq!(Checksum::of(b"foobar").hex(), "85944171f73967e8");
    }

    #[test]
    fn notices_a_lost_block() {
        let whole = Checksum::of_payload(200_000);
        let mut holed = Checksum::new();
        holed.add(&slice(0, 65_536));
        holed.add(&slice(131_072, 200_000 - 131_072));
        assert_eq!(whole.length(), 200_000);
        assert_ne!(whole.hex(), holed.hex());
        assert_eq!(Checksum::of(&slice(0, 200_000)), whole);
    }
}
