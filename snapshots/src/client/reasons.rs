//! The reasons for a refusal, as reads.

use ff_core::EngineError;
use ff_core::plan::{Expr, Guard, List, Query};
use ff_core::rules::decision::Decision;
use ff_core::rules::key::all_equal;
use ff_core::rules::premise::reasons;
use ff_core::schema::Direction;
use ff_core::types::TimestampMs;

use super::Reason;
use super::marks::{Marks, fault, sources};
use crate::Call;

/// The reasons for which a decision refuses, most important first. It is built twice, as a call.
pub(super) fn reasons_of<D: Decision>(
    build: impl Fn(&mut Marks) -> Result<(D, TimestampMs), EngineError>,
) -> Result<Vec<Reason>, EngineError> {
    let all = |marks: &mut Marks| {
        let (decision, at) = build(marks)?;
        Ok::<_, EngineError>(reasons(&decision.premises(at)))
    };

    let found = all(&mut Marks::new(1))?;
    let refusals = found.into_iter().map(|reason| reason.refusal);
    let nth = |(number, refusal): (usize, EngineError)| {
        let (call, given) = sources(|marks| {
            let found = all(marks)?;
            let guards: Vec<Guard> = found.into_iter().map(|reason| reason.guard).collect();
            let guard = guards.get(number).ok_or_else(|| fault("the reasons differ"))?;
            Ok(Call::Query(read(guard, &guards)))
        })?;
        Ok(Reason { refusal, call, given })
    };
    refusals.enumerate().map(nth).collect()
}

/// A read of the guarded row while the guard holds.
fn read(guard: &Guard, others: &[Guard]) -> Query {
    let key = guard.key.iter().map(|(column, expr)| (*column, resolved(expr, others))).collect();
    Query::List(List {
        name: guard.row.clone(),
        table: guard.table,
        join: None,
        columns: guard.table.key.to_vec(),
        predicate: all_equal(key).and(guard.holds.clone()),
        order: guard.table.key.iter().map(|column| (*column, Direction::Ascending)).collect(),
        of_each: None,
        limit: Expr::int(1),
    })
}

/// The expression, where it names the key of another guarded row: what that key is.
fn resolved(expr: &Expr, others: &[Guard]) -> Expr {
    let Expr::Held(row, path) = expr else { return expr.clone() };
    let other = others.iter().find(|guard| guard.row == *row);
    let key = other.and_then(|guard| guard.key.iter().find(|(column, _)| *column == path.column));
    key.map_or_else(|| expr.clone(), |(_, expr)| expr.clone())
}
