//! A flow as a tree for a terminal: the dependencies, and the state of each execution.

use console::Style;
use ff_core::contracts::{EdgeGroupSnapshot, FlowGraph};

use super::graph::{NodeGraph, Visit, cancels_others, needs};
use super::palette::appearance;
use crate::shown::Shown;

/// The use of colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    On,
    Off,
}

impl Colours {
    /// The choice that stdout, `NO_COLOR` and `CLICOLOR` ask for.
    pub(crate) fn of_stdout() -> Self {
        if console::colors_enabled() { Self::On } else { Self::Off }
    }

    fn paint(self, style: &Style, text: impl Into<Shown>) -> Shown {
        text.into().styled(&style.clone().force_styling(self == Self::On))
    }
}

/// One line of the tree.
struct Line<'a> {
    visit: &'a Visit<'a>,
    /// The line-drawing characters that lead to it from the lines above.
    rails: String,
}

/// The tree, one line per visit. A node with several upstream nodes is shown once, and only named
/// in its other places.
pub(crate) fn tree(graph: &FlowGraph, colours: Colours) -> Vec<Shown> {
    let node_graph = NodeGraph::of(graph);
    let visits = node_graph.visits();
    let lines: Vec<Line<'_>> =
        visits.iter().map(|visit| Line { visit, rails: rails(&visit.lasts) }).collect();

    let widths = lines.iter().filter(|line| !line.visit.is_again).map(Line::width);
    let width = widths.max().unwrap_or(0);
    let states = visits.iter().map(|visit| visit.node.state.as_str().len());
    let state_width = states.max().unwrap_or(0);

    lines.iter().map(|line| line.written(width, state_width, colours)).collect()
}

impl Line<'_> {
    /// The width of everything before the state: rails, sign, blank and name.
    fn width(&self) -> usize {
        self.rails.chars().count() + 2 + self.visit.node.name.width()
    }

    fn written(&self, width: usize, state_width: usize, colours: Colours) -> Shown {
        let (node, dim) = (self.visit.node, Style::new().dim());
        let blanks = |number| Shown::from(" ".repeat(number));
        let rails = colours.paint(&dim, self.rails.as_str());
        if self.visit.is_again {
            return rails.then(&colours.paint(&dim, format!("↑ {}", node.name)));
        }

        let appearance = appearance(node.state);
        let state = node.state.as_str();
        let line = rails
            .then(&colours.paint(&appearance.style, appearance.sign.to_string()))
            .then(&blanks(1))
            .then(&node.name)
            .then(&blanks(width.saturating_sub(self.width()) + 2))
            .then(&colours.paint(&appearance.style, state));

        match &node.group {
            None => line,
            Some(group) => line
                .then(&blanks(state_width.saturating_sub(state.len()) + 2))
                .then(&colours.paint(&dim, counts(group))),
        }
    }
}

fn rails(lasts: &[bool]) -> String {
    let Some((own, above)) = lasts.split_last() else { return String::new() };
    let above = above.iter().map(|last| if *last { "   " } else { "│  " });
    above.chain([if *own { "└─ " } else { "├─ " }]).collect()
}

/// The state of the dependencies: the verdict, the number needed, and the ends so far.
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
