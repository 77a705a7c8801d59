//! The suite everybody who keeps what is shared passes: plain, and again through one who fails, loses answers and hangs.
//!
//! It panics with the broken rule. `open` gives a new, empty one each time.

mod believer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    Answers, Asks, BytesAsk, BytesGrant, Company, Known, Peer, Presence, RateAsk, RateGrant, SessionAnswer, SessionAsk,
    SessionName, Shared, ThreadsAsk,
};
use crate::id::{ExitId, KeyId};

/// How long a member counts as there: short, so that the suite sees it go.
const LASTS: Duration = Duration::from_millis(400);
/// How long the suite waits for what must happen.
const HANG: Duration = Duration::from_secs(10);

/// Runs everything.
pub async fn run<F, Fut>(open: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Shared>>,
{
    nothing_is_asked_and_nothing_answered(&*open().await).await;
    members_see_each_other_until_they_go(&*open().await).await;
    exits_have_their_holders(&*open().await).await;
    a_rate_is_one_for_all(&*open().await).await;
    a_rate_that_is_used_up_says_when(&*open().await).await;
    threads_are_shared_and_come_back(&*open().await).await;
    threads_of_the_dead_come_back(&*open().await).await;
    what_was_overtaken_changes_nothing(&*open().await).await;
    bytes_are_leased_up_to_the_limit(&*open().await).await;
    bytes_are_begun_again_after_a_loss(&*open().await).await;
    sessions_have_one_exit(&*open().await).await;
    sessions_move_and_end(&*open().await).await;
    sessions_end_by_themselves(&*open().await).await;
    believer::nobody_believes_too_much(open().await, believer::Luck::Good).await;
    believer::nobody_believes_too_much(open().await, believer::Luck::Bad).await;
}

async fn ask(shared: &dyn Shared, member: &str, turn: u64, change: impl FnOnce(&mut Asks)) -> Answers {
    let mut asks = Asks { member: member.into(), turn, ..Asks::default() };
    change(&mut asks);
    shared.ask(asks).await.expect("an answer")
}

fn key(id: &str) -> KeyId {
    KeyId::parse(id).expect("a key of the suite")
}

fn exit(id: &str) -> ExitId {
    ExitId::parse(id).expect("an exit of the suite")
}

/// A member that is there, behind the door `DOOR.example`.
fn here(name: &str) -> Presence {
    Presence::Here {
        peer: Peer { name: name.into(), door: Some(format!("{name}.example:9000")) },
        lasts: LASTS,
        arrived: Vec::new(),
        left: Vec::new(),
        seeks: Vec::new(),
        heard: 0,
    }
}

async fn meet(shared: &dyn Shared, member: &str) -> Company {
    let answers = ask(shared, member, 1, |asks| asks.presence = Some(here(member))).await;
    answers.company.expect("company for who says that it is there")
}

async fn rate(shared: &dyn Shared, member: &str, id: &str, want: u32) -> RateGrant {
    let asked = RateAsk { key: key(id), rate: 20, burst: 10, want };
    ask(shared, member, 1, |asks| asks.rates.push(asked)).await.rates[0]
}

async fn threads(shared: &dyn Shared, member: &str, turn: u64, used: u32, want: u32) -> u32 {
    let asked = ThreadsAsk { key: key("aaaa"), limit: 10, used, want };
    ask(shared, member, turn, |asks| asks.threads.push(asked)).await.threads[0]
}

async fn bytes(shared: &dyn Shared, member: &str, turn: u64, known: Known, used: u64, want: u64) -> BytesGrant {
    let asked = BytesAsk { key: key("aaaa"), period: period(0), limit: 1_000, known, used, want };
    ask(shared, member, turn, |asks| asks.bytes.push(asked)).await.bytes[0]
}

/// Periods that are not over: what is kept of them may go at their end.
fn period(number: i64) -> (i64, i64) {
    let begin = jiff::Timestamp::now().as_second() / 3_600 * 3_600 + number * 86_400;
    (begin, begin + 86_400)
}

async fn session(shared: &dyn Shared, asked: SessionAsk) -> SessionAnswer {
    ask(shared, "a", 1, |asks| asks.sessions.push(asked)).await.sessions.remove(0)
}

/// Looks until it is so.
async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !look().await {
        assert!(started.elapsed() < HANG, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn nothing_is_asked_and_nothing_answered(shared: &dyn Shared) {
    assert_eq!(ask(shared, "a", 1, |_| ()).await, Answers::default());
}

async fn members_see_each_other_until_they_go(shared: &dyn Shared) {
    let first = meet(shared, "a").await;
    assert!(first.age < HANG, "what is shared was begun just now");
    meet(shared, "b").await;
    let both = meet(shared, "a").await;
    assert!(both.age >= first.age, "it grows older");
    let names: Vec<_> = both.peers.iter().map(|peer| peer.name.as_str()).collect();
    assert_eq!(names, ["a", "b"], "by name");
    assert_eq!(both.peers[1].door.as_deref(), Some("b.example:9000"));
    until("the silent one is gone", async || meet(shared, "a").await.peers.len() == 1).await;
    meet(shared, "b").await;
    ask(shared, "b", 1, |asks| asks.presence = Some(Presence::Leaving)).await;
    assert_eq!(meet(shared, "a").await.peers.len(), 1, "who leaves is gone at once");
}

async fn exits_have_their_holders(shared: &dyn Shared) {
    let tell = async |member: &str, more: &[&str], less: &[&str], about: &[&str]| {
        let list = |of: &[&str]| of.iter().map(|id| exit(id)).collect();
        let mut presence = here(member);
        if let Presence::Here { arrived, left, seeks, .. } = &mut presence {
            (*arrived, *left, *seeks) = (list(more), list(less), list(about));
        }
        ask(shared, member, 1, |asks| asks.presence = Some(presence)).await.company.expect("company")
    };
    assert_eq!(tell("a", &["e1", "e2"], &[], &[]).await.exits, 2);
    let seen = tell("b", &["e2", "e3"], &[], &["e1", "e2", "e3", "e4"]).await;
    assert_eq!(seen.holders, [vec!["a"], vec!["a", "b"], vec!["b"], vec![]]);
    let seen = tell("a", &[], &["e2"], &["e2"]).await;
    assert_eq!((seen.exits, seen.holders), (1, vec![vec!["b".to_owned()]]));
    until("the exits of a silent member are nobody's", async || {
        tell("b", &[], &[], &["e1"]).await.holders == [Vec::<String>::new()]
    })
    .await;
    assert_eq!(tell("a", &[], &[], &[]).await.exits, 0, "who was away tells of its exits again");
}

async fn a_rate_is_one_for_all(shared: &dyn Shared) {
    let started = Instant::now();
    assert_eq!(rate(shared, "a", "aaaa", 4).await.granted, 4);
    let seen = rate(shared, "b", "aaaa", 2).await;
    assert_eq!((seen.granted, seen.wait), (2, Duration::ZERO));
    assert_eq!(rate(shared, "b", "bbbb", 10).await.granted, 10, "another key has its own");
    let mut taken = 6;
    until("two seconds' tokens were taken", async || {
        for member in ["a", "b", "c"] {
            taken += rate(shared, member, "aaaa", 3).await.granted;
        }
        taken >= 10 + 2 * 20
    })
    .await;
    let allowed = 10 + (20.0 * started.elapsed().as_secs_f64()) as u32;
    assert!(taken <= allowed, "{taken} tokens where the rate allows {allowed}");
    assert!(started.elapsed() < Duration::from_secs(4), "the tokens come as fast as the rate says");
}

async fn a_rate_that_is_used_up_says_when(shared: &dyn Shared) {
    let seen = rate(shared, "a", "aaaa", 100).await;
    assert!((10..=12).contains(&seen.granted), "the burst: {}", seen.granted);
    let none = rate(shared, "b", "aaaa", 1).await;
    if none.granted == 0 {
        assert!(none.wait > Duration::ZERO && none.wait <= Duration::from_millis(50), "{:?}", none.wait);
        assert_eq!(none.remaining, 0);
    }
}

async fn threads_are_shared_and_come_back(shared: &dyn Shared) {
    for member in ["a", "b"] {
        meet(shared, member).await;
    }
    assert_eq!(threads(shared, "a", 1, 0, 8).await, 8);
    assert_eq!(threads(shared, "b", 2, 0, 8).await, 2, "what is left");
    assert_eq!(threads(shared, "b", 3, 0, 8).await, 2, "asked again it is the same");
    assert_eq!(threads(shared, "a", 4, 3, 3).await, 3, "the rest is given back");
    assert_eq!(threads(shared, "b", 5, 2, 8).await, 7);
    assert_eq!(threads(shared, "a", 6, 5, 9).await, 5, "what is open counts, whatever the limit");
    assert_eq!(threads(shared, "b", 7, 2, 8).await, 5);
    let others = ThreadsAsk { key: key("bbbb"), limit: 3, used: 0, want: 9 };
    assert_eq!(ask(shared, "b", 8, |asks| asks.threads.push(others)).await.threads, [3], "another key has its own");
}

async fn threads_of_the_dead_come_back(shared: &dyn Shared) {
    for member in ["a", "b", "c"] {
        meet(shared, member).await;
    }
    assert_eq!(threads(shared, "a", 1, 6, 6).await, 6);
    assert_eq!(threads(shared, "b", 2, 0, 9).await, 4);
    ask(shared, "b", 3, |asks| asks.presence = Some(Presence::Leaving)).await;
    meet(shared, "c").await;
    assert_eq!(threads(shared, "c", 4, 0, 4).await, 4, "who leaves gives back");
    let mut turn = 4;
    until("the silent one's threads are free", async || {
        turn += 1;
        meet(shared, "c").await;
        threads(shared, "c", turn, 0, 10).await == 10
    })
    .await;
    assert_eq!(threads(shared, "a", 99, 6, 6).await, 6, "it was only away: what is open there counts again");
    assert_eq!(threads(shared, "c", turn + 1, 0, 10).await, 10, "it isn't there as long as it doesn't say so");
    meet(shared, "a").await;
    threads(shared, "a", 100, 6, 6).await;
    assert_eq!(threads(shared, "c", turn + 2, 0, 10).await, 4);
}

async fn what_was_overtaken_changes_nothing(shared: &dyn Shared) {
    meet(shared, "a").await;
    assert_eq!(threads(shared, "a", 7, 2, 8).await, 8);
    assert_eq!(threads(shared, "a", 5, 0, 0).await, 8, "an older ask");
    let ledger = Known::Ledger(0);
    assert_eq!(bytes(shared, "a", 8, ledger, 10, 500).await, BytesGrant { level: 500, total: 500 });
    assert_eq!(bytes(shared, "a", 6, ledger, 0, 100).await, BytesGrant { level: 500, total: 500 });
}

async fn bytes_are_leased_up_to_the_limit(shared: &dyn Shared) {
    let ledger = Known::Ledger(300);
    assert_eq!(bytes(shared, "a", 1, ledger, 0, 400).await, BytesGrant { level: 400, total: 700 });
    assert_eq!(
        bytes(shared, "a", 2, ledger, 100, 400).await,
        BytesGrant { level: 400, total: 700 },
        "asked again it is the same"
    );
    assert_eq!(bytes(shared, "b", 1, ledger, 0, 500).await, BytesGrant { level: 300, total: 1_000 }, "what is left");
    assert_eq!(bytes(shared, "a", 3, ledger, 250, 250).await, BytesGrant { level: 250, total: 850 }, "the rest is given back");
    assert_eq!(bytes(shared, "b", 2, ledger, 300, 350).await, BytesGrant { level: 350, total: 900 });
    assert_eq!(bytes(shared, "a", 4, ledger, 400, 500).await, BytesGrant { level: 400, total: 1_050 }, "what was used counts");
    assert_eq!(bytes(shared, "b", 3, ledger, 310, 400).await, BytesGrant { level: 310, total: 1_010 });
    let other = BytesAsk { key: key("aaaa"), period: period(1), limit: 1_000, known: Known::Ledger(0), used: 0, want: 10 };
    let seen = ask(shared, "a", 5, |asks| asks.bytes.push(other)).await.bytes[0];
    assert_eq!(seen, BytesGrant { level: 10, total: 10 }, "another period has its own");
    let large = BytesAsk { key: key("bbbb"), period: period(0), limit: 1 << 52, known: Known::Ledger(1 << 51), used: 7, want: 8 };
    let seen = ask(shared, "a", 6, |asks| asks.bytes.push(large)).await.bytes[0];
    assert_eq!(seen, BytesGrant { level: 8, total: (1 << 51) + 8 }, "exact to the byte at two petabytes");
}

/// Three members knew each other's use; whoever kept it forgot, and they used some more meanwhile.
async fn bytes_are_begun_again_after_a_loss(shared: &dyn Shared) {
    let told = |level, total| Known::Told(BytesGrant { level, total });
    // Before the loss: 40 in the ledger, levels of 20 (a) and 30 (b), seen by b before a's last 10.
    assert_eq!(bytes(shared, "b", 1, told(30, 80), 35, 35).await.total, 85);
    assert_eq!(bytes(shared, "a", 1, told(20, 90), 25, 25).await.total, 100, "exactly what was used: 40 + 25 + 35");
    assert_eq!(bytes(shared, "c", 1, Known::Ledger(70), 0, 0).await.total, 100, "a newcomer's ledger knows less");
    assert_eq!(bytes(shared, "d", 1, Known::Ledger(120), 0, 0).await.total, 120, "or more: who told it may be gone");
    assert_eq!(bytes(shared, "a", 2, told(20, 90), 25, 26).await.total, 121, "who is known here is not begun again");
}

async fn sessions_have_one_exit(shared: &dyn Shared) {
    let minute = Duration::from_secs(60);
    let (one, other) = (SessionName(1), SessionName(u128::MAX));
    let first = session(shared, SessionAsk::Bind(one, exit("e1"), minute)).await;
    assert_eq!(first.exit, Some(exit("e1")));
    assert!(first.left <= minute && first.left > minute / 2, "{:?}", first.left);
    let second = session(shared, SessionAsk::Bind(one, exit("e2"), minute * 9)).await;
    assert_eq!(second.exit, Some(exit("e1")), "it is bound already");
    assert!(second.left <= minute, "and its time goes on");
    assert_eq!(session(shared, SessionAsk::Bind(other, exit("e2"), minute)).await.exit, Some(exit("e2")));
}

async fn sessions_move_and_end(shared: &dyn Shared) {
    let minute = Duration::from_secs(60);
    let name = SessionName(7);
    session(shared, SessionAsk::Bind(name, exit("e1"), minute)).await;
    let before = meet(shared, "a").await;
    assert_eq!(session(shared, SessionAsk::Move(name, exit("e1"), exit("e2"))).await.exit, Some(exit("e2")));
    let stale = session(shared, SessionAsk::Move(name, exit("e1"), exit("e3"))).await;
    assert_eq!(stale.exit, Some(exit("e2")), "somebody else moved it before");
    assert!(stale.left <= minute && stale.left > Duration::ZERO, "its time goes on: {:?}", stale.left);
    assert_eq!(session(shared, SessionAsk::End(name)).await.exit, Some(exit("e2")));
    assert_eq!(session(shared, SessionAsk::End(name)).await.exit, None);
    assert_eq!(session(shared, SessionAsk::Bind(name, exit("e3"), minute)).await.exit, Some(exit("e3")));
    let after = meet(shared, "a").await;
    assert!(after.changed.contains(&name) && after.news > before.news, "others hear of it");
    let mut later = here("a");
    if let Presence::Here { heard, .. } = &mut later {
        *heard = after.news;
    }
    let seen = ask(shared, "a", 1, |asks| asks.presence = Some(later)).await.company.expect("company");
    assert_eq!((seen.changed, seen.news), (vec![], after.news), "once");
}

async fn sessions_end_by_themselves(shared: &dyn Shared) {
    let name = SessionName(7);
    session(shared, SessionAsk::Bind(name, exit("e1"), Duration::from_millis(50))).await;
    until("its time is over", async || session(shared, SessionAsk::Bind(name, exit("e2"), HANG)).await.exit == Some(exit("e2")))
        .await;
}
