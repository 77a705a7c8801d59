//! How counts by slug are written: by name, so that a file outlives the order of the catalogue.

use outgate_faults::Slug;
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Count<'a> {
    slug: &'a str,
    count: u64,
}

/// `[{"slug": "no_exit", "count": 3}]`.
pub(crate) fn serialize<S: Serializer>(counts: &[(Slug, u64)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(counts.iter().map(|(slug, count)| Count { slug: slug.name(), count: *count }))
}

/// A name that the catalogue doesn't know (another version wrote it) is left out.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Slug, u64)>, D::Error> {
    #[derive(Deserialize)]
    struct Read {
        slug: String,
        count: u64,
    }
    let counts = Vec::<Read>::deserialize(deserializer)?;
    Ok(counts.into_iter().filter_map(|read| Some((Slug::parse(&read.slug)?, read.count))).collect())
}
