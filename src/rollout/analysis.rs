//! The verdict on a step: pass, fail, or not known yet - and why.
//!
//! The candidate is judged against limits and against stable of the same minutes. Few samples are never a pass. Must not
//! know what follows from a verdict.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::plan::Step;
use super::plan::analysis::Analysis;
use super::stage::Stage;
use crate::rollout::observations::{ShadowTally, Summary};

/// What the samples of a step say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "findings")]
pub enum Conclusion {
    /// Good enough to go on.
    Pass,
    /// Not good enough, beyond chance.
    Fail(Vec<Finding>),
    /// Cannot be said yet.
    Inconclusive(Vec<Finding>),
}

impl Conclusion {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Conclusion::Pass => "pass",
            Conclusion::Fail(_) => "fail",
            Conclusion::Inconclusive(_) => "inconclusive",
        }
    }

    /// The reasons; a pass needs none.
    pub fn findings(&self) -> &[Finding] {
        match self {
            Conclusion::Pass => &[],
            Conclusion::Fail(findings) | Conclusion::Inconclusive(findings) => findings,
        }
    }
}

/// One reason for a conclusion, with its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "finding")]
pub enum Finding {
    /// The candidate has not responded often enough.
    TooFewSamples {
        /// Responses so far.
        have: u64,
        /// Responses needed.
        need: u64,
    },
    /// More failures than allowed.
    ErrorRate {
        /// The candidate's.
        candidate: f64,
        /// The limit.
        limit: f64,
    },
    /// More failures than stable in the same minutes.
    MoreErrorsThanStable {
        /// The candidate's.
        candidate: f64,
        /// Stable's.
        stable: f64,
        /// The difference allowed.
        margin: f64,
    },
    /// Stable fails as often as the candidate: what is wrong is not the candidate's doing, and no reason to go on.
    StableFailsToo {
        /// The candidate's.
        candidate: f64,
        /// Stable's.
        stable: f64,
    },
    /// Slower than allowed.
    Latency {
        /// The candidate's 95th percentile in milliseconds.
        candidate_ms: f64,
        /// The limit in milliseconds.
        limit_ms: f64,
    },
    /// Slower than stable in the same minutes.
    SlowerThanStable {
        /// The candidate's 95th percentile in milliseconds.
        candidate_ms: f64,
        /// Stable's.
        stable_ms: f64,
    },
    /// Responses that differ from stable's.
    Mismatches {
        /// How many differ.
        mismatched: u64,
        /// Of how many.
        requests: u64,
        /// The part that may differ.
        limit: f64,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |rate: &f64| rate * 100.0;
        match self {
            Finding::TooFewSamples { have, need } => {
                write!(f, "{have} of the {need} answers of the candidate that a verdict needs")
            }
            Finding::ErrorRate { candidate, limit } => {
                write!(f, "candidate error rate {:.1} % above {:.1} %", percent(candidate), percent(limit))
            }
            Finding::MoreErrorsThanStable { candidate, stable, margin } => write!(
                f,
                "candidate error rate {:.1} %, stable {:.1} % in the same minutes (margin {:.1} %)",
                percent(candidate),
                percent(stable),
                percent(margin)
            ),
            Finding::StableFailsToo { candidate, stable } => write!(
                f,
                "stable fails as well: candidate {:.1} %, stable {:.1} % in the same minutes",
                percent(candidate),
                percent(stable)
            ),
            Finding::Latency { candidate_ms, limit_ms } => {
                write!(f, "candidate p95 {candidate_ms:.0} ms above {limit_ms:.0} ms")
            }
            Finding::SlowerThanStable { candidate_ms, stable_ms } => {
                write!(f, "candidate p95 {candidate_ms:.0} ms, stable {stable_ms:.0} ms in the same minutes")
            }
            Finding::Mismatches { mismatched, requests, limit } => write!(
                f,
                "{mismatched} of {requests} answers differ from stable's (at most {:.1} %)",
                percent(limit)
            ),
        }
    }
}

/// Judges a step from both slots' numbers since it began.
pub fn conclude(
    limits: &Analysis,
    step: &Step,
    candidate: &Summary,
    stable: &Summary,
    shadow: &ShadowTally,
) -> Conclusion {
    match step.stage {
        Stage::Stable | Stage::DualProtocol | Stage::Complete => Conclusion::Pass,
        Stage::Shadow => conclude_shadow(limits, step, shadow),
        Stage::Canary | Stage::Progressive | Stage::CandidateOnly | Stage::Bake => {
            conclude_live(limits, step, candidate, stable)
        }
    }
}

fn conclude_shadow(limits: &Analysis, step: &Step, shadow: &ShadowTally) -> Conclusion {
    let (have, need) = (shadow.requests, step.min_samples);
    if have < need {
        return Conclusion::Inconclusive(vec![Finding::TooFewSamples { have, need }]);
    }
    let mut findings = Vec::new();
    let failed = shadow.failures as f64 / shadow.requests as f64;
    if failed > limits.max_error_rate {
        findings.push(Finding::ErrorRate { candidate: failed, limit: limits.max_error_rate });
    }
    if shadow.mismatched as f64 / shadow.requests as f64 > limits.max_mismatch_rate {
        findings.push(Finding::Mismatches {
            mismatched: shadow.mismatched,
            requests: shadow.requests,
            limit: limits.max_mismatch_rate,
        });
    }
    if findings.is_empty() { Conclusion::Pass } else { Conclusion::Fail(findings) }
}

fn conclude_live(limits: &Analysis, step: &Step, candidate: &Summary, stable: &Summary) -> Conclusion {
    let (have, need) = (candidate.requests, step.min_samples);
    if have < need {
        return Conclusion::Inconclusive(vec![Finding::TooFewSamples { have, need }]);
    }
    let (mut failed, mut unsure) = (Vec::new(), Vec::new());
    // With few calls on stable (all clients have moved) there is nothing to compare with; the limits remain.
    let compared = (stable.requests >= step.min_samples).then_some(stable);
    judge_errors(limits, candidate, compared, &mut failed, &mut unsure);
    judge_latency(limits, candidate, compared, &mut failed, &mut unsure);
    if !failed.is_empty() {
        Conclusion::Fail(failed)
    } else if !unsure.is_empty() {
        Conclusion::Inconclusive(unsure)
    } else {
        Conclusion::Pass
    }
}

fn judge_errors(
    limits: &Analysis,
    candidate: &Summary,
    stable: Option<&Summary>,
    failed: &mut Vec<Finding>,
    unsure: &mut Vec<Finding>,
) {
    let rate = candidate.error_rate;
    let Some(stable) = stable else {
        if rate > limits.max_error_rate {
            failed.push(Finding::ErrorRate { candidate: rate, limit: limits.max_error_rate });
        }
        return;
    };
    let worse = rate > stable.error_rate + limits.error_margin;
    if worse {
        let finding = Finding::MoreErrorsThanStable {
            candidate: rate,
            stable: stable.error_rate,
            margin: limits.error_margin,
        };
        if beyond_chance(candidate, stable) { failed.push(finding) } else { unsure.push(finding) }
    }
    if rate > limits.max_error_rate {
        if worse || stable.error_rate <= limits.max_error_rate {
            failed.push(Finding::ErrorRate { candidate: rate, limit: limits.max_error_rate });
        } else {
            unsure.push(Finding::StableFailsToo { candidate: rate, stable: stable.error_rate });
        }
    }
}

fn judge_latency(
    limits: &Analysis,
    candidate: &Summary,
    stable: Option<&Summary>,
    failed: &mut Vec<Finding>,
    unsure: &mut Vec<Finding>,
) {
    let Some(candidate_ms) = candidate.p95_ms else { return };
    let limit_ms = limits.max_p95.as_secs_f64() * 1_000.0;
    let stable_ms = stable.and_then(|stable| stable.p95_ms);
    if let Some(stable_ms) = stable_ms
        && candidate_ms > stable_ms * limits.latency_ratio
        && candidate_ms - stable_ms > limits.latency_floor.as_secs_f64() * 1_000.0
    {
        failed.push(Finding::SlowerThanStable { candidate_ms, stable_ms });
    }
    if candidate_ms > limit_ms {
        let finding = Finding::Latency { candidate_ms, limit_ms };
        // Stable is as slow: wait for both to recover.
        if stable_ms.is_some_and(|stable_ms| stable_ms > limit_ms) {
            unsure.push(finding)
        } else {
            failed.push(finding)
        }
    }
}

/// Whether the difference of two failure rates is more than chance would make of equal ones: the one-sided test of two
/// proportions at 5 %.
fn beyond_chance(candidate: &Summary, stable: &Summary) -> bool {
    let (n, m) = (candidate.requests as f64, stable.requests as f64);
    let pooled = (candidate.error_rate * n + stable.error_rate * m) / (n + m);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    candidate.error_rate - stable.error_rate > 1.645 * deviation
}

#[cfg(test)]
mod tests {
    use super::super::plan::Plan;
    use super::*;

    fn summary(requests: u64, error_rate: f64, p95_ms: f64) -> Summary {
        let failures = (requests as f64 * error_rate) as u64;
        let p95_ms = (requests > 0).then_some(p95_ms);
        Summary { requests, failures, tool_errors: 0, error_rate, p50_ms: p95_ms, p95_ms }
    }

    /// A progressive step of the default plan: 50 samples.
    #[track_caller]
    fn check(candidate: Summary, stable: Summary, expect: &str) {
        let plan = Plan::default();
        let step = plan.step(1).unwrap();
        let conclusion = conclude(&plan.analysis, step, &candidate, &stable, &ShadowTally::default());
        let findings: Vec<String> = conclusion.findings().iter().map(ToString::to_string).collect();
        assert_eq!(
            format!("{}: {}", conclusion.as_str(), findings.join("; ")).trim_end_matches(": "),
            expect
        );
    }

    #[test]
    fn too_few_samples_never_pass() {
        check(
            summary(49, 0.0, 1.0),
            summary(9_999, 0.0, 1.0),
            "inconclusive: 49 of the 50 answers of the candidate that a verdict needs",
        );
        check(
            summary(0, 0.0, 0.0),
            summary(0, 0.0, 0.0),
            "inconclusive: 0 of the 50 answers of the candidate that a verdict needs",
        );
        check(summary(50, 0.0, 1.0), summary(9_999, 0.0, 1.0), "pass");
    }

    #[test]
    fn limits_hold_also_when_there_is_nothing_to_compare_with() {
        check(summary(1_000, 0.05, 1.0), summary(0, 0.0, 0.0), "pass");
        check(
            summary(1_000, 0.051, 1.0),
            summary(0, 0.0, 0.0),
            "fail: candidate error rate 5.1 % above 5.0 %",
        );
        check(summary(1_000, 0.0, 5_000.0), summary(0, 0.0, 0.0), "pass");
        check(
            summary(1_000, 0.0, 5_100.0),
            summary(0, 0.0, 0.0),
            "fail: candidate p95 5100 ms above 5000 ms",
        );
    }

    #[test]
    fn a_candidate_worse_than_stable_fails_below_the_limit() {
        check(
            summary(1_000, 0.04, 1.0),
            summary(1_000, 0.01, 1.0),
            "fail: candidate error rate 4.0 %, stable 1.0 % in the same minutes (margin 2.0 %)",
        );
        check(summary(1_000, 0.029, 1.0), summary(1_000, 0.01, 1.0), "pass");
        check(
            summary(1_000, 0.0, 900.0),
            summary(1_000, 0.0, 300.0),
            "fail: candidate p95 900 ms, stable 300 ms in the same minutes",
        );
        check(summary(1_000, 0.0, 90.0), summary(1_000, 0.0, 3.0), "pass");
    }

    #[test]
    fn a_difference_that_may_be_chance_is_not_decided_yet() {
        check(
            summary(50, 0.03, 1.0),
            summary(50, 0.0, 1.0),
            "inconclusive: candidate error rate 3.0 %, stable 0.0 % in the same minutes (margin 2.0 %)",
        );
    }

    #[test]
    fn a_shared_cause_is_no_reason_to_blame_the_candidate_nor_to_go_on() {
        check(
            summary(1_000, 0.30, 1.0),
            summary(1_000, 0.30, 1.0),
            "inconclusive: stable fails as well: candidate 30.0 %, stable 30.0 % in the same minutes",
        );
        check(
            summary(1_000, 0.0, 6_000.0),
            summary(1_000, 0.0, 6_500.0),
            "inconclusive: candidate p95 6000 ms above 5000 ms",
        );
    }

    #[test]
    fn a_shadow_step_is_judged_by_its_copies() {
        let plan = Plan::default();
        let step = &Step { stage: Stage::Shadow, ..plan.step(0).unwrap().clone() };
        let judge = |requests, failures, mismatched| {
            let shadow = ShadowTally { requests, failures, mismatched };
            let none = summary(0, 0.0, 0.0);
            conclude(&plan.analysis, step, &none, &none, &shadow)
        };
        assert_eq!(judge(19, 0, 0).as_str(), "inconclusive");
        assert_eq!(judge(100, 5, 1), Conclusion::Pass);
        assert_eq!(
            judge(100, 0, 2).findings()[0].to_string(),
            "2 of 100 answers differ from stable's (at most 1.0 %)"
        );
        assert_eq!(judge(100, 6, 0).as_str(), "fail");
    }
}
