//! What would become of a request: the proxy's explanation, with what the rollout and the switched-off features add to it.
//!
//! Asked of a running guard, or of a configuration and the state that the last guard saved. Must not know how it is shown.

use super::features::{FeatureSwitches, routes_off};
use super::identity::Identity;
use super::limits::FleetLimits;
use crate::config::Config;
use crate::config::feature::{Feature, FeatureChange};
use crate::control::feature_file::{FeatureFileError, Features};
use crate::control::{RolloutReport, Settings, saved_rollout};
use crate::policy::tools::Pattern;
use crate::proxy::explain::{self, Configured, Explanation, Question};
use crate::proxy::{Handle, TrafficSplit, VersionCap};
use mcp_host::diagnostics::chain;

/// The parts of a running guard that an explanation goes by.
pub(super) struct Asked<'g> {
    pub(super) handle: &'g Handle,
    pub(super) features: &'g FeatureSwitches,
    pub(super) rollout: Option<RolloutReport>,
}

impl Asked<'_> {
    pub(super) fn explain(self, question: &Question) -> Result<Explanation, String> {
        let mut explanation = self.handle.explain(&self.features.routes_off(), question)?;
        let status = self.features.status();
        explanation.off = concerned(&status.off, &explanation);
        explanation.notes.extend(status.problem);
        if let Some(report) = self.rollout {
            explanation.rollout = report.status.run.is_some().then(|| report.status.position.to_string());
            explanation.notes.extend(report.problems);
        }
        Ok(explanation)
    }
}

/// Explains a request by the configuration, and by what is saved beside it; `why` is why no guard was asked. `now` is seconds since the
/// epoch.
pub(crate) fn without_a_guard(
    mut config: Config,
    question: &Question,
    (why, now): (&str, u64),
) -> Result<Explanation, String> {
    let folder = config.listen.state.clone();
    let (features, problem) = folder.as_deref().map_or(Ok((Features::default(), None)), saved_features)?;
    let (rollout, rollout_problem) = saved_rollout(folder.as_deref(), &Settings::of(&config))?;
    let version_cap = if rollout.fenced() { VersionCap::Legacy } else { VersionCap::None };
    let stage = rollout.state().position().stage;
    let traffic = TrafficSplit { split: rollout.split(), version_cap, stage };
    let has_issuers = config.oauth.is_some();
    config.verifier = Identity::without_fetching(&config);
    FleetLimits::new().configure(&mut config);
    let routes_off = routes_off(&config, &features);
    let config = config.without(features.names());
    let mut explanation = explain::configured(Configured { config, traffic, routes_off, now }, question)?;
    explanation.off = concerned(&features.off, &explanation);
    let state = rollout.state();
    explanation.rollout = state.run.is_some().then(|| state.position().to_string());
    let notes = &mut explanation.notes;
    notes.push(format!(
        "no guard was asked ({why}): this goes by the configuration and the saved state; what is used of limits and which slot is \
         healthy is not known"
    ));
    notes.extend(problem.into_iter().chain(rollout_problem));
    if has_issuers && question.client.is_none() {
        notes.push(
            "tokens of issuers were judged by the keys of files and those that a guard has saved: none were fetched"
                .to_owned(),
        );
    }
    Ok(explanation)
}

/// What a guard of this directory takes for off, and what is wrong with its file; `Err` if that cannot be read.
fn saved_features(folder: &std::path::Path) -> Result<(Features, Option<String>), String> {
    if let Err(error @ FeatureFileError::Io { .. }) = Features::load(folder) {
        return Err(chain(&error));
    }
    let (features, problem) = Features::recover(folder);
    Ok((features.unwrap_or_default(), problem))
}

/// What is switched off and has to do with this request.
fn concerned(off: &[FeatureChange], explanation: &Explanation) -> Vec<FeatureChange> {
    let is_concerned = |change: &&FeatureChange| match &change.feature {
        Feature::Tool(pattern) => {
            let pattern = Pattern::new(pattern);
            explanation.tool.as_deref().is_some_and(|tool| pattern.matches_in_any_case(tool))
        }
        Feature::Client(name) => explanation.client.as_deref() == Some(name),
        Feature::Route(name) => explanation.route.as_deref() == Some(name),
        Feature::Shadow | Feature::EraFence => true,
    };
    off.iter().filter(is_concerned).cloned().collect()
}
