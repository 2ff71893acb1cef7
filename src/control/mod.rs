//! The control plane.
mod checks;
mod clock;
mod notify;
mod probe;
mod state;
