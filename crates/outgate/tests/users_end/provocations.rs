//! Every fault that only the user's end can see, made to happen for real, and classified as relay, library and doctor do it.
//!
//! By layer: [`transport`], the way to the proxy; [`origin`], the target's own answers through a real gateway, forwarded and
//! in a tunnel; [`tls`], what a tunnel carries and a gateway takes no part in.
//!
//! `tidy` reads these files and fails for a slug of the user's end that they don't name.

mod origin;
mod tls;
mod transport;

use outgate_client::classify::{Confidence, Provenance, Verdict};
use outgate_faults::Slug;

/// What must come of it.
struct Expected {
    slug: Slug,
    provenance: Provenance,
    confidence: Confidence,
    /// The whole sentence.
    sentence: String,
}

impl Expected {
    /// Holds the verdict against it, and against the catalogue's row.
    fn check(&self, verdict: &Verdict) {
        let slug = self.slug;
        assert_eq!(verdict.slug, Some(slug), "{}", verdict.why);
        assert_eq!(verdict.fits.first(), Some(&slug), "what fits begins with what was chosen");
        assert_eq!((verdict.provenance, verdict.confidence), (self.provenance, self.confidence), "{slug}: {}", verdict.why);
        assert_eq!(verdict.retry, slug.row().retry, "{slug}");
        let fault = verdict.fault.as_ref().unwrap_or_else(|| panic!("{slug} is raised here"));
        assert_eq!((fault.slug(), fault.sentence()), (slug, self.sentence.clone()));
        assert!(!verdict.why.is_empty());
    }
}

fn expected(slug: Slug, provenance: Provenance, confidence: Confidence, sentence: impl Into<String>) -> Expected {
    Expected { slug, provenance, confidence, sentence: sentence.into() }
}
