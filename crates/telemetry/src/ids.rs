//! The ids of a request's trace and spans, all made from its request id: whoever has that finds its trace.

/// Where a client says that its request belongs (W3C Trace Context, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) trace: [u8; 16],
    pub(crate) span: [u8; 8],
    pub(crate) sampled: bool,
}

impl Parent {
    /// Reads a `traceparent`; what is none says nothing.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let (version, flags) = (bytes::<1>(version)?, bytes::<1>(flags)?);
        let parent = Self { trace: bytes(trace)?, span: bytes(span)?, sampled: flags[0] & 1 == 1 };
        (version[0] != 0xff && parent.trace != [0; 16] && parent.span != [0; 8]).then_some(parent)
    }
}

/// The trace of a request that belongs to no other: its request id (24 hex digits), and eight digits made of that.
pub(crate) fn trace(request_id: &str) -> [u8; 16] {
    let mut id = [0; 16];
    let own = bytes::<12>(request_id).unwrap_or_else(|| {
        let mut own = [0; 12];
        own[..8].copy_from_slice(&mixed(request_id, 1));
        own[8..].copy_from_slice(&mixed(request_id, 2)[..4]);
        own
    });
    id[..12].copy_from_slice(&own);
    id[12..].copy_from_slice(&mixed(request_id, 3)[..4]);
    id
}

/// A request's span with this number.
pub(crate) fn span(request_id: &str, number: u64) -> [u8; 8] {
    mixed(request_id, 16 + number)
}

/// FNV-1a over the id, then the finaliser of SplitMix64, so that ids that differ in one digit differ everywhere. Never zero.
fn mixed(text: &str, salt: u64) -> [u8; 8] {
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    let mut bits =
        text.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, hash).wrapping_add(salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((bits ^ (bits >> 31)) | 1).to_be_bytes()
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digits = hex.as_bytes();
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_found_by_its_request_id() {
        let id = "692076d50123456789abcdef";
        assert_eq!(bytes::<12>(id).unwrap(), trace(id)[..12]);
        assert_ne!(trace("odd"), trace("even"));
        let spans: std::collections::BTreeSet<_> = (0..100).map(|number| span(id, number)).collect();
        assert_eq!(spans.len(), 100);
        assert_ne!(span("692076d50123456789abcdee", 0), span(id, 0));
    }

    #[test]
    fn a_parent_is_what_the_standard_says() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = Parent::parse(text).unwrap();
        assert!(parent.sampled && parent.span[0] == 0xb7 && parent.trace[15] == 0x9c);
        assert!(!Parent::parse(&text.replace("-01", "-00")).unwrap().sampled);
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            &text[..50],
            &text.replace("b7ad6b7169203331", "0000000000000000"),
        ] {
            assert_eq!(Parent::parse(bad), None, "{bad}");
        }
    }
}
