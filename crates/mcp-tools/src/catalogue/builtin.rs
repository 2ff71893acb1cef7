//! The compiled-in catalogue and instructions, for a server started without files.
//!
//! Must not hold tools of its own: everything comes from `conf/tools/`.

use super::file::includes;
use super::source::Source;

/// The instructions text, byte for byte as in the shipped file.
const INSTRUCTIONS: &str = include_str!("../../../../conf/tools/instructions.txt");

const CATALOGUE: &str = include_str!("../../../../conf/tools/swf.toml");

const FILES: &[(&str, &str)] = &[
    ("base.toml", include_str!("../../../../conf/tools/base.toml")),
    ("memory.toml", include_str!("../../../../conf/tools/memory.toml")),
    ("panda.toml", include_str!("../../../../conf/tools/panda.toml")),
    ("panda_jobs.toml", include_str!("../../../../conf/tools/panda_jobs.toml")),
    ("pcs_datasets.toml", include_str!("../../../../conf/tools/pcs_datasets.toml")),
    ("pcs_prodtasks.toml", include_str!("../../../../conf/tools/pcs_prodtasks.toml")),
    ("pcs_tags.toml", include_str!("../../../../conf/tools/pcs_tags.toml")),
    ("swf_data.toml", include_str!("../../../../conf/tools/swf_data.toml")),
    ("swf_system.toml", include_str!("../../../../conf/tools/swf_system.toml")),
    ("swf_workflow.toml", include_str!("../../../../conf/tools/swf_workflow.toml")),
];

/// The files that `conf/tools/swf.toml` includes, in its order, which is that of `tools/list`.
pub(crate) fn builtin_sources() -> Vec<Source> {
    let source =
        |name: &str, text: &str| Source::new(format!("builtin:{name}"), text, true).builtin(INSTRUCTIONS);
    includes(CATALOGUE)
        .iter()
        .filter_map(|(_, name)| FILES.iter().find(|(file, _)| file == name))
        .map(|(name, text)| source(name, text))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requirement: a server without files offers what `conf/tools/swf.toml` declares, all of it.
    #[test]
    fn what_is_compiled_in_is_what_the_shipped_catalogue_includes() {
        let mut named: Vec<String> = includes(CATALOGUE).into_iter().map(|(_, name)| name).collect();
        named.sort();
        let compiled: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        assert_eq!(named, compiled);
    }
}
