//! The plan of a rollout: its steps, how long each holds, what each must show, and what ends it.
//!
//! A plan is valid by construction and travels with the rollout it governs: editing the file does not change a rollout
//! under way. Must not know where it was read from.

pub mod analysis;
pub mod triggers;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::analysis::Analysis;
use self::triggers::Triggers;
use super::stage::Stage;
use crate::upstream::Percent;

/// Who moves the rollout on from a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advance {
    /// The analysis, once the hold is over and the verdict is `pass`.
    Automatic,
    /// `rollout promote`.
    Manual,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The stage this step belongs to.
    pub stage: Stage,
    /// The candidate's share of the clients.
    pub weight: Percent,
    /// How long the step lasts at least.
    pub hold: Duration,
    /// How many of the candidate's responses a verdict needs at least.
    pub min_samples: u64,
    /// Who moves on.
    pub advance: Advance,
}

/// A whole, valid plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    steps: Vec<Step>,
    /// What a step must show.
    pub analysis: Analysis,
    /// What ends or stops a rollout at once.
    pub triggers: Triggers,
    /// Clients that meet the candidate first, from the canary on.
    pub candidate_clients: BTreeSet<String>,
    /// Clients that stay on stable until all traffic moves.
    pub stable_clients: BTreeSet<String>,
    /// Whether candidate and stable are compared before each step.
    pub parity_gate: bool,
}

/// Why steps are not a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing to do.
    #[error("a plan needs at least one step")]
    Empty,
    /// `stable` and `complete` are where a rollout comes from and goes to.
    #[error("step {step}: `{}` is no step: a rollout starts from `stable` and ends at `complete`", stage.as_str())]
    NotAStep {
        /// Which step, counted from 1.
        step: usize,
        /// Its stage.
        stage: Stage,
    },
    /// Stages have an order.
    #[error("step {step}: `{}` cannot follow `{}`", stage.as_str(), before.as_str())]
    OutOfOrder {
        /// Which step, counted from 1.
        step: usize,
        /// Its stage.
        stage: Stage,
        /// The stage of the step before.
        before: Stage,
    },
    /// A smaller share would move clients back.
    #[error("step {step}: the weight falls from {before} to {weight}; it must not")]
    WeightFalls {
        /// Which step, counted from 1.
        step: usize,
        /// Its weight.
        weight: u8,
        /// The weight of the step before.
        before: u8,
    },
    /// The stage and the weight contradict each other.
    #[error("step {step}: `{}` means a weight of {must}, not {weight}", stage.as_str())]
    WeightOfStage {
        /// Which step, counted from 1.
        step: usize,
        /// Its stage.
        stage: Stage,
        /// Its weight.
        weight: u8,
        /// What the stage allows.
        must: &'static str,
    },
    /// A step that needs no sample would pass unmeasured.
    #[error("step {step}: min_samples: 0 is not allowed; must be 1 or more")]
    NoSamples {
        /// Which step, counted from 1.
        step: usize,
    },
    /// A client cannot be both early and late.
    #[error("client `{0}` is named both in candidate_clients and in stable_clients")]
    ClientNamedTwice(String),
}

impl Plan {
    /// A plan of these steps; every reason why not.
    pub fn new(
        steps: Vec<Step>,
        analysis: Analysis,
        triggers: Triggers,
        candidate_clients: BTreeSet<String>,
        stable_clients: BTreeSet<String>,
        parity_gate: bool,
    ) -> Result<Plan, Vec<PlanError>> {
        let mut problems = judge_steps(&steps);
        let twice = candidate_clients.intersection(&stable_clients);
        problems.extend(twice.map(|client| PlanError::ClientNamedTwice(client.clone())));
        if problems.is_empty() {
            Ok(Plan { steps, analysis, triggers, candidate_clients, stable_clients, parity_gate })
        } else {
            Err(problems)
        }
    }

    /// Whether the rules of [`Plan::new`] hold: a plan that was read back from a file may break them.
    pub fn is_valid(&self) -> bool {
        judge_steps(&self.steps).is_empty()
    }

    /// The steps, in order; never empty.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// A step by its number, counted from 0.
    pub fn step(&self, number: usize) -> Option<&Step> {
        self.steps.get(number)
    }

    /// Begins with a step in which both slots are up and all traffic is on stable, which an operator ends.
    pub(super) fn begin_on_stable(&mut self) {
        let step = Step {
            stage: Stage::DualProtocol,
            weight: Percent::ZERO,
            hold: Duration::ZERO,
            min_samples: 1,
            advance: Advance::Manual,
        };
        self.steps.insert(0, step);
    }

    /// The first step of this stage.
    pub fn first_of(&self, stage: Stage) -> Option<usize> {
        self.steps.iter().position(|step| step.stage == stage)
    }
}

impl Default for Plan {
    /// Canary, 25/50/75, all, bake. Not shadow: a step that gets no copies never passes.
    fn default() -> Plan {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let step = |stage, weight, hold, min_samples| Step {
            stage,
            weight,
            hold,
            min_samples,
            advance: Advance::Automatic,
        };
        let percent = |share| Percent::new(share).unwrap_or(Percent::ALL);
        Plan {
            steps: vec![
                step(Stage::Canary, percent(5), minutes(10), 20),
                step(Stage::Progressive, percent(25), minutes(10), 50),
                step(Stage::Progressive, percent(50), minutes(10), 50),
                step(Stage::Progressive, percent(75), minutes(10), 50),
                step(Stage::CandidateOnly, Percent::ALL, minutes(30), 100),
                step(Stage::Bake, Percent::ALL, minutes(48 * 60), 500),
            ],
            analysis: Analysis::default(),
            triggers: Triggers::default(),
            candidate_clients: BTreeSet::new(),
            stable_clients: BTreeSet::new(),
            parity_gate: true,
        }
    }
}

fn judge_steps(steps: &[Step]) -> Vec<PlanError> {
    let mut problems = Vec::new();
    if steps.is_empty() {
        problems.push(PlanError::Empty);
    }
    let mut before: Option<&Step> = None;
    for (number, current) in steps.iter().enumerate() {
        let step = number + 1;
        let (stage, weight) = (current.stage, current.weight.get());
        if let Some(must) = weight_contradicts(stage, weight) {
            problems.push(PlanError::WeightOfStage { step, stage, weight, must });
        }
        match stage {
            Stage::Stable | Stage::Complete => problems.push(PlanError::NotAStep { step, stage }),
            Stage::DualProtocol => {}
            Stage::Shadow | Stage::Canary | Stage::Progressive | Stage::CandidateOnly | Stage::Bake => {
                if current.min_samples == 0 {
                    problems.push(PlanError::NoSamples { step });
                }
            }
        }
        if let Some(before) = before {
            if stage < before.stage {
                problems.push(PlanError::OutOfOrder { step, stage, before: before.stage });
            }
            if weight < before.weight.get() {
                problems.push(PlanError::WeightFalls { step, weight, before: before.weight.get() });
            }
        }
        before = Some(current);
    }
    problems
}

/// What the weight of this stage must be, if this one is not it.
fn weight_contradicts(stage: Stage, weight: u8) -> Option<&'static str> {
    match stage {
        Stage::Stable | Stage::Complete => None,
        Stage::DualProtocol | Stage::Shadow => (weight != 0).then_some("0"),
        // A canary may be its list of clients alone.
        Stage::Canary => (weight == 100).then_some("0 to 99"),
        Stage::Progressive => (weight == 0 || weight == 100).then_some("1 to 99"),
        Stage::CandidateOnly | Stage::Bake => (weight != 100).then_some("100"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(stage: Stage, weight: u8) -> Step {
        Step {
            stage,
            weight: Percent::new(weight).unwrap(),
            hold: Duration::from_secs(1),
            min_samples: 1,
            advance: Advance::Automatic,
        }
    }

    #[track_caller]
    fn check(steps: &[(Stage, u8)], problems: &[&str]) {
        let steps = steps.iter().map(|(stage, weight)| step(*stage, *weight)).collect();
        let judged = Plan::new(
            steps,
            Analysis::default(),
            Triggers::default(),
            BTreeSet::new(),
            BTreeSet::new(),
            false,
        );
        let found: Vec<String> = judged.err().unwrap_or_default().iter().map(ToString::to_string).collect();
        assert_eq!(found, problems);
    }

    #[test]
    fn the_default_plan_is_valid_and_has_the_contracts_steps() {
        let plan = Plan::default();
        assert_eq!(judge_steps(plan.steps()), vec![]);
        let weights: Vec<u8> = plan.steps().iter().map(|step| step.weight.get()).collect();
        assert_eq!(weights, [5, 25, 50, 75, 100, 100]);
    }

    #[test]
    fn says_everything_that_is_wrong_with_the_steps() {
        check(&[], &["a plan needs at least one step"]);
        check(&[(Stage::Canary, 10), (Stage::CandidateOnly, 100)], &[]);
        check(&[(Stage::Canary, 0)], &[]);
        check(
            &[(Stage::Stable, 0), (Stage::Progressive, 50), (Stage::Canary, 20), (Stage::Shadow, 1)],
            &[
                "step 1: `stable` is no step: a rollout starts from `stable` and ends at `complete`",
                "step 3: `canary` cannot follow `progressive`",
                "step 3: the weight falls from 50 to 20; it must not",
                "step 4: `shadow` means a weight of 0, not 1",
                "step 4: `shadow` cannot follow `canary`",
                "step 4: the weight falls from 20 to 1; it must not",
            ],
        );
        check(
            &[(Stage::Bake, 99), (Stage::Complete, 100)],
            &[
                "step 1: `bake` means a weight of 100, not 99",
                "step 2: `complete` is no step: a rollout starts from `stable` and ends at `complete`",
            ],
        );
    }

    #[test]
    fn a_client_cannot_be_early_and_late() {
        let names: BTreeSet<String> = ["panda-bot".to_owned()].into();
        let judged = Plan::new(
            vec![step(Stage::Canary, 1)],
            Analysis::default(),
            Triggers::default(),
            names.clone(),
            names,
            false,
        );
        assert_eq!(judged.unwrap_err(), [PlanError::ClientNamedTwice("panda-bot".to_owned())]);
    }
}
