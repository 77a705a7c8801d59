//! Every fault that the gateway raises, made to happen for real, with all its outputs checked.
//!
//! A test here makes one thing go wrong and says what must come of it with `provoked(Slug::…, stage, sentence)`:
//! [`outputs`] then holds status line, fields, body and record of it against the catalogue's row. Faults that come too late
//! to be told are checked with `Provoked::check_cut`: a reset, and the record. By layer, as in the catalogue:
//! [`client`], [`auth`], [`policy`], [`plan`], [`targeting`], [`gateway`] (and [`ledger_away`]), [`exit`], [`target`]; beside them [`answers`],
//! what all answers have in common, whoever gives them, and [`ways`], the same faults by every way in.
//!
//! To add a provocation: 1. make the fault happen with what the test kit offers; 2. say `provoked(Slug::…)` and check it;
//! `tidy` reads these files and fails for a slug that is raised but never provoked.

mod answers;
mod auth;
mod client;
pub(crate) mod configured;
mod exit;
pub(crate) mod fake_exit;
mod gateway;
pub(crate) mod labelled_exit;
mod ledger_away;
pub(crate) mod outputs;
mod plan;
mod policy;
mod target;
mod targeting;
pub(crate) mod ways;
