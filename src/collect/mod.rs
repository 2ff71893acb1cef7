//! Collects from two servers what parity compares: facts, the authorization matrix, timing.

mod auth_matrix;
mod facts;
mod timing;

pub(crate) use auth_matrix::auth_matrix;
pub(crate) use facts::survey;
pub(crate) use timing::time_both;
