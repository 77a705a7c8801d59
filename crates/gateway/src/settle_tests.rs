//! What is owed is on disk or in the ledger, once, whatever the ledger does and whenever the gateway dies.

use std::path::Path;
use std::sync::Mutex;

use outgate_store::memory::Memory;
use outgate_store::unreliable::{Mishap, Unreliable};
use outgate_store::{Grouping, Key, Period, Plan, UsageQuery};
use outgate_testkit::patience::until;
use tempfile::TempDir;

use super::*;
use crate::accounts::Direction;
use crate::accounts::tests::accounts;

/// A gateway's usage as its own: accounts, a settler, and the ledger behind it.
struct Run {
    accounts: Arc<Accounts>,
    keeping: Arc<Keeping>,
    asks: mpsc::Sender<Ask>,
}

impl Run {
    /// Runs until it is told to stop, or is killed by aborting the task.
    fn start(path: &Path, store: Arc<dyn Store>) -> (Self, tokio::task::JoinHandle<()>) {
        let (journal, owed) = Journal::open(path).expect("a journal");
        let accounts = Arc::new(accounts(None));
        let keeping = Arc::new(Keeping::default());
        let (asks, asked) = mpsc::channel(1);
        let settling = Settling {
            meters: Arc::default(),
            accounts: accounts.clone(),
            store,
            gateway: "gw".into(),
            keeping: keeping.clone(),
            journal: Some(journal),
            owed,
        };
        (Self { accounts, keeping, asks }, tokio::task::spawn_local(settle(settling, asked)))
    }

    fn count(&self, bytes: u64) {
        let account = self.accounts.find("abcd").expect("the key");
        let meter = self.accounts.meter(&account, &PoolName::parse("direct").expect("a pool"));
        meter.count(Direction::Down, bytes, 0);
    }

    fn used(&self) -> u64 {
        self.accounts.find("abcd").expect("the key").usage(0).period_bytes
    }
}

async fn in_ledger(ledger: &dyn Store) -> u64 {
    let query = UsageQuery { key: None, since: Timestamp::UNIX_EPOCH, by: Grouping::Key, after: None, limit: 10 };
    ledger.usage(query).await.expect("the ledger").iter().map(|row| row.counters.bytes()).sum()
}

/// What the journal holds that is not in the ledger.
async fn on_disk(path: &Path, ledger: &dyn Store) -> u64 {
    let (_, owed) = Journal::open(path).expect("a journal");
    let last = ledger.last_sequence("gw").await.expect("the ledger");
    let numbered = owed.batches.iter().filter(|batch| batch.sequence > last).flat_map(|batch| &batch.rows);
    numbered.chain(&owed.rows).map(|row| row.counters.bytes()).sum()
}

/// Waits until nothing of what was counted is in memory only.
async fn safe(path: &Path, ledger: &dyn Store, truth: u64) {
    // Looked at again and again: between the ledger's answer and the journal's note the sum may be counted twice.
    for _ in 0..1000 {
        if in_ledger(ledger).await + on_disk(path, ledger).await == truth {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{} in the ledger, {} on disk, of {truth}", in_ledger(ledger).await, on_disk(path, ledger).await);
}

/// A run over a ledger that is well.
async fn all_delivered(path: &Path, ledger: &Arc<dyn Store>, truth: u64) {
    let (_run, task) = Run::start(path, ledger.clone());
    until("no journal", || (!path.exists()).then_some(())).await;
    assert_eq!(in_ledger(&**ledger).await, truth);
    task.abort();
}

fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

#[test]
fn killed_at_any_time_over_any_ledger_it_is_counted_once() {
    use Mishap::{HangsAfter, HangsBefore, LostAfter, LostBefore, None, Refused};
    // Every second one begins with an empty journal.
    let moods = [
        ("well", vec![None]),
        ("refuses", vec![Refused]),
        ("hangs", vec![HangsBefore]),
        ("answers unclearly", vec![LostAfter, LostBefore]),
        ("takes it and hangs", vec![HangsAfter]),
        ("changes", vec![LostAfter, None, Refused]),
        ("answers unclearly from the first", vec![LostAfter]),
        ("refuses again", vec![Refused]),
    ];
    local(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("usage.journal");
        let ledger: Arc<dyn Store> = Arc::new(Memory::new());
        let mut truth = 0;
        for (round, (mood, script)) in moods.iter().enumerate() {
            if round % 2 == 0 {
                all_delivered(&path, &ledger, truth).await;
            }
            // A gateway starts when its ledger is well, and then things happen.
            let calls = Arc::new(Mutex::new(0));
            let (of_mood, counted) = (script.clone(), calls.clone());
            let learning = 2 + Journal::open(&path).expect("a journal").1.batches.len();
            let script = move || {
                let mut calls = counted.lock().expect("a lock");
                *calls += 1;
                if *calls < learning { None } else { of_mood[*calls % of_mood.len()] }
            };
            let (run, task) = Run::start(&path, Arc::new(Unreliable::new(ledger.clone(), script)));
            let owed = on_disk(&path, &*ledger).await;
            for step in 0..4 {
                run.count(1000 * (round as u64 + 1) + step);
                truth += 1000 * (round as u64 + 1) + step;
                safe(&path, &*ledger, truth).await;
            }
            let more: u64 = (0..4).map(|step| 1000 * (round as u64 + 1) + step).sum();
            assert_eq!(run.used(), owed + more, "{mood}: what was owed counts for the period, too");
            task.abort();
            assert!(task.await.is_err_and(|error| error.is_cancelled()), "{mood}");
        }
        all_delivered(&path, &ledger, truth).await;
    });
}

#[test]
fn a_stop_delivers_or_leaves_it_to_the_next_start() {
    local(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("usage.journal");
        let ledger: Arc<dyn Store> = Arc::new(Memory::new());
        let calls = Mutex::new(0);
        let away = Unreliable::new(ledger.clone(), move || {
            let mut calls = calls.lock().expect("a lock");
            *calls += 1;
            if *calls == 1 { Mishap::None } else { Mishap::Refused }
        });
        let (run, task) = Run::start(&path, Arc::new(away));
        run.count(5);
        drop(run);
        task.await.expect("it ends");
        assert_eq!((in_ledger(&*ledger).await, on_disk(&path, &*ledger).await), (0, 5));
        let (run, task) = Run::start(&path, ledger.clone());
        run.count(7);
        drop(run);
        task.await.expect("it ends");
        assert_eq!(in_ledger(&*ledger).await, 12);
        assert!(!path.exists());
    });
}

/// What the journal holds, numbered and not, whenever the ledger is asked to take a batch.
#[test]
fn what_is_being_delivered_is_in_the_journal_under_its_number_or_not_at_all() {
    for writable in [true, false] {
        local(async {
            let folder = TempDir::new().expect("a folder");
            let path = folder.path().join("usage.journal");
            let ledger: Arc<dyn Store> = Arc::new(Memory::new());
            let away = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let seen = Arc::new(Mutex::new(Vec::new()));
            let (switch, looks, at) = (away.clone(), seen.clone(), path.clone());
            let script = move || {
                let owed = Journal::open(&at).expect("a journal").1;
                let bytes = |rows: &[UsageDelta]| rows.iter().map(|row| row.counters.bytes()).sum::<u64>();
                let numbered = owed.batches.iter().map(|batch| bytes(&batch.rows)).sum::<u64>();
                looks.lock().expect("a lock").push((numbered, bytes(&owed.rows)));
                if switch.load(Ordering::Relaxed) { Mishap::Refused } else { Mishap::None }
            };
            let (run, _task) = Run::start(&path, Arc::new(Unreliable::new(ledger.clone(), script)));
            run.count(1);
            until("the first delivery", || run.accounts.book().is_empty().then_some(())).await;
            safe(&path, &*ledger, 1).await;
            away.store(true, Ordering::Relaxed);
            run.count(5);
            safe(&path, &*ledger, 6).await;
            run.count(7);
            safe(&path, &*ledger, 13).await;
            if !writable {
                // A folder where the draft of a rewrite would be; the journal that is there can still be appended to.
                std::fs::create_dir(path.with_extension("new")).expect("a folder");
            }
            seen.lock().expect("a lock").clear();
            away.store(false, Ordering::Relaxed);
            until("the ledger to have it", || (run.keeping.now() == UsageKept::Ledger && !path.exists()).then_some(())).await;
            assert_eq!(in_ledger(&*ledger).await, 13);
            let seen = seen.lock().expect("a lock");
            let expected = [(5, 7), if writable { (7, 0) } else { (0, 0) }];
            assert_eq!(seen[seen.len() - 2..], expected, "{writable}: {seen:?}");
        });
    }
}

#[test]
fn with_neither_ledger_nor_journal_nothing_new_is_begun() {
    local(async {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("usage.journal");
        let ledger: Arc<dyn Store> = Arc::new(Memory::new());
        let away = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let switch = away.clone();
        let mood = move || if switch.load(Ordering::Relaxed) { Mishap::Refused } else { Mishap::None };
        let (run, _task) = Run::start(&path, Arc::new(Unreliable::new(ledger.clone(), mood)));
        run.count(1);
        until("the first delivery", || (run.accounts.book().is_empty()).then_some(())).await;
        away.store(true, Ordering::Relaxed);
        // A folder in its place: it can't be written.
        std::fs::create_dir(&path).expect("a folder");
        run.count(2);
        let refusal = until("a refusal", || run.keeping.refuse_unaccountable().err()).await;
        assert_eq!(refusal.slug(), outgate_faults::Slug::LedgerUnavailable);
        std::fs::remove_dir(&path).expect("removed");
        until("the journal", || (run.keeping.now() == UsageKept::Journal).then_some(())).await;
        assert!(run.keeping.refuse_unaccountable().is_ok(), "the journal will do");
        away.store(false, Ordering::Relaxed);
        until("the ledger", || (run.keeping.now() == UsageKept::Ledger).then_some(())).await;
        let (asker, answered) = oneshot::channel();
        run.asks.send(asker).await.expect("the settler");
        answered.await.expect("an answer");
        assert_eq!(in_ledger(&*ledger).await, 3);
    });
}

#[tokio::test]
async fn a_changed_period_is_counted_anew_from_the_ledger() {
    let now = Timestamp::now();
    let ago = |days: i64| now - jiff::SignedDuration::from_hours(24 * days);
    let accounts = Arc::new(accounts(None));
    let account = accounts.find("abcd").expect("the key");
    let plan = Plan::clone(&account.plan);
    let _live = accounts.put_key(Key { period_anchor: Hour::of(ago(60)).start(), ..account.key.clone() });
    let ledger: Arc<dyn Store> = Arc::new(Memory::new());
    // Delivered by another gateway, 40 days ago.
    let row = UsageDelta {
        key: account.key.id.clone(),
        pool: PoolName::parse("direct").expect("a pool"),
        hour: Hour::of(ago(40)),
        period_start: Period::Month.start(ago(60), ago(40)),
        counters: Counters { up: 200, down: 300, ..Counters::default() },
    };
    ledger.add_usage(UsageBatch { gateway: "other".into(), sequence: 1, rows: vec![row] }).await.expect("added");
    let mut mishaps = [Mishap::Refused, Mishap::None].into_iter().cycle();
    let store: Arc<dyn Store> = Arc::new(Unreliable::new(ledger, move || mishaps.next().unwrap_or(Mishap::None)));
    let (asks, asked) = mpsc::channel(1);
    let settling = Settling {
        meters: Arc::default(),
        accounts: accounts.clone(),
        store,
        gateway: "gw".into(),
        keeping: Arc::default(),
        journal: None,
        owed: Owed::default(),
    };
    let counting = async {
        accounts.meter(&account, &PoolName::parse("direct").expect("a pool")).count(Direction::Up, 7, 0);
        for (period, expected) in
            [(Period::Days(3_660), 507), (Period::Days(30), 7), (Period::Month, 7), (Period::Days(365), 507)]
        {
            accounts.put_plan(Arc::new(Plan { period, ..plan.clone() }));
            until("the count", || (account.usage(0).period_bytes == expected).then_some(())).await;
            let (ask, told) = oneshot::channel();
            asks.send(ask).await.expect("it listens");
            told.await.expect("it answers");
            assert_eq!(account.usage(0).period_bytes, expected, "{period}");
        }
        drop(asks);
    };
    tokio::join!(settle(settling, asked), counting);
}
