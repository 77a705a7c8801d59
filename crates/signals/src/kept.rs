//! What outlives a run: the history and the incidents, as JSON.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::history::Bucket;
use crate::incident::Incident;

/// The version of both files; another one is not read.
const VERSION: u32 = 1;

/// The history of the last day and month.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KeptHistory {
    v: u32,
    pub(crate) minutes: Vec<Bucket>,
    pub(crate) hours: Vec<Bucket>,
    /// When each pool had an exit to use for the last time.
    pub(crate) had_exits: BTreeMap<String, Timestamp>,
}

/// The incidents, oldest first.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KeptIncidents {
    v: u32,
    pub(crate) incidents: Vec<Incident>,
}

impl KeptHistory {
    pub(crate) fn new(minutes: Vec<Bucket>, hours: Vec<Bucket>, had_exits: BTreeMap<String, Timestamp>) -> Self {
        Self { v: VERSION, minutes, hours, had_exits }
    }

    /// Reads what was written.
    ///
    /// # Errors
    /// It is damaged, or of another version; the text says which.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let kept: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        known(kept.v).map(|()| kept)
    }

    /// To be written.
    pub fn to_json(&self) -> Vec<u8> {
        // Maps with text keys and finite numbers: nothing in it can fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl KeptIncidents {
    pub(crate) fn new(incidents: Vec<Incident>) -> Self {
        Self { v: VERSION, incidents }
    }

    /// Reads what was written.
    ///
    /// # Errors
    /// It is damaged, or of another version; the text says which.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        let kept: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        known(kept.v).map(|()| kept)
    }

    /// To be written.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn known(version: u32) -> Result<(), String> {
    if version == VERSION { Ok(()) } else { Err(format!("version {version}, and this program reads {VERSION}")) }
}
