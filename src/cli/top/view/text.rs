//! Words and numbers as `top` shows them: the same forms as on the console's page.

use crate::wire::is_dropped;

/// A name that programs of others chose, without what would act on a terminal or could not be seen.
pub(super) fn plain(text: &str) -> String {
    let is_seen = |character: char| {
        character == ' ' || !(character.is_control() || is_dropped(character) || turns_text(character))
    };
    text.chars().map(|character| if is_seen(character) { character } else { '\u{fffd}' }).collect()
}

/// Whether it changes the direction of the text around it.
fn turns_text(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

pub(super) fn millis(time: Option<f32>) -> String {
    match time {
        None => "-".to_owned(),
        Some(time) if time < 10.0 => format!("{time:.1} ms"),
        Some(time) => format!("{time:.0} ms"),
    }
}

pub(super) fn percent(part: Option<f64>) -> String {
    part.map_or_else(|| "-".to_owned(), |part| format!("{:.1} %", part * 100.0))
}

pub(super) fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"))
}

/// The time of day in UTC, of milliseconds since the epoch.
pub(super) fn time(millis: u64) -> String {
    let at = i64::try_from(millis).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    at.map_or_else(String::new, |at| at.strftime("%H:%M:%S").to_string())
}

/// Puts pairs side by side into lines of at most `width` characters.
pub(super) fn packed(pairs: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for pair in pairs {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 2 + pair.chars().count() <= width => {
                line.push_str("  ");
                line.push_str(pair);
            }
            Some(_) | None => lines.push(pair.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_shown_without_what_acts_on_a_terminal() {
        assert_eq!(plain("jobs_list"), "jobs_list");
        assert_eq!(
            plain("\u{1b}[2Jx\r\n\u{9b}31m\u{202e}\u{200b}y z"),
            "\u{fffd}[2Jx\u{fffd}\u{fffd}\u{fffd}31m\u{fffd}\u{fffd}y z"
        );
    }

    #[test]
    fn pairs_are_packed_into_as_few_lines_as_fit() {
        let pairs = ["aaaa", "bb", "cccccc"].map(str::to_owned);
        assert_eq!(packed(&pairs, 8), ["aaaa  bb", "cccccc"]);
        assert_eq!(packed(&pairs, 100), ["aaaa  bb  cccccc"]);
        assert_eq!(packed(&pairs, 1).len(), 3);
    }
}
