//! Tables that fit: columns that do not are cut, wrapped or left out, in that order.

use super::shown::Shown;

/// The number of blanks between two columns.
const GAP: usize = 2;

/// The least width that a column is cut or wrapped to while others can be left out instead.
const NARROW: usize = 12;

/// A column, and the way to make it fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    name: &'static str,
    fit: Fit,
    /// Columns of the highest rank are left out first, those of rank 0 never.
    rank: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Whole,
    Cut,
    Wrapped,
}

impl Column {
    /// A column with cells that are shown whole.
    pub(super) const fn whole(name: &'static str, rank: u8) -> Self {
        Self { name, fit: Fit::Whole, rank }
    }

    /// A column with cells that may be cut.
    pub(super) const fn cut(name: &'static str, rank: u8) -> Self {
        Self { name, fit: Fit::Cut, rank }
    }

    /// A column with cells that may take several lines.
    pub(super) const fn wrapped(name: &'static str, rank: u8) -> Self {
        Self { name, fit: Fit::Wrapped, rank }
    }
}

/// Rows below a header.
#[derive(Clone, Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    header: Vec<Shown>,
    rows: Vec<Vec<Shown>>,
}

impl Table {
    /// An empty table.
    pub(super) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        let columns: Vec<Column> = columns.into_iter().collect();
        let header = columns.iter().map(|column| Shown::from(column.name)).collect();
        Self { columns, header, rows: Vec::new() }
    }

    /// Replaces the names of the columns.
    pub(super) fn with_header<S: Into<Shown>>(
        mut self,
        names: impl IntoIterator<Item = S>,
    ) -> Self {
        self.header = names.into_iter().map(Into::into).collect();
        self
    }

    /// Adds a row, a cell per column.
    pub(super) fn row<S: Into<Shown>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells = cells.into_iter().map(|cell| {
            let cell: Shown = cell.into();
            // A tab would break the columns.
            if cell.as_str().contains('\t') {
                cell.as_str().replace('\t', " ").into()
            } else {
                cell
            }
        });
        self.rows.push(cells.collect());
    }

    /// The lines, none wider than `width` if that is given and possible.
    pub(super) fn lines(&self, width: Option<usize>) -> Vec<Shown> {
        let natural = self.natural_widths();
        let widths = match width {
            Some(width) => self.fitting(&natural, width),
            None => natural.iter().copied().map(Some).collect(),
        };

        let total: usize = widths.iter().flatten().map(|width| width + GAP).sum();
        let rule = Shown::from("─".repeat(total.saturating_sub(GAP)));

        let mut lines = self.row_lines(&self.header, &widths);
        lines.push(rule);
        lines.extend(self.rows.iter().flat_map(|row| self.row_lines(row, &widths)));
        lines
    }

    /// The widths of the columns if nothing were cut.
    fn natural_widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.header.iter().map(Shown::width).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        widths
    }

    /// The widths of the columns that are shown.
    fn fitting(&self, natural: &[usize], width: usize) -> Vec<Option<usize>> {
        let mut shown: Vec<bool> = vec![true; natural.len()];
        loop {
            let of = |index: usize, natural: usize| match self.columns.get(index) {
                Some(column) if column.fit != Fit::Whole => natural.min(NARROW),
                Some(_) | None => natural,
            };

            let kept =
                || natural.iter().copied().enumerate().zip(&shown).filter(|(_, kept)| **kept);
            let least: usize = kept().map(|((index, natural), _)| of(index, natural) + GAP).sum();

            if least <= width + GAP {
                // Every column gets its least width; the first ones share what is left.
                let mut room = width + GAP - least;
                let widths = natural.iter().copied().enumerate().zip(&shown);
                return widths
                    .map(|((index, natural), kept)| {
                        let least = of(index, natural);
                        let more = if *kept { room.min(natural - least) } else { 0 };
                        room -= more;
                        kept.then_some(least + more)
                    })
                    .collect();
            }

            let ranks = self.columns.iter().map(|column| column.rank).enumerate().zip(&shown);
            let ranked = ranks.filter(|((_, rank), kept)| **kept && *rank != 0);
            let last = ranked.max_by_key(|((_, rank), _)| *rank).map(|((index, _), _)| index);
            match last.and_then(|index| shown.get_mut(index)) {
                Some(kept) => *kept = false,
                None => return narrowed(natural, &shown, width),
            }
        }
    }

    fn row_lines(&self, row: &[Shown], widths: &[Option<usize>]) -> Vec<Shown> {
        let cells = row.iter().zip(&self.columns).zip(widths);
        let cells: Vec<(Vec<Shown>, usize)> = cells
            .filter_map(|((cell, column), width)| {
                let width = (*width)?;
                let lines = match column.fit {
                    _ if cell.width() <= width => vec![cell.clone()],
                    Fit::Wrapped => cell.wrapped(width),
                    Fit::Whole | Fit::Cut => vec![cell.cut(width)],
                };
                Some((lines, width))
            })
            .collect();

        let height = cells.iter().map(|(lines, _)| lines.len()).max().unwrap_or(0);
        (0..height).map(|number| joined(&cells, number)).collect()
    }
}

/// One line of a row, without blanks at its end.
fn joined(cells: &[(Vec<Shown>, usize)], number: usize) -> Shown {
    let nothing = Shown::default();
    let (mut line, mut gap) = (Shown::default(), 0);

    for (lines, width) in cells {
        let cell = lines.get(number).unwrap_or(&nothing);
        if cell.width() != 0 {
            line = line.then(&" ".repeat(gap).into()).then(cell);
            gap = 0;
        }
        gap += width.saturating_sub(cell.width()) + GAP;
    }
    line
}

/// The widths if even the columns that are never left out do not fit: the widest ones are narrowed.
fn narrowed(natural: &[usize], shown: &[bool], width: usize) -> Vec<Option<usize>> {
    let mut widths: Vec<Option<usize>> =
        natural.iter().zip(shown).map(|(width, kept)| kept.then_some(*width)).collect();

    loop {
        let total: usize = widths.iter().flatten().map(|width| width + GAP).sum();
        if total <= width + GAP {
            return widths;
        }

        match widths.iter_mut().flatten().max() {
            Some(widest) if 1 < *widest => *widest -= 1,
            Some(_) | None => return widths,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([
            Column::whole("id", 0),
            Column::whole("kind", 2),
            Column::whole("state", 1),
            Column::cut("reason", 0),
        ]);
        table.row(["7:aaaaaaaa", "mail", "failed", "the server said 550 no such user"]);
        table.row(["7:bbbbbbbb", "mail", "done\u{1b}[2J", "-"]);
        table
    }

    fn text(width: Option<usize>) -> String {
        let lines = table().lines(width);
        let lines: Vec<&str> = lines.iter().map(Shown::as_str).collect();
        if let Some(width) = width {
            assert!(
                lines.iter().all(|line| console::measure_text_width(line) <= width),
                "{lines:?}"
            );
        }
        lines.join("\n")
    }

    #[test]
    fn what_does_not_fit_is_cut_and_then_left_out() {
        insta::assert_snapshot!(text(None), @r"
        id          kind  state          reason
        ─────────────────────────────────────────────────────────────────
        7:aaaaaaaa  mail  failed         the server said 550 no such user
        7:bbbbbbbb  mail  done\u{1b}[2J  -
        ");

        insta::assert_snapshot!(text(Some(50)), @r"
        id          kind  state          reason
        ──────────────────────────────────────────────────
        7:aaaaaaaa  mail  failed         the server said …
        7:bbbbbbbb  mail  done\u{1b}[2J  -
        ");

        insta::assert_snapshot!(text(Some(42)), @r"
        id          state          reason
        ──────────────────────────────────────────
        7:aaaaaaaa  failed         the server sai…
        7:bbbbbbbb  done\u{1b}[2J  -
        ");

        insta::assert_snapshot!(text(Some(20)), @r"
        id         reason
        ────────────────────
        7:aaaaaa…  the serv…
        7:bbbbbb…  -
        ");
    }

    #[test]
    fn a_cell_takes_several_lines() {
        let mut table = Table::new([Column::whole("name", 0), Column::wrapped("value", 0)]);
        table.row(["reason", "a long text about nothing at all"]);
        let lines = table.lines(Some(24));
        let lines: Vec<&str> = lines.iter().map(Shown::as_str).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        name    value
        ────────────────────────
        reason  a long text
                about nothing at
                all
        ");
    }
}
