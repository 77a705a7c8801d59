//! Every fault by every way in and in every dialect: what the catalogue's layers hold, provoked over TLS, HTTP/2 and SOCKS5 as over
//! HTTP/1.1, and at doors that tell it otherwise. Each answer is also shown to the classifier (`blind`).
//!
//! The set-ups are the scenes of `provocations`; the slugs that must be covered are read off the catalogue, and so is what must come
//! of each. A slug may be missing on a way only where [`Way::carries`] says that the way can't carry it.

use outgate_faults::{Layer, Raised, Seen, Slug};

use crate::provocations::trial::{Form, Trial, Way};
use crate::provocations::{auth, exit, gateway, ledger_away, plan, policy, target, targeting};

/// The slugs of a layer that a request through the gateway can meet.
fn slugs(layer: Layer) -> Vec<Slug> {
    let met = |slug: &Slug| slug.row().layer == layer && slug.row().raised == Raised::Yes && slug.row().seen == Seen::Gateway;
    let slugs: Vec<Slug> = Slug::ALL.iter().copied().filter(met).collect();
    assert!(!slugs.is_empty(), "{layer}");
    slugs
}

/// Sees that every slug of the layer came of some scene by every way that carries it.
fn covers(trial: &Trial, layer: Layer) {
    for slug in slugs(layer) {
        for way in trial.ways().iter().filter(|way| way.carries(slug.row())) {
            assert!(
                trial.covers(slug, *way),
                "nothing provokes {slug} by {way:?}: write a scene for it in provocations/{layer}.rs"
            );
        }
    }
}

#[tokio::test]
async fn auth_by_every_way() {
    // Not all at once: so many wrong logins from one address would be throttled.
    for ways in [Way::OTHERS, Way::DIALECTS] {
        let mut trial = Trial::by(ways);
        auth::every(&mut trial).await;
        covers(&trial, Layer::Auth);
    }
}

#[tokio::test]
async fn policy_by_every_way() {
    let mut trial = Trial::by(Way::EVERY);
    policy::every(&mut trial).await;
    covers(&trial, Layer::Policy);
}

#[tokio::test]
async fn plan_by_every_way() {
    let mut trial = Trial::by(Way::EVERY);
    plan::every(&mut trial).await;
    covers(&trial, Layer::Plan);
}

#[tokio::test]
async fn targeting_by_every_way() {
    let mut trial = Trial::by(Way::EVERY);
    targeting::every(&mut trial).await;
    covers(&trial, Layer::Targeting);
}

#[tokio::test]
async fn gateway_by_every_way() {
    let mut trial = Trial::by(Way::EVERY);
    gateway::every(&mut trial).await;
    ledger_away::every(&mut trial).await;
    covers(&trial, Layer::Gateway);
}

#[tokio::test]
async fn exit_by_every_way() {
    let mut trial = Trial::by(Way::EVERY);
    exit::every(&mut trial).await;
    covers(&trial, Layer::Exit);
}

#[tokio::test]
async fn target_by_every_way() {
    let mut trial = Trial::by(Way::EVERY);
    target::every(&mut trial).await;
    covers(&trial, Layer::Target);
}

/// Statuses that no RFC registers (452 to 455) are statuses to HTTP/2 too.
#[tokio::test]
async fn another_dialect_over_http2() {
    let mut trial = Trial::by(&[Way::Http2(Form::Connect), Way::Http2(Form::Forward)]);
    targeting::as_documented(&mut trial).await;
    covers(&trial, Layer::Targeting);
}
