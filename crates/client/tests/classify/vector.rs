//! Evidence as JSON has it.

use std::time::Duration;

use outgate_client::classify::{Breakage, Evidence, Fields, Foreign, Manner, Phase, SocksSaid, Verdict, Way, classify};
use outgate_client::providers::Providers;
use serde_json::Value;

/// Evidence that owns what it shows.
pub(crate) struct Owned {
    way: Way,
    proxy: String,
    target: String,
    status: Option<u16>,
    reason: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    socks: Option<SocksSaid>,
    breakage: Option<Breakage>,
    provider: Option<String>,
}

impl Owned {
    /// Reads it; what is not there is not known.
    pub(crate) fn read(value: &Value) -> Owned {
        let text = |key: &str| value[key].as_str().map(str::to_owned);
        let pair = |pair: &Value| (pair[0].as_str().expect("a name").to_owned(), pair[1].as_str().expect("a value").to_owned());
        Owned {
            way: Way::parse(value["way"].as_str().expect("a way")).expect("a known way"),
            proxy: text("proxy").unwrap_or_default(),
            target: text("target").unwrap_or_default(),
            status: value["status"].as_u64().map(|status| u16::try_from(status).expect("a status")),
            reason: text("reason"),
            headers: value["headers"].as_array().map(|list| list.iter().map(pair).collect()).unwrap_or_default(),
            body: text("body").map(String::into_bytes),
            socks: socks(&value["socks"]),
            breakage: breakage(&value["breakage"]),
            provider: text("provider"),
        }
    }

    /// What it comes to, with the providers that come along.
    pub(crate) fn classify(&self) -> Verdict {
        self.classify_among(Providers::builtin())
    }

    /// What it comes to among these providers.
    pub(crate) fn classify_among(&self, providers: &Providers) -> Verdict {
        let provider = self.provider.as_deref().map(|name| providers.named(name).unwrap_or_else(|| panic!("no provider {name}")));
        let evidence = Evidence {
            status: self.status,
            reason: self.reason.as_deref(),
            headers: Fields::List(&self.headers),
            body: self.body.as_deref(),
            socks: self.socks,
            breakage: self.breakage.as_ref(),
            provider,
            ..Evidence::of(self.way, &self.proxy, &self.target)
        };
        classify(&evidence, providers)
    }

    /// With this provider configured, or none.
    pub(crate) fn of_provider(mut self, name: Option<&str>) -> Owned {
        self.provider = name.map(str::to_owned);
        self
    }

    /// At a proxy whose host says nothing.
    pub(crate) fn at_nobodys_host(mut self) -> Owned {
        self.proxy = "192.0.2.1:8080".to_owned();
        self
    }

    /// As most clients show a failed CONNECT.
    pub(crate) fn status_only(mut self) -> Owned {
        (self.reason, self.headers, self.body) = (None, Vec::new(), None);
        self
    }
}

fn socks(value: &Value) -> Option<SocksSaid> {
    let byte = |key: &str| value[key].as_u64().map(|byte| u8::try_from(byte).expect("a byte"));
    byte("reply")
        .map(SocksSaid::Reply)
        .or_else(|| byte("login").map(SocksSaid::Login))
        .or_else(|| (value == "no_method").then_some(SocksSaid::NoMethod))
        .or_else(|| (value == "too_long").then_some(SocksSaid::TooLong))
}

fn breakage(value: &Value) -> Option<Breakage> {
    let phase = Phase::parse(value["phase"].as_str()?).expect("a known phase");
    let what = value["what"].as_str().unwrap_or_default().to_owned();
    let manner = match value["manner"].as_str().expect("a manner") {
        "not_found" => Manner::NotFound,
        "refused" => Manner::Refused,
        "unreachable" => Manner::Unreachable,
        "timed_out" => Manner::TimedOut(Duration::from_secs(value["seconds"].as_u64().expect("seconds"))),
        "reset" => Manner::Reset,
        "closed" => Manner::Closed,
        "certificate" => Manner::Certificate(what),
        "tls_protocol" => Manner::TlsProtocol(what),
        "foreign" => Manner::Foreign(match what.as_str() {
            "tls" => Foreign::Tls,
            "socks5" => Foreign::Socks5,
            "ssh" => Foreign::Ssh,
            "http" => Foreign::Http,
            _ => Foreign::Unknown,
        }),
        "other" => Manner::Other(what),
        unknown => panic!("no manner {unknown}"),
    };
    Some(Breakage::new(phase, manner))
}
