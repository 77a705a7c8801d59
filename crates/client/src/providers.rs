//! What the makers of other proxies say their answers mean, as data.

use std::sync::LazyLock;

/// One provider, or one program that is a proxy.
#[derive(Clone, Debug)]
pub struct Provider {
    name: String,
    hosts: Vec<String>,
}

impl Provider {
    /// The name that configuration uses.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// All that are known.
#[derive(Clone, Debug, Default)]
pub struct Providers {
    list: Vec<Provider>,
}

impl Providers {
    /// Those that come along.
    pub fn builtin() -> &'static Providers {
        static BUILTIN: LazyLock<Providers> = LazyLock::new(Providers::default);
        &BUILTIN
    }

    /// The one with this name.
    pub fn named(&self, name: &str) -> Option<&Provider> {
        self.list.iter().find(|provider| provider.name == name)
    }

    /// The one whose proxy has this host name.
    pub fn at_host(&self, host: &str) -> Option<&Provider> {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let under = |zone: &String| host.strip_suffix(zone.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        self.list.iter().find(|provider| provider.hosts.iter().any(under))
    }

    /// Every one.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.list.iter()
    }
}
