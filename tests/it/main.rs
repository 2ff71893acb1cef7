//! The real guard against scripted backends and raw clients. One module a behaviour; the requirement stands above its
//! test.

#![expect(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod answers;
mod cors;
mod deadlines;
mod discover;
mod fair;
mod faults;
mod faults_crowd;
mod faults_operator;
mod forwarding;
mod framing;
mod front_door;
mod gate;
mod hold;
mod interim;
mod lifecycle;
mod limits;
mod listing;
mod no_answer;
mod notifications;
mod observability;
mod orders;
mod overload;
mod quotas;
mod quotes;
mod refusals;
mod reload;
mod rollout;
mod rollout_load;
mod rollout_slots;
mod rollout_state;
mod rollout_triggers;
mod routes;
mod routes_streams;
mod secrets;
mod sessions;
mod shadow;
mod shadow_cost;
mod stream_ends;
mod streams;
mod streams_apart;
mod swelling;
mod truth;

/// Describes a guard of this build.
fn guard() -> mcp_testkit::Builder {
    mcp_testkit::guard(env!("CARGO_BIN_EXE_mcp-guard"))
}
