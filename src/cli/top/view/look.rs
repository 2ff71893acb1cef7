//! Colours and their absence: what is said by a colour is said by a word, too.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use crate::cli::top::model::Model;
use crate::upstream::Slot;

/// How things look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    is_coloured: bool,
    is_stale: bool,
}

impl Look {
    pub(super) fn of(model: &Model) -> Look {
        Look { is_coloured: model.is_coloured, is_stale: model.away.is_some() }
    }

    fn in_colour(self, colour: Color) -> Style {
        if self.is_coloured { Style::new().fg(colour) } else { Style::new() }
    }

    /// Of what belongs to a slot. What is no longer news is dim.
    pub(super) fn slot(self, slot: Slot) -> Style {
        let colour = match slot {
            Slot::Blue => Color::Blue,
            Slot::Green => Color::Green,
        };
        let style = self.in_colour(colour);
        if self.is_stale { style.add_modifier(Modifier::DIM) } else { style }
    }

    pub(super) fn bad_style(self) -> Style {
        self.in_colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn bold<'s>(self, text: String) -> Span<'s> {
        Span::styled(text, Modifier::BOLD)
    }

    pub(super) fn quiet<'s>(self, text: String) -> Span<'s> {
        Span::styled(text, Modifier::DIM)
    }

    pub(super) fn good<'s>(self, text: String) -> Span<'s> {
        Span::styled(text, self.in_colour(Color::Green))
    }

    pub(super) fn bad<'s>(self, text: String) -> Span<'s> {
        Span::styled(text, self.bad_style())
    }
}
