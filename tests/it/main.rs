//! The real guard against scripted backends and raw clients. One module a behaviour; the requirement stands above its
//! test.

mod harness;

mod answers;
mod deadlines;
mod forwarding;
mod framing;
mod front_door;
mod hold;
mod lifecycle;
mod limits;
mod observability;
mod refusals;
mod streams;
