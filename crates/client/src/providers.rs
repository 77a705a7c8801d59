//! What the makers of other proxies say their answers mean, as data.
//!
//! One TOML file per provider or program, in `crates/client/providers`: who it is, how its own answers are told from a
//! target's, and rules from what it sends to a fault of the catalogue, each with its source and how sure it is. Users add
//! files of the same form ([`Providers::with_file`]); `docs/classify.md` describes it.
//!
//! To add a provider: 1. write its file from what its maker publishes, with `source` and `verified_on`; 2. name it in
//! `builtin.rs`; 3. add answers as its documentation gives them to `vectors/foreign.json`, with the class that the words mean.

mod builtin;
mod read;
mod rule;
mod table;

use outgate_faults::{Dialect, Slug};

use crate::classify::Fields;

pub use rule::{Basis, Matched, Rule, Sent};

/// One provider, or one program that is a proxy.
#[derive(Clone, Debug)]
pub struct Provider {
    name: String,
    title: String,
    source: String,
    verified_on: String,
    thin: bool,
    hosts: Vec<String>,
    dialect: Option<Dialect>,
    own: Own,
    check_url: Option<String>,
    rules: Vec<Rule>,
}

/// How a provider's own answers are known.
#[derive(Clone, Debug, Default)]
struct Own {
    /// Fields that only its own errors have.
    headers: Vec<String>,
    /// Of those, the ones whose value is a code.
    codes: Vec<String>,
    /// Of those, the ones whose value is a sentence.
    texts: Vec<String>,
    /// How `Server` or `Proxy-Agent` begins in them.
    servers: Vec<String>,
    /// Its name in `Proxy-Status`, where the code stands in front of the `details`.
    proxy_status: Vec<String>,
    absent: Absent,
    tunnel: Tunnel,
}

/// What an error without any of a provider's own fields means on a forwarded request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Absent {
    /// Nothing: the provider does not say.
    #[default]
    Unknown,
    /// That the target said it: the provider promises so.
    Origin,
}

/// What a provider does with TLS inside a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Tunnel {
    /// Carries it: all that comes is the target's.
    #[default]
    Carried,
    /// Opens it, so that its own errors may come through the tunnel too.
    Opened,
}

impl Provider {
    /// The name that configuration uses.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its maker calls it.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Where its rules come from, unless a rule says otherwise.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The day on which the source was read.
    pub fn verified_on(&self) -> &str {
        &self.verified_on
    }

    /// Whether so little is published that the generic rules do most of the work.
    pub fn is_thin(&self) -> bool {
        self.thin
    }

    /// The host names of its proxies, with everything below them.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// The dialect of Outgate that it speaks; none if it is of another make.
    pub fn dialect(&self) -> Option<&Dialect> {
        self.dialect.as_ref()
    }

    /// A page of its own that shows one's exit.
    pub fn check_url(&self) -> Option<&str> {
        self.check_url.as_deref()
    }

    /// Its rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether the answer has a field that only its own errors have.
    pub fn is_marked(&self, headers: Fields<'_>) -> bool {
        self.own.headers.iter().any(|name| headers.has(name)) || self.is_served(headers) || self.hop(headers).is_some()
    }

    /// Whether an error without such a field is the target's, by the provider's own word.
    pub fn promises_marks(&self) -> bool {
        self.own.absent == Absent::Origin
    }

    /// Whether it opens TLS in tunnels.
    pub fn opens_tunnels(&self) -> bool {
        self.own.tunnel == Tunnel::Opened
    }

    /// The rule that fits what it sent best.
    pub fn rule(&self, sent: &Sent<'_>) -> Option<Matched<'_>> {
        rule::best(&self.rules, sent)
    }

    /// What else it may mean: at another of its hosts, where it is not known which one was asked, and in words that were not seen.
    pub(crate) fn also(&self, sent: &Sent<'_>) -> Vec<Slug> {
        let mut also = if self.has_host(sent.host) { Vec::new() } else { rule::elsewhere(&self.rules, sent) };
        also.extend(rule::unseen(&self.rules, sent));
        also
    }

    /// The provider's own code in an answer, as it wrote it.
    pub(crate) fn code(&self, headers: Fields<'_>) -> Option<String> {
        let field = self.own.codes.iter().find_map(|name| headers.first(name));
        let field = field.map(|value| value.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty());
        field.or_else(|| {
            let details = self.hop(headers)?.parameter("details")?.to_owned();
            let code = details.split(':').next().unwrap_or_default().trim().to_owned();
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            (!code.is_empty() && code.len() <= 40 && code.bytes().all(plain)).then_some(code)
        })
    }

    /// The provider's own sentence in an answer's fields.
    pub(crate) fn text(&self, headers: Fields<'_>) -> Option<String> {
        let field = self.own.texts.iter().find_map(|name| headers.first(name)).map(std::borrow::Cow::into_owned);
        field.or_else(|| self.hop(headers)?.parameter("details").map(str::to_owned)).filter(|text| !text.trim().is_empty())
    }

    fn is_served(&self, headers: Fields<'_>) -> bool {
        let by = ["Server", "Proxy-Agent"].map(|name| headers.first(name).unwrap_or_default().to_ascii_lowercase());
        self.own.servers.iter().any(|server| by.iter().any(|by| by.starts_with(server.as_str())))
    }

    fn hop(&self, headers: Fields<'_>) -> Option<crate::classify::Member> {
        if self.own.proxy_status.is_empty() {
            return None;
        }
        let members = crate::classify::proxy_status_members(headers);
        let named =
            |member: &crate::classify::Member| self.own.proxy_status.iter().any(|name| name.eq_ignore_ascii_case(&member.hop));
        members.into_iter().rev().find(|member| named(member) && member.error().is_some())
    }

    fn has_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|zone| under(host, zone))
    }
}

/// Whether `host` is `zone` or below it.
fn under(host: &str, zone: &str) -> bool {
    host.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Whether a file's text is meant to be a provider's: no other kind says when its source was read.
pub fn is_provider(text: &str) -> bool {
    text.lines().any(|line| line.trim_start().split(['=', ' ']).next() == Some("verified_on"))
}

/// All that are known.
#[derive(Clone, Debug, Default)]
pub struct Providers {
    list: Vec<Provider>,
}

impl Providers {
    /// Those that come along.
    pub fn builtin() -> &'static Providers {
        builtin::all()
    }

    /// These and the one in a user's file, which comes first. One of the same name is replaced.
    ///
    /// # Errors
    /// Every problem of the file, one line each: `FILE:LINE: KEY: WHAT`.
    pub fn with_file(mut self, file: &str, text: &str) -> Result<Providers, Vec<String>> {
        let provider = read::provider(file, text, &self)?;
        self.list.retain(|known| known.name != provider.name);
        self.list.insert(0, provider);
        Ok(self)
    }

    /// All but the one with this name.
    #[must_use]
    pub fn without(&self, name: &str) -> Providers {
        Providers { list: self.list.iter().filter(|provider| provider.name != name).cloned().collect() }
    }

    /// The one with this name.
    pub fn named(&self, name: &str) -> Option<&Provider> {
        self.list.iter().find(|provider| provider.name == name)
    }

    /// The one whose proxy has this host name.
    pub fn at_host(&self, host: &str) -> Option<&Provider> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.list.iter().find(|provider| provider.has_host(&host))
    }

    /// The one whose own fields the answer has.
    pub fn marked_in(&self, headers: Fields<'_>) -> Option<&Provider> {
        self.list.iter().find(|provider| provider.is_marked(headers))
    }

    /// The rules for a proxy that nobody knows.
    pub fn generic(&self) -> Option<&Provider> {
        self.named(GENERIC)
    }

    /// Every one, users' own first.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.list.iter()
    }
}

/// The name of the rules for a proxy that nobody knows.
pub(crate) const GENERIC: &str = "any";
