//! Every fault that the gateway raises, made to happen for real, with all its outputs checked.
//!
//! A test here makes one thing go wrong and says what must come of it with `provoked(Slug::…, stage, sentence)`:
//! [`outputs`] then holds status line, fields, body and record of it against the catalogue's row. Faults that come too late
//! to be told are checked with `Provoked::check_cut`: a reset, and the record. By layer, as in the catalogue:
//! [`client`], [`auth`], [`policy`], [`plan`], [`targeting`], [`gateway`] (and [`ledger_away`]), [`exit`], [`target`]; beside them
//! [`answers`], what all answers have in common, whoever gives them, and [`ways`], what is special about each way in.
//!
//! Those that are *scenes* ask by any way in ([`trial`]): over HTTP/1.1 where they stand, and over TLS, HTTP/2 and SOCKS5
//! in `matrix`, which wants every slug by every way that carries it.
//!
//! To add a provocation: 1. make the fault happen with what the test kit offers; 2. say `provoked(Slug::…)` and check it, in a
//! scene if other ways can carry it; `tidy` reads these files and fails for a slug that is raised but never provoked.

/// Makes tests of scenes: over HTTP/1.1 one by one, and `every` of a layer for the matrix.
macro_rules! scenes {
    ($($scene:ident),* $(,)?) => {
        /// Every scene here, by the ways of the trial.
        pub(crate) async fn every(trial: &mut Trial) {
            $($scene(trial).await;)*
        }

        mod over_http1 {
            $(#[tokio::test]
            async fn $scene() {
                super::$scene(&mut super::Trial::by(super::Way::PLAIN)).await;
            })*
        }
    };
}

mod answers;
pub(crate) mod auth;
mod client;
pub(crate) mod configured;
pub(crate) mod exit;
pub(crate) mod fake_exit;
pub(crate) mod gateway;
pub(crate) mod labelled_exit;
pub(crate) mod ledger_away;
pub(crate) mod outputs;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod target;
pub(crate) mod targeting;
pub(crate) mod trial;
pub(crate) mod ways;
