//! A new version as a release: packed, checked and installed beside the others, as an operator does it.
//!
//! A deployment needs systemd, which the demo does without: that it is not shown is said.

use std::os::unix::fs::PermissionsExt;

use super::programs::Programs;
use super::shown::Shown;
use crate::cli::demo::workdir::Folder;
use crate::cli::output::Style;

const CONFIG: &str = "\n[release]\ndirectory = \"releases\"\n";
const MANIFEST: &str = "name = \"orders-1.4\"\nversion = \"1.4\"\nstart = [\"bin/orders\", \"serve\", \"--socket\", \"{socket}\"]\n";
const PROGRAM: &str = "#!/bin/sh\nexec mcp-tools \"$@\"\n";

/// Installs a release, and lists it.
pub(super) async fn install(folder: &Folder, programs: &Programs, style: Style) -> Shown {
    let failed = |error: std::io::Error| error.to_string();
    std::fs::create_dir_all(folder.path("orders/bin")).map_err(failed)?;
    folder.write_private("orders/release.toml", MANIFEST).map_err(failed)?;
    folder.write_private("orders/bin/orders", PROGRAM).map_err(failed)?;
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path("orders/bin/orders"), executable).map_err(failed)?;
    folder.write_private("guard.toml", CONFIG).map_err(failed)?;
    let source = folder.path("orders").display().to_string();
    let mut lines = Vec::new();
    for words in [["pack", source.as_str()].as_slice(), &["add", &source], &["list"]] {
        lines.push(format!("$ mcp-guard release {}", words.join(" ")));
        lines.extend(programs.command(folder, &[&["release"], words].concat()).await?);
    }
    if !lines.iter().any(|line| line.contains("orders-1.4") && line.trim_end().ends_with("ok")) {
        return Err(format!("the release is not listed with good checksums: {}", lines.join(" ")));
    }
    lines.push(style.dim(
        "with systemd, `mcp-guard release deploy orders-1.4` backs up, starts it in the idle slot, compares, verifies, switches",
    ));
    Ok(lines)
}
