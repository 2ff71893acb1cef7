//! The features that are switched off, on disk: one small file beside the rollout's state, which survives the process.
//!
//! Replaced whole. Its first line names the format and the checksum of
//! the rest; any other content is refused, never guessed at. Must not know what a feature does.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use mcp_host::files;
use serde::{Deserialize, Serialize};

use super::state_file::checksum;
use crate::config::feature::{Feature, FeatureChange, FeatureState, OFF_MAX};

const NAME: &str = "features.state";
const REFUSED: &str = "features.state.refused";
/// The content before the last switch.
const PREVIOUS: &str = "features.state.previous";
const HEAD: &str = "mcp-guard-features 1 ";
const BYTES_MAX: u64 = 4 << 20;
/// Changes remembered; older ones are in the log.
const HISTORY_MAX: usize = 100;

/// Everything in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Features {
    /// What is off, as it was switched off.
    pub(crate) off: Vec<FeatureChange>,
    /// The oldest first.
    pub(crate) history: Vec<FeatureChange>,
}

/// Why the file is not used, or could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FeatureFileError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is damaged or not of this version")]
    Unusable { path: PathBuf },
}

impl Features {
    /// Makes a change; false if everything is so already, `Err` if no more fits.
    pub(crate) fn change(&mut self, change: FeatureChange) -> Result<bool, String> {
        let place = self.off.iter().position(|off| off.feature == change.feature);
        match (change.to, place) {
            (FeatureState::Off, Some(_)) | (FeatureState::On, None) => return Ok(false),
            (FeatureState::Off, None) if self.off.len() >= OFF_MAX => {
                return Err(format!(
                    "{OFF_MAX} features are off already (hint: a pattern such as tool:jobs_*)"
                ));
            }
            (FeatureState::Off, None) => self.off.push(change.clone()),
            (FeatureState::On, Some(place)) => drop(self.off.remove(place)),
        }
        self.history.push(change);
        let excess = self.history.len().saturating_sub(HISTORY_MAX);
        self.history.drain(..excess);
        Ok(true)
    }

    /// What is off.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Feature> {
        self.off.iter().map(|off| &off.feature)
    }

    /// Reads the file of a directory; nothing is off where there is none.
    pub(crate) fn load(folder: &Path) -> Result<Features, FeatureFileError> {
        let path = folder.join(NAME);
        match read(&path) {
            Ok(bytes) => decode(&bytes).ok_or(FeatureFileError::Unusable { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Features::default()),
            Err(source) => Err(FeatureFileError::Io { path, source }),
        }
    }

    /// What a guard takes for off that starts with this directory, and what is wrong with its file. What was off before the last
    /// switch is closer to what the operator wants than nothing; none where not even that can be read.
    pub(crate) fn recover(folder: &Path) -> (Option<Features>, Option<String>) {
        let error = match Features::load(folder) {
            Ok(features) => return (Some(features), None),
            Err(error) => error,
        };
        let previous = Features::load_previous(folder);
        let problem = match &previous {
            Some(_) => {
                format!("{error}: off is what was off before the last switch (hint: make that switch again)")
            }
            None => {
                format!("{error}: nothing is off (hint: switch off again what has to be, or remove the file)")
            }
        };
        (previous, Some(problem))
    }

    /// What was off before the last switch, if that can be read.
    fn load_previous(folder: &Path) -> Option<Features> {
        decode(&read(&folder.join(PREVIOUS)).ok()?)
    }

    /// Replaces the file. After success the new content is on the disk; after a failure the old one still is. A file that
    /// cannot be read keeps another name.
    pub(crate) fn save(&self, folder: &Path) -> Result<(), FeatureFileError> {
        let failed = |name: &str| {
            let path = folder.join(name);
            move |source| FeatureFileError::Io { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("."))?;
        match Features::load(folder) {
            Ok(before) => {
                files::replace(&folder.join(PREVIOUS), &encode(&before), 0o600).map_err(failed(PREVIOUS))?;
            }
            Err(FeatureFileError::Unusable { path }) => {
                fs::rename(&path, folder.join(REFUSED)).map_err(failed(REFUSED))?;
            }
            // Replacing it shows whether it can be written.
            Err(FeatureFileError::Io { .. }) => {}
        }
        files::replace(&folder.join(NAME), &encode(self), 0o600).map_err(failed(NAME))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn encode(features: &Features) -> Vec<u8> {
    // Plain data with text keys: serialising it cannot fail; an empty body would be refused as damaged.
    let body = serde_json::to_vec(features).unwrap_or_default();
    [format!("{HEAD}{}\n", checksum(&body)).as_bytes(), &body, b"\n"].concat()
}

fn decode(bytes: &[u8]) -> Option<Features> {
    let rest = bytes.strip_prefix(HEAD.as_bytes())?;
    let at = rest.iter().position(|byte| *byte == b'\n')?;
    let (sum, body) = (&rest[..at], rest[at + 1..].strip_suffix(b"\n")?);
    let whole = bytes.len() as u64 <= BYTES_MAX && sum == checksum(body).as_bytes();
    if whole { serde_json::from_slice(body).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str, to: FeatureState) -> FeatureChange {
        let feature = Feature::parse(name).unwrap();
        FeatureChange {
            at: "2026-11-29T00:00:00Z".to_owned(),
            feature,
            to,
            who: "uid 0".to_owned(),
            reason: None,
        }
    }

    #[test]
    fn a_feature_goes_off_once_and_on_once() {
        let mut features = Features::default();
        assert_eq!(features.change(change("shadow", FeatureState::On)), Ok(false));
        assert_eq!(features.change(change("shadow", FeatureState::Off)), Ok(true));
        assert_eq!(features.change(change("shadow", FeatureState::Off)), Ok(false));
        assert_eq!((features.off.len(), features.history.len()), (1, 1));
        assert_eq!(features.change(change("shadow", FeatureState::On)), Ok(true));
        assert_eq!((features.off.len(), features.history.len()), (0, 2));
    }

    #[test]
    fn what_is_off_and_what_is_remembered_are_bounded() {
        let mut features = Features::default();
        for number in 0..OFF_MAX {
            assert_eq!(features.change(change(&format!("tool:t{number}"), FeatureState::Off)), Ok(true));
        }
        assert!(features.change(change("tool:more", FeatureState::Off)).is_err());
        assert_eq!((features.off.len(), features.history.len()), (OFF_MAX, HISTORY_MAX));
    }

    #[test]
    fn no_damage_passes_for_a_file_and_saving_keeps_the_damaged_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut features = Features::default();
        features.change(change("tool:jobs_*", FeatureState::Off)).unwrap();
        features.save(folder.path()).unwrap();
        assert_eq!(Features::load(folder.path()).unwrap(), features);
        let path = folder.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert_eq!(decode(&damaged), None, "byte {at}");
            assert_eq!(decode(&whole[..at]), None, "cut at {at}");
        }
        fs::write(&path, &whole[1..]).unwrap();
        let refused = Features::load(folder.path());
        assert!(matches!(refused, Err(FeatureFileError::Unusable { .. })), "{refused:?}");
        features.save(folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join(REFUSED)).unwrap(), &whole[1..]);
        assert_eq!(Features::load(folder.path()).unwrap(), features);
    }

    #[test]
    fn what_was_off_before_the_last_switch_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut features = Features::default();
        features.change(change("tool:a", FeatureState::Off)).unwrap();
        features.save(folder.path()).unwrap();
        assert_eq!(Features::load_previous(folder.path()), Some(Features::default()));
        let before = features.clone();
        features.change(change("tool:b", FeatureState::Off)).unwrap();
        features.save(folder.path()).unwrap();
        assert_eq!(Features::load_previous(folder.path()), Some(before.clone()));
        // A damaged file does not replace it.
        fs::write(folder.path().join(NAME), "x").unwrap();
        features.save(folder.path()).unwrap();
        assert_eq!(Features::load_previous(folder.path()), Some(before));
    }
}
