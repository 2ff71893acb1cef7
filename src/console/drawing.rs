//! Pictures of the series with the transitions in them: of a rollout for its record, and of now.

use crate::rollout::Transition;
use crate::rollout::transition::TransitionKind;
use crate::series::svg::{self, ENTRIES_MAX, Early, Mark};
use crate::series::{SECONDS_MAX, Scope, Series, View};

/// Seconds before the beginning of a rollout that belong to its picture.
const BEFORE: u64 = 60;

/// The rollout that the last transition belongs to, with a minute before it; none as long as nothing was counted. Of a longer one
/// than is kept, the end, which the title says.
pub(super) fn of_rollout(series: &Series, history: &[Transition]) -> Option<String> {
    let last = history.last()?;
    let began = history.iter().find(|transition| transition.rollout == last.rollout).unwrap_or(last);
    let passed = series.latest()?.at.saturating_sub(second_of(began).saturating_sub(BEFORE));
    let passed = usize::try_from(passed).unwrap_or(usize::MAX);
    let name = last.rollout.as_deref().unwrap_or("without a name");
    let title = format!("Rollout {name}: {}{}", last.kind.as_str(), part(passed));
    let marks = history.iter().map(|transition| {
        let is_its_start = transition.kind == TransitionKind::Started && transition.rollout == last.rollout;
        mark(transition, if is_its_start { Early::AtTheEdge } else { Early::LeftOut })
    });
    Some(draw(series, passed, &marks.collect::<Vec<_>>(), &title))
}

/// Which part of so many seconds a picture shows, where it is not all.
fn part(seconds: usize) -> String {
    if seconds <= SECONDS_MAX {
        return String::new();
    }
    let (shown, minutes) = (SECONDS_MAX / 60, seconds / 60);
    format!(" (last {shown} minutes of {} h {:02} min)", minutes / 60, minutes % 60)
}

/// The last half hour.
pub(super) fn of_now(series: &Series, history: &[Transition]) -> String {
    let marks: Vec<Mark> = history.iter().map(|transition| mark(transition, Early::LeftOut)).collect();
    draw(series, SECONDS_MAX, &marks, "The last half hour")
}

fn draw(series: &Series, seconds: usize, marks: &[Mark], title: &str) -> String {
    let seconds = seconds.min(SECONDS_MAX);
    let step = seconds.div_ceil(ENTRIES_MAX).max(1);
    let view = View { seconds, step, scope: Scope::Slots };
    svg::draw(&series.picture(&view), marks, title)
}

fn mark(transition: &Transition, early: Early) -> Mark {
    Mark { at: second_of(transition), text: transition.to_string(), early }
}

fn second_of(transition: &Transition) -> u64 {
    transition.at.millis() / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_says_which_part_of_a_long_rollout_is_shown() {
        assert_eq!(part(SECONDS_MAX), "");
        assert_eq!(part(SECONDS_MAX + 1), " (last 30 minutes of 0 h 30 min)");
        assert_eq!(part(5 * 3600 + 61), " (last 30 minutes of 5 h 01 min)");
    }
}
