//! The units' log: has it been clean, and what are the last lines?

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::diagnosis::{Diagnosis, State};
use crate::cli::output::{date, say};
use crate::systemd_journal::{self, SystemdJournalError, SystemdLine, SystemdQuery, UnitLog};

const WHAT: &str = "log";

/// Which part of the log to look at.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// Look at the units' journal only: errors of the guard, the slots and the watchdog.
    #[arg(long)]
    pub(super) log: bool,
    /// Seconds that the log must have been clean for.
    #[arg(long, value_name = "SECONDS", default_value = "300", requires = "log", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    since: u64,
    /// Also print the last lines of that time.
    #[arg(long, value_name = "N", default_value = "0", requires = "log", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    lines: u32,
    /// Unit to look at, repeatable, such as that of the old backend; otherwise mcp-guard, mcp-tools@* and mcp-watchdog.
    #[arg(long, value_name = "UNIT", requires = "log")]
    unit: Vec<String>,
}

/// What the log says.
pub(super) struct LogFindings {
    pub(super) findings: Vec<Diagnosis>,
    last: Vec<SystemdLine>,
}

impl LogArgs {
    /// Reads the journal; an error if it shows nothing of any unit.
    pub(super) fn look(&self) -> Result<LogFindings, String> {
        let named = !self.unit.is_empty();
        let wanted =
            if named { self.unit.clone() } else { systemd_journal::UNITS.map(str::to_owned).to_vec() };
        let known = systemd_journal::known_units().map_err(words)?;
        let mut units: Vec<String> =
            wanted.iter().flat_map(|unit| systemd_journal::expand(unit, &known)).collect();
        units.dedup();
        // A journal that may not be read, and a unit that is misspelt, are silent: that is not clean.
        let absent: Vec<String> = units.extract_if(.., |unit| !known.contains(unit)).collect();
        if let Some(unit) = absent.first().filter(|_| named) {
            return Err(format!(
                "the journal has no line of {unit} for this user (hint: run as root; correct --unit)"
            ));
        }
        if units.is_empty() {
            let wanted = wanted.join(", ");
            return Err(format!(
                "the journal has no line of {wanted} for this user (hint: run as root, or name other units with --unit)"
            ));
        }
        let keep = usize::try_from(self.lines).unwrap_or(usize::MAX);
        let since = Some(Duration::from_secs(self.since));
        let query = SystemdQuery { units: units.clone(), since, entries_max: None, keep };
        let found = systemd_journal::read(&query).map_err(words)?;
        // An entry about a unit may be another one's, as that of a core dump.
        units.extend(found.units.keys().filter(|unit| !units.contains(unit)).cloned().collect::<Vec<_>>());
        let silent = UnitLog::default();
        let log = |unit| found.units.get(unit).unwrap_or(&silent);
        let mut findings: Vec<Diagnosis> =
            units.iter().map(|unit| finding(unit, log(unit), self.since)).collect();
        for unit in absent {
            findings.push(Diagnosis::new(State::Skip, WHAT, format!("{unit}: no line in the journal")));
        }
        Ok(LogFindings { findings, last: found.last.into() })
    }
}

impl LogFindings {
    /// The last lines for a terminal.
    pub(super) fn print(&self) {
        for line in &self.last {
            let mark = if line.is_error { "!" } else { " " };
            say(format_args!("{mark} {} {}: {}", at(line), line.unit, line.text));
        }
        if !self.last.is_empty() {
            say("");
        }
    }

    /// The last lines for a program.
    pub(super) fn json(&self) -> Vec<Value> {
        let one = |line: &SystemdLine| json!({"at": at(line), "unit": line.unit, "text": line.text, "error": line.is_error});
        self.last.iter().map(one).collect()
    }
}

fn words(error: SystemdJournalError) -> String {
    let hint = match &error {
        SystemdJournalError::Failed(said) if said.contains("permission") => {
            " (hint: run as root or in the group systemd-journal)"
        }
        SystemdJournalError::Failed(_) | SystemdJournalError::Start(_) | SystemdJournalError::Slow => "",
    };
    format!("{error}{hint}")
}

fn finding(unit: &str, log: &UnitLog, seconds: u64) -> Diagnosis {
    let lines = log.lines;
    match &log.last_error {
        None => Diagnosis::new(
            State::Ok,
            WHAT,
            format!("{unit}: no error in {lines} lines, in the last {seconds} s"),
        ),
        Some(last) => {
            let found = format!(
                "{unit}: {} of {lines} lines are errors, in the last {seconds} s; the latest at {}: {}",
                log.errors,
                at(last),
                last.text
            );
            let more =
                format!("mcp-guard doctor --log --since {seconds} --lines 100 --unit {unit} shows the lines");
            Diagnosis::new(State::Bad, WHAT, found).advise(more)
        }
    }
}

fn at(line: &SystemdLine) -> String {
    date(line.at / 1_000_000).unwrap_or_else(|| "-".to_owned())
}
