//! Any text as the file of named clients.

use mcp_guard::fuzzing;

use super::config::check_line;

/// Where mutation starts.
pub const SEEDS: &[&[u8]] = &[
    b"[clients.panda-bot]\nsha256 = \"2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90\"\nnot_after = 2030-01-31\ntools = [\"panda_*\"]\n",
    b"[clients.a]\nsha256 = [\"2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90\", \"81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd9ec58ce9\"]\n[clients.b]\nsha256 = \"CA978112CA1BBDCAFAC231B39A23DC4DA786EFF8147C4E72B9807785AFEE48BB\"\nnot_after = \"2027-01-31T12:00:00Z\"\n",
    b"[clients]\n\"\" = { sha256 = \"swf_4dd65e8f79f2d5c5a1f0a5bb2ba0d7b6c0f3a8d5\" }\ndefault = { sha256 = 1 }\n",
];

/// What is accepted has names fit for a label and one or two hashes each; what is said quotes no hash, and no token that
/// an operator has pasted in a hash's place.
pub fn target(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (clients, findings) = fuzzing::tokens(text);
    if findings.is_empty() {
        for (name, hashes) in &clients {
            assert!(
                name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
                "{name:?}"
            );
            assert!((1..=64).contains(&name.len()) && name != "default" && name != "other");
            assert!((1..=2).contains(hashes));
        }
        let mut names: Vec<&str> = clients.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), clients.len());
    }
    for finding in &findings {
        check_line(finding);
        let longest = finding.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
        assert!(longest.unwrap_or(0) < 64, "quotes a hash: {finding}");
    }
}
