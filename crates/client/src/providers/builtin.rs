//! The files that come along.

use std::sync::LazyLock;

use crate::providers::{Providers, read};

/// A file's name and text.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../providers/", $name)))),*]
    };
}

/// In the order in which they are asked who shows himself in an answer.
pub(super) const FILES: &[(&str, &str)] = files![
    "outgate.toml",
    "rfc.toml",
    "atlasvpn.toml",
    "proxies-fo.toml",
    "brightdata.toml",
    "oxylabs.toml",
    "decodo.toml",
    "iproyal.toml",
    "soax.toml",
    "netnut.toml",
    "webshare.toml",
    "proxymesh.toml",
    "zyte.toml",
    "apify.toml",
    "proxy-chain.toml",
    "scraperapi.toml",
    "scrapingbee.toml",
    "scrape-do.toml",
    "scrapeops.toml",
    "scrapingant.toml",
    "packetstream.toml",
    "infatica.toml",
    "rayobyte.toml",
    "nimble.toml",
    "databay.toml",
    "nsocks.toml",
    "illusory.toml",
    "anyip.toml",
    "bytio.toml",
    "thordata.toml",
    "scrapeless.toml",
    "geonode.toml",
    "evomi.toml",
    "dataimpulse.toml",
    "squid.toml",
    "tinyproxy.toml",
    "smokescreen.toml",
    "mitmproxy.toml",
    "any.toml",
];

/// All of them. A file of ours that can't be read is left out here and fails its test.
pub(super) fn all() -> &'static Providers {
    static ALL: LazyLock<Providers> = LazyLock::new(|| {
        let mut providers = Providers::default();
        for (file, text) in FILES {
            if let Ok(provider) = read::provider(file, text, &providers) {
                providers.list.push(provider);
            }
        }
        providers
    });
    &ALL
}

#[cfg(test)]
mod tests {
    use super::{FILES, all};
    use crate::providers::{Basis, Providers, read};

    #[test]
    fn every_file_can_be_read() {
        let mut known = Providers::default();
        for (file, text) in FILES {
            match read::provider(file, text, &known) {
                Ok(provider) => known.list.push(provider),
                Err(problems) => panic!("{}", problems.join("\n")),
            }
        }
        assert_eq!(all().iter().count(), FILES.len());
    }

    #[test]
    fn every_file_in_the_folder_is_named() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/providers");
        let mut found: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder is there")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        let mut named: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        found.sort();
        named.sort_unstable();
        assert_eq!(found, named);
    }

    #[test]
    fn what_nobody_confirmed_is_never_told_as_documented() {
        let mut rules = 0;
        for provider in all().iter() {
            for rule in provider.rules() {
                rules += 1;
                let told = rule.basis().confidence();
                let sure = matches!(rule.basis(), Basis::Documented | Basis::Seen);
                assert_eq!(told == crate::classify::Confidence::Documented, sure, "{}: {}", provider.name(), rule.sign());
                assert!(!provider.verified_on().is_empty() && !provider.source().is_empty());
            }
        }
        assert!(rules > 150, "{rules}");
    }

    #[test]
    fn hosts_belong_to_one_provider() {
        let all: Vec<(&str, &String)> =
            all().iter().flat_map(|provider| provider.hosts().iter().map(|host| (provider.name(), host))).collect();
        for (name, host) in &all {
            for (other, zone) in &all {
                assert!(name == other || !super::super::under(host, zone), "{host} of {name} is below {zone} of {other}");
            }
        }
    }
}
