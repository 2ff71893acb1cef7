//! The stages of a rollout and their names, the migration plan's included.

use serde::{Deserialize, Serialize};

/// Where a rollout stands, in the order in which stages follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// No rollout: one slot serves.
    Stable,
    /// Both backends are up; all traffic is on stable.
    DualProtocol,
    /// Read-only calls are copied to the candidate; its responses are compared, never returned.
    Shadow,
    /// Chosen clients, or a small share, are on the candidate.
    Canary,
    /// A growing share is on the candidate.
    Progressive,
    /// All traffic is on the candidate.
    CandidateOnly,
    /// As `CandidateOnly`, watched for longer; the way back is still open.
    Bake,
    /// The roles have swapped: the candidate has become stable.
    Complete,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Stage; 8] = [
        Stage::Stable,
        Stage::DualProtocol,
        Stage::Shadow,
        Stage::Canary,
        Stage::Progressive,
        Stage::CandidateOnly,
        Stage::Bake,
        Stage::Complete,
    ];

    /// The name in plans, commands, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Stable => "stable",
            Stage::DualProtocol => "dual_protocol",
            Stage::Shadow => "shadow",
            Stage::Canary => "canary",
            Stage::Progressive => "progressive",
            Stage::CandidateOnly => "candidate_only",
            Stage::Bake => "bake",
            Stage::Complete => "complete",
        }
    }

    /// The stage of this name, or of the name the migration plan gives it.
    pub fn parse(name: &str) -> Option<Stage> {
        match name {
            "pre_migration" => Some(Stage::Stable),
            "shadow_mode" => Some(Stage::Shadow),
            "mcp_only" => Some(Stage::CandidateOnly),
            "cleanup" => Some(Stage::Bake),
            _ => Stage::ALL.into_iter().find(|stage| stage.as_str() == name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migration_plans_names_are_understood() {
        let names = [
            ("pre_migration", Stage::Stable),
            ("dual_protocol", Stage::DualProtocol),
            ("shadow_mode", Stage::Shadow),
            ("canary", Stage::Canary),
            ("progressive", Stage::Progressive),
            ("mcp_only", Stage::CandidateOnly),
            ("cleanup", Stage::Bake),
            ("complete", Stage::Complete),
        ];
        for (name, stage) in names {
            assert_eq!(Stage::parse(name), Some(stage), "{name}");
        }
        assert_eq!(Stage::parse("Canary"), None);
    }

    #[test]
    fn every_stage_is_found_by_its_own_name() {
        for stage in Stage::ALL {
            assert_eq!(Stage::parse(stage.as_str()), Some(stage));
        }
        assert!(Stage::ALL.is_sorted());
    }
}
