//! The executor against a connection that only notes what it is sent: the contract that the author
//! of a script database relies on.

use std::collections::VecDeque;

use ff_backend_script::{BoundValue, Failure, ScriptConnection, StepResult, apply_group};
use ff_codegen::dialect::TransactionControl;
use ff_codegen::{Dialect, Script, ScriptStep, Sqlite};
use ff_core::EngineError;
use ff_core::engine::Commit;
use ff_core::plan::value::Value;
use ff_core::plan::{Bindings, OnConflict, Plan};
use ff_core::schema::admin::lane_registry as lane;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Unique,
    Broken,
    /// Not the database's: the statement ran, and its result cannot be read.
    Unreadable,
}

/// A database that answers each statement as a test says, and forgets its transaction when it is
/// told to.
#[derive(Default)]
struct Scripted {
    sent: Vec<String>,
    bound: Vec<Vec<Value>>,
    answers: VecDeque<Result<StepResult, Fault>>,
    transaction: bool,
    loses_transaction: bool,
    /// The transaction was rolled back, and no statement has failed.
    is_another: bool,
}

impl ScriptConnection for Scripted {
    type Error = Fault;

    fn transaction_control(&self) -> TransactionControl {
        Sqlite.transaction_control()
    }

    async fn control(&mut self, text: &'static str) -> Result<(), Fault> {
        let control = self.transaction_control();
        self.sent.push(text.to_owned());
        if text == control.begin {
            self.transaction = true;
        } else if !self.transaction {
            return Err(Fault::Broken);
        }
        self.transaction &= text != control.commit;
        Ok(())
    }

    async fn roll_back(&mut self) {
        self.sent.push("ROLLBACK".to_owned());
        self.transaction = false;
    }

    async fn run(
        &mut self,
        step: &ScriptStep,
        values: &[BoundValue<'_>],
    ) -> Result<StepResult, Failure<Fault>> {
        let kind = match step {
            ScriptStep::Guard { .. } => "guard",
            ScriptStep::Pick { .. } => "pick",
            ScriptStep::Write { .. } => "write",
        };
        self.sent.push(kind.to_owned());
        self.bound.push(values.iter().map(|bound| bound.value.clone().into_owned()).collect());
        let answer = self.answers.pop_front().expect("the test answers every statement");
        self.transaction &= answer.is_ok() || !self.loses_transaction;
        answer.map_err(|fault| match fault {
            Fault::Unreadable => Failure::Value(EngineError::Unavailable { op: "a value" }),
            Fault::Unique | Fault::Broken => Failure::Database(fault),
        })
    }

    async fn is_in_transaction(&mut self) -> bool {
        self.transaction
    }

    async fn confirm(&mut self) -> Result<(), Fault> {
        if self.is_another { Err(Fault::Broken) } else { Ok(()) }
    }

    fn is_unique_violation(error: &Fault) -> bool {
        *error == Fault::Unique
    }
}

fn rendered(plan: Plan) -> (Script, Bindings) {
    let (shape, bindings) = plan.into_shape();
    let rendered = ff_codegen::render(&Sqlite, &shape).expect("renders");
    (rendered.into_script(&Sqlite).expect("SQLite runs scripts"), bindings)
}

fn register(plan: Plan, name: &str, on_conflict: OnConflict) -> Plan {
    let row = vec![
        lane::lane_id.with(name.into()),
        lane::registered_at_ms.with(5),
        lane::registered_by.with("test".into()),
    ];
    plan.insert(lane::REF, row, on_conflict)
}

/// An insert that must change a row.
fn registration(name: &str) -> (Script, Bindings) {
    rendered(register(Plan::new("register"), name, OnConflict::Refuse))
}

/// Two inserts that must change a row each.
fn registrations(first: &str, second: &str) -> (Script, Bindings) {
    let plan = register(Plan::new("register"), first, OnConflict::Refuse);
    rendered(register(plan, second, OnConflict::Refuse))
}

/// A guarded lane, and an insert behind it.
fn guarded() -> (Script, Bindings) {
    let key = vec![lane::lane_id.with("a".into())];
    let holds = lane::registered_by.equals("test".into());
    let plan = Plan::new("guarded").guard("lane", lane::REF, key, holds);
    rendered(register(plan, "b", OnConflict::Refuse))
}

fn found() -> StepResult {
    StepResult { rows: vec![vec![Value::Int(1)]], changed: 0 }
}

fn changed(rows: u64) -> StepResult {
    StepResult { rows: Vec::new(), changed: rows }
}

/// The outcomes of the plans, if the transaction survived, and the texts that were sent.
async fn apply(
    connection: &mut Scripted,
    plans: &[(Script, Bindings)],
) -> Result<Vec<Commit>, Fault> {
    let plans: Vec<_> = plans.iter().map(|(runs, bindings)| (runs, bindings)).collect();
    let outcomes = apply_group(connection, &plans).await?;
    Ok(outcomes.into_iter().map(|outcome| outcome.expect("no failure of its own")).collect())
}

fn applied() -> Commit {
    Commit::Applied(vec![vec![]])
}

#[tokio::test]
async fn a_guard_that_finds_no_row_refuses_the_plan_before_it_writes() {
    let answers = [Ok(changed(0))].into();
    let mut connection = Scripted { answers, ..Scripted::default() };
    assert_eq!(apply(&mut connection, &[guarded()]).await, Ok(vec![Commit::Refused]));
    assert_eq!(connection.sent, ["BEGIN IMMEDIATE", "guard", "ROLLBACK"]);
    assert_eq!(connection.bound, [vec![Value::Text("a".into()), Value::Text("test".into())]]);
}

#[tokio::test]
async fn a_guard_that_finds_its_row_lets_the_plan_write() {
    let answers = [Ok(found()), Ok(changed(1))].into();
    let mut connection = Scripted { answers, ..Scripted::default() };
    assert_eq!(apply(&mut connection, &[guarded()]).await, Ok(vec![applied()]));
    assert_eq!(connection.sent, ["BEGIN IMMEDIATE", "guard", "write", "COMMIT"]);
}

#[tokio::test]
async fn a_write_that_must_change_a_row_refuses_the_plan_if_it_changes_none() {
    let answers = [Ok(changed(0))].into();
    let mut connection = Scripted { answers, ..Scripted::default() };
    assert_eq!(apply(&mut connection, &[registration("a")]).await, Ok(vec![Commit::Refused]));
    assert_eq!(connection.sent, ["BEGIN IMMEDIATE", "write", "ROLLBACK"]);
}

#[tokio::test]
async fn a_plan_of_a_group_that_is_refused_before_it_wrote_needs_no_savepoint() {
    let answers = [Ok(changed(0)), Ok(changed(1))];
    let mut connection = Scripted { answers: answers.into(), ..Scripted::default() };
    let plans = [registration("a"), registration("b")];
    assert_eq!(apply(&mut connection, &plans).await, Ok(vec![Commit::Refused, applied()]));
    assert_eq!(connection.sent, ["BEGIN IMMEDIATE", "write", "write", "COMMIT"]);
}

#[tokio::test]
async fn a_refused_plan_of_a_group_is_taken_back_alone() {
    let refused = [Ok(changed(1)), Ok(changed(0))];
    let answers = [&refused[..], &refused[..], &[Ok(changed(1))]].concat();
    let mut connection = Scripted { answers: answers.into(), ..Scripted::default() };
    let plans = [registrations("a", "b"), registration("c")];
    assert_eq!(apply(&mut connection, &plans).await, Ok(vec![Commit::Refused, applied()]));

    let together = ["BEGIN IMMEDIATE", "write", "write", "ROLLBACK"];
    let refused = ["SAVEPOINT plan", "write", "write", "ROLLBACK TO plan", "RELEASE plan"];
    let applied = ["SAVEPOINT plan", "write", "RELEASE plan"];
    let sent = [&together[..], &["BEGIN IMMEDIATE"], &refused, &applied, &["COMMIT"]].concat();
    assert_eq!(connection.sent, sent);
}

#[tokio::test]
async fn a_write_with_a_result_that_cannot_be_read_is_taken_back_alone() {
    let answers = [Err(Fault::Unreadable), Err(Fault::Unreadable), Ok(changed(1))].into();
    let mut connection = Scripted { answers, ..Scripted::default() };
    let plans = [registration("a"), registration("b")];
    let plans: Vec<_> = plans.iter().map(|(script, bindings)| (script, bindings)).collect();
    let outcomes = apply_group(&mut connection, &plans).await.expect("the transaction survives");
    assert!(matches!(outcomes[..], [Err(Failure::Value(_)), Ok(Commit::Applied(_))]));

    let together = ["BEGIN IMMEDIATE", "write", "ROLLBACK"];
    let failed = ["SAVEPOINT plan", "write", "ROLLBACK TO plan", "RELEASE plan"];
    let applied = ["SAVEPOINT plan", "write", "RELEASE plan"];
    let sent = [&together[..], &["BEGIN IMMEDIATE"], &failed, &applied, &["COMMIT"]].concat();
    assert_eq!(connection.sent, sent);
}

#[tokio::test]
async fn a_refused_plan_that_is_alone_needs_no_savepoint() {
    let answers = [Ok(changed(1)), Ok(changed(0))].into();
    let mut connection = Scripted { answers, ..Scripted::default() };
    assert_eq!(apply(&mut connection, &[registrations("a", "b")]).await, Ok(vec![Commit::Refused]));
    assert_eq!(connection.sent, ["BEGIN IMMEDIATE", "write", "write", "ROLLBACK"]);
}

#[tokio::test]
async fn a_unique_violation_refuses_the_plan() {
    let answers = [Err(Fault::Unique)].into();
    let mut connection = Scripted { answers, ..Scripted::default() };
    assert_eq!(apply(&mut connection, &[registration("a")]).await, Ok(vec![Commit::Refused]));
    assert_eq!(connection.sent.last().map(String::as_str), Some("ROLLBACK"));
}

#[tokio::test]
async fn a_transaction_that_the_database_rolled_back_fails_every_plan_of_it() {
    for plans in [vec![registration("a")], vec![registration("a"), registration("b")]] {
        let answers = [Err(Fault::Broken)].into();
        let mut connection = Scripted { answers, loses_transaction: true, ..Scripted::default() };
        assert_eq!(apply(&mut connection, &plans).await, Err(Fault::Broken));
        assert!(!connection.sent.contains(&"COMMIT".to_owned()), "{:?}", connection.sent);
        assert_eq!(connection.sent.last().map(String::as_str), Some("ROLLBACK"));
    }
}

#[tokio::test]
async fn neither_a_change_nor_a_refusal_of_another_transaction_is_answered() {
    for plan in [Ok(changed(1)), Err(Fault::Unique)] {
        let answers = [plan].into();
        let mut connection = Scripted { answers, is_another: true, ..Scripted::default() };
        assert_eq!(apply(&mut connection, &[registration("a")]).await, Err(Fault::Broken));
        assert_eq!(connection.sent, ["BEGIN IMMEDIATE", "write", "ROLLBACK"]);
    }
}
