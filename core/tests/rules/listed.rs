//! Claims of listed executions in one plan: which share one, and what each takes of its limits.

use std::collections::HashMap;

use ff_core::backend::BackendTag;
use ff_core::engine::{Step, Transition as _};
use ff_core::partition::PartitionConfig;
use ff_core::plan::facts::Facts;
use ff_core::rules::ctx::Ctx;
use ff_core::rules::decision::Then;
use ff_core::rules::execution::listed::{ClaimListed, Listed};
use ff_core::rules::execution::reserve::Taken;
use ff_core::rules::key::ExecutionKey;
use ff_core::rules::limit::cell::Cell;
use ff_core::rules::limit::held::Holdings;
use ff_core::rules::limit::key::LimitKey;
use ff_core::types::TimestampMs;
use uuid::Uuid;

use crate::claim::claim;
use crate::{Draws, NOW};

fn of(text: &str) -> LimitKey {
    LimitKey::new(text, &PartitionConfig::default()).unwrap()
}

fn permits(permits: &[(&str, i64)]) -> Holdings {
    let permits = permits.iter().map(|(key, number)| (of(key), *number)).collect();
    Holdings { permits, cells: Vec::new() }
}

fn cell(number: i64) -> Holdings {
    let expires_at = TimestampMs(NOW + 1_000);
    let cell = Cell { key: of("api"), rate: "1/1000".into(), number, expires_at };
    Holdings { permits: Vec::new(), cells: vec![cell] }
}

/// The claims of executions 0, 1 .. that take these, in version 5.
fn claims(holdings: Vec<Holdings>) -> Vec<ClaimListed> {
    let listed = |(number, holdings)| {
        let key = ExecutionKey { partition: 7, uuid: Uuid::from_u128(number) };
        Listed { key, version: 5, holdings }
    };
    let listed = (0..).zip(holdings).map(listed).collect();
    ClaimListed::of(BackendTag::Memory, claim("main", &[], 1).terms(), listed)
}

fn step(claim: &ClaimListed, facts: &Facts) -> Step<HashMap<ExecutionKey, Taken>> {
    let mut draws = Draws { drawn: 0, fraction: 0.5 };
    claim.step(facts, &mut Ctx::new(TimestampMs(NOW), &mut draws)).unwrap()
}

/// Of each plan, the lines that name rows, mark them and take parts of limits.
fn plans(claims: &[ClaimListed]) -> Vec<String> {
    let plan = |claim: &ClaimListed| match step(claim, &Facts::default()) {
        Step::Commit(plan, _) => {
            let text = plan.to_string().replace("00000000-0000-0000-0000-00000000000", "");
            let shown =
                ["pick ", "where version", "has_res", "ff_limit_", "permit :=", "limit_key :="];
            let lines = text.lines().map(str::trim);
            let lines = lines.filter(|line| shown.iter().any(|shown| line.contains(shown)));
            lines.collect::<Vec<_>>().join("\n")
        }
        Step::Read(_) | Step::Answer(_) => panic!("it commits at once"),
    };
    claims.iter().map(plan).collect()
}

#[test]
fn those_of_one_permit_share_a_plan_in_the_order_of_their_permits() {
    let claims = claims(vec![permits(&[("b", 0)]), permits(&[("a", 4)]), permits(&[("a", 3)])]);
    let expected =
        "pick core from ff_exec_core[partition_key each(7, 7, 7), execution_id each(2, 1, 0)]
where version = each(5, 5, 5)
has_reservations := true
insert ff_limit_permit
limit_key := each(\"a\", \"a\", \"b\")
permit := each(3, 4, 0)";
    assert_eq!(plans(&claims), [expected]);
}

#[test]
fn those_that_take_nothing_have_a_plan_of_their_own() {
    let plans = plans(&claims(vec![permits(&[]), permits(&[("a", 0)]), permits(&[])]));
    let expected = "pick core from ff_exec_core[partition_key each(7, 7), execution_id each(0, 2)]
where version = each(5, 5)";
    assert_eq!(plans.len(), 2);
    assert_eq!(plans[1], expected);
}

#[test]
fn several_permits_and_cells_are_lists() {
    let mixed = vec![permits(&[("a", 0), ("b", 1)]), cell(9), permits(&[("a", 1)])];
    let expected =
        "pick core from ff_exec_core[partition_key each(7, 7, 7), execution_id each(0, 2, 1)]
where version = each(5, 5, 5)
has_reservations := true
for each item of each(<79 bytes>, <40 bytes>, <2 bytes>) insert ff_limit_permit
limit_key := item.key
permit := item.permit
for each item of each(<2 bytes>, <2 bytes>, <74 bytes>) insert ff_limit_cell
limit_key := item.key";
    assert_eq!(plans(&claims(mixed)), [expected]);
    let only_cells = plans(&claims(vec![cell(9)]));
    assert!(!only_cells[0].contains("ff_limit_permit"), "{only_cells:?}");
}

#[test]
fn what_the_plan_does_not_report_is_gone_and_a_refusal_says_that_all_are_overtaken() {
    let claims = claims(vec![permits(&[("a", 0)]), permits(&[("a", 1)])]);
    let Step::Commit(_, Then::FromRows(read)) = step(&claims[0], &Facts::default()) else {
        panic!("it commits at once")
    };
    let taken = read(Vec::new()).unwrap();
    assert_eq!(taken.into_values().collect::<Vec<_>>(), [Taken::Gone, Taken::Gone]);

    let Step::Answer(taken) = step(&claims[0], &Facts::after_refusals(1)) else {
        panic!("it tries once")
    };
    assert_eq!(taken.into_values().collect::<Vec<_>>(), [Taken::Overtaken, Taken::Overtaken]);
}
