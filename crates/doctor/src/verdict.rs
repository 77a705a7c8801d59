//! One verdict out of many findings.

use crate::checks::{Check, Step};
use crate::diagnosis::{Diagnosis, Harm};
use crate::report::{Finding, Health, State, Verdict};

/// The first thing that is wrong in the order of the checks, because what comes after it may only follow from it; unless a
/// later check shows more than it did.
pub(crate) fn conclude(findings: &[Finding]) -> Verdict {
    let pointing = |check: Check| {
        findings.iter().find(|finding| finding.check == check).and_then(|finding| Some((finding, finding.diagnosis.as_ref()?)))
    };
    let target_is_fine = findings.iter().any(|finding| finding.check == Check::TargetProxied && finding.state == State::Good);
    let intermittent = pointing(Check::Repeated).filter(|(_, diagnosis)| diagnosis.harm == Harm::Impaired);
    let unreached = findings.iter().any(|finding| finding.check.step() == Step::Reach && finding.state == State::Bad);
    let elsewhere = pointing(Check::Names);
    // Whoever has to log in to the network first reaches nothing outside of it.
    let portal = pointing(Check::NeutralDirect).filter(|_| unreached);
    let single = |check: Check| matches!(check, Check::NeutralProxied | Check::TargetProxied);
    let mut first: Option<(&Finding, &Diagnosis)> = None;
    for finding in findings {
        let Some(diagnosis) = &finding.diagnosis else { continue };
        // A portal between here and the world is nothing to a proxy that works.
        if finding.check == Check::NeutralDirect && !unreached {
            continue;
        }
        // What one request said is overruled by many that say otherwise, a neutral target by the real one, and what the target
        // answered by that it was another target.
        let overruled = (single(finding.check) && intermittent.is_some())
            || (finding.check == Check::NeutralProxied && target_is_fine)
            || (finding.check == Check::TargetProxied && elsewhere.is_some())
            || (finding.check.step() == Step::Reach && portal.is_some());
        if overruled {
            continue;
        }
        let worse = first.is_none_or(|(known, best)| weight(finding, diagnosis) > weight(known, best));
        if worse {
            first = Some((finding, diagnosis));
        }
    }
    let unmet = findings.iter().find(|finding| finding.state == State::Bad && finding.diagnosis.is_none());
    let health = match (&first, unmet) {
        (Some((_, diagnosis)), _) if diagnosis.harm == Harm::Broken => Health::Broken,
        (Some((_, diagnosis)), _) if diagnosis.harm == Harm::Impaired => Health::Impaired,
        (_, Some(_)) => Health::Broken,
        _ => Health::Healthy,
    };
    let chosen = first.map(|(finding, _)| finding.check);
    let remarks = findings.iter().filter(|finding| Some(finding.check) != chosen && finding.state == State::Remark);
    Verdict {
        health,
        step: first.map(|(finding, _)| finding.check.step().number()),
        diagnosis: first.map(|(_, diagnosis)| diagnosis.clone()),
        remarks: remarks.map(|finding| format!("{}: {}", finding.check.title(), finding.says)).collect(),
    }
}

/// What is wrong now before what may go wrong elsewhere; then by harm. Among equals the first one stays.
fn weight(finding: &Finding, diagnosis: &Diagnosis) -> (bool, Harm) {
    (finding.state == State::Bad, diagnosis.harm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::Whose;

    fn finding(check: Check, state: State, name: Option<(&'static str, Harm)>) -> Finding {
        let finding = Finding::new(check, state, "x");
        match name {
            Some((name, harm)) => {
                finding.points_to(Diagnosis { name, ..Diagnosis::own("slow", None, Whose::You, "", "").harming(harm) })
            }
            None => finding,
        }
    }

    #[test]
    fn the_first_cause_wins() {
        use Check::*;
        use Harm::{Broken, Impaired, Remark};
        use State::{Bad, Good, Remark as Noted};
        type Case = (&'static [(Check, State, Option<(&'static str, Harm)>)], Health, Option<&'static str>);
        let cases: &[Case] = &[
            (&[(Url, Good, None)], Health::Healthy, None),
            (&[(Tcp, Bad, Some(("refused", Broken))), (NeutralDirect, Noted, None)], Health::Broken, Some("refused")),
            // A flaw of the URL is the verdict only when nothing is wrong with the proxy itself.
            (
                &[(Url, Noted, Some(("unencoded", Broken))), (Credentials, Bad, Some(("wrong", Broken)))],
                Health::Broken,
                Some("wrong"),
            ),
            (&[(Url, Noted, Some(("unencoded", Broken))), (TargetProxied, Good, None)], Health::Broken, Some("unencoded")),
            (&[(NeutralProxied, Bad, Some(("no_way_out", Broken))), (TargetProxied, Good, None)], Health::Healthy, None),
            (
                &[(TargetProxied, Bad, Some(("reset", Broken))), (Repeated, Bad, Some(("intermittent", Impaired)))],
                Health::Impaired,
                Some("intermittent"),
            ),
            (&[(TargetProxied, Bad, Some(("denied", Broken))), (Repeated, Bad, None)], Health::Broken, Some("denied")),
            (
                &[(TargetProxied, Bad, Some(("forbidden", Broken))), (Names, Noted, Some(("differs", Broken)))],
                Health::Broken,
                Some("differs"),
            ),
            (
                &[(Tcp, Bad, Some(("timeout", Broken))), (NeutralDirect, Noted, Some(("portal", Broken)))],
                Health::Broken,
                Some("portal"),
            ),
            (&[(NeutralDirect, Noted, Some(("portal", Broken))), (TargetProxied, Good, None)], Health::Healthy, None),
            (&[(Speed, Noted, Some(("slow", Remark)))], Health::Healthy, Some("slow")),
            (&[(Repeated, Bad, None)], Health::Broken, None),
        ];
        for (findings, health, name) in cases {
            let findings: Vec<Finding> = findings.iter().map(|(check, state, name)| finding(*check, *state, *name)).collect();
            let verdict = conclude(&findings);
            assert_eq!((verdict.health, verdict.diagnosis.map(|d| d.name)), (*health, *name), "{findings:?}");
        }
    }
}
