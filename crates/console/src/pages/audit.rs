//! Who changed what.

use axum::extract::{Query, State};
use maud::html;
use outgate_store::AuditQuery;

use super::Pages;
use super::door::Operator;
use super::frame::{Page, Shown, Tab};
use super::parts::{table, time};

/// Entries of one page.
const LISTED: usize = 100;

/// `GET /audit`.
pub(super) async fn list(State(pages): State<Pages>, Operator(signed): Operator, query: Query<Vec<(String, String)>>) -> Shown {
    let asked =
        |name: &str| query.iter().find(|(found, _)| found == name).map(|(_, value)| value.trim()).filter(|text| !text.is_empty());
    let subject = asked("subject").map(str::to_owned);
    let before = asked("after").and_then(|number| number.parse().ok());
    let mut rows = pages.desk.audit(AuditQuery { subject: subject.clone(), before, limit: LISTED + 1 }).await?;
    let more = rows.len() > LISTED;
    rows.truncate(LISTED);
    let next = rows.last().filter(|_| more).map(|row| row.number);
    let body = html! {
        h1 { "Audit" }
        form.search method="get" action="/audit" role="search" {
            label for="subject" { "Key, plan or exit" }
            input #subject name="subject" value=[subject.as_deref()] autocomplete="off" autocapitalize="none" spellcheck="false";
            button type="submit" { "Show" }
        }
        (table("Audit trail", html! {
            table {
                caption { "Every change, newest first" }
                thead { tr { th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "Of" } th scope="col" { "Detail" } } }
                tbody {
                    @for row in &rows {
                        tr {
                            th scope="row" { (time(row.entry.at)) }
                            td { (row.entry.who) }
                            td.mono { (row.entry.what) }
                            td { @match subject_page(&row.entry.what) {
                                Some(path) => a.mono href={ (path) (row.entry.subject) } { (row.entry.subject) },
                                None => span.mono { (row.entry.subject) },
                            } }
                            td { (row.entry.detail) }
                        }
                    }
                    @if rows.is_empty() { tr { td.empty colspan="5" { "Nothing was changed." } } }
                }
            }
        }))
        nav.paging aria-label="Pages of the list" {
            @if before.is_some() { a href="/audit" { "From the newest" } }
            @if let Some(next) = next {
                a rel="next" href={ "/audit?after=" (next) @if let Some(subject) = &subject { "&subject=" (subject) } } { "Next " (LISTED) }
            }
        }
    };
    Ok(Page::operator(&pages, &signed, Tab::Audit, "Audit").show(body))
}

/// Where the pages of what was changed are.
fn subject_page(what: &str) -> Option<&'static str> {
    match what.split_once('.').map(|(kind, _)| kind) {
        Some("key") => Some("/keys/"),
        Some("exit") => Some("/exits/"),
        Some("plan") => Some("/plans/"),
        _ => None,
    }
}
