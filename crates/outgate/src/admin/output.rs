//! Where answers go: text for people, with colours on a terminal, or JSON for programs.

use std::io::Write;

use clap::builder::styling::{AnsiColor, Style};
use serde_json::Value;

use super::table::{Column, Table};
use super::trouble::Trouble;

/// Whether colours are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Colour {
    Shown,
    Plain,
}

/// What a piece of text means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Paint {
    None,
    Heading,
    Good,
    Careful,
    Bad,
    Quiet,
}

impl Colour {
    /// Colours only on a terminal that has them, and never against `NO_COLOR` (no-color.org: set and not empty).
    pub(super) fn of(terminal: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if terminal && !set("NO_COLOR") && !dumb { Self::Shown } else { Self::Plain }
    }

    pub(super) fn paint(self, paint: Paint, text: &str) -> String {
        let style = match paint {
            Paint::None => return text.to_owned(),
            Paint::Heading => Style::new().bold(),
            Paint::Good => AnsiColor::Green.on_default(),
            Paint::Careful => AnsiColor::Yellow.on_default(),
            Paint::Bad => AnsiColor::Red.on_default().bold(),
            Paint::Quiet => Style::new().dimmed(),
        };
        match self {
            Self::Shown => format!("{style}{text}{style:#}"),
            Self::Plain => text.to_owned(),
        }
    }
}

/// Text or JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Text,
    Json,
}

/// The command's answer on its way out.
pub(super) struct Output<'a> {
    pub(super) form: Form,
    pub(super) colour: Colour,
    lines: &'a mut (dyn Write + Send),
}

impl<'a> Output<'a> {
    pub(super) fn new(form: Form, colour: Colour, lines: &'a mut (dyn Write + Send)) -> Self {
        Self { form, colour, lines }
    }

    pub(super) fn line(&mut self, text: &str) -> Result<(), Trouble> {
        Ok(writeln!(self.lines, "{text}")?)
    }

    /// One thing: as JSON, or as what `told` makes of it.
    pub(super) fn one(&mut self, value: &Value, told: impl FnOnce(&Value, Colour) -> String) -> Result<(), Trouble> {
        match self.form {
            Form::Json => self.line(&format!("{value:#}")),
            Form::Text => {
                let text = told(value, self.colour);
                self.line(text.trim_end())
            }
        }
    }

    pub(super) fn list(&mut self, columns: &'static [Column], none: &'static str) -> List<'_, 'a> {
        List { output: self, table: Table::new(columns), none, shown: 0 }
    }

    pub(super) fn end(&mut self) -> Result<(), Trouble> {
        Ok(self.lines.flush()?)
    }
}

/// A list that arrives in pages: a JSON array, or a table whose columns are as wide as the first page needs.
pub(super) struct List<'o, 'a> {
    output: &'o mut Output<'a>,
    table: Table,
    none: &'static str,
    shown: usize,
}

impl List<'_, '_> {
    pub(super) fn page(&mut self, items: &[Value]) -> Result<(), Trouble> {
        match self.output.form {
            Form::Json => {
                for item in items {
                    let before = if self.shown == 0 { "[" } else { "," };
                    write!(self.output.lines, "{before}\n  {item}")?;
                    self.shown += 1;
                }
            }
            Form::Text => {
                let text = self.table.page(items, self.output.colour);
                self.output.lines.write_all(text.as_bytes())?;
                self.shown += items.len();
            }
        }
        Ok(())
    }

    pub(super) fn end(self) -> Result<(), Trouble> {
        match (self.output.form, self.shown) {
            (Form::Json, 0) => self.output.line("[]"),
            (Form::Json, _) => self.output.line("\n]"),
            // An empty table would say nothing; what to do next says more, and pipes see no line they could take for one.
            (Form::Text, 0) if self.output.colour == Colour::Shown => self.output.line(self.none),
            (Form::Text, _) => Ok(()),
        }
    }
}
