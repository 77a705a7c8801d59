//! Single cases: each says what is known of an attempt, and what must come of it.

use outgate_client::classify::Wait;
use serde_json::{Value, json};

use crate::vector::Owned;

#[test]
fn every_case_of_the_file() {
    let file: Value = serde_json::from_str(include_str!("../../vectors/classify.json")).expect("it is JSON");
    let cases = file["cases"].as_array().expect("a list");
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let verdict = Owned::read(&case["evidence"]).classify();
        let seen = json!({
            "slug": verdict.slug.map(|slug| slug.name()),
            "fits": verdict.fits.iter().map(|slug| slug.name()).collect::<Vec<_>>(),
            "provenance": verdict.provenance.name(),
            "confidence": verdict.confidence.name(),
            "scope": verdict.scope.name(),
            "retry": verdict.retry.name(),
            "provider": verdict.provider,
            "provider_code": verdict.provider_code,
            "said": verdict.said,
            "exit": verdict.exit,
            "request_id": verdict.request_id,
            "fault": verdict.fault.as_ref().map(|fault| fault.sentence()),
            "wait": verdict.wait.map(|wait| match wait {
                Wait::For(wait) => json!(wait.as_secs()),
                Wait::Until(then) => json!(then.to_string()),
            }),
        });
        for (key, expected) in case["verdict"].as_object().expect("an object") {
            if seen[key] != *expected {
                wrong.push(format!("{}: {key} is {}, not {expected} ({})", case["name"], seen[key], verdict.why));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
