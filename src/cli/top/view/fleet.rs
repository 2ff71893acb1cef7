//! The fleet: who leads, what is wrong, and where there is room its members.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Modifier;
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Row, Table};

use super::look::Look;
use super::text::plain;
use crate::cli::fleet::differences::{differences, is_silent};
use crate::cli::fleet::picture::{differs, in_short, seconds};
use crate::control::fleet_report::{CandidateState, FleetReport, MemberReport};

/// Members that are listed where there is room; the others are counted.
const MEMBERS_MAX: usize = 6;
/// The borders, who leads, and what is wrong.
const HEIGHT: u16 = 4;

/// Lines of the panel.
pub(super) fn height(report: &FleetReport, is_tall: bool) -> u16 {
    let members = if is_tall { report.members.len().min(MEMBERS_MAX) as u16 } else { 0 };
    // A heading above the members.
    HEIGHT + members + u16::from(members > 0)
}

pub(super) fn draw(frame: &mut Frame<'_>, report: &FleetReport, look: Look, area: Rect) {
    let block = Block::bordered().title(format!(" fleet {} ", plain(&report.name)));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let wrong = wrong(report);
    let second = if wrong.is_empty() {
        look.good("all members agree, and the store responds".to_owned())
    } else {
        look.bad(wrong.join("; "))
    };
    let lines = vec![Line::from(headline(report)), Line::from(second)];
    frame.render_widget(Paragraph::new(lines), inner);
    let below = Rect { y: inner.y + 2.min(inner.height), height: inner.height.saturating_sub(2), ..inner };
    if below.height > 1 {
        members(frame, report, look, below);
    }
}

fn headline(report: &FleetReport) -> String {
    let leader = report
        .leader
        .as_deref()
        .map_or_else(|| "no leader".to_owned(), |name| format!("{} leads", plain(name)));
    let FleetReport { live, known, generation, .. } = report;
    format!("{leader}, {live} of {known} members live, generation {generation}")
}

/// What an operator should look at, the worst first.
fn wrong(report: &FleetReport) -> Vec<String> {
    let mut wrong = Vec::new();
    if report.store_away {
        wrong.push("the store is away".to_owned());
    }
    match report.candidate {
        CandidateState::Open => {}
        CandidateState::CatchingUp => wrong.push("catching up".to_owned()),
        CandidateState::Ejected => wrong.push("its candidate is ejected here".to_owned()),
    }
    wrong.extend(report.holds.iter().map(|hold| format!("holds: {}", plain(hold))));
    for member in &report.members {
        let name = plain(&member.member);
        if let Some(why) = &member.ejected {
            wrong.push(format!("{name} has ejected its candidate: {}", plain(why)));
        }
        if is_silent(member) {
            wrong.push(format!("{name} is silent"));
        }
    }
    wrong.extend(differences(report).iter().map(|difference| plain(&differs(difference))));
    wrong
}

fn members(frame: &mut Frame<'_>, report: &FleetReport, look: Look, area: Rect) {
    let row = |member: &MemberReport| {
        let health = member
            .slots
            .iter()
            .map(|slot| format!("{} {}", slot.slot.as_str(), plain(in_short(&slot.health))));
        let role = if report.leader.as_ref() == Some(&member.member) { "leads" } else { "" };
        let row = Row::new([
            plain(&member.member),
            role.to_owned(),
            plain(&member.version),
            member.generation.to_string(),
            seconds(member.silent_ms),
            health.collect::<Vec<_>>().join(", "),
        ]);
        if is_silent(member) || member.ejected.is_some() { row.style(look.bad_style()) } else { row }
    };
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(6),
        Constraint::Length(10),
        Constraint::Length(11),
        Constraint::Length(9),
        Constraint::Fill(1),
    ];
    let shown = MEMBERS_MAX.min(usize::from(area.height) - 1);
    let rows: Vec<Row<'_>> = report.members.iter().take(shown).map(row).collect();
    let header = ["MEMBER", "", "VERSION", "GENERATION", "SILENT", "SLOTS"];
    let table = Table::new(rows, widths).header(Row::new(header).style(Modifier::DIM));
    frame.render_widget(table, area);
}
