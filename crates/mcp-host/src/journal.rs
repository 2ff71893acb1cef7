//! The journal of the service manager: whether a stream leads into it, and how a line says its priority there.
//!
//! systemd takes a number in angle brackets off the front of each line (`SyslogLevelPrefix=`, sd-daemon(3)); without one every
//! line is "info", and `journalctl -p warning` finds nothing. Must not know what is written.

use std::ffi::OsStr;
use std::os::fd::AsFd;

/// syslog(3), as far as it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    Error,
    Warning,
}

impl Priority {
    /// What stands before the line.
    pub fn prefix(self) -> &'static str {
        match self {
            Priority::Error => "<3>",
            Priority::Warning => "<4>",
        }
    }
}

/// Whether what is written to this file goes to the journal.
pub fn reads(file: impl AsFd) -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some_and(|named| is_named(file, &named))
}

/// systemd.exec(5): the variable holds device and inode of the stream. It is inherited by programs whose output goes elsewhere.
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
