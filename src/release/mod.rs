//! What surrounds a switch: releases side by side, a deployment in steps that can be finished or undone, backups, records.
//!
//! The plan of steps is pure (`plan`); `operate` carries it out on a `Site`, and `site` is the real one. Must not know how
//! commands print.

pub(crate) mod backup;
pub(crate) mod calls;
mod checkpoint;
mod drill;
pub(crate) mod figures;
pub(crate) mod files;
pub(crate) mod host;
pub(crate) mod journal;
mod layout;
pub(crate) mod manifest;
pub(crate) mod operate;
pub(crate) mod plan;
pub(crate) mod record;
mod self_check;
pub(crate) mod silence;
mod site;
mod stand_in;
pub(crate) mod store;
mod unpack;
pub(crate) mod verify;

pub(crate) use layout::Layout;
