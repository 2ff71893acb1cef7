//! The installed unit files beside those this program was shipped with.

use std::path::Path;

use super::{Finding, State};

const SHIPPED: &[(&str, &str)] = &[
    ("mcp-guard.service", include_str!("../../../conf/systemd/mcp-guard.service")),
    ("mcp-tools@.service", include_str!("../../../conf/systemd/mcp-tools@.service")),
    ("mcp-watchdog.service", include_str!("../../../conf/systemd/mcp-watchdog.service")),
    ("mcp-watchdog.timer", include_str!("../../../conf/systemd/mcp-watchdog.timer")),
];

/// What the shipped and the installed units say differently. A drop-in is the way to change one, and is not a difference.
pub(super) fn compare(folder: &Path) -> Vec<Finding> {
    SHIPPED.iter().map(|(name, shipped)| compare_unit(&folder.join(name), name, shipped)).collect()
}

fn compare_unit(path: &Path, name: &str, shipped: &str) -> Finding {
    let installed = match std::fs::read_to_string(path) {
        Ok(installed) => installed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Finding::new(State::Skip, "unit", format!("{name} is not installed"));
        }
        Err(error) => return Finding::new(State::Warn, "unit", format!("{}: {error}", path.display())),
    };
    let differences = differences(shipped, &installed);
    let Some(first) = differences.first() else {
        return Finding::new(State::Ok, "unit", format!("{name} is as shipped"));
    };
    let more = match differences.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    Finding::new(State::Warn, "unit", format!("{name} is not as shipped: {first}{more}")).advise(format!(
        "install the shipped file and keep your own settings in {}.d/*.conf, then systemctl daemon-reload",
        path.display()
    ))
}

/// Settings that one side lacks; comments, order and white space are not settings.
fn differences(shipped: &str, installed: &str) -> Vec<String> {
    let settings = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])).map(str::to_owned).collect()
    };
    let (shipped, installed) = (settings(shipped), settings(installed));
    let lost =
        shipped.iter().filter(|line| !installed.contains(line)).map(|line| format!("`{line}` is missing"));
    let gained =
        installed.iter().filter(|line| !shipped.contains(line)).map(|line| format!("`{line}` was added"));
    lost.chain(gained).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_differ_and_comments_do_not() {
        let shipped = "# a\n[Service]\nRestart=always\nUser=mcp-guard\n";
        assert_eq!(
            differences(shipped, "[Service]\n\n; b\nUser=mcp-guard\nRestart=always"),
            Vec::<String>::new()
        );
        assert_eq!(
            differences(shipped, "[Service]\nRestart=no\nUser=mcp-guard"),
            ["`Restart=always` is missing", "`Restart=no` was added"]
        );
    }

    #[test]
    fn says_how_an_installed_unit_differs() {
        let folder = tempfile::tempdir().expect("a folder");
        let states = || compare(folder.path()).iter().map(|finding| finding.state).collect::<Vec<_>>();
        assert_eq!(states(), [State::Skip; 4]);
        let (name, shipped) = SHIPPED[0];
        std::fs::write(folder.path().join(name), shipped).expect("written");
        assert_eq!(states()[0], State::Ok);
        std::fs::write(folder.path().join(name), "[Service]\nExecStart=/bin/true\n").expect("written");
        assert_eq!(states()[0], State::Warn);
    }
}
