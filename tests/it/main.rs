//! The real guard against scripted backends and raw clients. One module a behaviour; the requirement stands above its
//! test.

#![expect(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod connection_limits;
mod console;
mod console_tls;
mod cors;
mod deadlines;
mod dependencies;
mod discover;
mod explain;
mod explain_callers;
mod explain_slots;
mod fairness;
mod faults;
mod faults_load;
mod faults_operator;
mod features;
mod fleet_limits;
mod forwarding;
mod framing;
mod hold_queue;
mod informational_responses;
mod invalid_responses;
mod large_lists;
mod lifecycle;
mod limits;
mod load_command;
mod notifications;
mod oauth;
mod oauth_keys;
mod oauth_operator;
mod observability;
mod operator_commands;
mod operator_status;
mod overload;
mod parity_gate;
mod policy_order;
mod refusals;
mod reload;
mod responses;
mod rollout;
mod rollout_load;
mod rollout_records;
mod rollout_slots;
mod rollout_state;
mod rollout_triggers;
mod routes;
mod routes_streams;
mod secrets;
mod secrets_quoted;
mod sessions;
mod shadow;
mod shadow_cost;
mod stream_ends;
mod stream_limits;
mod streams;
mod tls;
mod tls_backends;
mod tls_clients;
mod tls_reload;
mod tls_upstream;
mod token_distribute;
mod tools_list_filter;
mod traces;
mod upgrade;
mod upgrade_end;

/// Describes a guard of this build.
fn guard() -> mcp_testkit::Builder {
    mcp_testkit::guard(env!("CARGO_BIN_EXE_mcp-guard"))
}
