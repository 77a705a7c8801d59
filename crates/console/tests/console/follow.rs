//! Two desks over one ledger: each knows what the other did before it does something itself.

use std::sync::Arc;
use std::time::Duration;

use outgate_console::{Desk, Followed, NewKey, Patch, PlanPatch};
use outgate_store::memory::Memory;
use outgate_store::{ANYHOW, Audit, Change, KeyState, Plan, PlanName, Snapshot, Store};

use crate::gateway::{Told, now};

fn desk(store: &Arc<dyn Store>) -> (Desk, Arc<Told>) {
    let told = Arc::new(Told::default());
    (Desk::new(store.clone(), told.clone(), &Snapshot::default(), Arc::new(now)), told)
}

fn plan_name(text: &str) -> PlanName {
    PlanName::parse(text).expect("a name")
}

#[tokio::test]
async fn what_one_does_the_other_takes_over_once() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let ((one, told_one), (other, told_other)) = (desk(&store), desk(&store));
    one.create_plan("me", plan_name("basic"), PlanPatch::default()).await.expect("made");
    let (key, _secret) = one.create_key("me", NewKey::default()).await.expect("made");
    assert_eq!(other.follow().await, Ok(Followed::Changes(2)));
    assert_eq!(told_other.take(), ["plan basic bytes None", "key active"], "the plan before the key that is on it");
    assert_eq!(other.follow().await, Ok(Followed::Changes(0)));
    // One's own changes come back and are nothing new.
    assert_eq!(told_one.take().len(), 2);
    assert_eq!(one.follow().await, Ok(Followed::Changes(0)));
    assert!(told_one.take().is_empty());

    // Neither has followed when it acts on what the other did: it looks first, so both effects stay.
    other.suspend_key("you", &key.id).await.expect("done");
    let (rotated, _secret) = one.rotate_key("me", &key.id, Duration::ZERO).await.expect("done");
    assert_eq!(rotated.state, KeyState::Suspended);
    assert_eq!(told_one.take(), ["key suspended", "key suspended"], "it heard of the suspension before it rotated");
    assert_eq!(other.follow().await, Ok(Followed::Changes(1)));
    assert_eq!(other.key(&key.id).map(|key| key.secret), Ok(rotated.secret));
    // What is gone elsewhere is not there to be changed, and what was made elsewhere is not made twice.
    one.create_plan("me", plan_name("second"), PlanPatch::default()).await.expect("made");
    let twice = other.create_plan("you", plan_name("second"), PlanPatch::default()).await;
    assert!(twice.is_err_and(|error| error.to_string().contains("already a plan second")));
    one.remove_plan("me", &plan_name("second")).await.expect("no key is on it");
    let limits = PlanPatch { rate: Patch::Set(1), ..PlanPatch::default() };
    assert!(other.set_plan("you", &plan_name("second"), limits).await.is_err_and(|error| error.to_string().contains("no plan")));
}

#[tokio::test]
async fn one_that_is_too_far_behind_reads_everything() {
    let store: Arc<dyn Store> = Arc::new(Memory::new());
    let (desk, told) = desk(&store);
    for number in 0..10_001 {
        let entry = Audit {
            id: format!("p{number}"),
            at: now(),
            who: "me".into(),
            what: "plan.create".into(),
            subject: "x".into(),
            detail: String::new(),
        };
        let plan = Plan::unlimited(plan_name(&format!("plan{number}")));
        store.change(Change::PutPlan(plan), ANYHOW, entry).await.expect("made");
    }
    assert!(matches!(desk.follow().await, Ok(Followed::Whole(differs)) if differs.plans == 10_001));
    assert_eq!(told.take().len(), 10_001);
    assert_eq!(desk.follow().await, Ok(Followed::Changes(0)));
}
