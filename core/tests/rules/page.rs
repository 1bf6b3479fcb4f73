//! Reviewed pages of decisions: what makes no difference is collapsed, so that a line of a page
//! stands for the product of what it lists.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ff_core::plan::{Mutation, Plan};
use ff_core::rules::decision::Transition;

use crate::stored::{RowOf, Stored};
use crate::{Decided, decide};

/// One side of the situations: its name and its values.
pub(crate) struct Side<'a> {
    pub(crate) name: &'static str,
    pub(crate) values: Vec<&'a str>,
}

/// A value of one side: its name, and the rows that are stored then.
pub(crate) type Situation = (&'static str, Vec<RowOf>);
/// The word for what an operation decides.
pub(crate) type Word = Box<dyn Fn(&Stored) -> String>;

/// What that operation decides and writes.
pub(crate) fn operation<T: Transition + 'static>(operation: T) -> Word
where
    T::Outcome: std::fmt::Debug,
{
    Box::new(move |stored| match decide(&operation, stored) {
        Decided::Plan(plan, answer) => {
            format!("{}; {}", answer.unwrap_or_default(), written(&plan))
        }
        decided @ (Decided::Answer(_) | Decided::Refused(_)) => decided.to_string(),
    })
}

/// Every operation on every combination of these situations.
pub(crate) fn pages(
    situations: &[(&'static str, Vec<Situation>)],
    operations: Vec<(&str, Word)>,
) -> String {
    let side = |(name, values): &(&'static str, Vec<Situation>)| Side {
        name,
        values: values.iter().map(|(name, _)| *name).collect(),
    };
    let sides: Vec<Side<'_>> = situations.iter().map(side).collect();
    let (mut page, mut count) = (heading(&sides), 0);
    for (name, decide) in operations {
        let (lines, decisions) = lines(&sides, |at| {
            let rows = situations.iter().zip(at).flat_map(|((_, values), at)| &values[*at].1);
            decide(&rows.fold(Stored::nothing(), Stored::with))
        });
        count += decisions;
        writeln!(page, "\n{name}").unwrap();
        lines.iter().for_each(|line| writeln!(page, "  {line}").unwrap());
    }
    writeln!(page, "\n{count} decisions").unwrap();
    page
}

/// A line: the values of each side that it stands for, and what is decided.
type Line = (Vec<Vec<usize>>, String);

/// Lines that together say what `decide` says of every combination of values, which it is given by
/// their numbers; with the number of decisions.
pub(crate) fn lines(
    sides: &[Side<'_>],
    decide: impl Fn(&[usize]) -> String,
) -> (Vec<String>, usize) {
    let mut cells = BTreeMap::new();
    fill(sides, &mut Vec::new(), &mut |at| {
        cells.insert(at.to_vec(), decide(at));
    });
    let lines = collapsed(sides, &mut Vec::new(), &cells);
    assert_eq!(expanded(&lines), cells, "the page leaves nothing out");

    let text = |(members, word): &Line| {
        let named = sides.iter().zip(members).map(|(side, members)| named(members, &side.values));
        format!("{}: {word}", named.collect::<Vec<_>>().join(" | "))
    };
    (lines.iter().map(text).collect(), cells.len())
}

/// The heading of a page: the values of each side.
pub(crate) fn heading(sides: &[Side<'_>]) -> String {
    sides.iter().map(|Side { name, values }| format!("{name}: {}\n", values.join(" "))).collect()
}

/// The page as it was reviewed.
#[track_caller]
pub(crate) fn assert_reviewed(name: &str, page: &str) {
    assert!(page.lines().count() < 600, "a page that nobody can review");
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, page));
}

/// The tables that a plan writes, in its order.
pub(crate) fn written(plan: &Plan) -> String {
    let word = |mutation: &Mutation| {
        let table = mutation.table().0.name.trim_start_matches("ff_");
        match mutation {
            Mutation::Insert { .. } | Mutation::InsertEach { .. } => format!("+{table}"),
            Mutation::Update { .. } => table.to_owned(),
            Mutation::Delete { .. } => format!("-{table}"),
        }
    };
    plan.mutations.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn fill(sides: &[Side<'_>], at: &mut Vec<usize>, visit: &mut dyn FnMut(&[usize])) {
    let Some(side) = sides.get(at.len()) else { return visit(at) };
    for value in 0..side.values.len() {
        at.push(value);
        fill(sides, at, visit);
        at.pop();
    }
}

/// Values of the next side that agree in all that follows are one group.
fn collapsed(
    sides: &[Side<'_>],
    at: &mut Vec<usize>,
    cells: &BTreeMap<Vec<usize>, String>,
) -> Vec<Line> {
    let Some(side) = sides.get(at.len()) else {
        return vec![(Vec::new(), cells[at].clone())];
    };
    let mut groups: Vec<(Vec<usize>, Vec<Line>)> = Vec::new();
    for value in 0..side.values.len() {
        at.push(value);
        let own = collapsed(sides, at, cells);
        at.pop();
        match groups.iter_mut().find(|(_, known)| *known == own) {
            Some((members, _)) => members.push(value),
            None => groups.push((vec![value], own)),
        }
    }
    let line = |(members, lines): (Vec<usize>, Vec<Line>)| {
        lines.into_iter().map(move |(rest, word)| {
            let all = [members.clone()].into_iter().chain(rest).collect();
            (all, word)
        })
    };
    groups.into_iter().flat_map(line).collect()
}

/// The cells that the lines stand for; each exactly once.
fn expanded(lines: &[Line]) -> BTreeMap<Vec<usize>, String> {
    let mut cells = BTreeMap::new();
    for (members, word) in lines {
        let mut at = vec![Vec::new()];
        for side in members {
            let longer = |at: &Vec<usize>, value: &usize| [at.clone(), vec![*value]].concat();
            at = at.iter().flat_map(|at| side.iter().map(move |v| longer(at, v))).collect();
        }
        for at in at {
            let before = cells.insert(at, word.clone());
            assert_eq!(before, None, "two lines say something of one state");
        }
    }
    cells
}

fn named(members: &[usize], names: &[&str]) -> String {
    let names_of =
        |indices: &[usize]| indices.iter().map(|index| names[*index]).collect::<Vec<_>>().join(" ");
    let others: Vec<usize> = (0..names.len()).filter(|index| !members.contains(index)).collect();
    match others.len() {
        0 => "any".into(),
        few if few <= 2 && few < members.len() => format!("any but {}", names_of(&others)),
        _ => names_of(members),
    }
}
