//! The exit codes, in one table: the help, the man page and `docs/cli.md` repeat it.

/// The end of a command, as its exit code says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    /// It did what it was asked for.
    Done,
    /// It failed: nothing was done, or not all of it.
    Failed,
    /// The command line is wrong, or some of the input was.
    Wrong,
    /// Ctrl-C or SIGTERM has ended it, as in shells.
    Interrupted,
}

impl Exit {
    /// All of them, by their codes.
    pub(super) const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::Wrong, Self::Interrupted];

    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Wrong => 2,
            Self::Interrupted => 130,
        }
    }

    /// The meaning of the code.
    const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done; also if the reader of the output went away",
            Self::Failed => "failed; the message says what, and often what helps",
            Self::Wrong => "wrong usage, or a part of the input failed",
            Self::Interrupted => "interrupted by Ctrl-C or SIGTERM",
        }
    }
}

/// The codes and their meanings, for the help.
pub(super) fn table() -> String {
    let lines = Exit::ALL.map(|exit| format!("  {:>3}  {}", exit.code(), exit.meaning()));
    format!("Exit codes:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_lists_the_codes() {
        let document = include_str!("../../../docs/cli.md");
        let rows = document.lines().filter(|line| {
            line.strip_prefix("| ")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        });
        let expected = Exit::ALL.map(|exit| format!("| {} | {} |", exit.code(), exit.meaning()));
        assert_eq!(rows.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn codes_grow() {
        assert!(Exit::ALL.is_sorted_by_key(|exit| exit.code()));
    }
}
