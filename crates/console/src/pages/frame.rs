//! What every page has around it: head, navigation, the note of what was just done, footer. And the page that says what went wrong.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use outgate_store::KeyId;

use super::Pages;
use super::assets::{ICON_PATH, SCRIPT_PATH, STYLE_PATH};
use super::door::{Signed, protect};
use super::form::TOKEN;
use super::logins::Note;
use super::words;
use crate::problem::Problem;

/// The operator's pages, in the order of the navigation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Requests,
    Faults,
    Keys,
    Plans,
    Exits,
    Incidents,
    Audit,
}

impl Tab {
    const ALL: [(Self, &'static str, &'static str); 8] = [
        (Self::Overview, "/overview", "Overview"),
        (Self::Requests, "/requests", "Requests"),
        (Self::Faults, "/faults", "Faults"),
        (Self::Keys, "/keys", "Keys"),
        (Self::Plans, "/plans", "Plans"),
        (Self::Exits, "/exits", "Exits"),
        (Self::Incidents, "/incidents", "Incidents"),
        (Self::Audit, "/audit", "Audit"),
    ];
}

/// How often a live page is fetched anew, in seconds.
pub(super) const LIVE: u32 = 2;

/// For the public page, which many may have open.
pub(super) const CALM: u32 = 15;

/// Without JavaScript a page that changes under the reader's eyes must do so rarely.
const RELOAD: u32 = 30;

enum Around<'a> {
    Nobody,
    Public,
    Operator(&'a Signed, Tab),
    Owner(&'a Signed, &'a KeyId),
}

/// A page before its content.
pub(super) struct Page<'a> {
    pages: &'a Pages,
    title: String,
    around: Around<'a>,
    every: Option<u32>,
}

impl<'a> Page<'a> {
    /// One that anybody may see.
    pub(super) fn open(pages: &'a Pages, title: impl Into<String>) -> Self {
        Self { pages, title: title.into(), around: Around::Nobody, every: None }
    }

    /// The status page.
    pub(super) fn public(pages: &'a Pages, title: impl Into<String>) -> Self {
        Self { around: Around::Public, ..Self::open(pages, title) }
    }

    /// One of the operator's.
    pub(super) fn operator(pages: &'a Pages, signed: &'a Signed, tab: Tab, title: impl Into<String>) -> Self {
        Self { around: Around::Operator(signed, tab), ..Self::open(pages, title) }
    }

    /// A key owner's.
    pub(super) fn owner(pages: &'a Pages, signed: &'a Signed, key: &'a KeyId, title: impl Into<String>) -> Self {
        Self { around: Around::Owner(signed, key), ..Self::open(pages, title) }
    }

    /// What is marked `data-live` in it is brought up to date every so many seconds.
    pub(super) fn live(self, every: u32) -> Self {
        Self { every: Some(every), ..self }
    }

    /// The page.
    pub(super) fn show(self, body: Markup) -> Response {
        let note = match &self.around {
            Around::Operator(signed, _) | Around::Owner(signed, _) => signed.note(self.pages),
            Around::Nobody | Around::Public => None,
        };
        let name = &self.pages.sight.name;
        let markup = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    title { (self.title) " · " (name) }
                    link rel="stylesheet" href=(STYLE_PATH);
                    link rel="icon" type="image/svg+xml" href=(ICON_PATH);
                    @if self.every.is_some() {
                        noscript { meta http-equiv="refresh" content=(RELOAD); }
                    }
                    script src=(SCRIPT_PATH) defer {}
                }
                body data-every=[self.every] {
                    a.skip href="#main" { "Skip to content" }
                    (self.top())
                    main #main tabindex="-1" {
                        @if let Some(note) = &note { (noted(note)) }
                        (body)
                    }
                    footer {
                        span { "Outgate " (env!("CARGO_PKG_VERSION")) " · gateway " (name) }
                        span { "All times are UTC · " time datetime=(self.pages.desk.now().to_string()) #clock data-live {
                            (words::moment(self.pages.desk.now()))
                        } }
                    }
                }
            }
        };
        shown(StatusCode::OK, markup)
    }

    fn top(&self) -> Markup {
        html! {
            header.top {
                a.brand href="/" { "Outgate" }
                @match &self.around {
                    Around::Nobody | Around::Public => nav aria-label="Main" { ul {
                        li { a href="/status" aria-current=[matches!(self.around, Around::Public).then_some("page")] { "Status" } }
                    } }
                    Around::Operator(_, tab) => nav aria-label="Main" { ul {
                        @for (each, path, label) in Tab::ALL {
                            li { a href=(path) aria-current=[(each == *tab).then_some("page")] { (label) } }
                        }
                    } }
                    Around::Owner(_, key) => nav aria-label="Main" { ul {
                        li { a href="/me" aria-current="page" { "Key " span.mono { (key) } } }
                        li { a href="/status" { "Status" } }
                    } }
                }
                @match &self.around {
                    Around::Nobody => {}
                    Around::Public => @if self.pages.signs_in { a.aside href="/login" { "Sign in" } }
                    Around::Operator(signed, _) => (leave("/logout", signed)),
                    Around::Owner(signed, _) => (leave("/me/logout", signed)),
                }
            }
        }
    }
}

fn leave(path: &str, signed: &Signed) -> Markup {
    html! {
        form.aside method="post" action=(path) {
            (mark(signed))
            button.plain type="submit" { "Sign out" }
        }
    }
}

/// The hidden field that makes a form ours.
pub(super) fn mark(signed: &Signed) -> Markup {
    html! { input type="hidden" name=(TOKEN) value=(signed.token); }
}

fn noted(note: &Note) -> Markup {
    html! {
        @match note {
            Note::Done(what) => p.note.ok role="status" { (what) },
            Note::Failed(why) => p.note.bad role="alert" { (why) },
            Note::Secret(shown) => section.note.secret aria-labelledby="shown-once" {
                h2 #shown-once { (shown.of) ": shown this once" }
                p { "Keep it now. The gateway has only a hash of it, and no page will show it again." }
                dl {
                    dt { "Secret" }
                    dd { code #secret-shown { (shown.secret.expose()) } }
                    @if let Some(line) = &shown.line {
                        dt { "To paste" }
                        dd { pre tabindex="0" { code { (line.expose()) } } }
                    }
                }
                @if let Some(remark) = &shown.remark { p { (remark) } }
            },
        }
    }
}

fn shown(status: StatusCode, markup: Markup) -> Response {
    let PreEscaped(text) = markup;
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}

/// A page that says what went wrong, in the words of the API.
pub(crate) fn trouble(problem: &Problem) -> Response {
    let (status, title) = (problem.status(), problem.title());
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="stylesheet" href=(STYLE_PATH);
                link rel="icon" type="image/svg+xml" href=(ICON_PATH);
            }
            body {
                header.top { a.brand href="/" { "Outgate" } }
                main #main {
                    h1 { (title) }
                    p { (problem.detail()) }
                    p.dim { "HTTP " (status.as_u16()) " · " a href="/" { "Back to the start" } }
                }
            }
        }
    };
    let mut response = shown(status, markup);
    // It may be for an address that none of the pages' layers is around.
    protect(response.headers_mut());
    response
}

/// A page or the trouble that came up on the way to it.
pub(super) type Shown = Result<Response, Trouble>;

/// Trouble on the way to a page.
pub(super) struct Trouble(Problem);

impl<E: Into<Problem>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        trouble(&self.0)
    }
}
