//! Switches features of a running guard, and keeps them switched over reloads, restarts and upgrades.
//!
//! Holds the configuration as it was read, so that a switch does not depend on a file that is being edited. Must not know how
//! a command arrives.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::admin::FeatureReport;
use crate::config::Config;
use crate::config::feature::{Feature, FeatureChange, FeatureState, FeatureStatus};
use crate::control::feature_file::Features;
use crate::policy::routes::RouteRule;
use crate::proxy::Handle;

/// Characters of a reason: it is part of a line of the log, and of a file that is bounded.
const REASON_MAX: usize = 500;

/// The switches. Cheap to clone.
#[derive(Clone)]
pub(super) struct FeatureSwitches {
    switches: Arc<Mutex<Switches>>,
    /// Held while the file is written, so that files are written in the order of the switches. A reader does not wait for
    /// the disk.
    saving: Arc<Mutex<()>>,
}

struct Switches {
    /// `listen.state`; without it the switches end with the process.
    folder: Option<PathBuf>,
    /// As it was read: nothing is off in it.
    config: Config,
    features: Features,
    /// Why what is off may not be what was switched off.
    problem: Option<String>,
}

impl FeatureSwitches {
    /// Reads what is off. Returns the configuration to start with, too.
    pub(super) fn open(config: Config) -> (FeatureSwitches, Config) {
        let folder = config.listen.state.clone();
        let mut switches = Switches { folder, config, features: Features::default(), problem: None };
        switches.read();
        let applied = switches.applied();
        (FeatureSwitches { switches: Arc::new(Mutex::new(switches)), saving: Arc::default() }, applied)
    }

    /// Reads the file again: the process that this one replaces may have changed it since.
    pub(super) fn refresh(&self, handle: &Handle) {
        let mut switches = self.lock();
        let before = switches.features.off.clone();
        switches.read();
        if switches.features.off != before {
            handle.publish(switches.applied());
        }
        for off in &switches.features.off {
            log::warn!("features: {} is off, since {} {}", off.feature, off.at, why(off));
        }
    }

    /// Publishes a configuration that was just read, with what is off taken out of it.
    pub(super) fn publish(&self, config: Config, handle: &Handle) {
        let mut switches = self.lock();
        switches.config = config;
        handle.publish(switches.applied());
    }

    pub(super) fn status(&self) -> FeatureStatus {
        let switches = self.lock();
        FeatureStatus { off: switches.features.off.clone(), problem: switches.problem.clone() }
    }

    /// The routes that are off.
    pub(super) fn routes_off(&self) -> Vec<RouteRule> {
        let switches = self.lock();
        routes_off(&switches.config, &switches.features)
    }

    pub(super) fn report(&self, notes: Vec<String>) -> FeatureReport {
        let switches = self.lock();
        let routes = switches.config.routes.iter().map(|route| route.rule.name.clone()).collect();
        let status = FeatureStatus { off: switches.features.off.clone(), problem: switches.problem.clone() };
        FeatureReport { status, history: switches.features.history.clone(), routes, notes }
    }

    /// Switches a feature; `Err` says why not. Writes a file, so it must not be called on a thread that serves.
    pub(super) fn switch(
        &self,
        (feature, to, reason): (Feature, FeatureState, Option<String>),
        who: String,
        handle: &Handle,
    ) -> Result<Vec<String>, String> {
        let _saving = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let mut switches = self.lock();
        if to == FeatureState::Off
            && let Some(why) = switches.config.lacks(&feature)
        {
            return Err(why);
        }
        let printable = |character: &char| !character.is_control();
        let reason = reason.map(|text| text.chars().filter(printable).take(REASON_MAX).collect());
        let change = FeatureChange { at: now(), feature: feature.clone(), to, who, reason };
        let line = format!("{feature} is {}, {}", to.as_str(), why(&change));
        if !switches.features.change(change)? {
            return Ok(vec![format!("{feature} was {} already", to.as_str())]);
        }
        // Published first: that is what the operator waits for, whatever the disk does.
        handle.publish(switches.applied());
        log::warn!("features: {line}");
        let mut notes = Vec::new();
        if let (Feature::Tool(pattern), FeatureState::Off) = (&feature, to)
            && !handle.knows_tool(pattern)
        {
            notes.push(format!("no tool that a backend has listed so far matches {pattern}"));
        }
        let (folder, features) = (switches.folder.clone(), switches.features.clone());
        drop(switches);
        let saved = save(folder.as_deref(), &features);
        if saved.is_ok() {
            self.lock().problem = None;
        }
        notes.extend(saved.err().map(|why| format!("done, but a restart forgets it: {why}")));
        Ok(notes)
    }

    /// Switches what the process that replaces this one has switched. That one keeps the file, and has judged the switch.
    pub(super) fn follow_switch(
        &self,
        feature: Feature,
        to: FeatureState,
        handle: &Handle,
    ) -> Result<(), String> {
        let mut switches = self.lock();
        let line = format!("{feature} is {}, as in the process that serves now", to.as_str());
        let who = "the process that serves now".to_owned();
        let change = FeatureChange { at: now(), feature, to, who, reason: None };
        if switches.features.change(change)? {
            handle.publish(switches.applied());
            log::warn!("features: {line}");
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Switches> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Switches {
    fn applied(&self) -> Config {
        self.config.clone().without(self.features.names())
    }

    fn read(&mut self) {
        let Some(folder) = &self.folder else { return };
        let (features, problem) = Features::recover(folder);
        if let Some(features) = features {
            self.features = features;
        }
        if let Some(problem) = &problem {
            log::error!("features: {problem}");
        }
        self.problem = problem;
    }
}

/// Writes the file, or says why it was not written.
fn save(folder: Option<&Path>, features: &Features) -> Result<(), String> {
    let Some(folder) = folder else { return Err("listen.state is not set".to_owned()) };
    features.save(folder).map_err(|error| {
        log::error!("features: not saved: {error}");
        error.to_string()
    })
}

/// The routes of a configuration, as it was read, that are off.
pub(super) fn routes_off(config: &Config, features: &Features) -> Vec<RouteRule> {
    let rules = config.routes.iter().map(|route| &route.rule);
    let is_off = |rule: &&RouteRule| {
        features.names().any(|feature| matches!(feature, Feature::Route(name) if *name == rule.name))
    };
    rules.filter(is_off).cloned().collect()
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn why(change: &FeatureChange) -> String {
    let reason = change.reason.as_deref().map_or(String::new(), |reason| format!(": {reason}"));
    format!("by {}{reason}", change.who)
}
