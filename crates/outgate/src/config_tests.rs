//! Configuration texts in, settings or the whole list of problems out.

use super::*;

fn problems(text: &str) -> Vec<String> {
    read("gw.toml", text, BTreeMap::new()).err().unwrap_or_default()
}

#[test]
fn the_smallest_file_is_one_listener() {
    let config =
        read("gw.toml", "[[listen]]\naddress = \"127.0.0.1:8080\"\n", BTreeMap::new()).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(config.settings.listeners.len(), 1);
    assert_eq!(config.settings.default_pool.as_str(), "direct");
    assert!(config.settings.exits.is_none() && !config.named);
}

#[test]
fn every_problem_is_told_at_once_with_its_line() {
    let text = "nmae = \"x\"\nworkers = 0\n\n[[listen]]\naddress = \"nowhere\"\ndialekt = \"rfc\"\n\n[policy]\nports = [\"80\", \"http\"]\nallow_targets = [\"10.0.0.0/33\"]\n\n\
                [[policy.rules]]\nname = \"r\"\neffect = \"forbid\"\n\n[timeouts]\nidle = \"soon\"\n\n[tmeouts]\n";
    let found = problems(text);
    let expected = [
        "gw.toml:1: nmae: unknown key; did you mean \"name\"?",
        "gw.toml:2: workers: a number from 1 to 256",
        "gw.toml:5: listen[0].address:",
        "gw.toml:6: listen[0].dialekt: unknown key; did you mean \"dialect\"?",
        "gw.toml:9: policy.ports: \"http\" is not a port",
        "gw.toml:10: policy.allow_targets: a range such as 10.0.0.0/8",
        "gw.toml:14: policy.rules[0].effect: \"allow\" or \"deny\"",
        "gw.toml:17: timeouts.idle:",
        "gw.toml:19: tmeouts: unknown key; did you mean \"timeouts\"?",
    ];
    for line in expected {
        assert!(found.iter().any(|f| f.starts_with(line)), "{line} is not in {found:#?}");
    }
}

#[test]
fn geo_databases_are_read_with_the_file() {
    let listen = "[[listen]]\naddress = \"127.0.0.1:1\"\n";
    let found =
        problems(&format!("{listen}[geo]\nmmdb = [\"/nowhere/city.mmdb\", \"{}/Cargo.toml\"]\n", env!("CARGO_MANIFEST_DIR")));
    assert!(found[0].starts_with("gw.toml:4: geo.mmdb: /nowhere/city.mmdb: No such file"), "{found:?}");
    assert!(found[1].contains("Cargo.toml is not a MaxMind database"), "{found:?}");
    let config = read("gw.toml", listen, BTreeMap::new()).unwrap_or_else(|e| panic!("{e:?}"));
    assert!(config.settings.geo.is_none());
}

#[test]
fn fleet_and_sessions() {
    let listen = "[[listen]]\naddress = \"127.0.0.1:1\"\n";
    let text = format!(
        "{listen}[fleet]\nattempts = 2\ncheck = \"example.com:443\"\ncheck_interval = \"5s\"\neject_after = 7\neject_for = \"1s\"\n\
         eject_most = \"9s\"\nslow_start = \"3s\"\n[sessions]\nttl = \"2m\"\nttl_min = \"2m\"\nttl_max = \"1h\"\nstrict = true\nmost = 9\n"
    );
    let settings = read("gw.toml", &text, BTreeMap::new()).unwrap_or_else(|e| panic!("{e:?}")).settings;
    let (fleet, s) = (&settings.fleet, Duration::from_secs);
    assert_eq!((fleet.attempts, fleet.eject_after, &fleet.check), (2, 7, &Some(("example.com".to_owned(), 443))));
    assert_eq!([fleet.check_interval, fleet.eject_for, fleet.eject_most, fleet.slow_start], [s(5), s(1), s(9), s(3)]);
    let sessions = &settings.sessions;
    assert_eq!((sessions.ttl, sessions.ttl_min, sessions.ttl_max, sessions.strict, sessions.most), (s(120), 2, 60, true, 9));
    for (wrong, expected) in [
        ("[fleet]\nattempts = 0", "gw.toml:4: fleet.attempts: a number from 1 to 16"),
        ("[fleet]\ncheck = \"example.com\"", "gw.toml:4: fleet.check: a host and a port, such as \"example.com:443\""),
        ("[fleet]\neject_most = \"1s\"", "gw.toml:4: fleet.eject_most: must not be shorter than fleet.eject_for"),
        ("[sessions]\nttl = \"90s\"", "gw.toml:4: sessions.ttl: whole minutes, such as 10m"),
        ("[sessions]\nttl_max = \"0s\"", "gw.toml:4: sessions.ttl_max: whole minutes, such as 10m"),
    ] {
        assert_eq!(problems(&format!("{listen}{wrong}\n")), [expected]);
    }
}

#[test]
fn limits_of_the_gateway() {
    let listen = "[[listen]]\naddress = \"127.0.0.1:1\"\n";
    let read = |limits: &str| {
        let text = format!("{listen}[limits]\n{limits}\n");
        read("gw.toml", &text, BTreeMap::new()).unwrap_or_else(|e| panic!("{e:?}")).settings.limits
    };
    let limits = read("connections = 1\nconnections_per_source = 2\nexit_connections = 3\ntunnels = 4\ntunnels_per_link = 5");
    let counts = [limits.connections, limits.connections_per_source, limits.exit_connections, limits.tunnels];
    assert_eq!((counts, limits.tunnels_per_link, limits.memory), ([1, 2, 3, 4], 5, MemoryBound::Available));
    for (text, bound) in
        [("\"512MiB\"", MemoryBound::Bytes(512 << 20)), ("\"off\"", MemoryBound::Off), ("1000", MemoryBound::Bytes(1000))]
    {
        assert_eq!(read(&format!("memory = {text}")).memory, bound);
    }
    for (wrong, expected) in [
        ("tunnels = 0", "gw.toml:4: limits.tunnels: a whole number above zero"),
        ("memory = \"much\"", "gw.toml:4: limits.memory: a size above zero, such as \"6GB\", or \"off\""),
        ("memory = 0", "gw.toml:4: limits.memory: a size above zero, such as \"6GB\", or \"off\""),
    ] {
        assert_eq!(problems(&format!("{listen}[limits]\n{wrong}\n")), [expected]);
    }
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    let found = problems("[[listen]\naddress = 1");
    assert!(found.iter().any(|f| f.starts_with("gw.toml:1:")), "{found:?}");
}

#[test]
fn the_environment_wins() {
    let env = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let text = "[[listen]]\naddress = \"127.0.0.1:1\"\n[limits]\nconnections = 5\n";
    let set = env(&[
        ("OUTGATE_LIMITS_CONNECTIONS", "7"),
        ("OUTGATE_DNS_SERVERS", "192.0.2.1, [2001:db8::1]:5353"),
        ("OUTGATE_NAME", "gw-7"),
    ]);
    let config = read("gw.toml", text, set).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(config.settings.limits.connections, 7);
    assert_eq!(config.settings.dns.servers, ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:5353".parse().unwrap()]);
    assert_eq!(config.settings.name, "gw-7");
    let bad = read("gw.toml", text, env(&[("OUTGATE_WORKERS", "many")])).err().unwrap_or_default();
    assert_eq!(bad, ["gw.toml: workers: a number from 1 to 256"]);
}

#[test]
fn an_operators_dialect() {
    let text = "[[listen]]\naddress = \"127.0.0.1:1\"\ndialect = \"mine\"\n[dialects.mine]\nbase = \"rfc\"\nreason = \"plain\"\n\
                [dialects.mine.statuses]\n502 = 503\n[dialects.mine.faults.port_denied]\nstatus = 451\nbody = \"no {port}\"\n";
    let config = read("gw.toml", text, BTreeMap::new()).unwrap_or_else(|e| panic!("{e:?}"));
    let dialect = &config.settings.listeners[0].dialect;
    assert_eq!((dialect.name(), dialect.status(Slug::PortDenied), dialect.status(Slug::TargetRefused)), ("mine", 451, 503));
    assert!(!problems(&text.replace("port_denied", "prot_denied")).is_empty());
}

#[test]
fn a_cluster_needs_all_of_its_parts() {
    let listen = "[[listen]]\naddress = \"127.0.0.1:1\"\n";
    let rows: [(&str, &[&str]); 4] = [
        (
            "[cluster]\npeers = [\"gw2\", \"gw3:8444\", \"gw3:8444\"]\n",
            &[
                "gw.toml: cluster.address: other gateways need a door",
                "gw.toml: cluster.certificate: gateways show each other certificates",
                "gw.toml: cluster.key: the certificate needs its key",
                "gw.toml: cluster.ca: the certificates need the authority",
                "gw.toml:4: cluster.peers: a host and a port",
            ],
        ),
        (
            "[cluster]\naddress = \"127.0.0.1:0\"\ncertificate = \"/nowhere/a.pem\"\nkey = \"/nowhere/b.pem\"\nca = \"/nowhere/c.pem\"\n",
            &["gw.toml:5: cluster.certificate: /nowhere/c.pem"],
        ),
        ("[cluster]\npeers = [\"gw3:8444\", \"gw3:8444\"]\n", &["gw.toml:4: cluster.peers: gw3:8444 is in it twice"]),
        ("[cluster]\nadress = \"127.0.0.1:0\"\n", &["gw.toml:4: cluster.adress: unknown key; did you mean \"address\"?"]),
    ];
    for (text, expected) in rows {
        let found = problems(&format!("{listen}{text}"));
        for line in expected {
            assert!(found.iter().any(|f| f.starts_with(line)), "{line} is not in {found:#?}");
        }
    }
    assert!(problems(&format!("{listen}[cluster]\n")).is_empty(), "an empty table is none");
}

#[test]
fn what_is_shared_has_an_address_that_is_never_repeated() {
    let listen = "[[listen]]\naddress = \"127.0.0.1:0\"\n[store]\n";
    let good = |text: &str| read("f", &format!("{listen}{text}"), BTreeMap::new()).map(|config| config.settings.sharing);
    let sharing = good("redis = \"redis://:pw@127.0.0.1:1\"\nshare = 0.25\n").unwrap().unwrap();
    assert_eq!(sharing.share, Some(0.25));
    assert!(good("").unwrap().is_none());
    let rows = [
        ("redis = \"http://u:s3cret@h\"", "the address of a Redis server such as redis://"),
        ("redis = \"redis://h\"\nshare = 0", "a part of every limit"),
        ("redis = \"redis://h\"\nshare = 1.5", "a part of every limit"),
        ("share = 0.5", "add redis ="),
    ];
    for (text, expected) in rows {
        let found = problems(&format!("{listen}{text}\n")).join("\n");
        assert!(found.contains(expected) && !found.contains("s3cret"), "{text}: {found}");
    }
}

#[test]
fn signals_and_whom_they_are_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef\n").expect("ours");
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:8080\"\n[signals]\nerrors = \"2.5%\"\nqueue = 0.9\nraise = \"3 of 5\"\ndns = \"1s\"\n\
         [signals.pools.residential]\nerrors = \"10%\"\n\
         [[signals.webhooks]]\nurl = \"https://hooks.example/T0/B0\"\nsecret_file = \"{}\"\nevents = [\"closed\", \"changed\"]\n\
         [[signals.webhooks]]\nurl = \"http://127.0.0.1:9000\"\n",
        secret.display()
    );
    let signals = read("gw.toml", &text, BTreeMap::new()).unwrap_or_else(|problems| panic!("{problems:?}")).seeing.signals;
    let rules = &signals.rules;
    assert_eq!((rules.errors, rules.queue, rules.dns), (0.025, 0.9, Duration::from_secs(1)));
    assert_eq!((rules.raise.times, rules.raise.of, rules.pools["residential"]), (3, 5, 0.1));
    assert_eq!(rules.p99, Duration::from_secs(5), "as document 004 has it");
    let urls: Vec<String> = signals.webhooks.iter().map(|webhook| webhook.url.to_string()).collect();
    assert_eq!(urls, ["https://hooks.example:443", "http://127.0.0.1:9000"]);
    assert!(signals.webhooks[0].secret.is_some() && signals.webhooks[1].secret.is_none());

    std::fs::write(&secret, "short").expect("ours");
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:8080\"\n[signals]\nerrors = \"0%\"\nqueue = \"full\"\nraise = \"4 of 3\"\njump = 1\nwindow = \"45s\"\n\
         look_back = \"2h\"\nkeep = \"1h\"\ntls = \"0s\"\nlatency = \"2s\"\n[signals.pools.isp]\ndns = \"1s\"\n\
         [[signals.webhooks]]\nsecret_file = \"{}\"\nevents = [\"all\"]\n[[signals.webhooks]]\nurl = \"https://a:b@hooks.example/private\"\n",
        secret.display()
    );
    let found = problems(&text);
    let expected = [
        "gw.toml:4: signals.errors: a part above zero",
        "gw.toml:5: signals.queue: a part above zero",
        "gw.toml:6: signals.raise: how many of the last looks",
        "gw.toml:7: signals.jump: how many times the usual",
        "gw.toml:8: signals.window: tens of seconds",
        "gw.toml:9: signals.look_back: tens of seconds",
        "gw.toml:10: signals.keep: at least a day",
        "gw.toml:11: signals.tls: must be longer than nothing",
        "gw.toml:12: signals.latency: unknown key",
        "gw.toml:14: signals.pools.isp.dns: unknown key",
        "gw.toml: signals.webhooks[0].url: a webhook needs a url",
        "gw.toml:16: signals.webhooks[0].secret_file:",
        "gw.toml:17: signals.webhooks[0].events: \"opened\", \"changed\" or \"closed\"",
        "gw.toml:19: signals.webhooks[1].url: credentials don't belong into it",
    ];
    for line in expected {
        assert!(found.iter().any(|problem| problem.starts_with(line)), "{line} is not in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(!found.iter().any(|problem| problem.contains("private") || problem.contains("short")), "{found:#?}");
}
