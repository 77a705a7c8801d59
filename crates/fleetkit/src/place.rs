//! Where an exit is said to be.

use serde_json::{Value, json};

/// Pool, country, state and city; what is empty is unsaid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The pool it serves.
    pub pool: &'static str,
    /// ISO 3166-1 alpha-2, lower case.
    pub country: &'static str,
    /// ISO 3166-2 subdivision, lower case.
    pub state: &'static str,
    /// City, folded.
    pub city: &'static str,
}

impl Place {
    /// A place in the residential pool.
    #[must_use]
    pub const fn residential(country: &'static str, state: &'static str, city: &'static str) -> Self {
        Self { pool: "residential", country, state, city }
    }

    /// The same place in another pool.
    #[must_use]
    pub const fn in_pool(self, pool: &'static str) -> Self {
        Self { pool, ..self }
    }

    /// Whether it is what the modifiers ask for: `-country-us-state-ca-…` as [`Place::modifiers`] writes them.
    #[must_use]
    pub fn fits(&self, asked: &Place) -> bool {
        let same = |asked: &str, is: &str| asked.is_empty() || asked == is;
        asked.pool == self.pool
            && same(asked.country, self.country)
            && same(asked.state, self.state)
            && same(asked.city, self.city)
    }

    /// The modifiers that ask for it.
    #[must_use]
    pub fn modifiers(&self) -> String {
        let parts = [("pool", self.pool), ("country", self.country), ("state", self.state), ("city", self.city)];
        parts.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("-{name}-{value}")).collect()
    }

    pub(crate) fn enrolment(&self) -> Value {
        let mut body = json!({ "pool": self.pool });
        for (name, value) in [("country", self.country), ("state", self.state), ("city", self.city)] {
            if !value.is_empty() {
                body[name] = value.into();
            }
        }
        body
    }
}

/// Places in nine countries with several states and cities, among them cities of one name in several states and countries.
pub const WORLD: [Place; 25] = [
    Place::residential("us", "ca", "losangeles"),
    Place::residential("us", "ca", "sanfrancisco"),
    Place::residential("us", "ca", "sandiego"),
    Place::residential("us", "ny", "newyork"),
    Place::residential("us", "ny", "buffalo"),
    Place::residential("us", "tx", "houston"),
    Place::residential("us", "or", "portland"),
    Place::residential("us", "me", "portland"),
    Place::residential("us", "al", "birmingham"),
    Place::residential("gb", "eng", "birmingham"),
    Place::residential("gb", "eng", "london"),
    Place::residential("gb", "sct", "glasgow"),
    Place::residential("de", "be", "berlin"),
    Place::residential("de", "by", "munich"),
    Place::residential("de", "by", "nuremberg"),
    Place::residential("fr", "idf", "paris"),
    Place::residential("fr", "ara", "lyon"),
    Place::residential("jp", "13", "tokyo"),
    Place::residential("jp", "27", "osaka"),
    Place::residential("br", "sp", "saopaulo"),
    Place::residential("br", "rj", "riodejaneiro"),
    Place::residential("in", "mh", "mumbai"),
    Place::residential("nl", "nh", "amsterdam"),
    Place::residential("nl", "", ""),
    Place::residential("ch", "zh", "zurich"),
];
