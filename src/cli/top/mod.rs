//! `mcp-guard top`: what the console shows, in a terminal: both slots, the rollout, its triggers, tools and clients by load.
//!
//! Watches only: no order is given from here. Must not know how anything is measured.

mod model;
mod screen;
mod view;
mod watch;

use std::io::{self, IsTerminal};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::RangedU64ValueParser;

use self::model::{Flow, Model};
use self::screen::Screen;
use self::watch::Happening;
use super::exit::Exit;
use super::guard::Guard;
use super::output::{Style, complain};

/// Watch a running guard in the terminal: slots, rollout, triggers, tools and clients by load.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mcp-guard top
  mcp-guard top --interval 5 --socket /run/mcp-guard/admin.sock

Keys: q quits, Tab goes to the next panel, the arrows scroll it, ? shows help. It goes on when the guard is restarted or upgraded.
The plots begin when the command does. NO_COLOR is respected.

Exit codes: 0 ended by its user, 1 no guard is running, 2 there is no terminal, or the guard could not be asked.")]
pub(super) struct TopArgs {
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = RangedU64ValueParser::<u16>::new().range(1..=60))]
    interval: u16,
}

impl TopArgs {
    pub(super) fn run(&self, guard: &Guard) -> Exit {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            complain(
                "top needs a terminal (hint: `mcp-guard status --json` and `rollout status --json` are for programs)",
            );
            return Exit::CouldNotRun;
        }
        let first = match watch::look(guard, watch::Look::First) {
            Ok(overview) => overview,
            Err(unasked) => {
                complain(unasked.reason);
                return unasked.exit;
            }
        };
        let mut model = Model::new(self.interval, Style::of_stdout().is_coloured());
        model.take(Happening::Seen(first), Instant::now());
        let (happenings, queue) = mpsc::channel();
        let interval = Duration::from_secs(self.interval.into());
        let started = watch::start(guard.clone(), interval, happenings);
        let ended = started.and_then(|()| follow(&mut model, &queue, interval));
        match ended {
            Ok(()) => Exit::Done,
            Err(error) => {
                complain(format_args!("the terminal cannot be used: {error}"));
                Exit::CouldNotRun
            }
        }
    }
}

/// Shows what happens until the user has enough.
fn follow(model: &mut Model, queue: &mpsc::Receiver<Happening>, interval: Duration) -> io::Result<()> {
    let mut screen = Screen::open()?;
    loop {
        screen.draw(model)?;
        match queue.recv_timeout(interval) {
            Ok(happening) => {
                // One picture of everything that has come.
                for happening in std::iter::once(happening).chain(queue.try_iter()) {
                    if model.take(happening, Instant::now()) == Flow::End {
                        return Ok(());
                    }
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => model.wait(Instant::now()),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}
