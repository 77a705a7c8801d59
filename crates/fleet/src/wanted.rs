//! What a request asks of its exit.

use outgate_store::{Country, Labels};

/// Where an exit must be. The default is anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Its country.
    pub country: Option<Country>,
    /// Its state, as a label.
    pub state: Option<String>,
    /// Its city, as a label.
    pub city: Option<String>,
    /// Countries the plan keeps to; empty is any.
    pub countries: Vec<Country>,
}

impl Wanted {
    /// Whether an exit with these labels will do: the rule that the inventory's buckets must never break.
    pub fn fits(&self, labels: &Labels) -> bool {
        let same = |wanted: &Option<String>, label: &Option<String>| wanted.is_none() || wanted == label;
        (self.country.is_none() || self.country == labels.country)
            && (self.countries.is_empty() || labels.country.is_some_and(|c| self.countries.contains(&c)))
            && same(&self.state, &labels.state)
            && same(&self.city, &labels.city)
    }
}
