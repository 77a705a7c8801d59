//! Labels: places as user names carry them, in lower-case letters and digits.

use icu_normalizer::DecomposingNormalizer;

use crate::id::NameError;

/// The longest label. The longest city names there are have about 60 letters.
const LONGEST: usize = 64;

/// A label as it is written in user names: 1 to 64 lower-case letters and digits.
pub fn parse_label(text: &str) -> Result<String, NameError> {
    let fits = (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if fits {
        Ok(text.to_owned())
    } else {
        Err(NameError::new("label", text, "1 to 64 lower-case letters and digits, such as losangeles"))
    }
}

/// A city by its name, however it is written: `Los Angeles`, `los-angeles` and `losangeles` are one, so are `São Paulo` and
/// `saopaulo`. The answer is its label.
pub fn parse_city(text: &str) -> Result<String, NameError> {
    fold(text).ok_or_else(|| NameError::new("city", text, "names in Latin letters, such as losangeles, São Paulo or new-york"))
}

/// A name without case, accents, spaces and punctuation; `None` when nothing is left, it is too long, or a letter has no
/// Latin form (nobody could write it in a user name of ASCII).
pub(crate) fn fold(text: &str) -> Option<String> {
    // Before the work: what is this long can't be a label, and it may come from anyone.
    if text.len() > 4 * LONGEST {
        return None;
    }
    let mut label = String::new();
    for c in DecomposingNormalizer::new_nfkd().normalize_iter(text.chars().flat_map(char::to_lowercase)) {
        match c {
            'a'..='z' | '0'..='9' => label.push(c),
            // Combining marks: what decomposition split off.
            '\u{300}'..='\u{36f}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}' => {}
            ' ' | '-' | '_' | '.' | ',' | '\'' | '`' | '/' | '(' | ')' => {}
            // Hyphens and apostrophes of other keyboards, and the letters that write a glottal stop.
            '\u{2010}'..='\u{2015}' | '\u{2018}' | '\u{2019}' | '\u{2b9}'..='\u{2bf}' | '\u{a78c}' => {}
            _ => label.push_str(spelled(c)?),
        }
    }
    (1..=LONGEST).contains(&label.len()).then_some(label)
}

/// The letters of Latin alphabets that no decomposition takes apart.
fn spelled(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'ł' => "l",
        'đ' | 'ð' => "d",
        'þ' => "th",
        'ħ' => "h",
        'ı' => "i",
        'ə' => "e",
        'ŋ' => "n",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        for (text, expected) in [("losangeles", true), ("ca", true), ("Los Angeles", false), ("los-angeles", false), ("", false)]
        {
            assert_eq!(parse_label(text).is_ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn cities_fold_to_one_spelling() {
        let cases = [
            ("losangeles", Some("losangeles")),
            ("Los Angeles", Some("losangeles")),
            ("los-angeles", Some("losangeles")),
            ("LOS_ANGELES", Some("losangeles")),
            ("São Paulo", Some("saopaulo")),
            ("Sa\u{303}o Paulo", Some("saopaulo")),
            ("Zürich", Some("zurich")),
            ("Łódź", Some("lodz")),
            ("Straßburg", Some("strassburg")),
            ("Đà Nẵng", Some("danang")),
            ("İstanbul", Some("istanbul")),
            ("Diyarbakır", Some("diyarbakir")),
            ("Reykjavík", Some("reykjavik")),
            ("Tromsø", Some("tromso")),
            ("Nuku\u{2bb}alofa", Some("nukualofa")),
            ("Saint-Denis (Réunion)", Some("saintdenisreunion")),
            ("L\u{2019}Aquila", Some("laquila")),
            ("Washington, D.C.", Some("washingtondc")),
            ("6th of October", Some("6thofoctober")),
            ("東京", None),
            ("Москва", None),
            ("", None),
            ("---", None),
            ("a\nb", None),
            ("a:b", None),
        ];
        for (text, expected) in cases {
            assert_eq!(fold(text).as_deref(), expected, "{text:?}");
            if let Some(label) = expected {
                assert_eq!(parse_city(text).as_deref(), Ok(label));
                assert_eq!(fold(label).as_deref(), Some(label), "folding twice changes nothing");
            }
        }
        assert_eq!(fold(&"a".repeat(LONGEST)), Some("a".repeat(LONGEST)));
        assert_eq!(fold(&"a".repeat(LONGEST + 1)), None);
        // One character that decomposes into eighteen must not get around the bound.
        assert_eq!(fold(&"\u{fdfa}".repeat(80)), None);
    }
}
