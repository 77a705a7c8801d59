//! The blind test: every answer that a provocation gets, on whichever way and in whichever dialect, is shown to the classifier,
//! which knows nothing of how it was provoked.
//!
//! With all of an answer it must name exactly the fault, and who found it. With less, as clients of all kinds show it, the fault must
//! be among those that the verdict says fit; which those are exactly is in docs/classify.md.

use outgate_client::classify::{Confidence, Evidence, Fields, Provenance, SocksSaid, Verdict, Way, classify};
use outgate_client::providers::Providers;
use outgate_faults::{Dialect, DialectSpec, ReasonStyle, Slug};
use outgate_testkit::doors::OPERATORS;
use outgate_testkit::socks::Said;
use outgate_testkit::wire::Reply;

/// The dialect with this name, the operator's of [`outgate_testkit::doors`] included.
pub(crate) fn dialect(name: &str) -> Dialect {
    Dialect::builtin(name).unwrap_or_else(|| {
        assert_eq!(name, OPERATORS);
        let statuses = vec![(403, 451), (502, 520)];
        let (name, base) = (name.to_owned(), Dialect::atlasvpn());
        let spec = DialectSpec { name, base, reason: None, close: None, statuses, faults: Vec::new() };
        Dialect::custom(spec).expect("as the gateway has it")
    })
}

/// An answer over HTTP.
pub(crate) fn names(reply: &Reply, slug: Slug, dialect: &Dialect, exit: Option<&str>) {
    let name = dialect.name();
    for way in [Way::Connect, Way::Forwarded] {
        // Nobody says whose proxy it is.
        let all = verdict(way, None, |evidence| Evidence {
            reason: (!reply.reason.is_empty()).then_some(&reply.reason),
            headers: Fields::List(&reply.headers),
            body: Some(&reply.body),
            status: Some(reply.status),
            ..evidence
        });
        let by = if exit.is_some() { Provenance::Exit } else { Provenance::Proxy };
        assert_eq!((all.slug, all.confidence, all.provenance), (Some(slug), Confidence::Certain, by), "{name}: {}", all.why);
        assert_eq!((all.fits.as_slice(), all.exit.as_deref()), (&[slug][..], exit), "{name} {slug}");
        assert_eq!(all.request_id.as_deref(), reply.header("X-Outgate-Request-Id"));
        assert_eq!(all.retry, slug.row().retry, "{name} {slug}");
        assert_eq!(all.wait.is_some(), reply.header("Retry-After").is_some(), "{name} {slug}");
    }
    if dialect.reason_style() == ReasonStyle::Slug && !reply.reason.is_empty() {
        let status = Some(reply.status);
        let reason = verdict(Way::Connect, None, |evidence| Evidence { reason: Some(&reply.reason), status, ..evidence });
        assert_eq!(reason.slug, Some(slug), "{name}: status and reason: {}", reason.why);
    }
    // Of an operator's own dialect nobody else knows the statuses.
    if name == OPERATORS {
        return;
    }
    let body = verdict(Way::Connect, Some(name), |evidence| Evidence {
        body: Some(&reply.body),
        status: Some(reply.status),
        ..evidence
    });
    assert!(body.fits.contains(&slug), "{name}: status and body of {slug}: {:?}", body.fits);
    if dialect.fixed_body(slug).is_none() {
        assert_eq!(body.slug, Some(slug), "{name}: status and body: {}", body.why);
    }
    let status = verdict(Way::Connect, Some(name), |evidence| Evidence { status: Some(reply.status), ..evidence });
    assert!(status.fits.contains(&slug), "{name}: the status of {slug}: {:?}", status.fits);
}

/// The last word of SOCKS5.
pub(crate) fn names_socks(said: Said, slug: Slug) {
    let said = match said {
        Said::Method(_) => SocksSaid::NoMethod,
        Said::Login(status) => SocksSaid::Login(status),
        Said::Reply(byte) => SocksSaid::Reply(byte),
    };
    let verdict = verdict(Way::Socks, None, |evidence| Evidence { socks: Some(said), ..evidence });
    assert!(verdict.fits.contains(&slug), "{said:?}: {slug} is not in {:?}", verdict.fits);
}

fn verdict<'a>(way: Way, provider: Option<&str>, seen: impl FnOnce(Evidence<'a>) -> Evidence<'a>) -> Verdict {
    let providers = Providers::builtin();
    let provider = provider.map(|name| providers.named(name).unwrap_or_else(|| panic!("no provider {name}")));
    classify(&Evidence { provider, ..seen(Evidence::of(way, "127.0.0.1:8080", "target.example:443")) }, providers)
}
