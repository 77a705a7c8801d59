//! Reads a TOML file setting by setting, collecting every problem with its line instead of stopping at the first.
//!
//! Every scalar is read as text and parsed by the same function whether it comes from the file or from the
//! environment: `limits.connections` is also `OUTGATE_LIMITS_CONNECTIONS`. A key that nobody asked for is a
//! problem, with the nearest known key as a hint. The value of a setting is never part of a problem unless its
//! parser says so, so a secret can't get into an error.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use toml::de::{DeTable, DeValue};

use super::readings::Readings;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The line, from 1; none for a setting from the environment or one that is missing.
    pub(crate) line: Option<usize>,
    /// The setting, such as `policy.ports`.
    pub(crate) path: String,
    /// What is wrong and what to do.
    pub(crate) what: String,
}

/// A file and its problems.
pub(crate) struct Problems {
    file: String,
    text: String,
    found: RefCell<Vec<Problem>>,
    env: BTreeMap<String, String>,
    /// The variables that settings have.
    variables: RefCell<BTreeSet<String>>,
    read: RefCell<Readings>,
}

/// Variables that are no settings of a file.
const OTHER_VARIABLES: [&str; 2] = ["OUTGATE_ADMIN_TOKEN", "OUTGATE_DATA"];
/// The options of `outgate exit` and the settings of `outgate relay` are variables, too, and those check them.
const OF_OTHERS: [&str; 2] = ["OUTGATE_EXIT_", super::relay::VARIABLES];

/// A table of the file.
pub(crate) struct Section {
    shared: Rc<Problems>,
    path: String,
    /// What has not been asked for yet.
    left: BTreeMap<String, (usize, DeValue<'static>)>,
    /// The line of every key the file has here.
    lines: BTreeMap<String, usize>,
    /// What was asked for: the known keys.
    known: Vec<String>,
    /// Settings of tables in arrays have no environment variable: there is no telling which one is meant.
    from_env: bool,
}

impl Problems {
    fn add(&self, line: Option<usize>, path: &str, what: impl fmt::Display) {
        self.found.borrow_mut().push(Problem { line, path: path.into(), what: what.to_string() });
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|b| **b == b'\n').count()
    }

    /// Variables that no setting has are mistakes: told like unknown keys. To be called when all settings were read.
    pub(crate) fn unknown_variables(&self) {
        let known = self.variables.borrow();
        let other = |name: &str| OTHER_VARIABLES.contains(&name) || OF_OTHERS.iter().any(|prefix| name.starts_with(prefix));
        for name in self.env.keys().filter(|name| !known.contains(*name) && !other(name)) {
            let near = known.iter().map(|k| (strsim::damerau_levenshtein(name, k), k)).min();
            let hint = near.filter(|(distance, _)| *distance <= 3).map_or(String::new(), |(_, k)| format!("; did you mean {k}?"));
            self.add(None, "", format_args!("the environment variable {name} is no setting{hint}"));
        }
    }

    /// What was read.
    pub(crate) fn readings(&self) -> Readings {
        self.read.borrow().clone()
    }

    /// The problems as lines `FILE:LINE: SETTING: WHAT`, in the order of the file.
    pub(crate) fn report(&self) -> Vec<String> {
        let mut found = self.found.borrow().clone();
        found.sort_by_key(|p| p.line);
        let place = |p: &Problem| p.line.map_or_else(|| self.file.clone(), |line| format!("{}:{line}", self.file));
        let text = |p: &Problem| {
            if p.path.is_empty() { format!("{}: {}", place(p), p.what) } else { format!("{}: {}: {}", place(p), p.path, p.what) }
        };
        found.iter().map(text).collect()
    }
}

/// Opens a file's text as its root table. `env` are the `OUTGATE_*` variables.
pub(crate) fn open(file: &str, text: &str, env: BTreeMap<String, String>) -> (Section, Rc<Problems>) {
    let problems = Rc::new(Problems {
        file: file.into(),
        text: text.into(),
        found: RefCell::default(),
        env,
        variables: RefCell::default(),
        read: RefCell::default(),
    });
    let (mut table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let line = error.span().map(|span| problems.line(span.start));
        problems.add(line, "", error.message());
    }
    table.get_mut().make_owned();
    let root = Section::new(problems.clone(), String::new(), table.into_inner(), true);
    (root, problems)
}

impl Section {
    fn new(shared: Rc<Problems>, path: String, table: DeTable<'_>, from_env: bool) -> Self {
        let left: BTreeMap<String, (usize, DeValue<'static>)> = table
            .into_iter()
            .map(|(key, value)| {
                let line = shared.line(key.span().start);
                let mut value = value.into_inner();
                value.make_owned();
                (key.into_inner().into_owned(), (line, owned(value)))
            })
            .collect();
        let lines = left.iter().map(|(key, (line, _))| (key.clone(), *line)).collect();
        Self { shared, path, left, lines, known: Vec::new(), from_env }
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) }
    }

    fn env(&self, key: &str) -> Option<String> {
        let variable = format!("OUTGATE_{}", self.name(key).replace(['.', '-'], "_").to_uppercase());
        if !self.from_env {
            return None;
        }
        let value = self.shared.env.get(&variable).cloned();
        self.shared.variables.borrow_mut().insert(variable);
        value
    }

    /// A scalar, from the environment if it is set there.
    pub(crate) fn scalar<T, E: fmt::Display>(&mut self, key: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let path = self.name(key);
        let (line, text) = match (self.env(key), self.take(key)) {
            (Some(text), _) => (None, text),
            (None, Some((line, value))) => match scalar_text(&value) {
                Some(text) => (Some(line), text),
                None => {
                    self.shared.add(Some(line), &path, format_args!("expected one value, found {}", value.type_str()));
                    return None;
                }
            },
            (None, None) => return None,
        };
        self.shared.read.borrow_mut().note(&path, &text);
        parse(&text).map_err(|what| self.shared.add(line, &path, what)).ok()
    }

    /// A list of scalars; from the environment separated by commas.
    pub(crate) fn list<T, E: fmt::Display>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<Vec<T>> {
        let path = self.name(key);
        let (line, texts) = match (self.env(key), self.take(key)) {
            (Some(text), _) => (None, text.split(',').map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect::<Vec<_>>()),
            (None, Some((line, value))) => {
                let texts = match &value {
                    DeValue::Array(items) => items.iter().map(|item| scalar_text(item.get_ref())).collect(),
                    single => scalar_text(single).map(|text| vec![text]),
                };
                match texts {
                    Some(texts) => (Some(line), texts),
                    None => {
                        self.shared.add(Some(line), &path, "expected a list of values");
                        return None;
                    }
                }
            }
            (None, None) => return None,
        };
        self.shared.read.borrow_mut().note(&path, &texts.join("\0"));
        let parsed: Vec<T> =
            texts.iter().filter_map(|text| parse(text).map_err(|what| self.shared.add(line, &path, what)).ok()).collect();
        (parsed.len() == texts.len()).then_some(parsed)
    }

    /// A table; empty if the file has none, so that its settings can still come from the environment.
    pub(crate) fn section(&mut self, key: &str) -> Self {
        let path = self.name(key);
        let table = match self.take(key) {
            Some((_, DeValue::Table(table))) => table,
            Some((line, other)) => {
                self.shared.add(Some(line), &path, format_args!("expected a table [{path}], found {}", other.type_str()));
                DeTable::new()
            }
            None => DeTable::new(),
        };
        Self::new(self.shared.clone(), path, table, self.from_env)
    }

    /// The tables of an array `[[key]]`.
    pub(crate) fn sections(&mut self, key: &str) -> Vec<Self> {
        let path = self.name(key);
        let Some((line, value)) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = value else {
            self.shared.add(Some(line), &path, format_args!("write it as [[{path}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (index, item) in items.into_iter().enumerate() {
            match item.into_inner() {
                DeValue::Table(table) => sections.push(Self::new(self.shared.clone(), format!("{path}[{index}]"), table, false)),
                other => {
                    self.shared.add(Some(line), &path, format_args!("expected tables [[{path}]], found {}", other.type_str()))
                }
            }
        }
        sections
    }

    /// The tables whose names the operator chooses, such as the pools.
    pub(crate) fn named_sections(&mut self) -> Vec<(String, Self)> {
        let names: Vec<String> = self.left.keys().cloned().collect();
        names.into_iter().map(|name| (name.clone(), self.section(&name))).collect()
    }

    /// Notes that a setting names a file, so that a change of that file is one of the setting.
    pub(crate) fn names_file(&self, key: &str, file: &Path) {
        self.shared.read.borrow_mut().note_file(&self.name(key), file);
    }

    /// Whether the file has this key, read or not, well or badly.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// Adds a problem unless the key is there: then what is wrong with it has been told.
    pub(crate) fn missing(&self, key: &str, what: impl fmt::Display) {
        if !self.has(key) {
            self.problem(key, what);
        }
    }

    /// Adds a problem of this section's.
    pub(crate) fn problem(&self, key: &str, what: impl fmt::Display) {
        let line = self.lines.get(key).copied();
        self.shared.add(line, &self.name(key), what);
    }

    /// Everything that was not asked for is unknown.
    pub(crate) fn finish(self) {
        for (key, (line, _)) in &self.left {
            let near = self.known.iter().map(|known| (strsim::damerau_levenshtein(key, known), known)).min();
            let hint = match near {
                Some((distance, known)) if distance <= 3 && distance < key.len() => {
                    format!("unknown key; did you mean \"{known}\"?")
                }
                _ if self.known.is_empty() => "unknown key".into(),
                _ => format!("unknown key; known here: {}", self.known.join(", ")),
            };
            self.shared.add(Some(*line), &self.name(key), hint);
        }
    }

    fn take(&mut self, key: &str) -> Option<(usize, DeValue<'static>)> {
        self.known.push(key.into());
        self.left.remove(key)
    }
}

/// `make_owned` leaves nothing borrowed, which the type can't say.
fn owned(value: DeValue<'_>) -> DeValue<'static> {
    match value {
        DeValue::String(text) => DeValue::String(text.into_owned().into()),
        DeValue::Integer(number) => DeValue::String(number.to_string().into()),
        DeValue::Float(number) => DeValue::String(number.to_string().into()),
        DeValue::Boolean(value) => DeValue::Boolean(value),
        DeValue::Datetime(moment) => DeValue::Datetime(moment),
        DeValue::Array(items) => {
            let mut array = toml::de::DeArray::new();
            for item in items {
                let span = item.span();
                array.push(toml::Spanned::new(span, owned(item.into_inner())));
            }
            DeValue::Array(array)
        }
        DeValue::Table(table) => {
            let mut copy = DeTable::new();
            for (key, value) in table {
                let (key_span, value_span) = (key.span(), value.span());
                let key = toml::Spanned::new(key_span, key.into_inner().into_owned().into());
                copy.insert(key, toml::Spanned::new(value_span, owned(value.into_inner())));
            }
            DeValue::Table(copy)
        }
    }
}

fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Datetime(moment) => Some(moment.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
