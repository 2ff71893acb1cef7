//! The `[[dependency]]` tables: each is checked once, from here, as the guard does.

use super::diagnosis::{Diagnosis, State};
use crate::config::Config;
use crate::dependency::{Checked, check_all, without_programs_of_root};

/// Checks every dependency once.
pub(super) fn look(config: &Config) -> Result<Vec<Diagnosis>, String> {
    if config.dependencies.is_empty() {
        return Ok(Vec::new());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let (programs, others) = without_programs_of_root(&config.dependencies);
    let checked = runtime.block_on(check_all(&others, &config.backends, &config.secrets));
    // A name that is still being resolved must not hold the command.
    runtime.shutdown_background();
    let skipped = programs.into_iter().map(|program| {
        let found = "a program, which only the guard's user runs: `mcp-guard status` has its result";
        Diagnosis::new(State::Skip, format!("dependency {}", program.name), found)
    });
    Ok(checked.into_iter().map(diagnosis).chain(skipped).collect())
}

fn diagnosis(checked: Checked) -> Diagnosis {
    let Checked { name, slot, required, result, took } = checked;
    let at = slot.map(|slot| format!(" at {}", slot.as_str())).unwrap_or_default();
    let what = format!("dependency {name}{at}");
    match result {
        Ok(()) => Diagnosis::new(State::Ok, what, format!("up, checked in {} ms", took.as_millis())),
        Err(reason) => {
            let (state, todo) = if required {
                (State::Bad, "it is required: /ready is 503 until it is back")
            } else {
                (State::Warn, "/ready says degraded until it is back")
            };
            Diagnosis::new(state, what, reason).advise(todo)
        }
    }
}
