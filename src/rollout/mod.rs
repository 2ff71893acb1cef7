//! Blue and green: decides how a candidate takes over from stable, and when it must not.
//!
//! [`Rollout::handle`] takes an event and the time, and returns at most one [`Transition`]. Everything else here serves
//! it: [`plan`] holds the steps, [`observations`] the samples, [`analysis`] judges a step, [`triggers`] end a rollout at
//! once. Pure: no I/O, no clock, no Tokio. Must not know who sends events or what becomes of transitions.

pub mod analysis;
pub mod armed;
pub mod comparison;
pub mod conditions;
pub mod event;
pub mod machine;
pub mod observations;
pub mod others;
pub mod plan;
pub mod position;
pub mod sample;
pub mod stage;
pub mod state;
pub mod status;
pub mod tally;
pub mod timestamp;
pub mod transition;
pub mod triggers;
pub mod window;

pub use comparison::Compared;
pub use event::{Command, Event, Health, Refusal};
pub use machine::{Member, Rollout, SplitContext};
pub use others::{Others, Withheld};
pub use plan::Plan;
pub use sample::Sample;
pub use stage::Stage;
pub use state::State;
pub use timestamp::Timestamp;
pub use transition::{Cause, Transition};

#[cfg(test)]
mod tests;
