//! What `top` shows, and what keys do to it. Pure: the caller says what happened and when.
//!
//! Must not know how it is drawn.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::watch::Happening;
use crate::admin::Overview;
use crate::series::{Recent, Second, Series};
use crate::upstream::Slot;

/// Over so many of the latest seconds a slot's numbers are taken, at least.
const RECENT_MIN: u64 = 10;
/// After so long without a word the guard counts as silent.
const SILENCE: Duration = Duration::from_secs(3);

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    On,
    End,
}

/// A panel that can be scrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Panel {
    Tools,
    Clients,
    Triggers,
    Transitions,
}

impl Panel {
    /// In the order of Tab.
    pub(super) const ALL: [Panel; 4] = [Panel::Tools, Panel::Clients, Panel::Triggers, Panel::Transitions];

    fn place(self) -> usize {
        Panel::ALL.iter().position(|panel| *panel == self).unwrap_or_default()
    }

    fn step(self, places: usize) -> Panel {
        Panel::ALL[(self.place() + places) % Panel::ALL.len()]
    }
}

/// The numbers of one slot over the latest seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Now {
    /// Calls a second; none before there are two looks.
    pub(super) rate: Option<f64>,
    /// Part of the calls that failed or had an error; none without calls.
    pub(super) error_rate: Option<f64>,
    pub(super) p50_ms: Option<f32>,
    pub(super) p95_ms: Option<f32>,
    /// Part of the limit.
    pub(super) memory: Option<f32>,
}

/// Everything that is shown.
pub(super) struct Model {
    pub(super) series: Series,
    pub(super) seen: Option<Box<Overview>>,
    /// Why there is no news of the guard.
    pub(super) away: Option<String>,
    pub(super) focus: Panel,
    scrolled: [usize; 4],
    pub(super) has_help: bool,
    pub(super) interval: u16,
    pub(super) is_coloured: bool,
    last_word: Option<Instant>,
}

impl Model {
    pub(super) fn new(interval: u16, is_coloured: bool) -> Model {
        Model {
            series: Series::default(),
            seen: None,
            away: None,
            focus: Panel::Tools,
            scrolled: [0; 4],
            has_help: false,
            interval,
            is_coloured,
            last_word: None,
        }
    }

    /// Something happened.
    pub(super) fn take(&mut self, happening: Happening, now: Instant) -> Flow {
        match happening {
            Happening::Seen(overview) => {
                let at = overview.rollout.status.at.millis() / 1_000;
                self.series.push(at, overview.totals.clone());
                (self.seen, self.away, self.last_word) = (Some(overview), None, Some(now));
            }
            Happening::Away(why) => (self.away, self.last_word) = (Some(why), Some(now)),
            Happening::Key(key) => return self.press(key),
            Happening::Resized => {}
            Happening::End => return Flow::End,
        }
        Flow::On
    }

    /// Nothing happened.
    pub(super) fn wait(&mut self, now: Instant) {
        let silence = self.last_word.map(|last| now.saturating_duration_since(last));
        let allowed = SILENCE + Duration::from_secs(self.interval.into());
        if let Some(silence) = silence.filter(|silence| *silence > allowed) {
            self.away = Some(format!("no answer for {} s", silence.as_secs()));
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "keyboards have many keys that mean nothing here")]
    fn press(&mut self, key: KeyEvent) -> Flow {
        if key.kind == KeyEventKind::Release {
            return Flow::On;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q' | 'Q') => return Flow::End,
            KeyCode::Char('c') if is_control => return Flow::End,
            KeyCode::Esc if !self.has_help => return Flow::End,
            KeyCode::Esc => self.has_help = false,
            KeyCode::Char('?' | 'h') => self.has_help = !self.has_help,
            KeyCode::Tab | KeyCode::Right => self.focus = self.focus.step(1),
            KeyCode::BackTab | KeyCode::Left => self.focus = self.focus.step(Panel::ALL.len() - 1),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll(-1),
            KeyCode::PageDown => self.scroll(10),
            KeyCode::PageUp => self.scroll(-10),
            KeyCode::Home => self.scroll(isize::MIN),
            _ => {}
        }
        Flow::On
    }

    /// Scrolls the panel that has the focus, within its rows.
    fn scroll(&mut self, rows: isize) {
        let last = self.rows(self.focus).saturating_sub(1);
        self.scrolled[self.focus.place()] = self.scrolled(self.focus).saturating_add_signed(rows).min(last);
    }

    /// The first row that a panel shows.
    pub(super) fn scrolled(&self, panel: Panel) -> usize {
        self.scrolled[panel.place()].min(self.rows(panel).saturating_sub(1))
    }

    /// How many rows a panel has.
    pub(super) fn rows(&self, panel: Panel) -> usize {
        let seen = self.seen.as_deref();
        match panel {
            Panel::Tools => self.tools().len(),
            Panel::Clients => self.clients().len(),
            Panel::Triggers => seen.map_or(0, |seen| seen.rollout.status.triggers.len()),
            Panel::Transitions => seen.map_or(0, |seen| seen.transitions.len()),
        }
    }

    pub(super) fn tools(&self) -> Vec<Recent> {
        self.series.tools()
    }

    pub(super) fn clients(&self) -> Vec<Recent> {
        self.series.clients()
    }

    /// The numbers of a slot: sums and the largest times of the latest seconds.
    pub(super) fn now(&self, slot: Slot) -> Now {
        let Some(latest) = self.series.latest() else { return Now::default() };
        let seconds = RECENT_MIN.max(u64::from(self.interval) * 2);
        let recent = self.series.since(latest.at.saturating_sub(seconds));
        let recent: Vec<Second> =
            recent.iter().filter_map(|second| second.slots.get(&slot)).copied().collect();
        let sum =
            |count: fn(&Second) -> u32| recent.iter().map(|second| u64::from(count(second))).sum::<u64>();
        let calls = sum(|second| second.calls);
        let bad = sum(|second| second.failures) + sum(|second| second.errors);
        let most = |time: fn(&Second) -> Option<f32>| recent.iter().filter_map(time).reduce(f32::max);
        Now {
            rate: (!recent.is_empty()).then(|| calls as f64 / recent.len() as f64),
            error_rate: (calls > 0).then(|| bad as f64 / calls as f64),
            p50_ms: most(|second| second.p50_ms),
            p95_ms: most(|second| second.p95_ms),
            memory: recent.last().and_then(|second| second.memory),
        }
    }
}
