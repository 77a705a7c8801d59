//! A table of a TOML file, taken apart key by key: whatever is wrong is noted with its line, and reading goes on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::rc::Rc;

use toml::de::{DeTable, DeValue};

/// A file's text and what is wrong with it.
pub(super) struct Problems {
    file: String,
    text: String,
    found: RefCell<Vec<(usize, String)>>,
}

impl Problems {
    pub(super) fn add(&self, line: usize, what: impl Display) {
        self.found.borrow_mut().push((line, what.to_string()));
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|b| **b == b'\n').count()
    }

    /// `FILE:LINE: WHAT`, in the order of the file.
    pub(super) fn report(&self) -> Vec<String> {
        let mut found = self.found.borrow().clone();
        found.sort();
        found.iter().map(|(line, what)| format!("{}:{line}: {what}", self.file)).collect()
    }
}

/// A table.
pub(super) struct Table<'t> {
    problems: Rc<Problems>,
    path: String,
    line: usize,
    left: BTreeMap<String, (usize, DeValue<'t>)>,
    known: Vec<String>,
}

/// Opens a file's text as its root table.
pub(super) fn open<'t>(file: &str, text: &'t str) -> (Table<'t>, Rc<Problems>) {
    let problems = Rc::new(Problems { file: file.to_owned(), text: text.to_owned(), found: RefCell::default() });
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        problems.add(error.span().map_or(1, |span| problems.line(span.start)), error.message());
    }
    (Table::new(Rc::clone(&problems), String::new(), 1, table.into_inner()), problems)
}

impl<'t> Table<'t> {
    fn new(problems: Rc<Problems>, path: String, line: usize, table: DeTable<'t>) -> Self {
        let left = table.into_iter().map(|(key, value)| {
            let line = problems.line(key.span().start);
            (key.into_inner().into_owned(), (line, value.into_inner()))
        });
        let left = left.collect();
        Self { problems, path, line, left, known: Vec::new() }
    }

    /// Where it begins.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// Notes what is wrong with a key.
    pub(super) fn wrong(&self, line: usize, key: &str, what: impl Display) {
        self.problems.add(line, format_args!("{}{key}: {what}", self.path));
    }

    /// A text, read by `parse`.
    pub(super) fn text<T, E: Display>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        let (line, value) = self.take(key)?;
        match value {
            DeValue::String(text) => parse(&text).map_err(|what| self.wrong(line, key, what)).ok(),
            _ => {
                self.wrong(line, key, "is text in quotes");
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required<T, E: Display>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
        if !self.left.contains_key(key) {
            self.known.push(key.to_owned());
            self.wrong(self.line, key, "is missing");
            return None;
        }
        self.text(key, parse)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &str) -> bool {
        match self.take(key) {
            None => false,
            Some((_, DeValue::Boolean(flag))) => flag,
            Some((line, _)) => {
                self.wrong(line, key, "is true or false");
                false
            }
        }
    }

    /// One value or a list of them, each as text.
    pub(super) fn list<T, E: Display>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        let Some((line, value)) = self.take(key) else { return Vec::new() };
        let values: Vec<DeValue<'t>> = match value {
            DeValue::Array(array) => array.into_iter().map(toml::Spanned::into_inner).collect(),
            single => vec![single],
        };
        if values.is_empty() {
            self.wrong(line, key, "is an empty list");
        }
        let mut read = Vec::new();
        for value in values {
            let text = match &value {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.as_str().to_owned(),
                _ => {
                    self.wrong(line, key, "is text or a number, or a list of those");
                    continue;
                }
            };
            match parse(&text) {
                Ok(value) => read.push(value),
                Err(what) => self.wrong(line, key, what),
            }
        }
        read
    }

    /// A table inside.
    pub(super) fn table(&mut self, key: &str) -> Option<Table<'t>> {
        let (line, value) = self.take(key)?;
        match value {
            DeValue::Table(table) => Some(Table::new(Rc::clone(&self.problems), format!("{key}."), line, table)),
            _ => {
                self.wrong(line, key, format_args!("is a table: [{key}]"));
                None
            }
        }
    }

    /// An array of tables.
    pub(super) fn tables(&mut self, key: &str) -> Vec<Table<'t>> {
        let Some((line, value)) = self.take(key) else { return Vec::new() };
        let DeValue::Array(array) = value else {
            self.wrong(line, key, format_args!("is an array of tables: [[{key}]]"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for value in array {
            let line = self.problems.line(value.span().start);
            match value.into_inner() {
                DeValue::Table(table) => {
                    let first = table.iter().map(|(key, _)| self.problems.line(key.span().start)).min();
                    let line = first.map_or(line, |first| first.saturating_sub(1).max(1));
                    tables.push(Table::new(Rc::clone(&self.problems), format!("{key}."), line, table));
                }
                _ => self.wrong(line, key, format_args!("is an array of tables: [[{key}]]")),
            }
        }
        tables
    }

    /// Notes what nobody asked for.
    pub(super) fn finish(self) {
        for (key, (line, _)) in &self.left {
            self.wrong(*line, key, format_args!("no such key{}", nearest(key, self.known.iter().map(String::as_str))));
        }
    }

    fn take(&mut self, key: &str) -> Option<(usize, DeValue<'t>)> {
        self.known.push(key.to_owned());
        self.left.remove(key)
    }
}

/// `; did you mean X?` if something is near enough.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|known| (strsim::damerau_levenshtein(word, known), known)).min();
    near.filter(|(distance, _)| *distance <= 3).map_or(String::new(), |(_, known)| format!("; did you mean {known}?"))
}
