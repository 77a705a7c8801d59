//! Two desks over one ledger: what one changes, the other catches up with.

use std::sync::Arc;

use outgate_console::{Desk, DeskError, NewExit, NewKey, PlanPatch, Resynced};
use outgate_store::memory::Memory;
use outgate_store::{PlanName, Snapshot, Store};

use crate::gateway::{Dead, Told, now};

fn desk(store: &Arc<dyn Store>) -> (Desk, Arc<Told>) {
    let told = Arc::new(Told::default());
    (Desk::new(store.clone(), told.clone(), &Snapshot::default(), Arc::new(now)), told)
}

#[tokio::test]
async fn a_desk_catches_up_with_another_ones_changes() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let ((one, _), (other, told)) = (desk(&store), desk(&store));
    let caught_up = |plans, keys, exits| Ok(Resynced { plans, keys, exits });
    assert_eq!(other.resync().await, caught_up(0, 0, 0));

    let plan = PlanName::parse("basic").expect("a name");
    one.create_plan("me", plan.clone(), PlanPatch::default()).await.expect("made");
    let (key, _secret) = one.create_key("me", NewKey::default()).await.expect("made");
    let (exit, _token) = one.enroll_exit("me", NewExit::default()).await.expect("made");
    let resynced = other.resync().await.expect("read");
    assert_eq!(resynced.to_string(), "1 plan, 1 key, 1 exit");
    assert_eq!(told.take(), ["plan basic bytes None", "key active", "exit active"], "the plan before the key that is on it");
    assert_eq!(other.key(&key.id).map(|key| key.id), Ok(key.id.clone()), "its own lists know it, too");

    one.suspend_key("me", &key.id).await.expect("done");
    one.revoke_exit("me", &exit.id).await.expect("done");
    assert_eq!(other.resync().await, caught_up(0, 1, 1));
    assert_eq!(told.take(), ["key suspended", "exit revoked"]);

    let second = PlanName::parse("second").expect("a name");
    one.create_plan("me", second.clone(), PlanPatch::default()).await.expect("made");
    assert_eq!(other.resync().await, caught_up(1, 0, 0));
    one.remove_plan("me", &second).await.expect("no key is on it");
    assert_eq!(other.resync().await, caught_up(1, 0, 0));
    assert_eq!(told.take(), ["plan second bytes None", "plan second removed"]);
    assert!(other.resync().await.is_ok_and(|resynced| resynced.is_nothing()));
}

/// A backup from before is put back: what it does not hold is out.
#[tokio::test]
async fn what_the_ledger_no_longer_holds_is_revoked() {
    let full: Arc<dyn Store> = Arc::new(Memory::new());
    let (one, _) = desk(&full);
    one.create_plan("me", PlanName::parse("basic").expect("a name"), PlanPatch::default()).await.expect("made");
    one.create_key("me", NewKey::default()).await.expect("made");
    one.enroll_exit("me", NewExit::default()).await.expect("made");
    let told = Arc::new(Told::default());
    let before = full.load(now()).await.expect("a snapshot");
    let other = Desk::new(Arc::new(Memory::new()), told.clone(), &before, Arc::new(now));
    assert_eq!(other.resync().await, Ok(Resynced { plans: 0, keys: 1, exits: 1 }));
    assert_eq!(told.take(), ["key revoked", "exit revoked"], "the plan stays for the key");
    assert!(other.resync().await.is_ok_and(|resynced| resynced.is_nothing()), "told once");
}

#[tokio::test]
async fn an_unreadable_ledger_changes_nothing() {
    let (desk, told) = desk(&(Arc::new(Dead) as Arc<dyn Store>));
    assert_eq!(desk.resync().await, Err(DeskError::Refused("the disk is full".into())));
    assert!(told.take().is_empty());
}
