//! Whether a signal that tells this process to stop has come and was not received yet.
//!
//! Must not know what the signals do.

use rustix::process::Signal;

/// Whether SIGTERM or SIGINT waits for a thread of this process. False if the system does not say.
pub fn is_stop_pending() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| holds_stop(&status))
}

/// proc_pid_status(5): "ShdPnd: Mask (expressed in hexadecimal) of signals pending for process as a whole".
fn holds_stop(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    [Signal::TERM, Signal::INT].into_iter().any(|signal| mask & (1 << (signal.as_raw() - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_pending_while_no_thread_has_received_its_signal() {
        for (mask, expect) in [
            ("0000000000000000", false),
            ("0000000000004000", true),
            ("0000000000000002", true),
            ("0000000000010001", false),
            ("4000000000004002", true),
        ] {
            let status = format!("SigPnd:\t0000000000004000\nShdPnd:\t{mask}\nSigBlk:\t0000000000004000\n");
            assert_eq!(holds_stop(&status), expect, "{mask}");
        }
        assert!(!holds_stop(""));
    }

    #[test]
    fn the_system_says_which_signals_are_pending() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(status.lines().any(|line| line.starts_with("ShdPnd:\t")), "{status}");
        assert!(!is_stop_pending());
    }
}
