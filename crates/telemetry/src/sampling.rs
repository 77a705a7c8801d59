//! Which requests are traced: the samplers that the specification names.

/// A sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sampling {
    /// The part of all traces, from 0 to 1.
    ratio: f64,
    follows: Follows,
}

/// What a client's own decision counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    /// It decides where there is one.
    Parent,
    Nobody,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { ratio: 1.0, follows: Follows::Parent }
    }
}

impl Sampling {
    /// The sampler with this name; `ratio` is for those that take one.
    pub(crate) fn named(name: &str, ratio: f64) -> Option<Self> {
        let (follows, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (Follows::Parent, root),
            None => (Follows::Nobody, name),
        };
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => ratio,
            _ => return None,
        };
        Some(Self { ratio, follows })
    }

    /// Whether a request is traced. `parent` says whether the client traces it, if it said so.
    pub(crate) fn takes(&self, trace: &[u8; 16], parent: Option<bool>) -> bool {
        match (self.follows, parent) {
            (Follows::Parent, Some(sampled)) => sampled,
            // By the trace's last 56 bits, the random ones (W3C Trace Context Level 2): every hop decides alike.
            _ => {
                let random = trace[9..].iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
                (random as f64) < self.ratio * (1_u64 << 56) as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(number: u64) -> [u8; 16] {
        let spread = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (spread | 1 << 100).to_be_bytes()
    }

    #[test]
    fn each_sampler_does_what_its_name_says() {
        let taken = |name: &str, parent| {
            let sampling = Sampling::named(name, 0.25).unwrap();
            (0..4000).filter(|number| sampling.takes(&trace(*number), parent)).count()
        };
        assert_eq!((taken("always_on", Some(false)), taken("always_off", Some(true))), (4000, 0));
        assert_eq!((taken("parentbased_always_on", Some(false)), taken("parentbased_always_off", Some(true))), (0, 4000));
        assert_eq!((taken("parentbased_always_on", None), taken("parentbased_always_off", None)), (4000, 0));
        assert!((900..1100).contains(&taken("traceidratio", Some(true))));
        assert!((900..1100).contains(&taken("parentbased_traceidratio", None)));
        assert_eq!(Sampling::named("xray", 1.0), None);
    }
}
