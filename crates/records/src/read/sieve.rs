//! A filter at work on lines: most that are not wanted are told by their bytes, before anything is parsed.

use std::ops::ControlFlow;

use jiff::Timestamp;
use memchr::memmem::Finder;

use super::glance::Glance;
use crate::filter::Filter;

/// What every line of this crate begins with, up to its time.
const BEFORE_TIME: &[u8] = b"\"time\":\"";
/// Where that is looked for: behind `{"v":1,`.
const TIME_WITHIN: usize = 32;
/// `2026-11-21T18:00:00.123Z`
const TIME_LENGTH: usize = 24;

/// A filter, made ready.
pub(crate) struct Sieve<'a> {
    filter: &'a Filter,
    /// What each wanted line has in it. The first one is the rarest, as far as one can know.
    needles: Vec<Finder<'static>>,
    well: Option<Finder<'static>>,
    since: Option<String>,
    until: Option<String>,
}

/// What a line's bytes say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    No,
    /// Its fields have to be looked at.
    Perhaps,
}

impl<'a> Sieve<'a> {
    pub(crate) fn new(filter: &'a Filter) -> Self {
        let quoted = |text: &String| serde_json::to_string(text).unwrap_or_default();
        let part = |text: &str| quoted(&text.to_owned()).trim_matches('"').to_owned();
        let target = filter.target.as_deref().map(|target| target.strip_prefix('*').unwrap_or(target));
        let one_outcome = match filter.outcomes.as_slice() {
            [one] => Some(one),
            _ => None,
        };
        let needles = [
            filter.session.as_ref().map(quoted),
            filter.key.as_ref().map(quoted),
            filter.client.as_ref().map(quoted),
            filter.exit.as_ref().map(quoted),
            target.map(part),
            one_outcome.map(quoted),
            filter.layer.map(|layer| quoted(&layer.name().to_owned())),
            filter.country.as_ref().map(quoted),
            filter.pool.as_ref().map(quoted),
        ];
        let finder = |needle: String| Finder::new(&needle).into_owned();
        let time = |time: Timestamp| format!("{time:.3}");
        Self {
            filter,
            needles: needles.into_iter().flatten().map(finder).collect(),
            well: filter.failed.then(|| finder(r#""outcome":"ok""#.to_owned())),
            since: filter.since.map(time),
            until: filter.until.map(time),
        }
    }

    /// One for the record with an id.
    pub(crate) fn with_id(filter: &'a Filter, id: &str) -> Self {
        let mut sieve = Self::new(filter);
        let id = serde_json::to_string(id).unwrap_or_default();
        sieve.needles.insert(0, Finder::new(&id).into_owned());
        sieve
    }

    /// Shows the wanted ones of some lines.
    pub(crate) fn sift<'l>(
        &self,
        lines: &'l [u8],
        show: &mut dyn FnMut(&'l [u8], Glance<'l>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut at = 0;
        while at < lines.len() {
            if let Some(rarest) = self.needles.first() {
                // On to the line that has it.
                let Some(found) = rarest.find(&lines[at..]) else { break };
                at += memchr::memrchr(b'\n', &lines[at..at + found]).map_or(0, |end| end + 1);
            }
            let end = memchr::memchr(b'\n', &lines[at..]).map_or(lines.len(), |end| at + end);
            let line = &lines[at..end];
            at = end + 1;
            if self.look(line) == Verdict::No {
                continue;
            }
            if let Some(glance) = Glance::parse(line).filter(|glance| self.filter.wants_glance(glance)) {
                show(line, glance)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn look(&self, line: &[u8]) -> Verdict {
        let others = self.needles.get(1..).unwrap_or_default();
        let unwanted = self.well.as_ref().is_some_and(|well| well.find(line).is_some())
            || others.iter().any(|needle| needle.find(line).is_none())
            || !self.may_be_of_its_time(line);
        if unwanted { Verdict::No } else { Verdict::Perhaps }
    }

    /// Times of this crate are as long as each other, and in the order of their texts.
    fn may_be_of_its_time(&self, line: &[u8]) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let head = &line[..line.len().min(TIME_WITHIN)];
        let Some(at) = memchr::memmem::find(head, BEFORE_TIME).map(|at| at + BEFORE_TIME.len()) else { return true };
        let Some(time) = line.get(at..at + TIME_LENGTH).filter(|time| time.ends_with(b"Z")) else { return true };
        self.since.as_ref().is_none_or(|since| time >= since.as_bytes())
            && self.until.as_ref().is_none_or(|until| time <= until.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::StatusRange;
    use crate::record::Record;

    const LINES: [&str; 5] = [
        r#"{"v":1,"time":"2026-11-21T18:00:00.123Z","request_id":"a","key":"k1","client":"192.0.2.1","protocol":"http","method":"CONNECT","target":"www.example.com:443","outcome":"ok","stage":"settle","status":200,"bytes_up":1,"bytes_down":2,"attempts":1,"ms":{"dns":1.0,"connect":2.0,"total":3.5}}"#,
        r#"{"v":1,"time":"2026-11-21T18:00:01.000Z","request_id":"b","key":"k2","client":"192.0.2.2","protocol":"http","method":"CONNECT","target":"example.net:80","pool":"residential","exit":"e1","country":"us","session":"s\"1","outcome":"dns_failed","layer":"target","stage":"dial","status":502,"bytes_up":0,"bytes_down":0,"attempts":1,"ms":{"dns":1000.0,"connect":0.0,"total":1200.0}}"#,
        r#"{"v":1,"time":"2026-11-21T18:00:02.000Z","request_id":"c","key":"k1","client":"192.0.2.1","protocol":"http","method":"\"outcome\":\"ok\"","target":"example.net:80","outcome":"port_denied","layer":"policy","stage":"admit","status":403,"bytes_up":0,"bytes_down":0,"attempts":0,"ms":{"dns":0.0,"connect":0.0,"total":0.1}}"#,
        r#"{"v":1,"time":"2026-11-21T18:00:03.000Z","request_id":"d","key":"k1","client":"192.0.2.1","outcome":"no"#,
        r#"{"time":"2026-11-21T18:00:04Z","request_id":"e","outcome":"ok","more":{"outcome":"dns_failed","key":"k2"}}"#,
    ];

    fn sifted(filter: &Filter) -> Vec<String> {
        let text = LINES.join("\n") + "\n";
        let mut ids = Vec::new();
        let done = Sieve::new(filter).sift(text.as_bytes(), &mut |line, glance| {
            assert!(filter.wants(&Record::parse(line).unwrap()));
            ids.push(glance.request_id.to_string());
            ControlFlow::Continue(())
        });
        assert!(done.is_continue());
        ids
    }

    #[test]
    fn a_sieve_lets_through_what_its_filter_wants_and_nothing_else() {
        let text = |text: &str| Some(text.to_owned());
        let time = |time: &str| Some(time.parse().unwrap());
        let with = |change: &dyn Fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            sifted(&filter)
        };
        assert_eq!(with(&|_| {}), ["a", "b", "c", "e"], "half a line is no record");
        assert_eq!(with(&|f| f.key = text("k1")), ["a", "c"]);
        assert_eq!(with(&|f| f.key = text("k2")), ["b"], "the other one has it elsewhere");
        assert_eq!(with(&|f| f.outcomes = vec!["ok".into()]), ["a", "e"]);
        assert_eq!(with(&|f| f.outcomes = vec!["dns_failed".into(), "port_denied".into()]), ["b", "c"]);
        assert_eq!(with(&|f| f.failed = true), ["b", "c"], "what a method looks like is not the outcome");
        assert_eq!(with(&|f| f.layer = outgate_faults::Layer::parse("policy")), ["c"]);
        assert_eq!(with(&|f| f.status = Some(StatusRange { from: 500, to: 599 })), ["b"]);
        assert_eq!(with(&|f| f.target = text("*.example.com")), ["a"]);
        assert_eq!(with(&|f| f.target = text("example.net")), ["b", "c"]);
        assert_eq!(with(&|f| f.session = text("s\"1")), ["b"]);
        assert_eq!(with(&|f| f.exit = text("e1")), ["b"]);
        assert_eq!(with(&|f| f.country = text("us")), ["b"]);
        assert_eq!(with(&|f| f.pool = text("residential")), ["b"]);
        assert_eq!(with(&|f| f.client = text("192.0.2.1")), ["a", "c"]);
        assert_eq!(with(&|f| f.slower_than_ms = Some(3.5)), ["a", "b"]);
        assert_eq!(with(&|f| f.since = time("2026-11-21T18:00:01Z")), ["b", "c", "e"]);
        assert_eq!(with(&|f| f.since = time("2026-11-21T18:00:00.1231Z")), ["b", "c", "e"]);
        assert_eq!(with(&|f| f.until = time("2026-11-21T18:00:01Z")), ["a"]);
        assert_eq!(with(&|f| f.until = time("2026-11-21T18:00:01.0001Z")), ["a", "b"]);
        let found = |id: &str| {
            let (text, filter) = (LINES.join("\n") + "\n", Filter::default());
            let mut found = 0;
            let _all = Sieve::with_id(&filter, id).sift(text.as_bytes(), &mut |_, _| {
                found += 1;
                ControlFlow::Continue(())
            });
            found
        };
        assert_eq!((found("b"), found("z")), (1, 0));
    }
}
