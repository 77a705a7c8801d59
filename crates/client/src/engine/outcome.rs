//! How an attempt ended, as the shell reports it.

use std::time::Duration;

use jiff::Timestamp;
use outgate_faults::{Retry, Slug};

use crate::classify::{Confidence, Provenance, Scope, Verdict, Wait};

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What went wrong; none if nothing did.
    pub finding: Option<Finding>,
    /// How much of the request had left for the target.
    pub sent: Sent,
    /// The status of the answer, the proxy's or the target's; none if there was none.
    pub status: Option<u16>,
    /// The answer's header fields, for the log of attempts; [`super::attempt::headers`] makes them fit for it.
    pub headers: Vec<(String, String)>,
    /// The exit that the proxy named, if it did.
    pub exit: Option<String>,
}

/// What an attempt ran into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The fault.
    pub slug: Slug,
    /// Its class: the row's, or what a provider's own rule says.
    pub retry: Retry,
    /// Who said so.
    pub provenance: Provenance,
    /// What it holds.
    pub scope: Scope,
    /// The wait that the answer named, from now on.
    pub wait: Option<Duration>,
    /// The sentence for people, repeated when the same is refused from memory.
    pub why: String,
}

/// How much of a request had left for the target when its attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sent {
    /// Nothing: there was no way to the target yet.
    Nothing,
    /// Something, to a proxy that was to forward it or into a tunnel to the target.
    Something,
}

impl Finding {
    /// What a verdict says, for an answer that came at `wall`. A wait that is a date is counted from the answer's own `Date`, if
    /// it has one: the clock that wrote both, and not the one here, knows how far they are apart. None if nothing went wrong.
    pub fn of(verdict: &Verdict, wall: Timestamp, date: Option<Timestamp>) -> Option<Finding> {
        let wait = verdict.wait.map(|wait| match wait {
            Wait::Until(_) => wait.after(date.unwrap_or(wall)),
            Wait::For(_) => wait.after(wall),
        });
        let slug = verdict.slug?;
        // Providers whose one 502 stands for all that can go wrong behind them mean no limit of the account by it: the wait that
        // they recommend is this request's.
        let vague = slug == Slug::NoExit && verdict.confidence != Confidence::Certain;
        Some(Finding {
            slug,
            retry: verdict.retry,
            provenance: verdict.provenance,
            scope: if vague { Scope::Request } else { verdict.scope },
            wait,
            why: verdict.sentence(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Finding, Slug};
    use crate::classify::{Evidence, Fields, Scope, Way, classify};
    use crate::providers::Providers;
    use jiff::Timestamp;
    use std::time::Duration;

    fn wait(after: &str, date: Option<&str>) -> Option<Duration> {
        let headers = [("X-Proxy-Error".to_owned(), "rate_limited".to_owned()), ("Retry-After".to_owned(), after.to_owned())];
        let mut evidence = Evidence::of(Way::Connect, "gw:8080", "x.example:443");
        evidence.status = Some(429);
        evidence.headers = Fields::from(&headers[..]);
        let wall: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let verdict = classify(&evidence, Providers::builtin());
        Finding::of(&verdict, wall, date.map(|date| date.parse().unwrap())).unwrap().wait
    }

    #[test]
    fn a_vague_502_holds_only_its_own_request() {
        let providers = Providers::builtin();
        let mut evidence = Evidence::of(Way::Connect, "gw:8080", "x.example:443");
        evidence.status = Some(502);
        evidence.provider = providers.named("atlasvpn");
        let vague = Finding::of(&classify(&evidence, providers), Timestamp::UNIX_EPOCH, None).expect("a fault");
        assert_eq!((vague.slug, vague.scope), (Slug::NoExit, Scope::Request));
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let ours = [field("X-Proxy-Error", "no_exit"), field("X-Outgate-Request-Id", "r-1")];
        evidence.headers = Fields::from(&ours[..]);
        evidence.provider = None;
        let ours = Finding::of(&classify(&evidence, providers), Timestamp::UNIX_EPOCH, None).expect("a fault");
        assert_eq!((ours.slug, ours.scope), (Slug::NoExit, Scope::Account));
    }

    #[test]
    fn a_date_is_counted_from_the_clock_that_wrote_it() {
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(wait("7", None), seconds(7));
        assert_eq!(wait("Sun, 01 Mar 2026 12:00:30 GMT", None), seconds(30));
        // The other clock is five minutes ahead: thirty seconds are thirty seconds.
        assert_eq!(wait("Sun, 01 Mar 2026 12:05:30 GMT", Some("2026-03-01T12:05:00Z")), seconds(30));
        assert_eq!(wait("Sunday, 01-Mar-26 12:00:30 GMT", None), seconds(30));
        assert_eq!(wait("Sun Mar  1 12:00:30 2026", None), seconds(30));
        // One that has passed is no wait; nonsense is none at all.
        assert_eq!(wait("Sun, 01 Mar 2026 11:00:00 GMT", None), seconds(0));
        assert_eq!(wait("in a while", None), None);
    }
}
