//! The journal of the service manager: detects whether a stream is connected to it, and marks the priority of a line.
//!
//! systemd reads a number in angle brackets at the start of a line as its priority (`SyslogLevelPrefix=`, sd-daemon(3));
//! without it every line is "info", and `journalctl -p warning` finds nothing. Must not know what is written.

use std::ffi::OsStr;
use std::os::fd::AsFd;

/// The priorities of syslog(3) that the programs use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    Error,
    Warning,
}

impl Priority {
    /// The prefix of a line.
    pub fn prefix(self) -> &'static str {
        match self {
            Priority::Error => "<3>",
            Priority::Warning => "<4>",
        }
    }
}

/// Whether this file is connected to the journal.
pub fn reads(file: impl AsFd) -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some_and(|named| is_named(file, &named))
}

/// systemd.exec(5): the variable holds device and inode of the stream. A program whose output is redirected inherits it too.
fn is_named(file: impl AsFd, named: &OsStr) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| named == OsStr::new(&format!("{}:{}", stat.st_dev, stat.st_ino)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stream_that_is_named_leads_to_the_journal() {
        let (one, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let stat = rustix::fs::fstat(&one).unwrap();
        let named = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_named(&one, OsStr::new(&named)));
        assert!(!is_named(&other, OsStr::new(&named)));
        for malformed in ["", "1", "a:b", "8:"] {
            assert!(!is_named(&one, OsStr::new(malformed)), "{malformed}");
        }
    }
}
