//! The panels below: tools and clients by load, armed triggers with their distance to firing, the last transitions. Where there is
//! room for two of them, those beside the focus are shown.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Modifier;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Table, Wrap};

use super::look::Look;
use super::text::{millis, percent, plain, rate, time};
use crate::admin::Overview;
use crate::cli::top::model::{Model, Panel};
use crate::rollout::Transition;
use crate::rollout::armed::Armed;
use crate::series::Recent;

/// From this height on there are two rows of panels.
const HEIGHT_OF_TWO_ROWS: u16 = 14;
/// From this width on a panel shows the numbers of triggers, and not only how far they are from firing.
const WIDTH_OF_NUMBERS: u16 = 68;
/// From this width on there are four panels in a row.
const WIDTH_OF_FOUR: u16 = 240;

pub(super) fn draw(frame: &mut Frame<'_>, (model, seen): (&Model, &Overview), look: Look, area: Rect) {
    let load = [Panel::Tools, Panel::Clients];
    let course = [Panel::Triggers, Panel::Transitions];
    let rows: Vec<Vec<Panel>> = if area.width >= WIDTH_OF_FOUR {
        vec![[load, course].concat()]
    } else if area.height >= HEIGHT_OF_TWO_ROWS {
        vec![load.to_vec(), course.to_vec()]
    } else if load.contains(&model.focus) {
        vec![load.to_vec()]
    } else {
        vec![course.to_vec()]
    };
    let areas = Layout::vertical(rows.iter().map(|_| Constraint::Fill(1))).split(area);
    for (panels, area) in rows.iter().zip(areas.iter()) {
        let places =
            Layout::horizontal(panels.iter().map(|panel| Constraint::Fill(share(*panel)))).split(*area);
        for (panel, place) in panels.iter().zip(places.iter()) {
            draw_panel(frame, (model, seen), (*panel, look), *place);
        }
    }
}

/// Names of tools are longer than those of clients, which have no p95.
fn share(panel: Panel) -> u16 {
    match panel {
        Panel::Tools => 3,
        Panel::Clients | Panel::Triggers | Panel::Transitions => 2,
    }
}

fn draw_panel(
    frame: &mut Frame<'_>,
    (model, seen): (&Model, &Overview),
    (panel, look): (Panel, Look),
    area: Rect,
) {
    let name = match panel {
        Panel::Tools => "tools",
        Panel::Clients => "clients",
        Panel::Triggers => "triggers",
        Panel::Transitions => "transitions",
    };
    let (first, all) = (model.scrolled(panel), model.rows(panel));
    let place = if all == 0 { String::new() } else { format!(" {} of {all}", first + 1) };
    let has_focus = model.focus == panel;
    let mark = if has_focus { "\u{25b8}" } else { " " };
    let modifier = if has_focus { Modifier::BOLD } else { Modifier::empty() };
    let block = Block::bordered().title(format!("{mark}{name}{place} ")).border_style(modifier);
    match panel {
        Panel::Tools => loads(frame, &model.tools(), (first, look, 4), (block, area)),
        Panel::Clients => loads(frame, &model.clients(), (first, look, 3), (block, area)),
        Panel::Triggers => triggers(frame, &seen.rollout.status.triggers, first, (block, area)),
        Panel::Transitions => transitions(frame, &seen.transitions, first, (block, area)),
    }
}

fn loads(
    frame: &mut Frame<'_>,
    all: &[Recent],
    (first, look, columns): (usize, Look, usize),
    (block, area): (Block<'_>, Rect),
) {
    if all.is_empty() {
        frame.render_widget(Paragraph::new("no call so far").block(block), area);
        return;
    }
    let row = |one: &Recent| {
        let cells =
            [plain(&one.name), rate(Some(one.rate)), percent(Some(one.error_rate)), millis(one.p95_ms)];
        let row = Row::new(cells.into_iter().take(columns));
        if one.error_rate > 0.0 { row.style(look.bad_style()) } else { row }
    };
    let rows: Vec<Row<'_>> = all.iter().skip(first).map(row).collect();
    let widths = [Constraint::Fill(1), Constraint::Length(7), Constraint::Length(7), Constraint::Length(7)];
    let header = ["NAME", "CALLS/S", "ERRORS", "P95"].into_iter().take(columns);
    let table = Table::new(rows, widths.into_iter().take(columns));
    frame.render_widget(table.header(Row::new(header).style(Modifier::DIM)).block(block), area);
}

fn triggers(frame: &mut Frame<'_>, all: &[Armed], first: usize, (block, area): (Block<'_>, Rect)) {
    if all.is_empty() {
        frame.render_widget(Paragraph::new("triggers are armed during a rollout").block(block), area);
        return;
    }
    let is_wide = area.width >= WIDTH_OF_NUMBERS;
    let row = |one: &Armed| {
        let shown = &one.shown;
        let numbers = format!("{} of {}", shown.measured, shown.limit);
        let mut cells = vec![one.trigger.as_str().to_owned(), shown.distance.clone()];
        cells.extend([numbers, one.action.as_str().to_owned()].into_iter().filter(|_| is_wide));
        Row::new(cells)
    };
    let rows: Vec<Row<'_>> = all.iter().skip(first).map(row).collect();
    let widths = [Constraint::Fill(1), Constraint::Length(15), Constraint::Length(18), Constraint::Length(8)];
    let columns = if is_wide { widths.len() } else { 2 };
    let header = ["TRIGGER", "DISTANCE", "MEASURED", "ACTION"].into_iter().take(columns);
    let header = Row::new(header).style(Modifier::DIM);
    let table = Table::new(rows, widths.into_iter().take(columns)).header(header);
    frame.render_widget(table.block(block), area);
}

/// The latest first.
fn transitions(frame: &mut Frame<'_>, all: &[Transition], first: usize, (block, area): (Block<'_>, Rect)) {
    let line =
        |one: &Transition| Line::from(format!("{} {}", time(one.at.millis()), plain(&one.to_string())));
    let lines: Vec<Line<'_>> = all.iter().rev().skip(first).map(line).collect();
    let lines = if lines.is_empty() { vec![Line::from("none so far")] } else { lines };
    frame.render_widget(Paragraph::new(lines).block(block).wrap(Wrap { trim: false }), area);
}
