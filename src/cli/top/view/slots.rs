//! One slot: role, health with its reason, numbers of the latest seconds, and plots as far back as there is room and memory.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline};

use super::look::Look;
use super::text::{millis, packed, percent, plain, rate};
use crate::admin::Overview;
use crate::cli::top::model::Model;
use crate::series::{SECONDS_MAX, Scope, View};
use crate::upstream::Slot;

/// Seconds that one column of a plot may stand for.
const STEPS: [usize; 8] = [1, 2, 5, 10, 15, 20, 30, 60];
/// Lines of numbers below the health.
const FACTS_MAX: usize = 4;

pub(super) fn draw(
    frame: &mut Frame<'_>,
    (model, seen): (&Model, &Overview),
    (look, slot): (Look, Slot),
    area: Rect,
) {
    let report = seen.rollout.status.slots.iter().find(|report| report.slot == slot);
    let role = report.map_or("", |report| if report.configured { &report.role } else { "not configured" });
    let block = Block::bordered().title(format!(" {}: {role} ", slot.as_str())).border_style(look.slot(slot));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let Some(report) = report.filter(|report| report.configured) else { return };
    let health = match &report.why {
        Some(why) => look.bad(format!("{}: {}", report.health, plain(why))),
        None if report.health == "healthy" => look.good(report.health.clone()),
        None => Span::raw(report.health.clone()),
    };
    let facts = facts((model, seen), slot);
    let lines = packed(&facts, inner.width.into());
    let shown = lines.into_iter().take(FACTS_MAX).map(Line::from);
    let lines: Vec<Line<'_>> = std::iter::once(Line::from(health)).chain(shown).collect();
    let used = (lines.len() as u16).min(inner.height);
    frame.render_widget(Paragraph::new(lines), inner);
    let rest = Rect { y: inner.y + used, height: inner.height - used, ..inner };
    plots(frame, model, (look, slot), rest);
}

fn facts((model, seen): (&Model, &Overview), slot: Slot) -> Vec<String> {
    let now = model.now(slot);
    let proxied = seen.status.slots.iter().find(|status| status.slot == slot);
    let in_flight = proxied.map_or_else(
        || "in flight -".to_owned(),
        |status| format!("in flight {}, {} waiting, {} held", status.in_flight, status.waiting, status.held),
    );
    vec![
        format!("{} calls/s", rate(now.rate)),
        format!("errors {}", percent(now.error_rate)),
        format!("p50 {}", millis(now.p50_ms)),
        format!("p95 {}", millis(now.p95_ms)),
        format!("memory {}", percent(now.memory.map(f64::from))),
        in_flight,
    ]
}

/// Calls; where there is room, errors and p95 as well.
fn plots(frame: &mut Frame<'_>, model: &Model, (look, slot): (Look, Slot), area: Rect) {
    let width = usize::from(area.width);
    let step = step(model, width);
    let view = View { seconds: SECONDS_MAX, step, scope: Scope::Slots };
    let picture = model.series.picture(&view);
    let Some(columns) = picture.slots.get(&slot) else { return };
    let span = width * step;
    let span = if span < 120 { format!("{span} s") } else { format!("{} min", span / 60) };
    let calls: Vec<u64> = columns.calls.iter().map(|calls| u64::from(*calls) * 10 / step as u64).collect();
    let bad = columns.failures.iter().zip(&columns.errors);
    let bad: Vec<u64> = bad.map(|(failures, errors)| u64::from(failures + errors)).collect();
    let p95: Vec<u64> =
        columns.p95_ms.iter().map(|time| time.map_or(0, |time| (time * 10.0) as u64)).collect();
    let most =
        |values: &[u64]| values[values.len().saturating_sub(width)..].iter().copied().max().unwrap_or(0);
    let caption = |text: String| Line::from(look.quiet(text));
    let calls_caption = caption(format!("calls/s, at most {:.1}, in {span}", most(&calls) as f64 / 10.0));
    let plot = |values: Vec<u64>, style| {
        let first = values.len().saturating_sub(width);
        let padding = std::iter::repeat_n(0, width - (values.len() - first));
        Sparkline::default()
            .data(padding.chain(values[first..].iter().copied()).collect::<Vec<u64>>())
            .style(style)
    };
    let row = |from: u16, height: u16| Rect { y: area.y + from, height, ..area };
    if area.height < 8 {
        if area.height > 1 {
            frame.render_widget(calls_caption, row(0, 1));
            frame.render_widget(plot(calls, look.slot(slot)), row(1, area.height - 1));
        } else if area.height > 0 {
            frame.render_widget(plot(calls, look.slot(slot)), area);
        }
        return;
    }
    let height = (area.height - 3) / 3;
    let bad_most = most(&bad);
    let p95_most = millis(Some(most(&p95) as f32 / 10.0));
    frame.render_widget(calls_caption, row(0, 1));
    frame.render_widget(plot(calls, look.slot(slot)), row(1, height));
    frame.render_widget(caption(format!("errors in {step} s, at most {bad_most}")), row(1 + height, 1));
    frame.render_widget(plot(bad, look.bad_style()), row(2 + height, height));
    frame.render_widget(caption(format!("p95, at most {p95_most}")), row(2 + height * 2, 1));
    frame.render_widget(plot(p95, look.slot(slot)), row(3 + height * 2, area.height - 3 - height * 2));
}

/// How many seconds a column stands for, so that everything that is remembered fits; never less than the time between two looks.
fn step(model: &Model, width: usize) -> usize {
    let kept = model.series.seconds();
    let fits = |step: &usize| kept.div_ceil(*step) <= width && *step >= usize::from(model.interval);
    STEPS.into_iter().find(fits).unwrap_or(60)
}
