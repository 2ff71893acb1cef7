//! Blue and green: decides how a candidate takes over from stable, and when it must not.
//!
//! [`Rollout::handle`] takes an event and the time, and returns at most one [`Transition`]. Everything else here serves
//! it: [`plan`] says what to do, [`observe`] what was seen, [`analysis`] what a step has shown, [`triggers`] what ends it at
//! once. Pure: no I/O, no clock, no Tokio. Must not know who sends events or what becomes of transitions.

pub mod analysis;
mod commands;
pub mod conditions;
mod decide;
pub mod gate;
pub mod machine;
pub mod observations;
pub mod plan;
pub mod sample;
pub mod stage;
pub mod standby;
pub mod state;
pub mod status;
pub mod timestamp;
pub mod transition;
pub mod triggers;
pub mod window;

pub use gate::Compared;
pub use machine::{Command, Event, Health, Member, Refusal, Rollout, SplitContext};
pub use plan::Plan;
pub use sample::Sample;
pub use stage::Stage;
pub use state::State;
pub use timestamp::Timestamp;
pub use transition::{Cause, Transition};

#[cfg(test)]
mod tests;
