//! Faults: how often each occurred, by layer; the page of one with its cause and fix; a key's own last ones.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use jiff::Timestamp;
use maud::{Markup, html};
use outgate_faults::{Layer, Slug, page};
use outgate_store::own::OwnFault;

use super::Pages;
use super::door::Operator;
use super::frame::{LIVE, Page, Shown, Tab};
use super::parts::{Tone, ago, badge, outcome_tone, prose, share, slug as linked, table};
use super::range::Range;
use super::words;
use crate::problem::Problem;

/// Who reads about faults: links of the operator's pages lead an owner nowhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    Operator,
    Owner,
}

/// `GET /faults`.
pub(super) async fn list(
    State(pages): State<Pages>,
    Operator(signed): Operator,
    query: Query<Vec<(String, String)>>,
) -> Response {
    let range = Range::of(&query);
    let counted = counted(&pages, range);
    let body = html! {
        div.title { h1 { "Faults" } (range.choice("/faults")) }
        p { "What went wrong in the last " (range.words()) ", by the layer that owns it. Each leads to its cause and its fix." }
        div #counted data-live { (counted.by_layer()) }
        h2 { "The whole catalogue" }
        (catalogue())
    };
    Page::operator(&pages, &signed, Tab::Faults, "Faults").live(LIVE).show(body)
}

/// How often each fault occurred.
pub(super) struct Counted {
    requests: u64,
    by_slug: BTreeMap<&'static str, u64>,
}

/// What occurred in a range.
pub(super) fn counted(pages: &Pages, range: Range) -> Counted {
    let since = range.since(pages.desk.now());
    pages.desk.watch(|watch| {
        let mut counted = Counted { requests: 0, by_slug: BTreeMap::new() };
        for bucket in watch.history().since(range.grain(), since) {
            counted.requests += bucket.requests;
            for (slug, count) in &bucket.faults {
                *counted.by_slug.entry(slug.name()).or_default() += count;
            }
        }
        counted
    })
}

impl Counted {
    /// Every layer with its faults, the largest first.
    pub(super) fn by_layer(&self) -> Markup {
        let mut layers: Vec<(Layer, Vec<(Slug, u64)>)> = Vec::new();
        for (name, count) in &self.by_slug {
            let Some(slug) = Slug::parse(name) else { continue };
            let layer = slug.row().layer;
            match layers.iter_mut().find(|(known, _)| *known == layer) {
                Some((_, slugs)) => slugs.push((slug, *count)),
                None => layers.push((layer, vec![(slug, *count)])),
            }
        }
        let sum = |slugs: &[(Slug, u64)]| slugs.iter().map(|(_, count)| count).sum::<u64>();
        layers.sort_by_key(|(_, slugs)| std::cmp::Reverse(sum(slugs)));
        let all: u64 = self.by_slug.values().sum();
        html! {
            @if layers.is_empty() {
                p.empty { @if self.requests == 0 { "No request has ended in that time." } @else { "Nothing went wrong: " (words::count(self.requests)) " requests ended well." } }
            } @else {
                p { (words::count(all)) " of " (words::count(self.requests)) " requests ("
                    (words::percent(all as f64 / self.requests.max(1) as f64)) ") ended with a fault." }
                @for (layer, slugs) in &mut layers {
                    section aria-labelledby={ "layer-" (layer.name()) } {
                        h2 id={ "layer-" (layer.name()) } { (layer.name()) " " span.dim { (layer.meaning()) } }
                        ({ slugs.sort_by_key(|(_, count)| std::cmp::Reverse(*count)); rows(slugs, all, Some(self.requests)) })
                    }
                }
            }
        }
    }

    /// The most frequent ones, for an overview.
    pub(super) fn top(&self, most: usize) -> Markup {
        let mut slugs: Vec<(Slug, u64)> =
            self.by_slug.iter().filter_map(|(name, count)| Some((Slug::parse(name)?, *count))).collect();
        slugs.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let all: u64 = self.by_slug.values().sum();
        let more = slugs.len().saturating_sub(most);
        slugs.truncate(most);
        html! {
            @if slugs.is_empty() { p.empty { "Nothing went wrong." } } @else {
                (rows(&slugs, all, None))
                @if more > 0 { p { a href="/faults" { (more) " more" } } }
            }
        }
    }
}

/// With the number of all requests each has more columns.
fn rows(slugs: &[(Slug, u64)], all: u64, requests: Option<u64>) -> Markup {
    table(
        "Faults",
        html! {
            table {
                caption.hidden { "Faults and how often they occurred" }
                thead { tr {
                    th scope="col" { "Fault" } th scope="col" { "Layer" } th.number scope="col" { "Times" } th scope="col" { "Of all faults" }
                    @if requests.is_some() {
                        th.number.minor scope="col" { "Of all requests" } th.minor scope="col" { "Who can fix it" }
                        th.minor scope="col" { span.hidden { "Records" } }
                    }
                } }
                tbody { @for (slug, count) in slugs {
                    @let row = slug.row();
                    tr {
                        th scope="row" { (linked(row.name)) }
                        td { (badge(outcome_tone(row.name), row.layer.name())) }
                        td.number { (words::count(*count)) }
                        td.share { (share(*count as f64 / all.max(1) as f64)) span { (words::percent(*count as f64 / all.max(1) as f64)) } }
                        @if let Some(requests) = requests {
                            td.number.minor { (words::percent(*count as f64 / requests.max(1) as f64)) }
                            td.minor { (row.fixer.name()) }
                            td.minor { a href={ "/requests?outcome=" (row.name) } { "requests" span.hidden { " that ended with " (row.name) } } }
                        }
                    }
                } }
            }
        },
    )
}

fn catalogue() -> Markup {
    html! {
        @for layer in Layer::ALL {
            details.panel id={ "all-" (layer.name()) } {
                summary { (layer.name()) " " span.dim { (layer.meaning()) } }
                ul.plain { @for slug in Slug::ALL.iter().filter(|slug| slug.row().layer == *layer) {
                    li { (linked(slug.name())) " " span.dim { (slug.row().example()) } }
                } }
            }
        }
    }
}

/// `GET /faults/{slug}`.
pub(super) async fn show(State(pages): State<Pages>, Operator(signed): Operator, Path(name): Path<String>) -> Shown {
    let slug = Slug::parse(&name);
    let slug = slug.ok_or_else(|| Problem::not_found("there is no fault of that name in the catalogue".to_owned()))?;
    let row = slug.row();
    let page = page(slug);
    let body = html! {
        h1 { span.mono { (row.name) } }
        p.sentence { (page.example) }
        (explanation(slug))
        section aria-labelledby="answers" {
            h2 #answers { "What clients see" }
            (table("Answers by dialect", html! {
                table.narrow {
                    caption { "How each dialect answers it" }
                    thead { tr { th scope="col" { "Dialect" } th.number scope="col" { "Status" } th scope="col" { "Reason" } } }
                    tbody { @for line in &page.dialects { tr { th scope="row" { (line.dialect) } td.number { (line.status) } td.mono { (line.reason) } } } }
                }
            }))
            p { "SOCKS5 reply " span.mono { (format!("{:02x}", page.socks5)) }
                @if let Some(error) = row.error_type { " · RFC 9209 " span.mono { (error.token()) } } }
        }
        p { a href={ "/requests?outcome=" (row.name) } { "Find requests that ended with it" } }
    };
    Ok(Page::operator(&pages, &signed, Tab::Faults, row.name).show(body))
}

/// Cause and fix of a fault, in the words of the catalogue.
pub(super) fn explanation(slug: Slug) -> Markup {
    let row = slug.row();
    html! {
        dl.explained {
            dt { "Cause" } dd { (prose(row.cause)) }
            dt { "Fix" } dd { (prose(row.fix)) }
            dt { "Layer" } dd { strong { (row.layer.name()) } " – " (row.layer.meaning()) }
            dt { "Retry" } dd { strong { (row.retry.name()) } " – " (row.retry.meaning()) }
            dt { "Who can fix it" } dd { strong { (row.fixer.name()) } " – " (row.fixer.meaning()) }
        }
    }
}

/// The last faults of a key's requests, each with its explanation.
pub(super) fn own(faults: &[OwnFault], now: Timestamp, reader: Reader) -> Markup {
    html! {
        @if faults.is_empty() { p.empty { "No request of this key has met a fault since the gateway started." } }
        @for fault in faults {
            details.fault id={ "f-" (fault.request_id) } {
                summary {
                    (badge(outcome_tone(fault.fault.slug), fault.fault.slug))
                    span.target { (fault.method) " " (fault.target) }
                    span.dim { (ago(fault.at, now)) }
                }
                p.sentence { (fault.fault.sentence) }
                dl.explained {
                    dt { "Cause" } dd { (prose(fault.fault.cause)) }
                    dt { "Fix" } dd { (prose(fault.fault.fix)) }
                    dt { "Retry" } dd { (fault.fault.retry) ", " (fault.fault.lasting) }
                    dt { "Who can fix it" } dd { (fault.fault.fixer) }
                    dt { "Request" } dd {
                        a.mono href={ @if reader == Reader::Operator { "/requests/" } @else { "/me/requests/" } (fault.request_id) } { (fault.request_id) }
                        @if let Some(status) = fault.status { ", status " (status) }
                        @if let Some(exit) = &fault.exit { ", exit " span.mono { (exit) } }
                    }
                }
            }
        }
    }
}

/// How bad a share of failures is.
pub(super) fn share_tone(failed: f64) -> Tone {
    match failed {
        much if much > 0.05 => Tone::Bad,
        some if some > 0.02 => Tone::Warn,
        _ => Tone::Good,
    }
}
