//! Weeks of a gateway's life in seconds: what a clean week must not raise, and what document 004's mornings must.

mod world;

use jiff::Timestamp;
use outgate_faults::{Layer, Slug};
use outgate_signals::{Cause, Change, Grain, Incident, Kind, Rules, Scope, State, Watch};
use world::{Trouble, World};

/// A Monday.
const MONDAY: &str = "2026-11-16T00:00:00Z";
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn monday() -> i64 {
    MONDAY.parse::<Timestamp>().expect("a time").as_second()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("a time within ages")
}

/// Lives from one second to another, looking every `step` seconds; what the watch told, and when.
fn live(world: &mut World, watch: &mut Watch, from: i64, to: i64, step: i64) -> Vec<(i64, Change)> {
    let mut told = Vec::new();
    let mut second = from;
    while second < to {
        second += step;
        world.pass(second, step);
        told.extend(watch.observe(at(second), &world.snapshot(), &world.gauges()).into_iter().map(|change| (second, change)));
    }
    told
}

/// So many, or as many as `SEEDS` says.
fn seeds(usual: u64) -> u64 {
    std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(usual)
}

/// What was told, a line each.
fn shown(told: &[(i64, Change)]) -> String {
    let line = |(second, change): &(i64, Change)| {
        let what = match change {
            Change::Raised(signal) => format!("raised {}", signal.line()),
            Change::Cleared(signal) => format!("cleared {}", signal.line()),
            Change::Opened(incident) => format!("opened {} {:?}", incident.id, incident.cause),
            Change::Grew(incident) => format!("grew {} {:?}", incident.id, incident.cause),
            Change::Closed(incident) => format!("closed {} {:?} {:?}", incident.id, incident.cause, incident.faults),
        };
        format!("{} {what}\n", at(*second))
    };
    told.iter().map(line).collect()
}

#[test]
fn a_clean_week_raises_nothing() {
    for seed in 1..=seeds(2) {
        let mut world = World::new(seed);
        let mut watch = Watch::new(Rules::default());
        let told = live(&mut world, &mut watch, monday(), monday() + 7 * DAY, 10);
        assert!(world.failed() > 20_000, "a clean week has failures, too: {}", world.failed());
        assert!(told.is_empty(), "seed {seed}: {}", shown(&told));
        assert_eq!(watch.history().buckets(Grain::Hour).len(), 7 * 24);
        let errors = watch.signals().into_iter().find(|s| s.kind == Kind::Errors && s.scope == Scope::Gateway).unwrap();
        assert_eq!(errors.state, State::Fine);
    }
}

#[test]
fn document_004_every_weekday_morning() {
    for seed in 11..=10 + seeds(2) {
        let mut world = World::new(seed);
        let mut watch = Watch::new(Rules::default());
        let mut told = Vec::new();
        // Days before it begins, so that there is a usual value to jump from.
        told.extend(live(&mut world, &mut watch, monday() - 3 * DAY, monday(), 10));
        assert!(told.is_empty(), "seed {seed}: {}", shown(&told));
        let mornings: Vec<(i64, i64)> =
            (0..5).map(|day| monday() + day * DAY + 14 * HOUR).map(|nine| (nine, nine + 2 * HOUR)).collect();
        let mut now = monday();
        for &(nine, eleven) in &mornings {
            told.extend(live(&mut world, &mut watch, now, nine, 10));
            world.trouble(Trouble::SlowUpstream);
            // As the program drives it: every second.
            told.extend(live(&mut world, &mut watch, nine, nine + 300, 1));
            told.extend(live(&mut world, &mut watch, nine + 300, eleven, 10));
            world.trouble(Trouble::None);
            now = eleven;
        }
        told.extend(live(&mut world, &mut watch, now, now + HOUR, 10));

        let opened: Vec<(i64, &Incident)> =
            told.iter().filter_map(|(at, c)| if let Change::Opened(i) = c { Some((*at, i)) } else { None }).collect();
        let closed: Vec<(i64, &Incident)> =
            told.iter().filter_map(|(at, c)| if let Change::Closed(i) = c { Some((*at, i)) } else { None }).collect();
        assert_eq!(opened.len(), 5, "seed {seed}, one a day: {}", shown(&told));
        assert_eq!(closed.len(), 5, "seed {seed}");
        for (((nine, eleven), (opened, first)), (closed, incident)) in mornings.iter().zip(opened).zip(closed) {
            let (fired, ended) = (opened - nine, closed - eleven);
            assert!((1..=60).contains(&fired), "seed {seed}: fired after {fired} s");
            assert!((0..=600).contains(&ended), "seed {seed}: closed {ended} s after it ended: {:#?}", incident.signals);
            println!("seed {seed}: fired {fired} s after nine, closed {ended} s after eleven: {}", incident.headline());
            assert_eq!(first.id, incident.id);
            assert_eq!((incident.cause, incident.layer()), (Cause::Targets, Layer::Target));
            assert_eq!(incident.leading(), Some(Slug::ResponseTimeout));
            assert_eq!(incident.why(), Slug::ResponseTimeout.row().cause);
            assert_eq!(incident.fix(), Slug::ResponseTimeout.row().fix);
            let rate = incident.failed as f64 / incident.requests as f64;
            assert!((0.10..0.15).contains(&rate), "{rate}");
            let errors = incident.signals.iter().find(|p| p.kind == Kind::Errors && p.scope == Scope::Gateway).unwrap();
            assert!(errors.worst > 0.1 && errors.threshold == 0.05 && errors.cleared.is_some(), "{errors:?}");
            // After some such mornings it is usual, but no less wrong.
            let jump = incident.signals.iter().any(|part| part.kind == Kind::ErrorsJump);
            assert!(jump || *nine > monday() + 2 * DAY, "{incident:#?}");
        }
    }
}

/// The example of one trouble: what must open, and what it must say.
struct Case {
    trouble: Trouble,
    cause: Cause,
    layer: Layer,
    leading: Option<Slug>,
    kinds: &'static [Kind],
}

#[test]
fn every_trouble_is_one_incident_with_its_cause() {
    let cases = [
        Case { trouble: Trouble::SlowNames, cause: Cause::Names, layer: Layer::Target, leading: None, kinds: &[Kind::Dns] },
        Case {
            trouble: Trouble::FailingNames,
            cause: Cause::Names,
            layer: Layer::Target,
            leading: Some(Slug::DnsTimeout),
            kinds: &[Kind::Errors, Kind::LatencyP99, Kind::Dns],
        },
        Case {
            trouble: Trouble::ExitsGone,
            cause: Cause::Exits,
            layer: Layer::Exit,
            leading: Some(Slug::NoExit),
            kinds: &[Kind::Errors, Kind::ExitsGone],
        },
        Case {
            trouble: Trouble::LedgerAway,
            cause: Cause::Ledger,
            layer: Layer::Gateway,
            leading: Some(Slug::LedgerUnavailable),
            kinds: &[Kind::Errors, Kind::Usage],
        },
        Case {
            trouble: Trouble::Overload,
            cause: Cause::Capacity,
            layer: Layer::Gateway,
            leading: Some(Slug::Overloaded),
            kinds: &[Kind::Errors, Kind::Queue, Kind::Memory],
        },
        Case { trouble: Trouble::Alone, cause: Cause::Sharing, layer: Layer::Gateway, leading: None, kinds: &[Kind::Sharing] },
        Case { trouble: Trouble::FullDisk, cause: Cause::Records, layer: Layer::Gateway, leading: None, kinds: &[Kind::Records] },
        Case {
            trouble: Trouble::SlowHandshakes,
            cause: Cause::ClientTls,
            layer: Layer::Transport,
            leading: None,
            kinds: &[Kind::Tls],
        },
        Case {
            trouble: Trouble::SlowTargets,
            cause: Cause::Targets,
            layer: Layer::Target,
            leading: None,
            kinds: &[Kind::LatencyMean, Kind::LatencyP99],
        },
    ];
    for Case { trouble, cause, layer, leading, kinds } in cases {
        let mut world = World::new(5);
        let mut watch = Watch::new(Rules::default());
        let nine = monday() + 14 * HOUR;
        let before = live(&mut world, &mut watch, nine - HOUR, nine, 1);
        assert!(before.is_empty(), "{trouble:?}: {}", shown(&before));
        world.trouble(trouble);
        let told = live(&mut world, &mut watch, nine, nine + 900, 1);
        let open: Vec<&Incident> = watch.incidents().collect();
        let &[incident] = open.as_slice() else { panic!("{trouble:?}: {} incidents:\n{}", open.len(), shown(&told)) };
        assert!(incident.is_open() && incident.opened.as_second() - nine <= 90, "{trouble:?}: {incident:#?}");
        assert_eq!((incident.cause, incident.layer(), incident.leading()), (cause, layer, leading), "{trouble:?}: {incident:#?}");
        for kind in kinds {
            assert!(incident.signals.iter().any(|part| part.kind == *kind), "{trouble:?} lacks {kind}: {incident:#?}");
        }
        world.trouble(Trouble::None);
        live(&mut world, &mut watch, nine + 900, nine + 2700, 1);
        let closed: Vec<&Incident> = watch.incidents().collect();
        let &[incident] = closed.as_slice() else { panic!("{trouble:?}: {closed:#?}") };
        let closed = incident.closed.unwrap_or_else(|| panic!("{trouble:?} is still open: {incident:#?}"));
        assert!(closed.as_second() - nine <= 900 + 900, "{trouble:?}: {incident:#?}");
    }
}

#[test]
fn a_watch_goes_on_where_the_last_one_was_killed() {
    let mut world = World::new(3);
    let mut watch = Watch::new(Rules::default());
    let nine = monday() + 14 * HOUR;
    live(&mut world, &mut watch, nine - 2 * HOUR, nine, 10);
    world.trouble(Trouble::SlowUpstream);
    live(&mut world, &mut watch, nine, nine + 600, 10);
    let open = watch.incidents().next().unwrap().clone();
    let (history, incidents) = (watch.kept_history().to_json(), watch.kept_incidents().to_json());
    let read = (outgate_signals::KeptHistory::read(&history), outgate_signals::KeptIncidents::read(&incidents));
    let (Ok(history), Ok(incidents)) = read else { panic!("{read:?}") };
    let hours = watch.history().buckets(Grain::Hour).clone();

    let mut world = World::new(4);
    world.trouble(Trouble::SlowUpstream);
    let mut watch = Watch::restored(Rules::default(), Some(history), Some(incidents));
    assert_eq!(watch.history().buckets(Grain::Hour).range(..2).collect::<Vec<_>>(), hours.range(..2).collect::<Vec<_>>());
    let told = live(&mut world, &mut watch, nine + 660, nine + 1200, 10);
    assert!(!told.iter().any(|(_, change)| matches!(change, Change::Opened(_))), "it is the same incident: {told:#?}");
    world.trouble(Trouble::None);
    live(&mut world, &mut watch, nine + 1200, nine + 2400, 10);
    let all: Vec<&Incident> = watch.incidents().collect();
    let &[incident] = all.as_slice() else { panic!("{all:#?}") };
    assert!(incident.id == open.id && !incident.is_open() && incident.opened == open.opened, "{incident:#?}");
    assert!(incident.failed > open.failed);
    // The hour that the restart fell into is whole again.
    live(&mut world, &mut watch, nine + 2400, nine + HOUR + 10, 10);
    let hour = watch.history().buckets(Grain::Hour).back().unwrap();
    let rate = hour.requests as f64 / HOUR as f64;
    assert!(hour.start == at(nine) && rate > 5.0, "{rate} requests a second: {hour:?}");
}

#[test]
fn a_clock_that_jumps_raises_nothing_and_loses_little() {
    let mut world = World::new(6);
    let mut watch = Watch::new(Rules::default());
    let noon = monday() + 12 * HOUR;
    let mut told = live(&mut world, &mut watch, noon, noon + HOUR, 1);
    // Two hours back, then a day ahead (a machine that slept).
    told.extend(live(&mut world, &mut watch, noon - HOUR, noon, 1));
    told.extend(live(&mut world, &mut watch, noon + DAY, noon + DAY + 700, 1));
    assert!(told.is_empty(), "{told:#?}");
    let starts: Vec<i64> = watch.history().buckets(Grain::Minute).iter().map(|bucket| bucket.start.as_second()).collect();
    assert!(starts.windows(2).all(|two| two[0] < two[1]), "{starts:?}");
    assert!(starts.len() >= 60 + 10, "{}", starts.len());
    assert!(watch.history().since(Grain::TenSeconds, at(noon + DAY)).count() >= 60);
}

#[test]
fn what_the_rules_say_holds_at_once() {
    let mut world = World::new(8);
    let mut watch = Watch::new(Rules::default());
    let noon = monday() + 12 * HOUR;
    let before = live(&mut world, &mut watch, noon, noon + 600, 10);
    assert!(before.is_empty());
    watch.set_rules(Rules { errors: 0.002, ..Rules::default() });
    let told = live(&mut world, &mut watch, noon + 600, noon + 660, 10);
    assert!(told.iter().any(|(_, change)| matches!(change, Change::Raised(s) if s.kind == Kind::Errors)), "{told:#?}");
}
