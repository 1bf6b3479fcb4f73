//! The filter of commands on several executions: the same options for those that read and those
//! that act.

use std::sync::Arc;

use ff_core::contracts::ExecutionQuery;
use ff_core::engine_backend::EngineBackend;
use ff_core::state::{ClosedSet, FailureClass, PublicState};
use ff_core::types::{LaneId, Namespace, TimestampMs};
use jiff::Timestamp;

use super::failure::Failure;
use super::flow::FlowName;
use super::ids::lane;
use flowfabric_sql::flow::fields::span_ms;

/// A choice of executions; all of them if no option is given.
#[derive(Debug, clap::Args)]
pub(super) struct FilterArguments {
    /// Only those of this lane.
    #[arg(long, value_name = "LANE")]
    lane: Option<String>,
    /// Only those in this state: waiting, delayed, active, completed, failed, cancelled, expired …
    #[arg(long, value_name = "STATE", value_parser = one_of::<PublicState>)]
    state: Option<PublicState>,
    /// Only those of this flow: its id, or the first digits of it.
    #[arg(long, value_name = "FLOW")]
    flow: Option<FlowName>,
    /// Only those with this tag.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    tag: Option<(String, String)>,
    /// Only those of this tenant.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only those of this kind of work.
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only those that failed last with this class: transient, permanent, infra_crash, timeout,
    /// cancelled.
    #[arg(long, value_name = "CLASS", value_parser = one_of::<FailureClass>)]
    failure_class: Option<FailureClass>,
    /// Only those submitted with this idempotency key.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Only those that this worker holds, or held last: its name, or an instance of it while that
    /// holds them.
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    #[command(flatten)]
    age: AgeArguments,
}

/// A choice by the time of creation.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(super) struct AgeArguments {
    /// Only those created so long ago, or earlier: a span such as 5s, 2h or 3d, or a time such as
    /// 2026-01-31T18:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    older_than: Option<Moment>,
    /// Only those created since then: a span or a time, as above.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    newer_than: Option<Moment>,
}

/// A point in time, as an argument names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    At(TimestampMs),
    Ago(i64),
}

impl Moment {
    fn before(self, now: TimestampMs) -> TimestampMs {
        match self {
            Self::At(at) => at,
            Self::Ago(ms) => TimestampMs(now.0.saturating_sub(ms)),
        }
    }
}

impl AgeArguments {
    /// True if it means every age.
    pub(super) fn is_empty(self) -> bool {
        self.older_than.is_none() && self.newer_than.is_none()
    }

    /// The latest time of creation.
    pub(super) fn created_by(self, now: TimestampMs) -> Option<TimestampMs> {
        self.older_than.map(|moment| moment.before(now))
    }

    /// The earliest time of creation.
    pub(super) fn created_since(self, now: TimestampMs) -> Option<TimestampMs> {
        self.newer_than.map(|moment| moment.before(now))
    }
}

impl FilterArguments {
    /// True if it means all executions.
    pub(super) fn is_empty(&self) -> bool {
        let Self { lane, state, flow, tag, namespace, kind, .. } = self;
        let Self { failure_class, idempotency_key, age, worker, .. } = self;
        lane.is_none()
            && state.is_none()
            && flow.is_none()
            && tag.is_none()
            && namespace.is_none()
            && kind.is_none()
            && failure_class.is_none()
            && idempotency_key.is_none()
            && age.is_empty()
            && worker.is_none()
    }

    /// The same, of executions that failed for good.
    ///
    /// # Errors
    /// Wrong usage, where it asks for another state.
    pub(super) fn of_failed(self) -> Result<Self, Failure> {
        match self.state {
            None | Some(PublicState::Failed) => {
                Ok(Self { state: Some(PublicState::Failed), ..self })
            }
            Some(_) => Err(Failure::usage("--state contradicts what has failed")),
        }
    }

    /// True if it means the executions of one worker.
    pub(super) fn names_a_worker(&self) -> bool {
        self.worker.is_some()
    }

    /// True if it means the executions of one flow.
    pub(super) fn names_a_flow(&self) -> bool {
        self.flow.is_some()
    }

    /// The filter, checked as far as that is possible without the database.
    pub(super) fn check(self) -> Result<Filter, Failure> {
        let lane_id = self.lane.as_deref().map(lane).transpose()?;
        Ok(Filter { lane_id, arguments: self })
    }
}

/// A filter with valid options.
#[derive(Debug)]
pub(super) struct Filter {
    lane_id: Option<LaneId>,
    arguments: FilterArguments,
}

impl Filter {
    /// True if it means only executions that ended without a result, for reasons worth a look.
    pub(super) fn asks_for_reasons(&self) -> bool {
        use PublicState::{Cancelled, Expired, Failed, Skipped};
        let state = self.arguments.state;
        state.is_some_and(|state| matches!(state, Cancelled | Expired | Failed | Skipped))
    }

    /// The query for up to `limit` executions.
    pub(super) async fn query(
        self,
        engine: &Arc<dyn EngineBackend>,
        limit: u32,
        now: TimestampMs,
    ) -> Result<ExecutionQuery, Failure> {
        let FilterArguments { state, flow, tag, namespace, .. } = self.arguments;
        let FilterArguments { kind, failure_class, idempotency_key, worker, age, .. } =
            self.arguments;

        let mut query = ExecutionQuery::new(limit);
        query.lane_id = self.lane_id;
        query.public_state = state;
        query.flow_id = match flow {
            Some(flow) => Some(flow.find(engine).await?),
            None => None,
        };
        query.tag = tag;
        query.namespace = namespace.map(Namespace::new);
        query.execution_kind = kind;
        query.failure_class = failure_class;
        query.idempotency_key = idempotency_key;
        query.worker = worker;
        query.created_by = age.created_by(now);
        query.created_since = age.created_since(now);

        Ok(query)
    }
}

/// Parses a word of a closed set.
pub(super) fn one_of<S: ClosedSet>(text: &str) -> Result<S, String> {
    S::parse(text).ok_or_else(|| {
        let all: Vec<&str> = S::all().into_iter().map(ClosedSet::as_str).collect();
        format!("expected one of {}", all.join(", "))
    })
}

/// Parses a tag.
pub(super) fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// Parses a span before now, or a time in UTC.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(ms) = span(text) {
        return Ok(Moment::Ago(ms));
    }
    let at: Timestamp =
        text.parse().map_err(|_| "expected a span such as 2h, or a time in UTC".to_owned())?;
    Ok(Moment::At(TimestampMs(at.as_millisecond())))
}

/// Parses a span of time, in milliseconds.
pub(super) fn span(text: &str) -> Result<i64, String> {
    span_ms(text).ok_or_else(|| "expected a number with ms, s, m, h or d, such as 2h".to_owned())
}

/// Parses a capability of a worker. Rows hold a worker's capabilities with commas between them.
pub(super) fn capability(text: &str) -> Result<String, String> {
    match text {
        "" => Err("a capability is empty".to_owned()),
        text if text.contains(',') => {
            Err("a capability holds no comma; give the option once for each".to_owned())
        }
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use ff_core::state::PublicFlowState;

    use super::*;

    #[test]
    fn states_go_by_their_names() {
        assert_eq!(one_of("waiting"), Ok(PublicState::Waiting));
        let error = one_of::<PublicState>("sleeping").unwrap_err();
        assert!(error.contains("waiting, delayed, "), "{error}");
        assert_eq!(one_of("running"), Ok(PublicFlowState::Running));
    }

    #[test]
    fn tags_are_a_key_and_whatever_follows() {
        assert_eq!(tag("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert_eq!(tag("a.b="), Ok(("a.b".to_owned(), String::new())));
        for bad in ["", "a.b", "=c"] {
            assert!(tag(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn spans_end_now() {
        let nothing = || FilterArguments {
            lane: None,
            state: None,
            flow: None,
            tag: None,
            namespace: None,
            kind: None,
            failure_class: None,
            idempotency_key: None,
            age: AgeArguments::default(),
            worker: None,
        };
        assert!(nothing().is_empty());
        let newer_than = Some(moment("1970-01-01T00:00:01Z").unwrap());
        let age = AgeArguments { older_than: Some(moment("2s").unwrap()), newer_than };
        let old = FilterArguments { age, ..nothing() };
        assert!(!old.is_empty());

        let engine = flowfabric_sql::open("memory:").await.unwrap();
        let query = old.check().unwrap().query(&engine, 7, TimestampMs(5_000)).await.unwrap();
        assert_eq!((query.created_by, query.limit), (Some(TimestampMs(3_000)), 7));
        assert_eq!(query.created_since, Some(TimestampMs(1_000)));
        assert!(moment("soon").is_err());

        let by_worker = FilterArguments { worker: Some("w-1".into()), ..nothing() };
        assert!(!by_worker.is_empty());
        let failed = nothing().of_failed().unwrap();
        assert!(!failed.is_empty() && failed.of_failed().is_ok());
        let waiting = FilterArguments { state: Some(PublicState::Waiting), ..nothing() };
        assert!(waiting.of_failed().is_err());
        assert!(span("2 hours").is_err());
    }
}
