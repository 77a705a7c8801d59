//! Where an address is, by MaxMind databases: country, state, city, network.
//!
//! Any number of files, asked in turn: what the first one leaves open, the next may say (a city database and one of networks).
//! Besides MaxMind's own layout the flat ones in use elsewhere are read (`country_code`, `state1`, `city`; `asn`, `as_name`).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use maxminddb::Reader;
use outgate_egress::Guard;
use outgate_egress::guard::Verdict;
use outgate_store::{Country, Labels, parse_city};
use serde_json::Value;

/// How often a file is looked at for a change, at most; only when an exit dials in.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The longest name of a network that is kept.
const CARRIER: usize = 100;

/// The databases of a gateway.
pub struct Geo {
    databases: Vec<Arc<Database>>,
    /// Judges which addresses are public: the others are in no database.
    public: Guard,
}

/// A file, as it was when it was last read.
struct Database {
    path: PathBuf,
    current: RwLock<Current>,
    reading: AtomicBool,
}

struct Current {
    reader: Arc<Reader<Vec<u8>>>,
    written: Option<SystemTime>,
    looked: Instant,
}

impl Geo {
    /// Reads the files, each whole into memory; every one that can't be used is an error that says why.
    pub fn open(paths: &[PathBuf]) -> Result<Self, Vec<String>> {
        let (mut databases, mut problems) = (Vec::new(), Vec::new());
        for path in paths {
            match Database::open(path) {
                Ok(database) => databases.push(Arc::new(database)),
                Err(why) => problems.push(why),
            }
        }
        if problems.is_empty() { Ok(Self { databases, public: Guard::new(Vec::new()) }) } else { Err(problems) }
    }

    /// What the databases say of an address; empty when they don't know it. `None` when it is not a public address: nobody
    /// can know where that is.
    pub fn locate(&self, address: IpAddr) -> Option<Labels> {
        let address = address.to_canonical();
        if !matches!(self.public.judge(address), Verdict::Allowed) {
            return None;
        }
        let mut labels = Labels::default();
        for database in &self.databases {
            let Some(entry) = database.entry(address) else { continue };
            let found = read(&entry);
            // A place is taken from one file: two that disagree about the country must not be mixed.
            if labels.country.is_none() {
                (labels.country, labels.state, labels.city) = (found.country, found.state, found.city);
            } else if labels.country == found.country && labels.state.is_none() && labels.city.is_none() {
                (labels.state, labels.city) = (found.state, found.city);
            }
            if labels.asn.is_none() {
                (labels.asn, labels.carrier) = (found.asn, found.carrier);
            }
        }
        Some(labels)
    }
}

impl std::fmt::Debug for Geo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.databases.iter().map(|database| &database.path)).finish()
    }
}

impl Database {
    fn open(path: &Path) -> Result<Self, String> {
        // Before it is read: a change in between is then seen.
        let written = written(path);
        let reader = Arc::new(read_file(path)?);
        let current = RwLock::new(Current { reader, written, looked: Instant::now() });
        Ok(Self { path: path.to_owned(), current, reading: AtomicBool::new(false) })
    }

    fn entry(self: &Arc<Self>, address: IpAddr) -> Option<Value> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let (reader, looked) = (current.reader.clone(), current.looked);
        drop(current);
        if looked.elapsed() >= LOOK_AGAIN {
            self.look_again();
        }
        match reader.lookup(address).and_then(|found| found.decode()) {
            Ok(entry) => entry,
            // An IPv6 address in a database of IPv4 only, or a damaged one.
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %address, %error, "a geo database can't say");
                None
            }
        }
    }

    /// Reads the file again if it was written since; on a thread of its own, because it may be large and this is an event loop.
    fn look_again(self: &Arc<Self>) {
        let written = written(&self.path);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.looked = Instant::now();
        if written == current.written || self.reading.swap(true, Ordering::AcqRel) {
            return;
        }
        // Once a change, even if it can't be used.
        current.written = written;
        drop(current);
        let database = self.clone();
        let work = move || {
            match read_file(&database.path) {
                Ok(reader) => {
                    tracing::info!(path = %database.path.display(), "the new geo database is in force");
                    database.current.write().unwrap_or_else(PoisonError::into_inner).reader = Arc::new(reader);
                }
                Err(why) => tracing::error!(why, "a changed geo database can't be used; the old one stays in force"),
            }
            database.reading.store(false, Ordering::Release);
        };
        if let Err(error) = std::thread::Builder::new().name("geo".into()).spawn(work) {
            self.reading.store(false, Ordering::Release);
            tracing::error!(%error, "a changed geo database can't be read: no thread can be started");
        }
    }
}

fn written(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn read_file(path: &Path) -> Result<Reader<Vec<u8>>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let reader = Reader::from_source(bytes).map_err(|error| {
        format!("{} is not a MaxMind database ({error}): give the .mmdb file itself, unpacked", path.display())
    })?;
    let metadata = reader.metadata();
    let built = metadata.build_time().ok().and_then(|built| jiff::Timestamp::try_from(built).ok());
    let built = built.map_or_else(|| "at an unknown time".into(), |built| built.strftime("%Y-%m-%d").to_string());
    tracing::info!(path = %path.display(), kind = metadata.database_type, built, "geo database");
    Ok(reader)
}

/// What an entry says, in either layout.
fn read(entry: &Value) -> Labels {
    let text = |paths: &[&str]| paths.iter().find_map(|path| entry.pointer(path)?.as_str()).filter(|text| !text.is_empty());
    let country = text(&["/country/iso_code", "/country_code", "/country"]);
    let country = country.and_then(|code| Country::parse(&code.to_ascii_lowercase()).ok());
    let state = country.and_then(|country| {
        let codes = entry.pointer("/subdivisions").and_then(Value::as_array).into_iter().flatten();
        let codes = codes.filter_map(|part| part.get("iso_code")?.as_str()).map(str::to_ascii_lowercase);
        let named = || text(&["/subdivisions/0/names/en", "/state1", "/region"]).and_then(|name| country.state_named(name));
        codes.into_iter().find(|code| country.has_state(code)).or_else(named)
    });
    let city = country.and_then(|_| parse_city(text(&["/city/names/en", "/city"])?).ok());
    let asn = ["/autonomous_system_number", "/asn"].iter().find_map(|path| number(entry.pointer(path)?));
    let carrier = text(&["/autonomous_system_organization", "/isp", "/organization", "/as_name", "/as_org"]);
    let carrier = carrier.map(|name| name.chars().filter(|c| !c.is_control()).take(CARRIER).collect());
    Labels { country, state, city, asn, carrier }
}

/// `15169` or `AS15169`.
fn number(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) => text.trim_start_matches("AS").parse().ok(),
        value => value.as_u64().and_then(|number| number.try_into().ok()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_layouts_say_the_same() {
        let nested = json!({
            "city": { "names": { "de": "Kapstadt", "en": "Cape Town" } },
            "country": { "iso_code": "ZA", "names": { "en": "South Africa" } },
            "subdivisions": [{ "iso_code": "XX" }, { "iso_code": "WC", "names": { "en": "Western Cape" } }],
            "autonomous_system_number": 5713,
            "autonomous_system_organization": "SAIX\u{7}NET",
        });
        let flat = json!({
            "city": "Cape Town", "country_code": "ZA", "state1": "Western Cape", "state2": "", "asn": "AS5713", "as_name": "SAIXNET",
        });
        let expected = Labels {
            country: Country::parse("za").ok(),
            state: Some("wc".into()),
            city: Some("capetown".into()),
            asn: Some(5713),
            carrier: Some("SAIXNET".into()),
        };
        assert_eq!(read(&nested), expected);
        assert_eq!(read(&flat), expected);
        let unnumbered = json!({
            "city": { "names": { "en": "Cape Town" } },
            "country": { "iso_code": "ZA" },
            "subdivisions": [{ "names": { "en": "Western Cape" } }],
            "asn": 5713, "as_name": "SAIXNET",
        });
        assert_eq!(read(&unnumbered), expected);
        assert_eq!(read(&json!({ "country": "za" })), Labels { country: expected.country, ..Labels::default() });
    }

    #[test]
    fn what_is_odd_is_left_out() {
        let nothing = [
            json!({}),
            json!([1, 2]),
            json!("ZA"),
            json!({ "country_code": "ZZ", "state1": "Western Cape", "city": "Cape Town" }),
            json!({ "country": { "iso_code": 7 }, "city": { "names": { "en": "" } } }),
            json!({ "asn": -1 }),
            json!({ "asn": "many" }),
            json!({ "autonomous_system_number": 5_000_000_000_u64 }),
        ];
        for entry in nothing {
            assert_eq!(read(&entry), Labels::default(), "{entry}");
        }
    }

    #[test]
    fn a_file_that_is_no_database_says_so() {
        let known = [PathBuf::from("/nowhere/city.mmdb"), PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")];
        let problems = Geo::open(&known).expect_err("neither is one");
        assert!(problems[0].starts_with("/nowhere/city.mmdb: No such file"), "{problems:?}");
        assert!(problems[1].contains("Cargo.toml is not a MaxMind database"), "{problems:?}");
    }
}
