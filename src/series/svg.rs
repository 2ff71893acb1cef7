//! A part of the series as one SVG picture: calls, errors, times and memory of both slots, with a mark for each event.
//!
//! Made for a file that outlives the guard: nothing external, no script, no style sheet, a bounded size, text that is only text.
//! Pure. Must not know what the events are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Columns, Picture};
use crate::upstream::Slot;

/// Entries of a column that are drawn at most: a picture of a longer time is coarser.
pub(crate) const ENTRIES_MAX: usize = 600;
/// Marks that are drawn; the latest count.
const MARKS_MAX: usize = 20;
/// Characters of a mark's text.
const TEXT_MAX: usize = 120;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 944.0;
const TOP: f64 = 72.0;
const PANEL: f64 = 110.0;
/// From the top of a panel to that of the next one.
const PANEL_STEP: f64 = 146.0;
const LINE: f64 = 17.0;

const INK: &str = "#16202a";
const QUIET: &str = "#51606f";
const GRID: &str = "#cfd8e0";

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Seconds since the epoch.
    pub(crate) at: u64,
    pub(crate) text: String,
    pub(crate) early: Early,
}

/// What becomes of a mark before the first entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Early {
    LeftOut,
    /// It stands at the left edge, with its own time.
    AtTheEdge,
}

/// One value an entry; none where it is not known.
type Values = Vec<Option<f64>>;

/// One of the four plots.
struct Panel {
    caption: &'static str,
    unit: &'static str,
    lines: Vec<Line>,
}

struct Line {
    slot: Slot,
    values: Values,
    is_dashed: bool,
}

/// Draws a picture of slots. `title` is what it is about.
pub(crate) fn draw(picture: &Picture, marks: &[Mark], title: &str) -> String {
    let panels = panels(&picture.slots, picture.step);
    let entries = panels.iter().flat_map(|panel| &panel.lines).map(|line| line.values.len()).max();
    let axis = Axis { entries: entries.unwrap_or(0), step: picture.step as u64, end: picture.at };
    let shown: Vec<&Mark> = marks.iter().filter(|mark| axis.shows(mark)).collect();
    let shown = &shown[shown.len().saturating_sub(MARKS_MAX)..];
    let below = TOP + panels.len() as f64 * PANEL_STEP;
    let height = below + LINE * (shown.len() as f64 + 1.0);
    let title = text(title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         role=\"img\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"{INK}\">\n<title>{title}</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"15\" font-weight=\"600\">{title}</text>\n"
    );
    let mut x = 16.0;
    for slot in picture.slots.keys() {
        let (name, color) = (slot.as_str(), color(*slot));
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"35\" width=\"14\" height=\"4\" fill=\"{color}\"/><text x=\"{}\" y=\"41\">{name}</text>",
            x + 20.0
        );
        x += 76.0;
    }
    for (place, panel) in panels.iter().enumerate() {
        draw_panel(&mut svg, panel, TOP + place as f64 * PANEL_STEP, &axis);
    }
    draw_times(&mut svg, &axis, below - PANEL_STEP + PANEL + 14.0);
    for (place, mark) in shown.iter().enumerate() {
        draw_mark(&mut svg, mark, place, &axis, below);
    }
    svg.push_str("</svg>\n");
    svg
}

/// The time of the entries, and where each one is.
struct Axis {
    entries: usize,
    step: u64,
    /// The moment of the last entry.
    end: u64,
}

impl Axis {
    fn start(&self) -> u64 {
        self.end.saturating_sub(self.step * (self.entries as u64).saturating_sub(1))
    }

    /// What happens in a second is known before that second is counted, and a rollout begins before its first one.
    fn shows(&self, mark: &Mark) -> bool {
        let (before, after) = (2 * self.step, self.step);
        let is_early = mark.at < self.start().saturating_sub(before);
        let is_late = mark.at > self.end.saturating_add(after);
        !is_late && (!is_early || mark.early == Early::AtTheEdge)
    }

    fn of_entry(&self, entry: usize) -> f64 {
        LEFT + entry as f64 * (RIGHT - LEFT) / self.entries.saturating_sub(1).max(1) as f64
    }

    fn of_moment(&self, at: u64) -> f64 {
        let (passed, whole) = (at.saturating_sub(self.start()), self.end.saturating_sub(self.start()));
        LEFT + passed.min(whole) as f64 * (RIGHT - LEFT) / whole.max(1) as f64
    }
}

fn panels(slots: &BTreeMap<Slot, Columns>, step: usize) -> [Panel; 4] {
    let each = |values: &dyn Fn(&Columns) -> Values| -> Vec<Line> {
        slots
            .iter()
            .map(|(slot, columns)| Line { slot: *slot, values: values(columns), is_dashed: false })
            .collect()
    };
    let a_second = |count: u32| Some(f64::from(count) / step as f64);
    let known = |values: &[Option<f32>], factor: f64| -> Values {
        values.iter().map(|value| value.map(|value| f64::from(value) * factor)).collect()
    };
    let calls = each(&|columns| columns.calls.iter().map(|count| a_second(*count)).collect());
    let errors = each(&|columns| {
        let both = columns.failures.iter().zip(&columns.errors);
        both.map(|(failures, errors)| a_second(failures.saturating_add(*errors))).collect()
    });
    let median = each(&|columns| known(&columns.p50_ms, 1.0)).into_iter();
    let times = median
        .map(|line| Line { is_dashed: true, ..line })
        .chain(each(&|columns| known(&columns.p95_ms, 1.0)))
        .collect();
    let memory = each(&|columns| known(&columns.memory, 100.0));
    [
        Panel { caption: "Calls a second", unit: "", lines: calls },
        Panel {
            caption: "Calls that failed or had an error in the response, a second",
            unit: "",
            lines: errors,
        },
        Panel { caption: "Times of calls: p95, and p50 dashed", unit: " ms", lines: times },
        Panel { caption: "Memory of the backend, part of its limit", unit: " %", lines: memory },
    ]
}

fn draw_panel(svg: &mut String, panel: &Panel, top: f64, axis: &Axis) {
    let values = panel.lines.iter().flat_map(|line| line.values.iter().flatten());
    let most = round_up(values.fold(0.0, |most: f64, value| most.max(*value)));
    let (bottom, width) = (top + PANEL, RIGHT - LEFT);
    let (before, unit) = (LEFT - 6.0, panel.unit);
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"{}\">{}</text>\n\
         <rect x=\"{LEFT}\" y=\"{top}\" width=\"{width}\" height=\"{PANEL}\" fill=\"none\" stroke=\"{GRID}\"/>\n\
         <text x=\"{before}\" y=\"{}\" text-anchor=\"end\" fill=\"{QUIET}\">{most}{unit}</text>\
         <text x=\"{before}\" y=\"{bottom}\" text-anchor=\"end\" fill=\"{QUIET}\">0</text>",
        top - 6.0,
        panel.caption,
        top + 10.0
    );
    let place =
        |entry: usize, value: f64| (axis.of_entry(entry), bottom - 1.0 - value / most * (PANEL - 4.0));
    for line in &panel.lines {
        // A row that began later ends with the others.
        let first = axis.entries - line.values.len();
        let points = line.values.iter().enumerate();
        let points: Vec<Option<(f64, f64)>> =
            points.map(|(entry, value)| value.map(|value| place(first + entry, value))).collect();
        draw_line(svg, line, &points);
    }
}

/// One path, which begins anew after each gap.
fn draw_line(svg: &mut String, line: &Line, points: &[Option<(f64, f64)>]) {
    let (color, slot) = (color(line.slot), line.slot.as_str());
    let dashes =
        if line.is_dashed { " stroke-width=\"1\" stroke-dasharray=\"3 3\"" } else { " stroke-width=\"1.5\"" };
    let mut path = String::new();
    for piece in points.split(Option::is_none).filter(|piece| !piece.is_empty()) {
        let mut command = 'M';
        for (x, y) in piece.iter().flatten() {
            let _ = write!(path, "{command}{x:.1},{y:.1}");
            command = 'L';
        }
        if piece.len() == 1 {
            // One point alone has no length.
            path.push_str("h1");
        }
    }
    if !path.is_empty() {
        let _ =
            writeln!(svg, "<path class=\"{slot}\" d=\"{path}\" fill=\"none\" stroke=\"{color}\"{dashes}/>");
    }
}

fn draw_times(svg: &mut String, axis: &Axis, y: f64) {
    for (at, x, anchor) in [(axis.start(), LEFT, "start"), (axis.end, RIGHT, "end")] {
        let time = moment(at, "%Y-%m-%d %H:%M:%S UTC");
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"{QUIET}\">{time}</text>"
        );
    }
}

/// A line through every plot with a number, and what it means below.
fn draw_mark(svg: &mut String, mark: &Mark, place: usize, axis: &Axis, below: f64) {
    let (x, number) = (axis.of_moment(mark.at), place + 1);
    let end = below - PANEL_STEP + PANEL;
    // Neighbours in turn, so that numbers close together stay apart.
    let top = TOP - 20.0 - 11.0 * (place % 2) as f64;
    let _ = writeln!(
        svg,
        "<line class=\"mark\" x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{end}\" stroke=\"{QUIET}\" stroke-dasharray=\"2 3\"/>\
         <text x=\"{x:.1}\" y=\"{top}\" text-anchor=\"middle\" fill=\"{QUIET}\">{number}</text>\n\
         <text x=\"16\" y=\"{}\">{number}: {} UTC {}</text>",
        top + 3.0,
        below + LINE * place as f64,
        moment(mark.at, "%H:%M:%S"),
        text(&mark.text)
    );
}

fn color(slot: Slot) -> &'static str {
    match slot {
        Slot::Blue => "#1257b8",
        Slot::Green => "#0b7a43",
    }
}

/// The next of 1, 2 and 5 with zeros: the top of a plot.
fn round_up(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(most.log10().floor());
    let digits = [1.0, 2.0, 5.0].into_iter().find(|digit| most <= digit * unit * (1.0 + 1e-9));
    let rounded = digits.unwrap_or(10.0) * unit;
    // What a power of ten adds in its last digits is not shown.
    (rounded * 1e6).round() / 1e6
}

fn moment(at: u64, format: &str) -> String {
    let time = i64::try_from(at).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    time.map_or_else(String::new, |time| time.strftime(format).to_string())
}

/// Text that is only text, of a bounded length.
fn text(text: &str) -> String {
    let mut escaped = String::new();
    for (place, character) in text.chars().enumerate() {
        if place == TEXT_MAX {
            escaped.push('…');
            break;
        }
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // No XML has these.
            '\u{fffe}' | '\u{ffff}' => {}
            other if other.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(entries: usize) -> Columns {
        Columns {
            calls: vec![10; entries],
            failures: vec![1; entries],
            errors: vec![0; entries],
            p50_ms: vec![Some(1.0); entries],
            p95_ms: (0..entries).map(|entry| (entry != 1).then_some(2.0)).collect(),
            memory: vec![None; entries],
        }
    }

    fn picture(entries: usize) -> Picture {
        let slots = [(Slot::Blue, columns(entries)), (Slot::Green, columns(entries.saturating_sub(1)))];
        Picture { at: 1_000, step: 1, slots: slots.into(), tools: BTreeMap::new() }
    }

    /// How many points each piece of each line of a slot has.
    fn lines(svg: &str, slot: Slot) -> Vec<usize> {
        let begin = format!("<path class=\"{}\" d=\"M", slot.as_str());
        let paths = svg.split(&begin).skip(1).map(|rest| rest.split('"').next().unwrap());
        paths.flat_map(|path| path.split('M')).map(|piece| piece.matches(',').count()).collect()
    }

    #[test]
    fn a_line_has_a_point_for_every_entry_and_a_gap_where_nothing_is_known() {
        let svg = draw(&picture(60), &[], "a title");
        // Calls, errors, p50, and p95 in two pieces, of which one is a single point; memory is not known.
        assert_eq!(lines(&svg, Slot::Blue), [60, 60, 60, 1, 58]);
        assert_eq!(lines(&svg, Slot::Green), [59, 59, 59, 1, 57]);
        assert_eq!(svg.matches("h1").count(), 2, "a single point has a length");
        assert!(svg.contains("1970-01-01 00:15:41 UTC") && svg.contains("1970-01-01 00:16:40 UTC"));
        for entries in [0, 1, 2] {
            assert!(draw(&picture(entries), &[], "short").ends_with("</svg>\n"));
        }
    }

    #[test]
    fn a_mark_has_its_place_and_its_text_is_only_text() {
        let mark = |at: u64, text: &str| Mark { at, text: text.to_owned(), early: Early::LeftOut };
        let long = "x".repeat(TEXT_MAX + 1);
        let marks = [
            mark(1, "too early"),
            mark(941, "<script>\"a\" & b</script>\u{1b}[31m"),
            mark(1_001, &long),
            mark(1_002, "too late"),
        ];
        let svg = draw(&picture(60), &marks, "<b>");
        assert!(
            svg.contains("1: 00:15:41 UTC &lt;script&gt;&quot;a&quot; &amp; b&lt;/script&gt; [31m</text>")
        );
        assert!(svg.contains("x1=\"64.0\"") && svg.contains("x1=\"944.0\"") && svg.contains("x…</text>"));
        assert!(!svg.contains("too ") && !svg.contains("<b>"));
        assert_eq!(svg.matches("class=\"mark\"").count(), 2);
    }

    #[test]
    fn a_mark_before_the_first_entry_can_stand_at_the_edge() {
        let mark = Mark { at: 61, text: "started".to_owned(), early: Early::AtTheEdge };
        let svg = draw(&picture(60), &[mark], "");
        assert!(svg.contains("x1=\"64.0\"") && svg.contains("1: 00:01:01 UTC started"), "{svg}");
    }

    // docs/console.md: "a picture has at most 100 KiB".
    #[test]
    fn a_picture_of_any_size_is_bounded() {
        let mark = Mark { at: 990, text: "\"".repeat(1_000), early: Early::LeftOut };
        let all = |shown: fn(usize) -> bool| Columns {
            calls: (0..ENTRIES_MAX as u32).map(|entry| entry % 1_000).collect(),
            failures: vec![u32::MAX; ENTRIES_MAX],
            errors: vec![u32::MAX; ENTRIES_MAX],
            p50_ms: (0..ENTRIES_MAX).map(|entry| shown(entry).then_some(1.0)).collect(),
            p95_ms: (0..ENTRIES_MAX).map(|entry| shown(entry).then_some(300_000.0)).collect(),
            memory: (0..ENTRIES_MAX).map(|entry| shown(entry).then_some(1.0)).collect(),
        };
        for shown in [|_| true, |entry| entry % 2 == 0, |entry| entry % 3 > 0] {
            let slots = Slot::ALL.map(|slot| (slot, all(shown))).into();
            let picture = Picture { at: 4_000_000_000, step: 1, slots, tools: BTreeMap::new() };
            let marks = vec![Mark { at: picture.at, ..mark.clone() }; 1_000];
            let svg = draw(&picture, &marks, &"\"".repeat(1_000));
            assert_eq!(svg.matches("class=\"mark\"").count(), MARKS_MAX);
            assert!(svg.len() < 100 << 10, "{}", svg.len());
        }
    }

    #[test]
    fn the_top_of_a_plot_is_a_round_number() {
        for (most, top) in [(0.0, 1.0), (1.0, 1.0), (1.2, 2.0), (34.0, 50.0), (99.0, 100.0), (0.03, 0.05)] {
            assert_eq!(round_up(most), top, "{most}");
        }
    }
}
