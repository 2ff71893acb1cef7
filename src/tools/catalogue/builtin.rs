//! The catalogue and the instructions that are compiled in, for a server started without any file.
//!
//! Must not hold tools of its own: everything comes from `conf/tools/`.

use super::Source;

/// The instructions text, byte for byte as in the shipped file.
pub(in crate::tools) const BUILTIN_INSTRUCTIONS: &str = include_str!("../../../conf/tools/instructions.txt");

const FILES: &[(&str, &str)] = &[
    ("builtin:base.toml", include_str!("../../../conf/tools/base.toml")),
    ("builtin:server.toml", include_str!("../../../conf/tools/server.toml")),
];

/// The shipped catalogue files, in listing order.
pub(in crate::tools) fn builtin_sources() -> Vec<Source> {
    FILES.iter().map(|(name, text)| Source { name: (*name).into(), text: (*text).into() }).collect()
}
