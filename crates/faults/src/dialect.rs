//! Dialects: how a listener spells faults. A dialect is data: for each slug a status, a reason and a body.

use crate::{Fault, Row, Slug, builtin, standard_phrase, template};
use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// What the reason phrase carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReasonStyle {
    /// The phrase and the slug, `Forbidden (port_denied)`: for clients that show nothing but the reason.
    Slug,
    /// The phrase alone.
    Plain,
}

/// How one slug is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Telling {
    pub(crate) status: u16,
    /// The reason phrase without the slug.
    pub(crate) reason: Cow<'static, str>,
    /// A template in place of the fault's sentence.
    pub(crate) body: Option<Cow<'static, str>>,
}

/// A dialect. Cloning it is cheap.
#[derive(Clone)]
pub struct Dialect(Arc<Inner>);

struct Inner {
    name: String,
    style: ReasonStyle,
    close: bool,
    line_end: &'static str,
    /// Indexed by `Slug::index`.
    tellings: Vec<Telling>,
}

/// An operator's dialect, as read from the configuration.
#[derive(Clone, Debug)]
pub struct DialectSpec {
    /// Its name: lower-case letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// The dialect that says everything this one does not.
    pub base: Dialect,
    /// The reason style, if not the base's.
    pub reason: Option<ReasonStyle>,
    /// Whether every answer closes the connection, if not as in the base.
    pub close: Option<bool>,
    /// Statuses of the base and what they become; applied before `faults`.
    pub statuses: Vec<(u16, u16)>,
    /// Single slugs.
    pub faults: Vec<FaultSpec>,
}

/// What an operator's dialect says of one slug; what is `None` stays.
#[derive(Clone, Debug)]
pub struct FaultSpec {
    /// The slug.
    pub slug: Slug,
    /// Its status, 400 to 599.
    pub status: Option<u16>,
    /// Its body, one line; `{fact}` stands for a fact that the slug declares.
    pub body: Option<String>,
    /// Its reason phrase.
    pub reason: Option<String>,
}

impl Dialect {
    /// The names of the built-in dialects, the default first.
    pub const BUILTIN: &'static [&'static str] = &["outgate", "rfc", "atlasvpn", "proxies.fo"];

    /// The default: one distinct status per cause, and the slug in the reason phrase.
    pub fn outgate() -> Dialect {
        static OUTGATE: LazyLock<Dialect> =
            LazyLock::new(|| Dialect::built("outgate", ReasonStyle::Slug, false, "\n", builtin::outgate));
        OUTGATE.clone()
    }

    /// Registered status codes only, otherwise as the default.
    pub fn rfc() -> Dialect {
        static RFC: LazyLock<Dialect> = LazyLock::new(|| Dialect::built("rfc", ReasonStyle::Slug, false, "\n", builtin::rfc));
        RFC.clone()
    }

    /// The published error contract of atlasvpn: seven statuses, plain bodies, every answer closes.
    pub fn atlasvpn() -> Dialect {
        static ATLASVPN: LazyLock<Dialect> =
            LazyLock::new(|| Dialect::built("atlasvpn", ReasonStyle::Plain, true, "", builtin::atlasvpn));
        ATLASVPN.clone()
    }

    /// The published error contract of proxies.fo: 407 for every login, 452 to 455 for plan and targeting.
    pub fn proxies_fo() -> Dialect {
        static PROXIES_FO: LazyLock<Dialect> =
            LazyLock::new(|| Dialect::built("proxies.fo", ReasonStyle::Plain, false, "", builtin::proxies_fo));
        PROXIES_FO.clone()
    }

    /// The built-in dialect of this name.
    pub fn builtin(name: &str) -> Option<Dialect> {
        match name {
            "outgate" => Some(Dialect::outgate()),
            "rfc" => Some(Dialect::rfc()),
            "atlasvpn" => Some(Dialect::atlasvpn()),
            "proxies.fo" => Some(Dialect::proxies_fo()),
            _ => None,
        }
    }

    /// An operator's dialect, or every problem it has, one sentence each.
    pub fn custom(spec: DialectSpec) -> Result<Dialect, Vec<String>> {
        let mut problems = Vec::new();
        let name_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if spec.name.is_empty() || spec.name.len() > 32 || !spec.name.bytes().all(name_byte) {
            problems.push("a dialect's name is 1 to 32 lower-case letters, digits, '.', '_' and '-'".to_owned());
        }
        if Dialect::BUILTIN.contains(&spec.name.as_str()) {
            problems.push(format!("'{}' is a built-in dialect", spec.name));
        }
        let base = &spec.base.0;
        let mut tellings = base.tellings.clone();
        for (from, to) in &spec.statuses {
            if let Err(why) = check_status(*to) {
                problems.push(format!("status {from}: {why}"));
            }
            if spec.statuses.iter().filter(|(other, _)| other == from).count() > 1 {
                problems.push(format!("status {from} is mapped twice"));
            }
            if !base.tellings.iter().any(|telling| telling.status == *from) {
                problems.push(format!("no fault has status {from} in the dialect '{}'", base.name));
            }
        }
        for telling in &mut tellings {
            if let Some((_, to)) = spec.statuses.iter().find(|(from, _)| *from == telling.status) {
                telling.move_to(*to);
            }
        }
        for fault in &spec.faults {
            let telling = &mut tellings[fault.slug.index()];
            if let Some(status) = fault.status {
                if let Err(why) = check_status(status) {
                    problems.push(format!("{}: {why}", fault.slug));
                }
                telling.move_to(status);
            }
            if let Some(body) = &fault.body {
                if let Err(why) = check_body(body, fault.slug.row()) {
                    problems.push(format!("{}: {why}", fault.slug));
                }
                telling.body = Some(Cow::Owned(body.clone()));
            }
            if let Some(reason) = &fault.reason {
                if reason.trim().is_empty() || reason.len() > 64 || !is_line(reason) {
                    problems.push(format!("{}: a reason is 1 to 64 characters of printable ASCII", fault.slug));
                }
                telling.reason = Cow::Owned(reason.clone());
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Dialect(Arc::new(Inner {
            name: spec.name,
            style: spec.reason.unwrap_or(base.style),
            close: spec.close.unwrap_or(base.close),
            line_end: base.line_end,
            tellings,
        })))
    }

    /// The dialect's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The status that says `slug`. For the origin layer it is the target's own, which every dialect passes through.
    pub fn status(&self, slug: Slug) -> u16 {
        self.telling(slug).status
    }

    /// The whole reason phrase that says `slug`: never empty, printable ASCII.
    pub fn reason(&self, slug: Slug) -> String {
        let phrase = &self.telling(slug).reason;
        match self.0.style {
            ReasonStyle::Slug => format!("{phrase} ({slug})"),
            ReasonStyle::Plain => phrase.clone().into_owned(),
        }
    }

    /// The whole body that tells `fault`: one line, with a line feed at its end where the dialect has one.
    pub fn body(&self, fault: &Fault) -> String {
        let mut line = match &self.telling(fault.slug()).body {
            Some(template) => fault.fill(template),
            None => fault.told(),
        };
        line.push_str(self.0.line_end);
        line
    }

    /// The body that the dialect prescribes for `slug` in place of the fault's own sentence.
    pub fn fixed_body(&self, slug: Slug) -> Option<&str> {
        self.telling(slug).body.as_deref()
    }

    /// Whether every answer closes the connection.
    pub fn closes(&self) -> bool {
        self.0.close
    }

    /// What the reason phrase carries.
    pub fn reason_style(&self) -> ReasonStyle {
        self.0.style
    }

    fn telling(&self, slug: Slug) -> &Telling {
        &self.0.tellings[slug.index()]
    }

    fn built(name: &str, style: ReasonStyle, close: bool, line_end: &'static str, tell: fn(Slug) -> Telling) -> Dialect {
        let tellings = Slug::ALL.iter().map(|slug| tell(*slug)).collect();
        Dialect(Arc::new(Inner { name: name.to_owned(), style, close, line_end, tellings }))
    }
}

impl Telling {
    /// Another status, with the phrase that belongs to it.
    fn move_to(&mut self, status: u16) {
        if self.status != status {
            self.status = status;
            self.reason = Cow::Borrowed(standard_phrase(status));
        }
    }
}

fn check_status(status: u16) -> Result<(), String> {
    match status {
        400..=599 => Ok(()),
        _ => Err(format!("{status} is not an error status (400 to 599)")),
    }
}

fn check_body(body: &str, row: &Row) -> Result<(), String> {
    if body.trim().is_empty() || body.len() > 300 || !is_line(body) {
        return Err("a body is one line of 1 to 300 characters of printable ASCII".to_owned());
    }
    for piece in template::pieces(body)? {
        match piece {
            template::Piece::Fact(fact) | template::Piece::Optional { fact, .. } if row.position(fact).is_none() => {
                return Err(format!("no fact '{fact}' (facts: {})", row.facts.join(", ")));
            }
            template::Piece::Text(_) | template::Piece::Fact(_) | template::Piece::Optional { .. } => {}
        }
    }
    Ok(())
}

fn is_line(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b' '..=b'~'))
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialect({})", self.0.name)
    }
}
