//! Our own sentences, recognised where nothing but the text is left of an answer: a body without its fields, `details` of a
//! hop further on.

use std::sync::LazyLock;

use outgate_faults::Slug;

/// The fewest bytes of a sentence's own words that make it ours and not somebody's chance remark.
const FEWEST: usize = 12;

/// A sentence's own words, in order, with anything between them.
struct Pattern {
    slug: Slug,
    words: Vec<&'static str>,
    /// Whether it begins with the first of the words.
    from_start: bool,
    /// Whether it ends with the last.
    to_end: bool,
}

/// Which fault this sentence tells. Of several the one with most words of its own.
pub(crate) fn of(text: &str) -> Option<Slug> {
    static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| Slug::ALL.iter().map(|slug| Pattern::of(*slug)).collect());
    let text = without_attempts(text.trim());
    let fits = PATTERNS.iter().filter(|pattern| pattern.length() >= FEWEST && pattern.fits(text));
    fits.max_by_key(|pattern| pattern.length()).map(|pattern| pattern.slug)
}

/// ` (3 attempts)` is told behind any sentence.
fn without_attempts(text: &str) -> &str {
    let counted = |text: &str| {
        let (sentence, count) = text.strip_suffix(" attempts)")?.rsplit_once(" (")?;
        count.bytes().all(|b| b.is_ascii_digit()).then_some(sentence.len())
    };
    counted(text).map_or(text, |end| &text[..end])
}

impl Pattern {
    fn of(slug: Slug) -> Pattern {
        let sentence = slug.row().sentence;
        let (mut words, mut rest) = (Vec::new(), sentence);
        // A `{fact}` is anything; so is `{fact?…{}…}`, which may be missing.
        while let Some((before, after)) = rest.split_once('{') {
            words.push(before);
            let end = if after.find('?') < after.find('}') && after.contains('?') {
                after.find("{}").and_then(|inner| after[inner + 2..].find('}').map(|end| inner + 2 + end))
            } else {
                after.find('}')
            };
            rest = end.map_or("", |end| &after[end + 1..]);
        }
        words.push(rest);
        let (from_start, to_end) = (!words[0].is_empty(), !rest.is_empty());
        words.retain(|word| !word.is_empty());
        Pattern { slug, words, from_start, to_end }
    }

    fn length(&self) -> usize {
        self.words.iter().map(|word| word.len()).sum()
    }

    fn fits(&self, text: &str) -> bool {
        let mut rest = text;
        for (at, word) in self.words.iter().enumerate() {
            let last = self.to_end && at + 1 == self.words.len();
            let found = match (at, last) {
                (0, true) if self.from_start => return rest == *word,
                (0, _) if self.from_start => rest.starts_with(word).then_some(0),
                (_, true) => return rest.ends_with(word),
                _ => rest.find(word),
            };
            let Some(found) = found else { return false };
            rest = &rest[found + word.len()..];
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use outgate_faults::Slug;

    #[test]
    fn every_sentence_leads_back_to_its_slug() {
        for slug in Slug::ALL {
            let example = slug.row().example();
            assert_eq!(of(&example), Some(*slug), "{example}");
            assert_eq!(of(&format!("{example} (3 attempts)\n")), Some(*slug), "{example}");
        }
    }

    #[test]
    fn optional_facts_may_be_missing() {
        assert_eq!(of("unknown modifier \"contry\""), Some(Slug::ModifierUnknown));
        assert_eq!(of("no exit is connected"), Some(Slug::NoExit));
    }

    #[test]
    fn other_texts_are_nobodys() {
        for text in ["", "Bad Gateway", "Access denied", "a.example:80", "not found", "exceeded bandwidth limit"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
