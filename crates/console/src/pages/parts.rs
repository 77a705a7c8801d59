//! Pieces that several pages are made of: badges, times, bars, tables that scroll, fields of forms.

use jiff::Timestamp;
use maud::{Markup, html};
use outgate_faults::{Layer, Slug};

use super::words;
use crate::problem::Problem;

/// How good or bad something is. Never told by colour alone: a word is with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    /// Nothing to look at.
    Quiet,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Good => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// A word with its tone.
pub(super) fn badge(tone: Tone, word: &str) -> Markup {
    html! { span class={ "badge " (tone.class()) } { (word) } }
}

/// A moment.
pub(super) fn time(at: Timestamp) -> Markup {
    html! { time datetime=(format!("{at:.0}")) { (words::moment(at)) } }
}

/// How long ago, with the moment itself behind it.
pub(super) fn ago(at: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(format!("{at:.0}")) title={ (words::moment(at)) " UTC" } { (words::long(words::since(at, now))) " ago" } }
}

/// A fault's name, leading to its page.
pub(super) fn slug(name: &str) -> Markup {
    match Slug::parse(name) {
        Some(_) => html! { a.mono href={ "/faults/" (name) } { (name) } },
        None => html! { span.mono { (name) } },
    }
}

/// A fault's name for a reader who has no pages of the catalogue.
pub(super) fn outcome_tone(outcome: &str) -> Tone {
    match Slug::parse(outcome).map(|slug| slug.row().layer) {
        None => Tone::Good,
        Some(Layer::Client | Layer::Auth | Layer::Policy | Layer::Plan | Layer::Targeting) => Tone::Warn,
        Some(_) => Tone::Bad,
    }
}

/// How much of a limit is taken, as a bar; the words beside it say the same.
pub(super) fn bar(part: f64) -> Markup {
    drawn(
        part,
        match part {
            full if full >= 0.95 => Tone::Bad,
            high if high >= 0.8 => Tone::Warn,
            _ => Tone::Quiet,
        },
    )
}

/// A part of a whole as a bar, which is not bad for being long.
pub(super) fn share(part: f64) -> Markup {
    drawn(part, Tone::Quiet)
}

fn drawn(part: f64, tone: Tone) -> Markup {
    let width = format!("{:.1}", part.clamp(0.0, 1.0) * 100.0);
    html! {
        svg class={ "bar " (tone.class()) } viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect.track width="100" height="6" {}
            rect.fill width=(width) height="6" {}
        }
    }
}

/// A table that scrolls by itself where the screen is narrow, reachable by keyboard.
pub(super) fn table(name: &str, table: Markup) -> Markup {
    html! { div.scroll role="group" aria-label=(name) tabindex="0" { (table) } }
}

/// One number with its name.
pub(super) fn tile(name: &str, value: Markup, beside: Markup) -> Markup {
    html! { div.tile { dt { (name) } dd { span.value { (value) } span.beside { (beside) } } } }
}

/// Words of the catalogue: what stands between backquotes is code.
pub(super) fn prose(text: &str) -> Markup {
    html! {
        @for (index, piece) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (piece) } } @else { (emphasised(piece)) }
        }
    }
}

fn emphasised(text: &str) -> Markup {
    html! {
        @for (index, piece) in text.split('*').enumerate() {
            @if index % 2 == 1 { em { (piece) } } @else { (piece) }
        }
    }
}

/// What a form's field is.
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) label: &'a str,
    pub(super) hint: &'a str,
    pub(super) value: &'a str,
}

impl Field<'_> {
    /// A field of one line.
    pub(super) fn line(&self, wrong: &Wrong<'_>) -> Markup {
        self.around(
            wrong,
            html! {
                input id=(self.name) name=(self.name) value=(self.value) autocomplete="off" autocapitalize="none" spellcheck="false"
                    aria-describedby=[self.described(wrong)] aria-invalid=[self.why(wrong).map(|_| "true")];
            },
        )
    }

    /// A field of several lines.
    pub(super) fn lines(&self, wrong: &Wrong<'_>) -> Markup {
        self.around(
            wrong,
            html! {
                textarea id=(self.name) name=(self.name) rows="3" autocapitalize="none" spellcheck="false"
                    aria-describedby=[self.described(wrong)] aria-invalid=[self.why(wrong).map(|_| "true")] { (self.value) }
            },
        )
    }

    /// A choice.
    pub(super) fn choice(&self, wrong: &Wrong<'_>, options: &[(&str, &str)]) -> Markup {
        self.around(
            wrong,
            html! {
                select id=(self.name) name=(self.name) aria-describedby=[self.described(wrong)]
                    aria-invalid=[self.why(wrong).map(|_| "true")] {
                    @for (value, label) in options {
                        option value=(value) selected[*value == self.value] { (label) }
                    }
                }
            },
        )
    }

    fn around(&self, wrong: &Wrong<'_>, input: Markup) -> Markup {
        html! {
            div.field {
                label for=(self.name) { (self.label) }
                (input)
                @if !self.hint.is_empty() { p.hint id={ (self.name) "-hint" } { (self.hint) } }
                @if let Some(why) = self.why(wrong) { p.refusal id={ (self.name) "-wrong" } { (why) } }
            }
        }
    }

    fn why<'w>(&self, wrong: &Wrong<'w>) -> Option<&'w str> {
        let fields = wrong.0.map(Problem::fields).unwrap_or_default();
        fields.iter().find(|(field, _)| field == self.name).map(|(_, why)| why.as_str())
    }

    fn described(&self, wrong: &Wrong<'_>) -> Option<String> {
        let hint = (!self.hint.is_empty()).then(|| format!("{}-hint", self.name));
        let why = self.why(wrong).map(|_| format!("{}-wrong", self.name));
        match (hint, why) {
            (Some(hint), Some(why)) => Some(format!("{why} {hint}")),
            (hint, why) => hint.or(why),
        }
    }
}

/// What was wrong with a form that is shown again; nothing when it is shown first.
#[derive(Clone, Copy, Default)]
pub(super) struct Wrong<'a>(pub(super) Option<&'a Problem>);

impl Wrong<'_> {
    /// What stands above the form.
    pub(super) fn summary(&self) -> Markup {
        html! {
            @if let Some(problem) = self.0 {
                p.note.bad role="alert" { strong { (problem.title()) ". " } (problem.detail()) }
            }
        }
    }
}
