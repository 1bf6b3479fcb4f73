//! Submitting an execution.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use uuid::Uuid;

use crate::contracts::{CreateExecutionArgs, CreateExecutionResult};
use crate::model::error::EngineError;
use crate::model::ids::TimestampMs;
use crate::model::partition::PartitionConfig;
use crate::model::policy::ExecutionPolicy;
use crate::model::state::{AttemptState, BlockingReason};
use crate::plan::facts::Facts;
use crate::plan::{Guard, Lookup, Mutation, OnConflict, Plan, Query};
use crate::rules::budget::key::dimension;
use crate::rules::budget::room::register_in_use;
use crate::rules::budget::token::requirements;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Then, Transition};
use crate::rules::execution::unique::UniqueKey;
use crate::rules::input;
use crate::rules::key::{CORE, ExecutionKey};
use crate::rules::lane;
use crate::rules::outbox::instance_tag_given;
use crate::rules::premise::execution_row;
use crate::rules::status::Status;
use crate::schema::admin::lane_registry;
use crate::schema::execution::exec_core;

/// Adds an execution, claimable at once unless it is put off. The first submission of an id wins:
/// the insert itself is the guard that there was none, so a repeat answers `Duplicate` whatever it
/// carries and whatever its lane's state. While another execution holds the same idempotency key,
/// the answer is that one. A new execution is refused while its lane takes none.
#[derive(Clone, Debug)]
pub struct Create {
    key: ExecutionKey,
    unique: Option<UniqueKey>,
    args: CreateExecutionArgs,
    partitions: PartitionConfig,
}

impl Create {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation` naming the field: a lane that is no lane name, text with NUL, a name or an
    /// input that is too long, a policy that makes no sense ([`ExecutionPolicy::check`]).
    pub fn new(
        args: CreateExecutionArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        let key = ExecutionKey::of(&args.execution_id)?;
        input::lane(&args.lane_id)?;
        input::name("namespace", args.namespace.as_str())?;
        let unique = UniqueKey::of(&args, partitions)?;
        input::text("execution_kind", &args.execution_kind)?;
        input::text("creator_identity", &args.creator_identity)?;
        input::text("payload_encoding", args.payload_encoding.as_deref().unwrap_or_default())?;
        input::body("input_payload", &args.input_payload)?;

        for (name, value) in &args.tags {
            input::name("tags", name)?;
            input::text("tags", value)?;
        }

        args.policy.as_ref().map_or(Ok(()), ExecutionPolicy::check)?;
        let estimate = args.policy.iter().flat_map(|policy| policy.budget_estimate.keys());
        estimate.into_iter().try_for_each(|name| dimension("policy.budget_estimate", name))?;
        Ok(Self { key, unique, args, partitions: *partitions })
    }

    /// The key of the new execution.
    #[must_use]
    pub fn key(&self) -> ExecutionKey {
        self.key
    }

    /// The row of its lane that prevents the submission.
    #[must_use]
    pub fn closed_lane(&self, at: TimestampMs) -> Guard {
        lane::closed_to_submissions(&self.args.lane_id, at)
    }

    /// The look-up of its lane.
    #[must_use]
    pub fn lane_row(&self) -> Lookup {
        lane::lane_row(&self.args.lane_id)
    }

    /// The refusal by its lane, which was read; `None` while the lane takes submissions.
    ///
    /// # Errors
    /// `Validation(Corruption)` for a state outside its set.
    pub fn lane_refusal(
        &self,
        facts: &Facts,
        at: TimestampMs,
    ) -> Result<Option<EngineError>, EngineError> {
        lane::refusal(&self.args.lane_id, facts, at)
    }

    /// True if it has an idempotency key.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.unique.is_some()
    }

    fn preventing_rows(&self) -> Vec<Lookup> {
        let core = execution_row(&self.key, vec![exec_core::execution_id.column()]);
        let key = self.unique.iter().flat_map(UniqueKey::lookups);
        [core, self.lane_row()].into_iter().chain(key).collect()
    }

    /// The execution that makes this one a repetition: itself, or the holder of its key.
    fn first(&self, facts: &Facts, now: TimestampMs) -> Result<Option<ExecutionKey>, EngineError> {
        if facts.row(CORE).is_some() {
            return Ok(Some(self.key));
        }
        self.unique.as_ref().map_or(Ok(None), |unique| unique.holder(facts, now))
    }

    /// The priority. The arguments always hold a number, so zero there means that they say nothing.
    fn priority(&self) -> i32 {
        match (self.args.priority, &self.args.policy) {
            (0, Some(policy)) => policy.priority,
            (given, _) => given,
        }
    }

    /// The time from which it may be claimed, where that is later than now.
    #[must_use]
    pub fn put_off_until(&self, now: TimestampMs) -> Option<TimestampMs> {
        let from_policy = self.args.policy.as_ref().and_then(|policy| policy.delay_until);
        self.args.delay_until.or(from_policy).filter(|until| now < *until)
    }

    /// The time until which it is put off, and the state in which it begins.
    #[must_use]
    pub fn begins(&self, now: TimestampMs) -> (Option<TimestampMs>, Status) {
        let until = self.put_off_until(now);
        let first = AttemptState::PendingFirstAttempt;
        let status = match until {
            Some(until) => Status::delayed(BlockingReason::WaitingForDelay, first, until),
            None => Status::waiting(first),
        };
        (until, status)
    }

    /// The changes that add the execution, created at `now` in that state, its lane, and the event
    /// of its instance tag, if it has one. A row that is there already refuses the plan.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a policy that cannot be stored.
    pub fn inserts(
        &self,
        until: Option<TimestampMs>,
        status: Status,
        flow: Option<Uuid>,
        now: TimestampMs,
    ) -> Result<Vec<Mutation>, EngineError> {
        let Self { key, unique: _, args, partitions } = self;
        let policy = args.policy.as_ref();
        let timeouts = policy.and_then(|policy| policy.timeout_policy.as_ref());
        let from_policy = timeouts.and_then(|timeouts| timeouts.execution_deadline_ms);

        let deadline = args
            .execution_deadline_at
            .map(|at| at.0)
            .or_else(|| from_policy.map(|ms| now.0.saturating_add(input::clamped_ms(ms))));
        let attempt_timeout = timeouts.and_then(|timeouts| timeouts.attempt_timeout_ms);

        let mut row = vec![
            exec_core::partition_key.with(key.partition),
            exec_core::execution_id.with(key.uuid),
            exec_core::lane_id.with(args.lane_id.as_str().to_owned()),
            exec_core::required_capabilities.with(requirements_of(policy)),
            exec_core::priority.with(self.priority()),
            exec_core::created_at_ms.with(now.0),
            exec_core::deadline_at_ms.with(deadline),
            exec_core::eligible_at_ms.with(until.map(|until| until.0)),
            exec_core::attempt_timeout_ms.with(attempt_timeout.map(input::span_ms)),
            exec_core::payload.with(Some(args.input_payload.clone())),
            exec_core::policy.with(policy.map(stored_policy).transpose()?),
            exec_core::raw_fields.with(raw_fields(args)),
            exec_core::has_waitpoints.with(false),
        ];
        row.extend(status.row(now));
        row.extend(flow.map(|flow| exec_core::flow_id.with(Some(flow))));

        // The first execution of a lane registers it.
        let lane = lane::registration(&args.lane_id, "create_execution", now);

        let mut inserts = vec![
            Mutation::insert(exec_core::REF, row, OnConflict::Refuse),
            Mutation::insert(lane_registry::REF, lane, OnConflict::Ignore),
        ];
        inserts.extend(instance_tag_given(key, args, now));
        inserts.extend(
            policy
                .map(|policy| register_in_use(policy, &args.lane_id, partitions, now))
                .transpose()?
                .flatten(),
        );
        Ok(inserts)
    }
}

impl Transition for Create {
    type Outcome = CreateExecutionResult;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if facts.refusals() != 0 {
            let repeats = |first: ExecutionKey| {
                Ok(Step::Answer(CreateExecutionResult::Duplicate { execution_id: first.id() }))
            };
            // Where nothing else could refuse the plan, the id is taken.
            if !facts.prevented() && self.unique.is_none() {
                return repeats(self.key);
            }
            if !facts.have_rows() {
                return Ok(Step::Read(vec![Query::Lookup(self.preventing_rows())]));
            }
            if let Some(first) = self.first(facts, ctx.now)? {
                return repeats(first);
            }
            if let Some(refusal) = self.lane_refusal(facts, ctx.now)? {
                return Err(refusal);
            }
        }

        let execution_id = self.key.id();
        let (until, status) = self.begins(ctx.now);
        let public_state = status.public();
        let created = CreateExecutionResult::Created { execution_id, public_state };
        let mut plan = Plan::new("create_execution").unless(self.closed_lane(ctx.now));
        if let Some(unique) = &self.unique {
            let (guards, take) = unique.take(&self.key, facts, ctx.now)?;
            plan.guards = guards;
            plan = plan.and([take]);
        }
        let plan = plan.and(self.inserts(until, status, None, ctx.now)?);
        Ok(Step::Commit(plan, Then::Answer(created)))
    }
}

/// What a policy requires: capabilities of the worker, room in budgets and limits, and a turn.
fn requirements_of(policy: Option<&ExecutionPolicy>) -> Vec<String> {
    let Some(policy) = policy else { return Vec::new() };
    let routing = policy.routing_requirements.as_ref();
    let capabilities = routing.map(|routing| &routing.required_capabilities);
    requirements(capabilities.into_iter().flatten().cloned(), policy)
}

fn stored_policy(policy: &ExecutionPolicy) -> Result<Json, EngineError> {
    let stored = serde_json::to_value(policy).map_err(|error| {
        input::invalid(format!("create_execution: policy: serialize failed: {error}"))
    })?;
    input::json("policy", &stored)?;
    Ok(stored)
}

fn raw_fields(args: &CreateExecutionArgs) -> Json {
    // Sorted, because the order of a hash map differs from run to run.
    let tags: BTreeMap<&String, &String> = args.tags.iter().collect();

    let texts = [
        ("namespace", Some(args.namespace.as_str())),
        ("execution_kind", Some(args.execution_kind.as_str())),
        ("creator_identity", Some(args.creator_identity.as_str())),
        ("idempotency_key", args.idempotency_key.as_deref()),
        ("payload_encoding", args.payload_encoding.as_deref()),
    ];
    let given = texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
    let mut fields: Map<String, Json> = given.collect();

    let tags = tags.into_iter().map(|(name, value)| (name.clone(), Json::from(value.as_str())));
    fields.insert("tags".into(), Json::Object(tags.collect()));
    Json::Object(fields)
}
