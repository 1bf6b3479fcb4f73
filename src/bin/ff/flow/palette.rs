//! The appearance of the states: one sign and one colour each, in a terminal and in a graph.

use console::Style;
use ff_core::state::PublicState;

/// The appearance of a state.
pub(super) struct Appearance {
    /// One character, for readers without colours.
    pub(super) sign: char,
    /// The colours in a terminal.
    pub(super) style: Style,
    /// The background in a graph, as `#rrggbb`.
    pub(super) fill: &'static str,
    /// The border in a graph, as `#rrggbb`.
    pub(super) line: &'static str,
}

/// The appearance of `state`.
pub(super) fn appearance(state: PublicState) -> Appearance {
    let style = Style::new();
    let (sign, style, fill, line) = match state {
        PublicState::Waiting | PublicState::Resumable => ('○', style.cyan(), "#e0f2fe", "#0369a1"),
        PublicState::Delayed | PublicState::RateLimited => {
            ('◔', style.yellow(), "#fef9c3", "#a16207")
        }
        PublicState::WaitingChildren => ('◌', style.dim(), "#f4f4f5", "#71717a"),
        PublicState::Active => ('▶', style.blue().bold(), "#dbeafe", "#1d4ed8"),
        PublicState::Suspended => ('‖', style.magenta(), "#f3e8ff", "#7e22ce"),
        PublicState::Completed => ('✓', style.green(), "#dcfce7", "#15803d"),
        PublicState::Failed | PublicState::Expired => {
            ('✗', style.red().bold(), "#fee2e2", "#b91c1c")
        }
        PublicState::Cancelled => ('⊘', style.magenta(), "#fae8ff", "#a21caf"),
        PublicState::Skipped => ('–', style.dim(), "#e4e4e7", "#52525b"),
        // A state of a later version.
        _ => ('?', style, "#ffffff", "#18181b"),
    };
    Appearance { sign, style, fill, line }
}
