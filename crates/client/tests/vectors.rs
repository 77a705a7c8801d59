//! The engine's decisions as data: `crates/client/vectors/engine.json` and `repeat.json`, which the Python package reads too.
//!
//! A scene is a list of steps, each at a time in milliseconds. `admit` asks for the request of that name (made at its first
//! mention from `ask`), `report` ends its attempt, `many` lets so many fresh requests make one attempt each and end. A range
//! `[low, high]` is for what jitter decides; it is inclusive.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use outgate_client::classify::{Provenance, Scope};
use outgate_client::engine::{
    Admission, Ask, Body, BudgetRules, Choice, Connection, Engine, Exits, Finding, Fresh, GiveUp, Hedging, Next, NoAttempt, Now,
    Outcome, Proxy, ProxyId, Repeat, Request, Rules, Sent, Session, Ticket,
};
use outgate_faults::{Layer, Retry, Slug};
use serde_json::Value;

fn now(ms: u64) -> Now {
    let wall = Timestamp::from_millisecond(1_700_000_000_000 + i64::try_from(ms).expect("a well-formed scene"))
        .expect("a well-formed scene");
    Now { clock: Duration::from_millis(ms), wall }
}

struct Scene {
    name: String,
    engine: Engine,
    requests: BTreeMap<String, Request>,
    tickets: BTreeMap<String, Ticket>,
    taken: BTreeMap<String, (String, Option<String>)>,
    fresh: u32,
}

#[test]
fn every_scene_goes_as_written() {
    let scenes: Vec<Value> = serde_json::from_str(include_str!("../vectors/engine.json")).expect("a well-formed scene");
    assert!(scenes.len() >= 30, "only {} scenes", scenes.len());
    // Jitter must not matter for what a scene expects.
    for seed in [1, 7, 1234] {
        for scene in &scenes {
            play(scene, seed);
        }
    }
}

fn play(scene: &Value, seed: u64) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let proxies: Vec<Proxy> = match scene["proxies"].as_array() {
        None => vec![Proxy::new("a", Exits::One)],
        Some(list) => list.iter().map(proxy).collect(),
    };
    let mut stage = Scene {
        name: text(&scene["name"]),
        engine: Engine::new(rules(&scene["rules"]), proxies, seed),
        requests: BTreeMap::new(),
        tickets: BTreeMap::new(),
        taken: BTreeMap::new(),
        fresh: 0,
    };
    for (number, step) in scene["steps"].as_array().expect("a well-formed scene").iter().enumerate() {
        let at = step["at"].as_u64().expect("a well-formed scene");
        let place = format!("{} (seed {seed}), step {}", stage.name, number + 1);
        if let Some(name) = step["admit"].as_str() {
            stage.admit(&place, at, name, step);
        } else if let Some(name) = step["report"].as_str() {
            stage.report(&place, at, name, step);
        } else if let Some(name) = step["hedge"].as_str() {
            let request = stage.requests.get_mut(name).expect("a well-formed scene");
            let choice = stage.engine.hedge(now(at), request);
            assert_eq!(choice.is_some(), step["expect"] == "go", "{place}");
            if let Some(choice) = choice {
                stage.tickets.insert(format!("{name} beside"), choice.ticket);
            }
        } else if let Some(name) = step["abandon"].as_str() {
            let ticket = stage.tickets.remove(name).expect("a well-formed scene");
            let owner = name.trim_end_matches(" beside");
            let request = stage.requests.get_mut(owner).expect("a well-formed scene");
            stage.engine.abandon(now(at), request, ticket);
        } else if let Some(name) = step["opened"].as_str() {
            stage.engine.opened(now(at), &stage.requests[name], &stage.tickets[name]);
        } else if let Some(many) = step["many"].as_u64() {
            for _ in 0..many {
                stage.fresh += 1;
                let name = format!("fresh {}", stage.fresh);
                let mut step = step.clone();
                step["expect"] = serde_json::json!({"go": {}});
                stage.admit(&place, at, &name, &step);
                step["expect"] = Value::Null;
                stage.report(&place, at, &name, &step);
            }
        } else if step["changed"].is_u64() {
            stage.engine.changed(ProxyId(
                usize::try_from(step["changed"].as_u64().expect("a well-formed scene")).expect("a well-formed scene"),
            ));
        } else {
            panic!("{place}: what is this? {step}");
        }
    }
}

impl Scene {
    fn admit(&mut self, place: &str, at: u64, name: &str, step: &Value) {
        let request = self.requests.entry(name.to_owned()).or_insert_with(|| Request::new(ask(&step["ask"])));
        let admission = self.engine.admit(now(at), request);
        let expect = &step["expect"];
        match &admission {
            Admission::Go(choice) => {
                assert!(expect["go"].is_object(), "{place}: went, expected {expect}");
                self.went(place, choice, &expect["go"]);
            }
            Admission::Wait(waiting) => {
                assert!(expect["wait"].is_array(), "{place}: waits {waiting:?}, expected {expect}");
                within(place, waiting.until, &expect["wait"]);
                named(place, waiting.limited.slug, expect);
                if let Some(whose) = expect["whose"].as_str() {
                    assert_eq!(waiting.limited.whose, whose, "{place}");
                }
            }
            Admission::Refused(refusal) => {
                let why = match refusal.why {
                    NoAttempt::Remembered => "remembered",
                    NoAttempt::CircuitOpen => "circuit_open",
                    NoAttempt::TooLong => "too_long",
                    NoAttempt::Deadline => "deadline",
                    NoAttempt::NoProxy => "no_proxy",
                };
                assert_eq!(Some(why), expect["refused"].as_str(), "{place}: {refusal:?}");
                named(place, refusal.slug, expect);
                if expect["until"].is_array() {
                    within(place, refusal.until.expect("a well-formed scene"), &expect["until"]);
                }
                if let Some(cause) = expect["cause"].as_str() {
                    assert_eq!(refusal.cause, cause, "{place}");
                }
            }
        }
        if let Admission::Go(choice) = admission {
            let proxy = self.engine.proxies()[choice.proxy.0].name.clone();
            self.taken.insert(name.to_owned(), (proxy, choice.session.clone()));
            self.tickets.insert(name.to_owned(), choice.ticket);
        }
    }

    fn went(&self, place: &str, choice: &Choice, expect: &Value) {
        let proxy = &self.engine.proxies()[choice.proxy.0].name;
        if let Some(expected) = expect["proxy"].as_str() {
            assert_eq!(proxy, expected, "{place}");
        }
        if let Some(other) = expect["other_session_than"].as_str() {
            assert_ne!(choice.session, self.taken[other].1, "{place}");
        }
        if let Some(session) = expect["session"].as_str() {
            assert_eq!(choice.session.as_deref(), Some(session), "{place}");
        }
        if let Some(connection) = expect["connection"].as_str() {
            let is = if choice.connection == Connection::Fresh { "fresh" } else { "any" };
            assert_eq!(is, connection, "{place}");
        }
        if let Some(number) = expect["number"].as_u64() {
            assert_eq!(u64::from(choice.number), number, "{place}");
        }
    }

    fn report(&mut self, place: &str, at: u64, name: &str, step: &Value) {
        let request = self.requests.get_mut(name.trim_end_matches(" beside")).expect("a well-formed scene");
        let ticket = self.tickets.remove(name).unwrap_or_else(|| panic!("{place}: {name} is not on its way"));
        let sent = if step["sent"] == "something" { Sent::Something } else { Sent::Nothing };
        let finding = finding(&step["finding"]);
        let status = finding.as_ref().map(|finding| finding.slug.row().status);
        let outcome = Outcome { finding, sent, status, headers: Vec::new(), exit: None };
        let next = self.engine.report(now(at), request, ticket, outcome);
        let expect = &step["expect"];
        if expect.is_null() {
            return;
        }
        let (word, why) = match next {
            Next::Done => ("done", None),
            Next::Pending => ("pending", None),
            Next::Retry { at, fresh } => {
                if expect["at"].is_array() {
                    within(place, at, &expect["at"]);
                }
                let fresh = match fresh {
                    Fresh::Connection => "connection",
                    Fresh::Exit => "exit",
                    Fresh::Proxy => "proxy",
                };
                ("retry", Some(fresh))
            }
            Next::GiveUp(why) => {
                let why = match why {
                    GiveUp::Class => "class",
                    GiveUp::Limit => "limit",
                    GiveUp::NotRepeatable => "not_repeatable",
                    GiveUp::NoOtherExit => "no_other_exit",
                    GiveUp::Deadline => "deadline",
                    GiveUp::Budget => "budget",
                    GiveUp::CircuitOpen => "circuit_open",
                };
                ("give_up", Some(why))
            }
        };
        assert_eq!(expect["next"], word, "{place}: {next:?}");
        for key in ["why", "fresh"] {
            if let Some(expected) = expect[key].as_str() {
                assert_eq!(why, Some(expected), "{place}");
            }
        }
    }
}

fn named(place: &str, slug: Option<Slug>, expect: &Value) {
    if let Some(expected) = expect["slug"].as_str() {
        assert_eq!(slug.map(Slug::name), Some(expected), "{place}");
    }
}

fn within(place: &str, moment: Duration, range: &Value) {
    let (low, high) = (range[0].as_f64().expect("a well-formed scene"), range[1].as_f64().expect("a well-formed scene"));
    let millis = moment.as_secs_f64() * 1000.0;
    assert!((low..=high).contains(&millis), "{place}: {millis} ms is not in {low} to {high}");
}

fn proxy(value: &Value) -> Proxy {
    let exits = match &value["exits"] {
        Value::String(word) if word == "rotating" => Exits::Rotating,
        Value::Number(sessions) => {
            Exits::Sessions(u16::try_from(sessions.as_u64().expect("a well-formed scene")).expect("a well-formed scene"))
        }
        _ => Exits::One,
    };
    let mut proxy = Proxy::new(value["name"].as_str().expect("a well-formed scene"), exits);
    if let Some(account) = value["account"].as_str() {
        account.clone_into(&mut proxy.account);
    }
    proxy.tier = u8::try_from(value["tier"].as_u64().unwrap_or(0)).expect("a well-formed scene");
    proxy.weight = u32::try_from(value["weight"].as_u64().unwrap_or(1)).expect("a well-formed scene");
    proxy
}

fn rules(value: &Value) -> Rules {
    let mut rules = Rules::default();
    let Some(given) = value.as_object() else { return rules };
    for (key, value) in given {
        let number = value.as_u64().expect("a well-formed scene");
        match key.as_str() {
            "hedge_after_ms" => rules.hedging = Hedging::After(Duration::from_millis(number)),
            "budget" => {
                let most = u32::try_from(number).expect("a well-formed scene");
                rules.budget = BudgetRules { per_request: 0, per_second: 0, most };
            }
            _ => panic!("no rule {key}"),
        }
    }
    rules
}

fn ask(value: &Value) -> Ask {
    let text = |key: &str, or: &str| value[key].as_str().unwrap_or(or).to_owned();
    let port = u16::try_from(value["port"].as_u64().unwrap_or(443)).expect("a well-formed scene");
    let deadline = Duration::from_millis(value["deadline"].as_u64().unwrap_or(120_000));
    let mut ask = Ask::new(text("method", "GET"), text("host", "x.example"), port, deadline);
    ask.targeting = text("targeting", "");
    if let Some(session) = value["session"].as_str() {
        ask.session = Session::Kept(session.to_owned());
    }
    ask.repeat = match value["repeat"].as_str() {
        Some("recognised") => Repeat::Recognised,
        Some("never") => Repeat::Never,
        _ => Repeat::ByMethod,
    };
    if value["body"] == "streamed" {
        ask.body = Body::Streamed;
    }
    ask
}

fn finding(value: &Value) -> Option<Finding> {
    let slug = Slug::parse(value["slug"].as_str()?).expect("a well-formed scene");
    let row = slug.row();
    let provenance = match row.layer {
        Layer::Transport => Provenance::Transport,
        Layer::Origin => Provenance::Origin,
        Layer::Target | Layer::Exit => Provenance::Exit,
        _ => Provenance::Proxy,
    };
    Some(Finding {
        slug,
        retry: value["retry"].as_str().map_or(row.retry, |name| Retry::parse(name).expect("a well-formed scene")),
        provenance,
        scope: value["scope"].as_str().map_or(Scope::of(slug), |name| Scope::parse(name).expect("a well-formed scene")),
        wait: value["wait_s"].as_u64().map(Duration::from_secs),
        why: value["why"].as_str().unwrap_or("as it was said").to_owned(),
    })
}

#[test]
fn what_is_safe_to_repeat() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("../vectors/repeat.json")).expect("a well-formed scene");
    assert!(cases.len() >= 20, "only {} cases", cases.len());
    for case in &cases {
        // Another proxy with another account is there for every fault that one proxy alone can't get past.
        let proxies = ["a", "b"].map(|name| Proxy::new(name, Exits::Rotating)).to_vec();
        let mut engine = Engine::new(Rules::default(), proxies, 3);
        let mut request = Request::new(ask(&case["ask"]));
        let Admission::Go(choice) = engine.admit(now(0), &mut request) else { panic!("{case}") };
        let sent = if case["sent"] == "something" { Sent::Something } else { Sent::Nothing };
        let outcome = Outcome { finding: finding(&case["finding"]), sent, status: None, headers: Vec::new(), exit: None };
        let next = engine.report(now(100), &mut request, choice.ticket, outcome);
        let safe = matches!(next, Next::Retry { .. });
        assert_eq!(case["repeated"].as_bool(), Some(safe), "{case}: {next:?}");
        assert!(safe || next == Next::GiveUp(GiveUp::NotRepeatable), "{case}: {next:?}");
    }
}
