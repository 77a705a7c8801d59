//! The suite every backend passes: plain, and again through a store that fails, loses answers and hangs.
//!
//! It panics with the broken rule. `open` gives a new, empty store each time.

mod accounting;
mod accounts;
mod feed;
mod patient;
mod samples;
mod whole;

use std::sync::Arc;

use crate::archive::Archive;
use crate::conformance::accounting::*;
use crate::conformance::accounts::*;
use crate::conformance::feed::*;
use crate::conformance::patient::Patient;
use crate::conformance::whole::a_ledger_moves_whole;
use crate::contract::Store;

/// Runs everything, reliably and unreliably.
pub async fn run<F, Fut>(open: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    for reliability in [Reliability::Plain, Reliability::Broken] {
        let fresh = async || -> Arc<dyn Store> {
            let store = open().await;
            match reliability {
                Reliability::Plain => store,
                Reliability::Broken => Arc::new(Patient::through_mishaps(store)),
            }
        };
        begins_empty(&*fresh().await).await;
        plans_come_back_whole(&*fresh().await).await;
        plans_in_use_stay(&*fresh().await).await;
        keys_come_back_whole(&*fresh().await).await;
        exits_come_back_whole(&*fresh().await).await;
        changes_are_audited_once(&*fresh().await).await;
        audit_comes_in_pages(&*fresh().await).await;
        usage_sums_by_group(&*fresh().await).await;
        usage_comes_in_pages(&*fresh().await).await;
        sequences_are_per_gateway_and_without_gaps(&*fresh().await).await;
        periods_count_only_themselves(&*fresh().await).await;
        a_change_of_plan_recounts_the_period(&*fresh().await).await;
        no_byte_is_lost_or_doubled(&*fresh().await).await;
        changes_are_told_as_they_are_now(&*fresh().await).await;
        what_was_changed_meanwhile_stays(&*fresh().await).await;
        numbers_beyond_the_columns_are_refused(&*fresh().await).await;
    }
    the_same_batch_twice_at_once_counts_once(&*open().await).await;
    usage_outlives_its_key_and_plan(&*open().await).await;
}

/// What a store must do, besides [`run`], that several gateways share: `open` gives two handles of a new, empty one.
pub async fn run_shared<F, Fut>(open: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = [Arc<dyn Store>; 2]>,
{
    let [one, other] = open().await;
    another_gateway_hears_of_changes(&*one, &*other).await;
    let [one, other] = open().await;
    of_two_at_once_one_is_told_to_look_again(&*one, &*other).await;
    let [one, other] = open().await;
    a_key_never_loses_its_plan_to_another_gateway(&*one, &*other).await;
    let [one, other] = open().await;
    gateways_add_to_the_same_keys(&*one, &*other).await;
}

/// What a store must do, besides [`run`], that lasts. `open` gives a new, empty one each time.
pub async fn run_archive<F, Fut>(open: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Archive>>,
{
    a_ledger_moves_whole(&*open().await, &*open().await).await;
}

#[derive(Clone, Copy)]
enum Reliability {
    Plain,
    Broken,
}
