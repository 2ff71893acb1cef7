//! What the other guards of a fleet add to the decision, and why one of them keeps calls from its own candidate.

use super::tally::GuardTally;
use super::triggers::Fired;

/// What the other guards of a fleet say. Of a guard on its own: nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Others {
    /// What they have counted.
    pub counted: GuardTally,
    /// What makes one of them keep calls from its candidate.
    pub fired: Vec<Fired>,
    /// Why the fleet does not move forward now, as a sentence.
    pub hold: Option<String>,
}

/// Why this guard sends no calls to its candidate, whatever the rollout says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// It has not caught up with its fleet yet.
    NotCaughtUp,
    /// Its own candidate fails.
    Fails,
}
