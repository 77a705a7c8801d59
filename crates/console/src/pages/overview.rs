//! The operator's first page: how it stands, traffic, latency, faults, exits, keys near their limits.

use axum::extract::{Query, State};
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};
use outgate_meter::{Gauges, Room};
use outgate_signals::{Bucket, Signal};

use super::chart::{self, Series};
use super::door::Operator;
use super::frame::{LIVE, Page, Tab};
use super::incidents;
use super::parts::{Tone, badge, tile};
use super::range::Range;
use super::{Pages, exits, faults, near, words};

/// Faults that the overview lists; their page has all.
const FAULTS: usize = 6;

/// `GET /overview`.
pub(super) async fn show(
    State(pages): State<Pages>,
    Operator(signed): Operator,
    query: Query<Vec<(String, String)>>,
) -> Response {
    let now = pages.desk.now();
    let range = Range::of(&query);
    let slots = slots(&pages, range, now);
    let (signals, open, latest) = pages.desk.watch(|watch| {
        let open: Vec<_> = watch.incidents().filter(|incident| incident.is_open()).cloned().collect();
        let latest = watch.history().since(Range::Hour.grain(), outgate_store::earlier(now, RECENT)).cloned().collect::<Vec<_>>();
        (watch.signals(), open, latest)
    });
    let gauges = (pages.sight.gauges)();
    let near = near::nearest(&pages).await;
    let body = html! {
        div.title { h1 { "Overview" } (range.choice("/overview")) }
        div #health data-live { (health(&signals, &open, now)) }
        div #tiles data-live { (tiles(&slots, &latest, &gauges, range)) }
        section.charts #charts data-live aria-label="Traffic" { (charts(&slots, range)) }
        div.two {
            section aria-labelledby="faults-here" {
                h2 #faults-here { "Faults" }
                div #top-faults data-live { (faults::counted(&pages, range).top(FAULTS)) }
            }
            section aria-labelledby="near-here" {
                h2 #near-here { "Keys near their limits" }
                div #near data-live { (near::list(&near)) }
            }
        }
        section aria-labelledby="exits-here" {
            h2 #exits-here { "Exits" }
            div #places data-live { (exits::places(&exits::by_place(&pages))) }
        }
        section aria-labelledby="signals-here" {
            h2 #signals-here { "Signals" }
            div #signals data-live { (incidents::signals(&signals, now, incidents::Which::Interesting)) }
            p { a href="/incidents" { "All signals and incidents" } }
        }
    };
    Page::operator(&pages, &signed, Tab::Overview, "Overview").live(LIVE).show(body)
}

/// What counts as now: the last minute of buckets that are over.
const RECENT: std::time::Duration = std::time::Duration::from_secs(70);

/// How it stands, in one line, with what is open.
fn health(signals: &[Signal], open: &[outgate_signals::Incident], now: Timestamp) -> Markup {
    let raised = signals.iter().filter(|signal| signal.state.is_raised()).count();
    html! {
        @if open.is_empty() && raised == 0 {
            p.standing { (badge(Tone::Good, "all well")) " No signal is raised and no incident is open." }
        } @else {
            p.standing {
                (badge(if open.iter().any(|incident| incident.severity == outgate_signals::Severity::Down) { Tone::Bad } else { Tone::Warn }, "look here"))
                " " (raised) @if raised == 1 { " signal is raised." } @else { " signals are raised." }
            }
            @if !open.is_empty() { h2.hidden { "Open incidents" } }
            @for incident in open { (incidents::card(incident, now, incidents::Whose::Operator)) }
        }
    }
}

/// What happened in one stretch of a chart.
#[derive(Clone, Default)]
struct Slot {
    seconds: f64,
    requests: u64,
    failed: u64,
    faults: u64,
    up: u64,
    down: u64,
    answers: u64,
    p50: f64,
    p95: f64,
    p99: f64,
}

impl Slot {
    fn add(&mut self, bucket: &Bucket, seconds: f64) {
        self.seconds += seconds;
        self.requests += bucket.requests;
        self.failed += bucket.failed;
        self.faults += bucket.faults.iter().map(|(_, count)| count).sum::<u64>();
        self.up += bucket.bytes_up;
        self.down += bucket.bytes_down;
        if let Some(answer) = bucket.answer {
            // Medians can't be added; the mean of them, by how many there were, is close. Of the tails the worst is shown.
            let all = (self.answers + answer.count).max(1) as f64;
            self.p50 = (self.p50 * self.answers as f64 + answer.p50 * answer.count as f64) / all;
            self.p95 = self.p95.max(answer.p95);
            self.p99 = self.p99.max(answer.p99);
            self.answers += answer.count;
        }
    }

    fn latency(&self, value: f64) -> Option<f64> {
        (self.answers > 0).then_some(value)
    }
}

/// The stretches of a range, oldest first, each with its moment; nothing where nothing was watched.
struct Slots {
    moments: Vec<Timestamp>,
    slots: Vec<Option<Slot>>,
}

fn slots(pages: &Pages, range: Range, now: Timestamp) -> Slots {
    let grain = range.grain();
    let width = grain.seconds() * range.together() as i64;
    let count = range.buckets() / range.together();
    let last = now.as_second().div_euclid(width);
    let first = last - count as i64 + 1;
    let moment = |number: i64| Timestamp::from_second(number * width).unwrap_or(now);
    let mut slots = vec![None; count];
    pages.desk.watch(|watch| {
        for bucket in watch.history().since(grain, moment(first)) {
            let number = bucket.start.as_second().div_euclid(width) - first;
            if let Some(slot) = usize::try_from(number).ok().and_then(|number| slots.get_mut(number)) {
                slot.get_or_insert_with(Slot::default).add(bucket, grain.seconds() as f64);
            }
        }
    });
    Slots { moments: (first..=last).map(moment).collect(), slots }
}

impl Slots {
    fn values(&self, value: impl Fn(&Slot) -> Option<f64>) -> Vec<Option<f64>> {
        self.slots.iter().map(|slot| slot.as_ref().and_then(&value)).collect()
    }

    fn per_second(&self, value: impl Fn(&Slot) -> u64) -> Vec<Option<f64>> {
        self.values(|slot| Some(value(slot) as f64 / slot.seconds.max(1.0)))
    }
}

fn charts(slots: &Slots, range: Range) -> Markup {
    let axis = range.axis();
    let traffic = [
        Series { name: "requests", values: slots.per_second(|slot| slot.requests) },
        Series { name: "with a fault", values: slots.per_second(|slot| slot.faults) },
    ];
    let latency = [
        Series { name: "median", values: slots.values(|slot| slot.latency(slot.p50)) },
        Series { name: "95 %", values: slots.values(|slot| slot.latency(slot.p95)) },
        Series { name: "99 %", values: slots.values(|slot| slot.latency(slot.p99)) },
    ];
    let bytes = [
        Series { name: "down", values: slots.per_second(|slot| slot.down) },
        Series { name: "up", values: slots.per_second(|slot| slot.up) },
    ];
    html! {
        (chart::lines("Requests per second", axis, &slots.moments, &traffic, words::rate))
        (chart::lines("Time to answer", axis, &slots.moments, &latency, seconds))
        (chart::lines("Bytes per second", axis, &slots.moments, &bytes, words::speed))
    }
}

fn seconds(seconds: f64) -> String {
    words::duration(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn tiles(slots: &Slots, latest: &[Bucket], gauges: &Gauges, range: Range) -> Markup {
    let recent = latest.iter().fold(Slot::default(), |mut all, bucket| {
        all.add(bucket, Range::Hour.grain().seconds() as f64);
        all
    });
    // As signals count: a request whose sender was refused is neither answered nor failed.
    let seen = slots.slots.iter().flatten();
    let (asked, failed) = seen.fold((0, 0), |(asked, failed), slot| (asked + slot.answers + slot.failed, failed + slot.failed));
    let part = failed as f64 / asked.max(1) as f64;
    let exits: u64 = gauges.exits.iter().map(|exits| exits.exits).sum();
    let well: u64 = gauges.exits.iter().filter(|exits| exits.health != "ejected").map(|exits| exits.exits).sum();
    let span = recent.seconds.max(1.0);
    html! {
        dl.tiles {
            (tile("Requests per second", html! { (words::rate(recent.requests as f64 / span)) }, html! { "last minute" }))
            (tile("In flight", html! { (words::count(gauges.in_flight.taken)) }, room(&gauges.in_flight)))
            (tile("Not failed by us", html! { span class=(faults::share_tone(part).class()) { (words::percent(1.0 - part)) } },
                html! { (words::count(failed)) " of " (words::count(asked)) " failed in the last " (range.words()) }))
            (tile("Answered within", html! { @if recent.answers > 0 { (seconds(recent.p99)) } @else { "–" } },
                html! { "99 % in the last minute" @if recent.answers > 0 { ", half in " (seconds(recent.p50)) } }))
            (tile("Traffic", html! { (words::speed((recent.up + recent.down) as f64 / span)) },
                html! { (words::speed(recent.down as f64 / span)) " down" }))
            (tile("Exits", html! { (words::count(exits)) }, html! { @if exits > 0 { (words::count(well)) " take traffic" } @else { "none connected" } }))
            (tile("Connections", html! { (words::count(gauges.connections.taken)) }, room(&gauges.connections)))
            (tile("Memory", html! { (words::bytes(gauges.memory.taken)) },
                html! { @match gauges.memory.bound { Some(bound) => { "of " (words::bytes(bound)) }, None => "no bound" } }))
        }
    }
}

fn room(room: &Room) -> Markup {
    html! { @match room.bound { Some(bound) => { "of " (words::count(bound)) }, None => "no bound" } }
}
