//! Asks as the scripts' arguments, answers out of their replies.

use std::time::Duration;

use outgate_store::ExitId;
use outgate_store::shared::{
    Answers, Asks, BytesAsk, BytesGrant, CHANGES_KEPT, Company, Known, Peer, Presence, RateAsk, RateGrant, SessionAnswer,
    SessionAsk, SessionName, ThreadsAsk,
};
use redis::{Cmd, FromRedisValue, ParsingError, Pipeline, RedisResult, Value, from_redis_value};

use crate::script::{Digests, Script};

/// The names of what is kept, all under one prefix.
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    fn of(&self, what: &str) -> String {
        format!("{}:{what}", self.prefix)
    }
}

/// Everything that is asked, in the order in which [`answers`] reads the replies.
pub(crate) fn pipeline(asks: &Asks, keys: &Keys, digests: &Digests) -> Pipeline {
    let mut pipeline = Pipeline::new();
    pipeline.ignore_errors();
    let call = |script, names: &[String]| {
        let mut command = redis::cmd("EVALSHA");
        command.arg(digests.of(script)).arg(names.len()).arg(names);
        command
    };
    if let Some(presence) = &asks.presence {
        let names = ["members", "peers", "began", "news", "changes", "exits:"].map(|name| keys.of(name));
        pipeline.add_command(presence_of(call(Script::Presence, &names), &asks.member, presence));
    }
    for RateAsk { key, rate, burst, want } in &asks.rates {
        let mut command = call(Script::Rate, &[keys.of(&format!("rate:{key}"))]);
        command.arg((*rate).max(1)).arg((*burst).max(1)).arg(want);
        pipeline.add_command(command);
    }
    for ThreadsAsk { key, limit, used, want } in &asks.threads {
        let mut command = call(Script::Threads, &[keys.of(&format!("threads:{key}")), keys.of("members")]);
        command.arg(&asks.member).arg(asks.turn).arg(limit).arg(used).arg(want);
        pipeline.add_command(command);
    }
    for BytesAsk { key, period, limit, known, used, want } in &asks.bytes {
        let mut command = call(Script::Bytes, &[keys.of(&format!("bytes:{key}:{}", period.0))]);
        command.arg(&asks.member).arg(asks.turn).arg(limit).arg(used).arg(want).arg(period.1);
        match known {
            Known::Ledger(sum) => command.arg("ledger").arg(0).arg(sum),
            Known::Told(told) => command.arg("told").arg(told.level).arg(told.total),
        };
        pipeline.add_command(command);
    }
    for ask in &asks.sessions {
        let (SessionAsk::Bind(name, ..) | SessionAsk::Move(name, ..) | SessionAsk::End(name)) = ask;
        let name = format!("{:032x}", name.0);
        let mut command = call(Script::Session, &[keys.of(&format!("session:{name}")), keys.of("news"), keys.of("changes")]);
        match ask {
            SessionAsk::Bind(_, exit, ttl) => {
                command.arg("bind").arg(name).arg(exit.as_str()).arg(millis(*ttl));
            }
            SessionAsk::Move(_, from, to) => {
                command.arg("move").arg(name).arg(from.as_str()).arg(to.as_str());
            }
            SessionAsk::End(_) => {
                command.arg("end").arg(name);
            }
        }
        command.arg(CHANGES_KEPT);
        pipeline.add_command(command);
    }
    pipeline
}

fn presence_of(mut command: Cmd, member: &str, presence: &Presence) -> Cmd {
    command.arg(member);
    if let Presence::Here { peer, lasts, arrived, left, seeks, heard } = presence {
        let peer = format!("{}\n{}", peer.name, peer.door.as_deref().unwrap_or_default());
        command.arg(millis(*lasts)).arg(peer).arg(heard);
        for list in [arrived, left] {
            command.arg(list.len());
            command.arg(texts(list));
        }
        command.arg(texts(seeks));
    }
    command
}

fn texts(exits: &[ExitId]) -> Vec<&str> {
    exits.iter().map(ExitId::as_str).collect()
}

/// Milliseconds, one at least: the server takes no shorter expiry.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Reads the replies to [`pipeline`].
pub(crate) fn answers(asks: &Asks, replies: Vec<Value>) -> RedisResult<Answers> {
    let mut replies = replies.into_iter();
    let company = match &asks.presence {
        Some(Presence::Here { .. }) => Some(company(next(&mut replies)?)?),
        Some(Presence::Leaving) => {
            let _nothing: Value = next(&mut replies)?;
            None
        }
        None => None,
    };
    let rate = |(granted, remaining, wait)| RateGrant { granted, remaining, wait: Duration::from_micros(wait) };
    let bytes = |(level, total)| BytesGrant { level, total };
    Ok(Answers {
        company,
        rates: asks.rates.iter().map(|_| next(&mut replies).map(rate)).collect::<Result<_, _>>()?,
        threads: asks.threads.iter().map(|_| next(&mut replies)).collect::<Result<_, _>>()?,
        bytes: asks.bytes.iter().map(|_| next(&mut replies).map(bytes)).collect::<Result<_, _>>()?,
        sessions: asks.sessions.iter().map(|_| next(&mut replies).and_then(session)).collect::<Result<_, _>>()?,
    })
}

fn next<T: FromRedisValue>(replies: &mut impl Iterator<Item = Value>) -> Result<T, ParsingError> {
    from_redis_value(replies.next().ok_or_else(|| ParsingError::from("an answer is missing"))?)
}

fn session((exit, left): (String, u64)) -> Result<SessionAnswer, ParsingError> {
    let exit = if exit.is_empty() { None } else { Some(exit_id(&exit)?) };
    Ok(SessionAnswer { exit, left: Duration::from_millis(left) })
}

fn exit_id(text: &str) -> Result<ExitId, ParsingError> {
    ExitId::parse(text).map_err(|_| ParsingError::from("not the id of an exit"))
}

type Told = (u64, u64, Vec<String>, Vec<String>, Vec<String>, u64);

fn company((age, exits, peers, holders, changed, news): Told) -> Result<Company, ParsingError> {
    let peer = |text: String| {
        let (name, door) = text.split_once('\n').unwrap_or((&text, ""));
        Peer { name: name.to_owned(), door: (!door.is_empty()).then(|| door.to_owned()) }
    };
    let mut peers: Vec<Peer> = peers.into_iter().map(peer).collect();
    peers.sort();
    let names = |lines: String| {
        let mut names: Vec<String> = lines.lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    let name = |text: String| u128::from_str_radix(&text, 16).map(SessionName);
    let changed = changed.into_iter().map(name).collect::<Result<_, _>>();
    let changed = changed.map_err(|_| ParsingError::from("not the name of a session"))?;
    let holders = holders.into_iter().map(names).collect();
    Ok(Company { age: Duration::from_micros(age), peers, exits, holders, changed, news })
}
