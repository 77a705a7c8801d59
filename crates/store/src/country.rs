//! Countries and their subdivisions: ISO 3166-1 alpha-2 and ISO 3166-2, lower case.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use rust_iso3166::CountryCode;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::NameError;
use crate::label::fold;
use crate::near::nearest;

/// An assigned country code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

/// What people write for a country beside its code, its three-letter code and its name.
const ALSO_KNOWN: [(&str, &str); 29] = [
    ("uk", "gb"),
    ("unitedkingdom", "gb"),
    ("greatbritain", "gb"),
    ("britain", "gb"),
    ("england", "gb"),
    ("scotland", "gb"),
    ("wales", "gb"),
    ("northernireland", "gb"),
    ("unitedstates", "us"),
    ("america", "us"),
    ("el", "gr"),
    ("hellas", "gr"),
    ("deutschland", "de"),
    ("espana", "es"),
    ("holland", "nl"),
    ("korea", "kr"),
    ("southkorea", "kr"),
    ("northkorea", "kp"),
    ("russia", "ru"),
    ("turkey", "tr"),
    ("czechrepublic", "cz"),
    ("ivorycoast", "ci"),
    ("laos", "la"),
    ("uae", "ae"),
    ("emirates", "ae"),
    ("macau", "mo"),
    ("swaziland", "sz"),
    ("vatican", "va"),
    ("capeverde", "cv"),
];

/// What countries are called: `Iran (Islamic Republic of)` is Iran. The two Koreas share what is before the bracket, and are
/// also known by other names.
static CALLED: LazyLock<Vec<(String, Country)>> = LazyLock::new(|| {
    let called = |country: Country| fold(country.name().split(['(', ',']).next().unwrap_or_default());
    Country::assigned().filter_map(|country| Some((called(country)?, country))).collect()
});

impl Country {
    /// Parses a lower-case assigned code.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError::new("country", text, "lower-case ISO 3166-1 codes such as us, de, br (gb, not uk)");
        let code: [u8; 2] = text.as_bytes().try_into().map_err(|_| wrong())?;
        let assigned = code.iter().all(u8::is_ascii_lowercase) && Self(code).entry().is_some();
        if assigned { Ok(Self(code)) } else { Err(wrong()) }
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("??")
    }

    /// Its English name in the standard: `Bolivia (Plurinational State of)`.
    pub fn name(&self) -> &'static str {
        self.entry().map_or("", |entry| entry.name)
    }

    /// Every assigned code, in the standard's order.
    pub fn assigned() -> impl Iterator<Item = Self> {
        rust_iso3166::ALL.iter().filter_map(Self::of)
    }

    /// The country that was meant by what is no code: `US`, `usa`, `uk`, `germany`, `germny`.
    pub fn meant_by(text: &str) -> Option<Self> {
        let folded = fold(text)?;
        if let Ok(country) = Self::parse(&folded) {
            return Some(country);
        }
        if let Some((_, code)) = ALSO_KNOWN.iter().find(|(name, _)| *name == folded) {
            return Self::parse(code).ok();
        }
        if let Some(entry) = rust_iso3166::from_alpha3(&folded.to_ascii_uppercase()) {
            return Self::of(&entry);
        }
        let near = nearest(&folded, CALLED.iter().map(|(name, _)| name.as_str()))?;
        CALLED.iter().find(|(name, _)| name == near).map(|(_, country)| *country)
    }

    /// Its subdivisions of every level (states, provinces, districts); some countries have none.
    pub fn subdivisions(&self) -> impl Iterator<Item = Subdivision> {
        let all = rust_iso3166::iso3166_2::SUBDIVISION_COUNTRY_MAP.get(self.as_str().to_ascii_uppercase().as_str());
        all.copied().unwrap_or_default().iter().map(|entry| Subdivision { code: entry.region_code, name: entry.name })
    }

    /// Whether a label is one of its subdivisions: `ca` for US-CA.
    pub fn has_state(&self, label: &str) -> bool {
        self.state_name(label).is_some()
    }

    /// The name of the subdivision of this label: `California` for `ca`.
    pub fn state_name(&self, label: &str) -> Option<&'static str> {
        self.subdivisions().find(|state| state.is(label)).map(|state| state.name)
    }

    /// The label of the subdivision of this name: `California`, `california`.
    pub fn state_named(&self, name: &str) -> Option<String> {
        let folded = fold(name)?;
        self.subdivisions().find(|state| fold(state.name).is_some_and(|name| name == folded)).map(|state| state.label())
    }

    /// The label of the subdivision that was meant by what is none: `CA`, `us-ca`, `california`, `californa`.
    pub fn state_meant_by(&self, text: &str) -> Option<String> {
        let folded = fold(text)?;
        let bare = folded.strip_prefix(self.as_str()).unwrap_or_default();
        if let Some(state) = self.subdivisions().find(|state| state.is(&folded) || state.is(bare)) {
            return Some(state.label());
        }
        let names: Vec<(String, Subdivision)> =
            self.subdivisions().filter_map(|state| Some((fold(state.name)?, state))).collect();
        let near = nearest(&folded, names.iter().map(|(name, _)| name.as_str()))?;
        names.iter().find(|(name, _)| name == near).map(|(_, state)| state.label())
    }

    fn entry(&self) -> Option<CountryCode> {
        rust_iso3166::from_alpha2(&self.as_str().to_ascii_uppercase())
    }

    fn of(entry: &CountryCode) -> Option<Self> {
        entry.alpha2.to_ascii_lowercase().as_bytes().try_into().map(Self).ok()
    }
}

/// A part of a country.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subdivision {
    /// Its part of the ISO 3166-2 code, in capitals: `CA` of US-CA.
    code: &'static str,
    /// Its name, in the country's language where the standard gives no English one.
    pub name: &'static str,
}

impl Subdivision {
    /// Its code as a label: `ca`.
    pub fn label(&self) -> String {
        self.code.to_ascii_lowercase()
    }

    fn is(&self, label: &str) -> bool {
        self.code.len() == label.len()
            && self.code.bytes().zip(label.bytes()).all(|(code, label)| code.to_ascii_lowercase() == label)
    }
}

impl FromStr for Country {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Country {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Country {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn country(code: &str) -> Country {
        Country::parse(code).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_list_is_whole() {
        let all: Vec<Country> = Country::assigned().collect();
        // ISO 3166-1 has 249 officially assigned codes.
        assert_eq!(all.len(), 249);
        for country in all {
            assert_eq!(Country::parse(country.as_str()), Ok(country));
            assert!(!country.name().is_empty(), "{country}");
        }
    }

    #[test]
    fn only_assigned_lower_case_codes() {
        let cases = [
            ("us", true),
            ("gb", true),
            ("uk", false),
            ("US", false),
            ("xx", false),
            ("u", false),
            ("usa", false),
            ("", false),
            ("ü", false),
        ];
        for (text, expected) in cases {
            assert_eq!(Country::parse(text).is_ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_people_write_for_countries() {
        let cases = [
            ("US", Some("us")),
            ("usa", Some("us")),
            ("USA", Some("us")),
            ("uk", Some("gb")),
            ("UK", Some("gb")),
            ("germany", Some("de")),
            ("Germany", Some("de")),
            ("germny", Some("de")),
            ("united-states", Some("us")),
            ("United States of America", Some("us")),
            ("iran", Some("ir")),
            ("southkorea", Some("kr")),
            ("Côte d'Ivoire", Some("ci")),
            ("brasil", Some("br")),
            ("zz", None),
            ("xyzzy", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Country::meant_by(text).map(|country| country.to_string()).as_deref(), expected, "{text:?}");
        }
        for (name, code) in ALSO_KNOWN {
            assert!(Country::parse(code).is_ok() && Country::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn states_are_of_their_country() {
        let cases = [
            ("us", "ca", true),
            ("us", "CA", false),
            ("us", "by", false),
            ("de", "by", true),
            ("de", "ca", false),
            ("at", "9", true),
            ("fr", "idf", true),
            ("fr", "75c", true),
            ("gb", "eng", true),
            ("us", "", false),
            ("va", "va", false),
        ];
        for (code, label, expected) in cases {
            assert_eq!(country(code).has_state(label), expected, "{code}-{label}");
        }
        let all: Vec<String> = Country::assigned()
            .flat_map(|country| country.subdivisions().map(|state| state.label()).collect::<Vec<_>>())
            .collect();
        assert!(all.len() > 4_000, "{}", all.len());
        assert!(all.iter().all(|label| crate::parse_label(label).is_ok()), "every one can be asked for");
    }

    #[test]
    fn states_by_name() {
        let cases =
            [("us", "California", Some("ca")), ("za", "Western Cape", Some("wc")), ("us", "Californa", None), ("us", "", None)];
        for (code, name, expected) in cases {
            assert_eq!(country(code).state_named(name).as_deref(), expected, "{code} {name:?}");
        }
    }

    #[test]
    fn what_people_write_for_states() {
        let cases = [
            ("us", "CA", Some("ca")),
            ("us", "us-ca", Some("ca")),
            ("us", "usca", Some("ca")),
            ("us", "california", Some("ca")),
            ("us", "Californa", Some("ca")),
            ("us", "new-york", Some("ny")),
            ("de", "bayern", Some("by")),
            ("ca", "Québec", Some("qc")),
            ("us", "zz", None),
            ("us", "", None),
            ("va", "rome", None),
        ];
        for (code, text, expected) in cases {
            assert_eq!(country(code).state_meant_by(text).as_deref(), expected, "{code} {text:?}");
        }
    }
}
