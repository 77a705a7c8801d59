//! Those who are compared: the engine, one who never retries, and document 000's snippet.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use jiff::Timestamp;
use outgate_client::engine::{
    Admission, Ask, Engine, Exits, Finding, Next, Now, Outcome, Proxy, ProxyId, Repeat, Request, Rules, Ticket,
};

use crate::score::{Score, Waste};
use crate::world::{Answer, Job, Ms, World};

pub(crate) fn now(ms: Ms) -> Now {
    let wall = Timestamp::from_millisecond(1_700_000_000_000 + i64::try_from(ms).expect("in range")).expect("in range");
    Now { clock: Duration::from_millis(ms), wall }
}

/// What happens to a job next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    Asks,
    Opens,
    Ends,
}

/// The engine in front of the world.
pub(crate) fn engine(mut world: World, jobs: &[Job], rules: Rules, seed: u64) -> Score {
    let exits = if world.mix.sessions { Exits::Sessions(64) } else { Exits::Rotating };
    let proxies = (0..world.mix.accounts).map(|n| Proxy::new(format!("gw{n}"), exits)).collect();
    let mut engine = Engine::new(rules, proxies, seed);
    let mut score = Score::new("outgate");
    let mut waste = Waste::default();
    let mut requests: BTreeMap<usize, Request> = BTreeMap::new();
    let mut flying: BTreeMap<usize, (Ticket, Answer, ProxyId)> = BTreeMap::new();
    let mut events: BinaryHeap<Reverse<(Ms, u64, usize, Event)>> = BinaryHeap::new();
    let mut order = 0;
    let mut push = |events: &mut BinaryHeap<_>, at: Ms, job: usize, event: Event| {
        order += 1;
        events.push(Reverse((at, order, job, event)));
    };
    for job in jobs {
        push(&mut events, job.at, job.id, Event::Asks);
        let (host, deadline) = (format!("d{}.example", job.domain), Duration::from_millis(job.deadline));
        let mut ask = Ask::new(if job.post { "POST" } else { "GET" }, host, job.port, deadline);
        ask.targeting = job.targeting.to_owned();
        ask.repeat = Repeat::ByMethod;
        requests.insert(job.id, Request::new(ask));
    }
    while let Some(Reverse((at, _, id, event))) = events.pop() {
        let job = &jobs[id];
        let Some(request) = requests.get_mut(&id) else { continue };
        if event == Event::Opens {
            if let Some((ticket, _, _)) = flying.get(&id) {
                engine.opened(now(at), request, ticket);
            }
            continue;
        }
        if event == Event::Ends {
            let (ticket, answer, proxy) = flying.remove(&id).expect("in range");
            waste.learned(at, &key(proxy.0, ticket_session(&ticket).as_deref(), job), answer.finding.as_ref());
            let good = answer.finding.is_none();
            let outcome = outcome(answer);
            match engine.report(now(at), request, ticket, outcome) {
                Next::Retry { at: again, .. } => push(&mut events, ceil(again), id, Event::Asks),
                Next::Done | Next::GiveUp(_) => {
                    score.ended(&world, job, good.then_some(at));
                    if !good {
                        let why = request.attempts().last().and_then(|attempt| attempt.slug);
                        score.lost(&world, job, why.map_or("?", |slug| slug.name()));
                    }
                    requests.remove(&id);
                }
                Next::Pending => unreachable!("nothing is hedged here"),
            }
            continue;
        }
        match engine.admit(now(at), request) {
            Admission::Go(choice) => {
                let account = choice.proxy.0;
                let key = key(account, choice.session.as_deref(), job);
                score.attempts += 1;
                score.wasted += u64::from(waste.is(at, &key));
                let mut answer = world.attempt(at, account, choice.session.as_deref(), job);
                answer.took = answer.took.min(ceil(choice.deadline).saturating_sub(at));
                push(&mut events, at + answer.took, id, Event::Ends);
                if let Some(opened) = answer.opened {
                    push(&mut events, at + opened, id, Event::Opens);
                }
                flying.insert(id, (choice.ticket, answer, choice.proxy));
            }
            Admission::Wait(waiting) => push(&mut events, ceil(waiting.until).max(at), id, Event::Asks),
            Admission::Refused(refusal) => {
                score.ended(&world, job, None);
                score.lost(&world, job, &format!("{:?} {}", refusal.why, refusal.slug.map_or("-", |slug| slug.name())));
                requests.remove(&id);
            }
        }
    }
    score.finish(&world);
    score
}

/// A client with so many attempts per request, and document 000's waits between them.
pub(crate) fn simple(name: &'static str, mut world: World, jobs: &[Job], most: u32) -> Score {
    let mut score = Score::new(name);
    let mut waste = Waste::default();
    let mut events: BinaryHeap<Reverse<(Ms, usize, u32, bool)>> = BinaryHeap::new();
    let mut answers: BTreeMap<usize, Answer> = BTreeMap::new();
    for job in jobs {
        events.push(Reverse((job.at, job.id, 0, false)));
    }
    while let Some(Reverse((at, id, made, ends))) = events.pop() {
        let job = &jobs[id];
        let account = id % world.mix.accounts;
        if !ends {
            let key = key(account, None, job);
            score.attempts += 1;
            score.wasted += u64::from(waste.is(at, &key));
            let answer = world.attempt(at, account, None, job);
            events.push(Reverse((at + answer.took.min(30_000), id, made + 1, true)));
            answers.insert(id, answer);
            continue;
        }
        let answer = answers.remove(&id).expect("in range");
        waste.learned(at, &key(account, None, job), answer.finding.as_ref());
        match &answer.finding {
            None => score.ended(&world, job, Some(at)),
            // What the tunnel never opened for is a ProxyError, whatever the reason; of statuses 429, 502 and 504 are repeated.
            Some(finding)
                if made < most
                    && (answer.sent == outgate_client::engine::Sent::Nothing
                        || matches!(finding.slug.row().status, 429 | 502 | 504)) =>
            {
                events.push(Reverse((at + 1000 * (1 << (made - 1)), id, made, false)));
            }
            Some(_) => score.ended(&world, job, None),
        }
    }
    score.finish(&world);
    score
}

fn outcome(answer: Answer) -> Outcome {
    let status = answer.finding.as_ref().map_or(200, |finding: &Finding| finding.slug.row().status);
    Outcome { finding: answer.finding, sent: answer.sent, status: Some(status), headers: Vec::new(), exit: None }
}

fn ceil(at: Duration) -> Ms {
    u64::try_from(at.as_micros().div_ceil(1000)).expect("in range")
}

fn key(account: usize, session: Option<&str>, job: &Job) -> crate::score::Key {
    crate::score::Key {
        account,
        session: session.map(str::to_owned),
        domain: job.domain,
        targeting: job.targeting,
        port: job.port,
    }
}

fn ticket_session(ticket: &Ticket) -> Option<String> {
    ticket.session().map(str::to_owned)
}
