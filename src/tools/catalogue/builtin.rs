//! The catalogue and the instructions that are compiled in, for a server started without any file.
//!
//! Must not hold tools of its own: everything comes from `conf/tools/`.

use super::Source;

/// The instructions text, byte for byte as in the shipped file.
pub(in crate::tools) const BUILTIN_INSTRUCTIONS: &str = include_str!("../../../conf/tools/instructions.txt");

const FILES: &[(&str, &str)] = &[
    ("builtin:base.toml", include_str!("../../../conf/tools/base.toml")),
    ("builtin:memory.toml", include_str!("../../../conf/tools/memory.toml")),
    ("builtin:panda_jobs.toml", include_str!("../../../conf/tools/panda_jobs.toml")),
    ("builtin:panda.toml", include_str!("../../../conf/tools/panda.toml")),
    ("builtin:pcs_tags.toml", include_str!("../../../conf/tools/pcs_tags.toml")),
    ("builtin:pcs_datasets.toml", include_str!("../../../conf/tools/pcs_datasets.toml")),
    ("builtin:pcs_prodtasks.toml", include_str!("../../../conf/tools/pcs_prodtasks.toml")),
    ("builtin:swf_system.toml", include_str!("../../../conf/tools/swf_system.toml")),
    ("builtin:swf_workflow.toml", include_str!("../../../conf/tools/swf_workflow.toml")),
    ("builtin:swf_data.toml", include_str!("../../../conf/tools/swf_data.toml")),
];

/// The shipped catalogue files, in listing order.
pub(in crate::tools) fn builtin_sources() -> Vec<Source> {
    FILES.iter().map(|(name, text)| Source { name: (*name).into(), text: (*text).into() }).collect()
}
