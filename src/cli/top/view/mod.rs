//! Draws the model into a frame, whatever its size. Everything that is not ours to word goes through `text::plain`.
//!
//! Must not know where the numbers come from.

mod fleet;
mod look;
mod panels;
mod rollout;
mod slots;
mod text;

#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use self::look::Look;
use self::text::plain;
use super::model::Model;
use crate::admin::Overview;
use crate::cli::status::uptime;
use crate::telemetry::metrics::DependencyState;
use crate::upstream::Slot;

/// Below this size there is nothing to show.
const WIDTH_MIN: u16 = 60;
const HEIGHT_MIN: u16 = 18;
/// From here on everything is shown larger.
const HEIGHT_TALL: u16 = 36;
const HELP: [&str; 9] = [
    "q, Esc, Ctrl-C  quit",
    "Tab, arrows     go to the next panel; scroll it",
    "PgUp, PgDn      scroll by ten rows",
    "?               this help",
    "",
    "calls/s, errors, p50 and p95 are of the last ten seconds;",
    "tools and clients of the last minute.",
    "Plots begin when this command does, and go back half an hour.",
    "Orders: mcp-guard rollout, mcp-guard slots.",
];

/// Draws everything.
pub(in crate::cli::top) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let (area, look) = (frame.area(), Look::of(model));
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        let words = format!(
            "{} by {} is too small: mcp-guard top needs {WIDTH_MIN} by {HEIGHT_MIN}. q quits",
            area.width, area.height
        );
        frame.render_widget(Paragraph::new(words).wrap(Wrap { trim: true }), area);
        return;
    }
    let Some(seen) = model.seen.as_deref() else { return };
    let is_tall = area.height >= HEIGHT_TALL;
    let slots_height = if is_tall { 14 } else { 8.min(area.height / 3 + 1) };
    let fleet_height = seen.fleet.as_ref().map_or(0, |fleet| fleet::height(fleet, is_tall));
    let [head, slots, rollout, fleet, rest, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(slots_height),
        Constraint::Length(5),
        Constraint::Length(fleet_height),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_head(frame, (model, seen), look, head);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(slots);
    slots::draw(frame, (model, seen), (look, Slot::Blue), left);
    slots::draw(frame, (model, seen), (look, Slot::Green), right);
    rollout::draw(frame, seen, look, rollout);
    if let Some(report) = &seen.fleet {
        fleet::draw(frame, report, look, fleet);
    }
    panels::draw(frame, (model, seen), look, rest);
    let every = format!("  every {} s", model.interval);
    let keys =
        Line::from(vec![Span::raw("q quit  Tab panel  \u{2191}\u{2193} scroll  ? help"), look.quiet(every)]);
    frame.render_widget(Paragraph::new(keys), foot);
    if model.has_help {
        draw_help(frame, area);
    }
}

fn draw_head(frame: &mut Frame<'_>, (model, seen): (&Model, &Overview), look: Look, area: Rect) {
    let status = &seen.status;
    let time = text::time(seen.rollout.status.at.millis());
    let first = vec![
        look.bold(format!("mcp-guard {}", plain(&status.version))),
        Span::raw(format!(
            "  {time} UTC  pid {}  up {}  {} connections  {}",
            status.pid,
            uptime(status.uptime_seconds),
            status.connections,
            plain(&status.listen)
        )),
    ];
    let mut second = vec![match &model.away {
        Some(why) => look.bad(format!("AWAY, trying again: {}", plain(why))),
        None if status.draining => look.bad("draining".to_owned()),
        None => look.good("connected".to_owned()),
    }];
    let mut more: Vec<String> = seen.rollout.problems.iter().map(|problem| plain(problem)).collect();
    more.extend(status.features.off.iter().map(|off| format!("{} is off", plain(&off.feature.to_string()))));
    let down = status.dependencies.iter().filter(|one| one.state == DependencyState::Down);
    more.extend(down.map(|one| format!("{} is down", plain(&one.name))));
    if !more.is_empty() {
        second.push(look.bad(format!("  {}", more.join("; "))));
    }
    frame.render_widget(Paragraph::new(vec![Line::from(first), Line::from(second)]), area);
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let width = 62.min(area.width);
    let height = (HELP.len() as u16 + 2).min(area.height);
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::from(*line)).collect();
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" help ")), place);
}
