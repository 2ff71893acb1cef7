//! What would become of a request: the proxy's explanation, with what the rollout and the switched-off features add to it.
//!
//! Asked of a running guard, or of a configuration and the state that the last guard saved. Must not know how it is shown.

use crate::config::Config;
use crate::config::feature::{Feature, FeatureChange, FeatureStatus};
use crate::control::feature_file::Features;
use crate::control::{RolloutReport, Settings, saved_rollout};
use crate::policy::tools::Pattern;
use crate::proxy::explain::{self, Explanation, Question};
use crate::proxy::{Handle, TrafficSplit, VersionCap};

/// The parts of a running guard that an explanation goes by.
pub(super) struct Asked<'g> {
    pub(super) handle: &'g Handle,
    pub(super) features: &'g FeatureStatus,
    pub(super) rollout: Option<RolloutReport>,
}

impl Asked<'_> {
    pub(super) fn explain(self, question: &Question) -> Result<Explanation, String> {
        let mut explanation = self.handle.explain(question)?;
        explanation.off = concerned(&self.features.off, &explanation);
        if let Some(report) = self.rollout {
            explanation.rollout = report.status.run.is_some().then(|| report.status.position.to_string());
            explanation.notes.extend(report.problems);
        }
        Ok(explanation)
    }
}

/// Explains a request to a guard that does not run: by its configuration, and by what is saved beside it. `now` is seconds since the
/// epoch.
pub(crate) fn without_a_guard(config: Config, question: &Question, now: u64) -> Result<Explanation, String> {
    let folder = config.listen.state.clone();
    let features = folder.as_deref().map(Features::load).transpose().unwrap_or_default().unwrap_or_default();
    let rollout = saved_rollout(folder.as_deref(), &Settings::of(&config));
    let version_cap = if rollout.fenced() { VersionCap::Legacy } else { VersionCap::None };
    let stage = rollout.state().position().stage;
    let traffic = TrafficSplit { split: rollout.split(), version_cap, stage };
    let off = features.off.clone();
    let oauth = config.oauth.is_some();
    let config = config.without(features.names());
    let mut explanation = explain::configured(config, &traffic, question, now)?;
    explanation.off = concerned(&off, &explanation);
    let state = rollout.state();
    explanation.rollout = state.run.is_some().then(|| state.position().to_string());
    explanation.notes.push(
        "no guard runs: this goes by the configuration and the saved state; what is used of limits and which slot is healthy is not known"
            .to_owned(),
    );
    if oauth && question.client.is_none() {
        explanation.notes.push("tokens of issuers are verified by a running guard only".to_owned());
    }
    Ok(explanation)
}

/// What is switched off and has to do with this request.
fn concerned(off: &[FeatureChange], explanation: &Explanation) -> Vec<FeatureChange> {
    let is_concerned = |change: &&FeatureChange| match &change.feature {
        Feature::Tool(pattern) => {
            let pattern = Pattern::new(pattern);
            explanation.tool.as_deref().is_some_and(|tool| pattern.matches_in_any_case(tool))
        }
        Feature::Client(name) => explanation.client.as_deref() == Some(name),
        Feature::Route(_) => false,
        Feature::Shadow | Feature::EraFence => true,
    };
    off.iter().filter(is_concerned).cloned().collect()
}
