//! What happens while `top` runs: the guard's overview at each look, keys, a new size, a signal. Each source has a thread of its own, so
//! that a guard that does not answer delays no key.
//!
//! Must not know what is made of it.

use std::future::poll_fn;
use std::io;
use std::sync::mpsc::Sender;
use std::task::Poll;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyEvent};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::{AdminCommand, AdminResponse, Overview};
use crate::cli::exit::Exit;
use crate::cli::guard::{Guard, Unasked};
use crate::series;

/// Something that happened.
pub(super) enum Happening {
    Seen(Box<Overview>),
    /// The guard gave no overview, for this reason.
    Away(String),
    Key(KeyEvent),
    Resized,
    End,
}

/// Whether a look is the first one: that is what the guard logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    First,
    Again,
}

/// Asks the guard for its overview.
pub(super) fn look(guard: &Guard, look: Look) -> Result<Box<Overview>, Unasked> {
    let (asked, _notes) = guard.ask_quietly(&AdminCommand::Overview { first: look == Look::First });
    let response = asked?;
    if let AdminResponse::Overview(overview) = response {
        return Ok(overview);
    }
    let reason = if let AdminResponse::Rejected(why) = response {
        why
    } else {
        "the guard answered another question (is it newer than this program?)".to_owned()
    };
    Err(Unasked { exit: Exit::CouldNotRun, reason })
}

/// Starts the threads. They end with the process.
pub(super) fn start(guard: Guard, interval: Duration, happenings: Sender<Happening>) -> io::Result<()> {
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let (keys, signals) = (happenings.clone(), happenings.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before the terminal is taken: a signal that comes first would end the process and leave it taken.
    let ends = {
        let _entered = runtime.enter();
        [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit()]
            .into_iter()
            .map(signal)
            .collect::<io::Result<Vec<Signal>>>()?
    };
    thread("signals").spawn(move || {
        runtime.block_on(first_of(ends));
        let _ = signals.send(Happening::End);
    })?;
    thread("keys").spawn(move || read_keys(&keys))?;
    thread("looks").spawn(move || look_on(&guard, interval, &happenings))?;
    Ok(())
}

/// Returns when one of the signals comes.
async fn first_of(mut signals: Vec<Signal>) {
    poll_fn(|cx| {
        let has_come = signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
        if has_come { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn read_keys(happenings: &Sender<Happening>) {
    loop {
        let happening = match event::read() {
            Ok(Event::Key(key)) => Happening::Key(key),
            Ok(Event::Resize(..)) => Happening::Resized,
            Ok(Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_)) => continue,
            // The terminal is gone.
            Err(_) => Happening::End,
        };
        let is_over = matches!(happening, Happening::End);
        if happenings.send(happening).is_err() || is_over {
            return;
        }
    }
}

fn look_on(guard: &Guard, interval: Duration, happenings: &Sender<Happening>) {
    let mut pause = interval;
    loop {
        std::thread::sleep(pause);
        let asked = Instant::now();
        let happening = match look(guard, Look::Again) {
            Ok(overview) => {
                pause = series::until_next(interval, overview.rollout.status.at.millis());
                Happening::Seen(overview)
            }
            Err(unasked) => {
                pause = interval.saturating_sub(asked.elapsed());
                Happening::Away(unasked.reason)
            }
        };
        if happenings.send(happening).is_err() {
            return;
        }
    }
}
