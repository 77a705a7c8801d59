//! "Did you mean": the nearest of the words there are.

/// The candidate that `text` is a slip of: at most two letters wrong, missing, added or swapped, and most of them right.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer ones can't be near anything, and comparing them would cost their length times that of every candidate.
    if text.len() > 64 {
        return None;
    }
    let length = text.chars().count();
    let near = |candidate: &&str| {
        // Every letter of difference in length is at least one slip; most candidates are ruled out by that.
        if candidate.chars().count().abs_diff(length) > 2 {
            return None;
        }
        let distance = strsim::damerau_levenshtein(text, candidate);
        (distance <= 2 && distance * 2 < candidate.len().min(text.len())).then_some(distance)
    };
    candidates.into_iter().filter_map(|candidate| Some((near(&candidate)?, candidate))).min().map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_seen_and_strangers_are_not() {
        let words = ["country", "state", "city", "session", "ttl", "pool"];
        let cases = [
            ("contry", Some("country")),
            ("ocuntry", Some("country")),
            ("sesion", Some("session")),
            ("tll", Some("ttl")),
            ("poll", Some("pool")),
            ("colour", None),
            ("foo", None),
            ("x", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(nearest(text, words), expected, "{text:?}");
        }
        assert_eq!(nearest(&"country".repeat(1_000), words), None);
    }
}
