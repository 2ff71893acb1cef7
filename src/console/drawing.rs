//! Pictures of the series with the transitions in them: of a rollout for its record, and of now.

use crate::rollout::Transition;
use crate::series::svg::{self, ENTRIES_MAX, Mark};
use crate::series::{SECONDS_MAX, Scope, Series, View};

/// Seconds before the beginning of a rollout that belong to its picture.
const BEFORE: u64 = 60;

/// The rollout that the last transition belongs to, with a minute before it; none as long as nothing was counted.
pub(super) fn of_rollout(series: &Series, history: &[Transition]) -> Option<String> {
    let last = history.last()?;
    let began = history.iter().find(|transition| transition.rollout == last.rollout).unwrap_or(last);
    let passed = series.latest()?.at.saturating_sub(second_of(began).saturating_sub(BEFORE));
    let name = last.rollout.as_deref().unwrap_or("without a name");
    let title = format!("Rollout {name}: {}", last.kind.as_str());
    Some(draw(series, usize::try_from(passed).unwrap_or(SECONDS_MAX), history, &title))
}

/// The last half hour.
pub(super) fn of_now(series: &Series, history: &[Transition]) -> String {
    draw(series, SECONDS_MAX, history, "The last half hour")
}

fn draw(series: &Series, seconds: usize, history: &[Transition], title: &str) -> String {
    let seconds = seconds.min(SECONDS_MAX);
    let step = seconds.div_ceil(ENTRIES_MAX).max(1);
    // Whole entries only: a part of one would look like fewer calls.
    let view = View { seconds: seconds / step * step, step, scope: Scope::Slots };
    let mark = |transition: &Transition| Mark { at: second_of(transition), text: transition.to_string() };
    let marks: Vec<Mark> = history.iter().map(mark).collect();
    svg::draw(&series.picture(&view), &marks, title)
}

fn second_of(transition: &Transition) -> u64 {
    transition.at.millis() / 1_000
}
