//! One question to a store, for an operator: does it respond, is it new enough, is everything allowed that an exchange needs.

use std::time::{Duration, SystemTime};

use redis::{FromRedisValue, Script, Value};

use crate::names::FleetName;

/// The oldest version whose scripts work as the store's must.
const MAJOR_MIN: u32 = 7;

/// What a probe has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The server's name and version, as in `Redis 7.0.15`.
    pub server: String,
    /// Whether the version is one that a fleet can work with.
    pub is_supported: bool,
    /// How far its clock is ahead of this machine's, in milliseconds.
    pub clock_ahead_ms: i64,
    /// How long the response took.
    pub round_trip: Duration,
}

/// The script, and the keys that it takes.
pub(super) fn script(fleet: &FleetName) -> (Script, [String; 2]) {
    let key = |name: &str| format!("{{mcp-fleet:{}}}:{name}", fleet.as_str());
    (Script::new(include_str!("probe.lua")), ["probe-hash", "probe-set"].map(key))
}

/// The server has read its clock in the middle of the round trip, as far as is known.
pub(super) fn probed(value: Value, sent: SystemTime, round_trip: Duration) -> Option<Probed> {
    let (now, name, version): (i64, String, String) = FromRedisValue::from_redis_value(value).ok()?;
    let here = (sent + round_trip / 2).duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    Some(Probed {
        server: format!("{name} {version}"),
        is_supported: major.is_some_and(|major| major >= MAJOR_MIN),
        clock_ahead_ms: now - i64::try_from(here.as_millis()).ok()?,
        round_trip,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_probe_of_a_store_runs_every_command_that_an_exchange_runs() {
        let commands = |script: &'static str, call: &str| {
            let calls = script.split(call).skip(1).filter_map(|call| call.split('\'').next());
            calls.collect::<BTreeSet<&str>>()
        };
        let exchange = commands(include_str!("exchange.lua"), "redis.call('");
        assert!(exchange.len() > 10, "{exchange:?}");
        assert_eq!(commands(include_str!("probe.lua"), "run('"), exchange);
    }

    #[test]
    fn a_probe_of_a_store_reads_version_and_clock() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let reply = |now: &str, version: &str| Value::Array(vec![text(now), text("Redis"), text(version)]);
        let sent = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000);
        let found = probed(reply("1500", "7.0.15"), sent, Duration::from_millis(200)).unwrap();
        assert_eq!(
            (found.server.as_str(), found.is_supported, found.clock_ahead_ms),
            ("Redis 7.0.15", true, 400)
        );
        assert!(!probed(reply("1500", "6.2.1"), sent, Duration::ZERO).unwrap().is_supported);
        assert!(!probed(reply("1500", ""), sent, Duration::ZERO).unwrap().is_supported);
        assert_eq!(probed(Value::Nil, sent, Duration::ZERO), None);
    }
}
