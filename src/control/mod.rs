//! The control plane.
mod state;
