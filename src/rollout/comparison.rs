//! The values of the parity gate: differences between the backends, the result of a comparison, and the gate's state.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::timestamp::Timestamp;

/// One difference between the backends that would break a client, as the comparison words it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The check that found it.
    pub check: String,
    /// The tool or client that it is about, if one.
    pub subject: Option<String>,
    /// Where in it.
    pub path: String,
    /// What happened.
    pub change: String,
    /// What stable has.
    pub live: Option<String>,
    /// What the candidate has.
    pub candidate: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.check)?;
        match (&self.subject, self.path.as_str()) {
            (Some(subject), "") => write!(f, "{subject} - ")?,
            (Some(subject), path) => write!(f, "{subject} {path} - ")?,
            (None, "") => {}
            (None, path) => write!(f, "{path} - ")?,
        }
        write!(f, "{}", self.change)?;
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        if self.live.is_some() || self.candidate.is_some() {
            write!(f, " (live {}, candidate {})", shown(&self.live), shown(&self.candidate))?;
        }
        Ok(())
    }
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// No client would break.
    Holds,
    /// Some would.
    Breaks(Vec<Difference>),
    /// It could not be made, and why.
    Unknown(String),
}

/// What is known of the gate before the next step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Gate {
    /// It has not run yet.
    #[default]
    Idle,
    Wanted,
    Comparing,
    Open(Timestamp),
    Unknown {
        at: Timestamp,
        why: String,
    },
}
