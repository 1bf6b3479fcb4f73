//! The filter of commands on several executions: the same options for those that read and those
//! that act.

use std::sync::Arc;

use ff_core::contracts::ExecutionQuery;
use ff_core::engine_backend::EngineBackend;
use ff_core::state::{ClosedSet, PublicState};
use ff_core::types::{LaneId, Namespace, TimestampMs};

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
    /// Only those of at least this age: 500ms, 5s, 2m, 1h, 3d.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    older_than: Option<i64>,
}

impl FilterArguments {
    /// True if it means all executions.
    pub(super) fn is_empty(&self) -> bool {
        let Self { lane, state, flow, tag, namespace, older_than } = self;
        lane.is_none()
            && state.is_none()
            && flow.is_none()
            && tag.is_none()
            && namespace.is_none()
            && older_than.is_none()
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
        let FilterArguments { lane: _, state, flow, tag, namespace, older_than } = self.arguments;

        let mut query = ExecutionQuery::new(limit);
        query.lane_id = self.lane_id;
        query.public_state = state;
        query.flow_id = match flow {
            Some(flow) => Some(flow.find(engine).await?),
            None => None,
        };
        query.tag = tag;
        query.namespace = namespace.map(Namespace::new);
        query.created_by = older_than.map(|ms| TimestampMs(now.0.saturating_sub(ms)));

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

/// Parses a span of time, in milliseconds.
pub(super) fn span(text: &str) -> Result<i64, String> {
    span_ms(text).ok_or_else(|| "expected a number with ms, s, m, h or d, such as 2h".to_owned())
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
            older_than: None,
        };
        assert!(nothing().is_empty());
        let old = FilterArguments { older_than: Some(span("2s").unwrap()), ..nothing() };
        assert!(!old.is_empty());

        let engine = flowfabric_sql::open("memory:").await.unwrap();
        let query = old.check().unwrap().query(&engine, 7, TimestampMs(5_000)).await.unwrap();
        assert_eq!((query.created_by, query.limit), (Some(TimestampMs(3_000)), 7));
        assert!(span("2 hours").is_err());
    }
}
