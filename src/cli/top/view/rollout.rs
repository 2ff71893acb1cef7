//! The rollout: its stages in a line, where it stands, the verdict, and what it waits for.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Wrap};

use super::look::Look;
use super::text::plain;
use crate::admin::Overview;
use crate::cli::rollout::headline;
use crate::rollout::Stage;

pub(super) fn draw(frame: &mut Frame<'_>, seen: &Overview, look: Look, area: Rect) {
    let status = &seen.rollout.status;
    let block = Block::bordered().title(" rollout ");
    let width = usize::from(block.inner(area).width);
    let mut lines = vec![stages(status.position.stage, look, width)];
    match &status.run {
        Some(run) => {
            // Cut where it does not fit: what the rollout waits for is the last line, and wraps.
            let headline = plain(&headline(&seen.rollout, run));
            lines.push(Line::from(headline.chars().take(width).collect::<String>()));
            let verdict = run.conclusion.as_str();
            lines.push(Line::from(format!("{verdict}; waits for {}", plain(&run.waits_for))));
        }
        None => {
            let stable = status.position.stable.as_str();
            lines.push(Line::from(format!("nothing is in rollout: {stable} serves all traffic")));
            lines.push(Line::from(plain(&status.standby)));
        }
    }
    frame.render_widget(Paragraph::new(lines).block(block).wrap(Wrap { trim: true }), area);
}

/// The stages around the present one, as many as fit into a line.
fn stages(present: Stage, look: Look, width: usize) -> Line<'static> {
    let mut shown = &Stage::ALL[..];
    let length = |stages: &[Stage]| stages.iter().map(|stage| stage.as_str().len() + 1).sum::<usize>() + 1;
    while length(shown) > width && shown.len() > 1 {
        let at = shown.iter().position(|stage| *stage == present).unwrap_or_default();
        shown = if at > 1 { &shown[1..] } else { &shown[..shown.len() - 1] };
    }
    let words = shown.iter().flat_map(|stage| {
        let name = stage.as_str();
        let word = if *stage == present {
            Span::styled(format!("[{name}]"), Modifier::BOLD | Modifier::REVERSED)
        } else if *stage < present {
            look.quiet(name.to_owned())
        } else {
            Span::raw(name)
        };
        [word, Span::raw(" ")]
    });
    Line::from(words.collect::<Vec<_>>())
}
