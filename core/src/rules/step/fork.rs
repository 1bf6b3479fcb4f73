//! Forking: a new execution like another one, which goes on behind some of its steps.

use serde_json::json;

use crate::contracts::{
    CreateExecutionArgs, CreateExecutionResult, ForkExecutionArgs, ForkExecutionResult, StepRecord,
};
use crate::model::error::{EngineError, ValidationKind};
use crate::model::ids::{Namespace, TimestampMs};
use crate::model::partition::PartitionConfig;
use crate::model::policy::ExecutionPolicy;
use crate::plan::facts::{Facts, Row};
use crate::plan::value::{ColumnType, Value};
use crate::plan::{Expr, Mutation, OnConflict, Query};
use crate::rules::archive::value::as_item;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::create::Create;
use crate::rules::execution::read::{lane, tags_of, text};
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::premise::execution_row;
use crate::rules::row_list::items;
use crate::rules::step::record::name;
use crate::schema::execution::exec_core;
use crate::schema::step::step;

/// The most names of steps that a refusal lists.
const NAMES_SHOWN: usize = 20;

/// Reads what a fork takes over from its source: the submission, without its steps.
#[derive(Clone, Debug)]
pub struct ReadSource {
    args: ForkExecutionArgs,
    key: ExecutionKey,
}

impl ReadSource {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field.
    pub fn new(args: &ForkExecutionArgs) -> Result<Self, EngineError> {
        args.from_step.as_deref().map_or(Ok(()), |step| name("from_step", step))?;
        input::text("creator_identity", &args.creator_identity)?;
        Ok(Self { args: args.clone(), key: ExecutionKey::of(&args.source)? })
    }

    /// The submission of the new execution: what the source was submitted with, but for its
    /// idempotency key, its delay and its deadline.
    fn submission(&self, core: &Row, now: TimestampMs) -> Result<CreateExecutionArgs, EngineError> {
        let raw = core.read(exec_core::raw_fields)?;
        let policy = core.read(exec_core::policy)?;
        let policy = policy.map(serde_json::from_value::<ExecutionPolicy>).transpose();
        let corrupt = |error| EngineError::Validation {
            kind: ValidationKind::Corruption,
            detail: format!("ff_exec_core.policy: {error}"),
        };
        let policy = policy.map_err(corrupt)?;
        let policy = policy.map(|policy| ExecutionPolicy { delay_until: None, ..policy });

        let execution_id = self.args.execution_id.clone();
        Ok(CreateExecutionArgs {
            partition_id: execution_id.partition(),
            execution_id,
            namespace: Namespace::new(text(&raw, "namespace").unwrap_or_default()),
            lane_id: lane(core)?,
            execution_kind: text(&raw, "execution_kind").unwrap_or_default(),
            input_payload: core.read(exec_core::payload)?.unwrap_or_default(),
            payload_encoding: text(&raw, "payload_encoding"),
            priority: core.read(exec_core::priority)?,
            creator_identity: self.args.creator_identity.clone(),
            idempotency_key: None,
            tags: tags_of(&raw).into_iter().collect(),
            policy,
            delay_until: None,
            execution_deadline_at: None,
            now,
        })
    }
}

impl Transition for ReadSource {
    type Outcome = CreateExecutionArgs;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if !facts.have_rows() {
            // Not the result, which may be long.
            let columns = vec![
                exec_core::lane_id.column(),
                exec_core::priority.column(),
                exec_core::payload.column(),
                exec_core::policy.column(),
                exec_core::raw_fields.column(),
            ];
            let row = execution_row(&self.key, columns);
            return Ok(Step::Read(vec![Query::Lookup(vec![row])]));
        }
        let core = facts.row(CORE).ok_or(EngineError::NotFound { entity: "execution" })?;
        self.submission(core, ctx.now).map(Step::Answer)
    }
}

/// Submits a fork with the steps that it has from its source, in one plan.
#[derive(Clone, Debug)]
pub struct Fork {
    create: Create,
    steps: Vec<StepRecord>,
}

impl Fork {
    /// The fork by that submission, which keeps those of the source's steps that come before the
    /// one it begins from.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a step that the source does not have, and as
    /// [`Create::new`].
    pub fn new(
        args: &ForkExecutionArgs,
        submission: CreateExecutionArgs,
        mut steps: Vec<StepRecord>,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        let kept = match &args.from_step {
            None => 0,
            Some(name) => steps
                .iter()
                .position(|step| step.name == *name)
                .ok_or_else(|| unknown_step(name, &steps))?,
        };
        steps.truncate(kept);
        Ok(Self { create: Create::new(submission, partitions)?, steps })
    }

    /// The rows of the steps that it keeps.
    fn kept(&self) -> Result<Mutation, EngineError> {
        let item = |step: &StepRecord| {
            json!({
                "position": step.position,
                "name": step.name,
                "value": as_item(&Value::Bytes(step.value.clone())),
                "attempt": step.attempt_index.0,
                "epoch": step.lease_epoch.0,
                "at": step.recorded_at.0,
            })
        };
        let items = items(&self.steps.iter().map(item).collect::<Vec<_>>())?;

        let key = self.create.key();
        let row = vec![
            step::partition_key.with(key.partition),
            step::execution_id.with(key.uuid),
            step::position.with_expr(Expr::item(ColumnType::Int, "position")),
            step::name.with_expr(Expr::item(ColumnType::Text, "name")),
            step::value.with_expr(Expr::item(ColumnType::Bytes, "value")),
            step::attempt_index.with_expr(Expr::item(ColumnType::Int, "attempt")),
            step::lease_epoch.with_expr(Expr::item(ColumnType::BigInt, "epoch")),
            step::recorded_at_ms.with_expr(Expr::item(ColumnType::BigInt, "at")),
        ];
        Ok(Mutation::insert_each(step::REF, items, row, OnConflict::Refuse))
    }
}

impl Transition for Fork {
    type Outcome = ForkExecutionResult;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        let steps = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
        let outcome = move |created| match created {
            CreateExecutionResult::Created { execution_id, .. } => {
                ForkExecutionResult::Forked { execution_id, steps }
            }
            CreateExecutionResult::Duplicate { execution_id } => {
                ForkExecutionResult::Duplicate { execution_id }
            }
        };

        Ok(match self.create.step(facts, ctx)? {
            Step::Read(queries) => Step::Read(queries),
            Step::Answer(answer) => Step::Answer(outcome(answer)),
            Step::Commit(mut plan, then) => {
                plan.name = "fork_execution".into();
                if !self.steps.is_empty() {
                    plan = plan.and([self.kept()?]);
                }
                let then = match then {
                    Then::Answer(answer) => Then::Answer(outcome(answer)),
                    Then::FromRows(read) => {
                        Then::FromRows(Box::new(move |rows| read(rows).map(outcome)))
                    }
                };
                Step::Commit(plan, then)
            }
        })
    }
}

/// The refusal of a step that the source does not have.
fn unknown_step(name: &str, steps: &[StepRecord]) -> EngineError {
    let known: Vec<&str> = steps.iter().take(NAMES_SHOWN).map(|step| step.name.as_str()).collect();
    let known = match (known.is_empty(), NAMES_SHOWN < steps.len()) {
        (true, _) => "it has recorded none".to_owned(),
        (false, false) => format!("it has {}", known.join(", ")),
        (false, true) => format!("it has {}, and more", known.join(", ")),
    };
    input::invalid(format!("from_step: the execution has no step {name:?}; {known}"))
}
