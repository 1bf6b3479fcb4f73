//! A flow as a tree for a terminal: who waits for whom, and where each of them stands.

use console::{Style, measure_text_width};
use ff_core::contracts::{EdgeGroupSnapshot, FlowGraph};

use super::palette::look;
use super::picture::{Picture, Visit, cancels_others, needs};

/// Whether the terminal shows colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Colours {
    On,
    Off,
}

impl Colours {
    /// As stdout, `NO_COLOR` and `CLICOLOR` ask for.
    pub(in crate::cli) fn of_stdout() -> Self {
        if console::colors_enabled() { Self::On } else { Self::Off }
    }

    fn paint(self, style: &Style, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        style.clone().force_styling(self == Self::On).apply_to(text).to_string()
    }
}

/// One line of the tree.
struct Line<'a> {
    visit: &'a Visit<'a>,
    /// The lines that lead to it from those above.
    rails: String,
}

/// The tree, one line per node; a node that waits for several is shown once, and is named where
/// else it would stand.
pub(in crate::cli) fn tree(graph: &FlowGraph, colours: Colours) -> String {
    let picture = Picture::of(graph);
    let visits = picture.visits();
    let lines: Vec<Line<'_>> =
        visits.iter().map(|visit| Line { visit, rails: rails(&visit.lasts) }).collect();
    let widths = lines.iter().filter(|line| !line.visit.is_again).map(Line::width);
    let width = widths.max().unwrap_or(0);
    let states = visits.iter().map(|visit| visit.node.state.as_str().len());
    let state_width = states.max().unwrap_or(0);
    let written = lines.iter().map(|line| line.written(width, state_width, colours));
    written.collect::<Vec<_>>().join("\n")
}

impl Line<'_> {
    /// Of what stands before the state: rails, sign, blank and name.
    fn width(&self) -> usize {
        measure_text_width(&self.rails) + 2 + measure_text_width(&self.visit.node.name)
    }

    fn written(&self, width: usize, state_width: usize, colours: Colours) -> String {
        let (node, dim) = (self.visit.node, Style::new().dim());
        let rails = colours.paint(&dim, &self.rails);
        if self.visit.is_again {
            return format!("{rails}{}", colours.paint(&dim, &format!("↑ {}", node.name)));
        }
        let look = look(node.state);
        let sign = colours.paint(&look.style, &look.sign.to_string());
        let state = node.state.as_str();
        let Some(group) = &node.group else {
            let gap = " ".repeat(width.saturating_sub(self.width()));
            let state = colours.paint(&look.style, state);
            return format!("{rails}{sign} {}{gap}  {state}", node.name);
        };
        let gap = " ".repeat(width.saturating_sub(self.width()));
        let state_gap = " ".repeat(state_width.saturating_sub(state.len()));
        let state = colours.paint(&look.style, state);
        let counts = colours.paint(&dim, &counts(group));
        format!("{rails}{sign} {}{gap}  {state}{state_gap}  {counts}", node.name)
    }
}

fn rails(lasts: &[bool]) -> String {
    let Some((own, above)) = lasts.split_last() else { return String::new() };
    let above = above.iter().map(|last| if *last { "   " } else { "│  " });
    above.chain([if *own { "└─ " } else { "├─ " }]).collect()
}

/// Where the dependencies stand: the verdict, how many are needed, and how they have ended so far.
fn counts(group: &EdgeGroupSnapshot) -> String {
    let counts = [
        (group.satisfied_count, "met"),
        (group.failed_count, "unmet"),
        (group.skipped_count, "skipped"),
        (group.running_count, "open"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count != 0);
    let counts: Vec<String> = counts.map(|(count, what)| format!("{count} {what}")).collect();
    let counts =
        if counts.is_empty() { String::new() } else { format!(" ({})", counts.join(", ")) };
    let then = if cancels_others(group) { ", cancels the others" } else { "" };
    format!("{}: {}{counts}{then}", group.group_state.as_str(), needs(group))
}
