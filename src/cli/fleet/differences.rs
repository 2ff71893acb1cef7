//! In what the members of a fleet differ from the guard that was asked, and which of them are silent. Pure.

use std::collections::BTreeSet;

use crate::control::fleet_report::{FleetReport, MemberReport};

/// A member that was silent for so long is not live: its shares of the limits have ended.
const SILENT_MS: u64 = 2_000;

/// In what one member differs from this guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct MemberDifference<'r> {
    pub(in crate::cli) member: &'r str,
    /// Its version and this guard's.
    pub(in crate::cli) version: Option<(&'r str, &'r str)>,
    /// The parts of the configuration.
    pub(in crate::cli) parts: Vec<&'r str>,
    /// The states that it and this guard follow.
    pub(in crate::cli) generation: Option<(u64, u64)>,
}

/// The members that differ. None where this guard is not among the members, since there is nothing to compare them with.
pub(in crate::cli) fn differences(report: &FleetReport) -> Vec<MemberDifference<'_>> {
    let Some(own) = report.members.iter().find(|member| member.member == report.member) else {
        return Vec::new();
    };
    report.members.iter().filter_map(|member| difference(member, own)).collect()
}

fn difference<'r>(member: &'r MemberReport, own: &'r MemberReport) -> Option<MemberDifference<'r>> {
    let version = (member.version != own.version).then_some((&*member.version, &*own.version));
    let parts = parts_that_differ(&member.configuration, &own.configuration);
    let generation = (member.generation != own.generation).then_some((member.generation, own.generation));
    let differs = version.is_some() || !parts.is_empty() || generation.is_some();
    differs.then_some(MemberDifference { member: &member.member, version, parts, generation })
}

/// The names of the digests in one of the two texts that are not in the other.
fn parts_that_differ<'r>(one: &'r str, other: &'r str) -> Vec<&'r str> {
    let parts = |text: &'r str| text.split_whitespace().collect::<BTreeSet<&str>>();
    let name = |part: &'r str| part.split_once('=').map_or(part, |(name, _)| name);
    let (one, other) = (parts(one), parts(other));
    let differing: BTreeSet<&str> = one.symmetric_difference(&other).copied().map(name).collect();
    differing.into_iter().collect()
}

/// Whether a member has not been heard of by the store for so long that it is not live.
pub(in crate::cli) fn is_silent(member: &MemberReport) -> bool {
    member.silent_ms > SILENT_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_configuration_that_differ_are_named() {
        for (one, other, expect) in [
            ("", "", &[] as &[&str]),
            ("plan=1 slots=2", "slots=2 plan=1", &[]),
            ("plan=1 slots=2", "plan=1 slots=3", &["slots"]),
            ("plan=1 slots=2 limits=4", "plan=9 slots=2", &["limits", "plan"]),
            ("odd", "plan=1", &["odd", "plan"]),
        ] {
            assert_eq!(parts_that_differ(one, other), expect, "{one:?} {other:?}");
        }
    }
}
