//! `[records]`: where records are written, and how long they are kept.

use std::path::{Path, PathBuf};

use outgate_gateway::settings::RecordSettings;
use outgate_records::write::{Keep, Sealed};
use outgate_store::amount::parse_bytes;

use super::reader::Section;
use super::{boolean, duration, infallible};

/// What the section says.
pub(super) struct Records {
    /// None writes none.
    pub(super) settings: Option<RecordSettings>,
    /// Whether a folder was given.
    pub(super) folder_named: bool,
}

pub(super) fn records(mut section: Section, data: &Path) -> Records {
    let enabled = section.scalar("enabled", boolean).unwrap_or(true);
    let folder = section.scalar("folder", infallible).map(PathBuf::from);
    let mut keep = Keep::default();
    if let Some(time) = section.scalar("keep", |text| duration(text).and_then(at_least_an_hour)) {
        keep.time = time;
    }
    if let Some(bytes) = section.scalar("keep_bytes", |text| parse_bytes(text).ok().filter(|n| *n > 0).ok_or(SIZE)) {
        keep.bytes = bytes;
    }
    if let Some(compress) = section.scalar("compress", boolean) {
        keep.sealed = if compress { Sealed::Zstd } else { Sealed::Plain };
    }
    section.finish();
    let folder_named = folder.is_some();
    let folder = folder.unwrap_or_else(|| data.join("records"));
    Records { settings: enabled.then_some(RecordSettings { folder, keep }), folder_named }
}

const SIZE: &str = "a size above zero, such as \"20GB\"";

/// Files are made and deleted by the hour.
fn at_least_an_hour(time: std::time::Duration) -> Result<std::time::Duration, String> {
    if time.as_secs() >= 3600 { Ok(time) } else { Err("at least an hour, such as \"30d\"".to_owned()) }
}
