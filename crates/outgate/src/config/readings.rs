//! What a configuration was read from, setting by setting, so that two readings can be compared without keeping a secret.

use std::collections::BTreeMap;
use std::path::Path;

use ring::digest::{Digest, SHA256, digest};

/// Every setting that was given, in the file or by environment, with a digest of its value.
#[derive(Clone, Default)]
pub(crate) struct Readings(BTreeMap<String, Vec<u8>>);

impl Readings {
    pub(super) fn note(&mut self, setting: &str, value: &str) {
        self.add(setting, &digest(&SHA256, value.as_bytes()));
    }

    /// The files that a setting names belong to its value: their size and when they were written say that they changed.
    pub(super) fn note_file(&mut self, setting: &str, file: &Path) {
        let stamp = std::fs::metadata(file).ok().map(|found| (found.len(), found.modified().ok()));
        self.add(setting, &digest(&SHA256, format!("{stamp:?}").as_bytes()));
    }

    fn add(&mut self, setting: &str, digest: &Digest) {
        self.0.entry(setting.to_owned()).or_default().extend_from_slice(digest.as_ref());
    }

    /// The settings that are new, gone or different in a later reading.
    pub(crate) fn changed(&self, later: &Self) -> Vec<String> {
        let new = later.0.keys().filter(|setting| !self.0.contains_key(*setting));
        let other = self.0.iter().filter(|(setting, value)| later.0.get(*setting) != Some(value)).map(|(setting, _)| setting);
        let mut changed: Vec<String> = other.chain(new).cloned().collect();
        changed.sort_unstable();
        changed
    }

    /// This reading, but for some settings, which stay as an earlier one had them.
    pub(crate) fn keeping(mut self, settings: &[String], earlier: &Self) -> Self {
        for setting in settings {
            match earlier.0.get(setting) {
                Some(value) => self.0.insert(setting.clone(), value.clone()),
                None => self.0.remove(setting),
            };
        }
        self
    }
}
