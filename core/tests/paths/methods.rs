//! Methods of the reference that no operation here uses: a caller of the reference may.

use std::collections::BTreeMap;

use ff_core::backend::{
    BestEffortLiveConfig, ResumeCondition, ResumePolicy, SignalMatcher, SuspensionReasonCode,
    UsageDimensions, WaitpointBinding,
};
use ff_core::caps::CapabilityRequirement;
use ff_core::contracts::{
    BudgetUsageAndLimits, ClaimForWorkerOutcome, EdgeGroupState, QuotaPolicyLimits,
    ReportUsageAdminArgs, StreamCursor, SuspendArgs, SuspensionRequester,
};
use ff_core::engine_error::BackendErrorKind;
use ff_core::partition::{Partition, PartitionConfig, PartitionFamily, PartitionKey};
use ff_core::types::{SuspensionId, TimestampMs, WaitpointId};
use uuid::Uuid;

#[test]
fn usage_and_limits_are_put_together() {
    let usage = UsageDimensions::new()
        .with_input_tokens(1)
        .with_output_tokens(2)
        .with_wall_ms(3)
        .with_dedup_key("report");
    assert_eq!((usage.input_tokens, usage.output_tokens, usage.wall_ms), (1, 2, Some(3)));
    assert_eq!(usage.dedup_key.as_deref(), Some("report"));

    let report = ReportUsageAdminArgs::new(vec!["cost".into()], vec![1], TimestampMs(0))
        .with_dedup_key("report".into());
    assert_eq!(report.dedup_key.as_deref(), Some("report"));

    let limits = BTreeMap::from([("hard:cost".to_owned(), "10".to_owned())]);
    let used = BTreeMap::from([("cost".to_owned(), 4)]);
    let budget = BudgetUsageAndLimits::new(limits, used);
    assert_eq!(budget.hard_limits_with_usage().collect::<Vec<_>>(), [("cost", 4, 10)]);
    assert!(QuotaPolicyLimits::new(0, 60, 0, 5).is_unlimited());
}

#[test]
fn a_suspension_names_its_requester_and_waitpoints() {
    let condition = |key: &str| ResumeCondition::Single {
        waitpoint_key: key.to_owned(),
        matcher: SignalMatcher::Wildcard,
    };
    let id = WaitpointId::from_uuid(Uuid::nil());
    let args = SuspendArgs::new(
        SuspensionId::from_uuid(Uuid::nil()),
        WaitpointBinding::fresh_with(id.clone()),
        condition("first"),
        ResumePolicy::default(),
        SuspensionReasonCode::WaitingForSignal,
        TimestampMs(0),
    )
    .with_requester(SuspensionRequester::Operator)
    .with_waitpoint(WaitpointBinding::fresh_with(id));

    assert_eq!(args.requested_by, SuspensionRequester::Operator);
    assert_eq!(args.waitpoints.len(), 2);
    assert_eq!(args.resume_condition.referenced_waitpoint_keys(), ["first"]);
}

#[test]
fn words_and_places_have_their_spelling() {
    assert_eq!(EdgeGroupState::from_literal("satisfied"), EdgeGroupState::Satisfied);
    assert!(CapabilityRequirement::from_csv("gpu,").tokens.contains("gpu"));
    assert_eq!(ClaimForWorkerOutcome::no_work(), ClaimForWorkerOutcome::NoWork);
    assert_eq!(BestEffortLiveConfig::with_ttl(5), BestEffortLiveConfig::new(5));

    let kind = BackendErrorKind::Timeout;
    assert_eq!((kind.as_stable_str(), kind.is_retryable()), ("timeout", true));

    let place = StreamCursor::At("7-1".to_owned());
    assert_eq!((place.to_wire(), place.is_concrete()), ("7-1", true));
    assert_eq!(StreamCursor::End.into_wire_string(), "+");

    let partition = Partition { family: PartitionFamily::Budget, index: 7 };
    assert_eq!(partition.hash_tag(), "{b:7}");
    assert_eq!(PartitionKey::from(partition).as_partition(), Ok(partition));
    assert_eq!(PartitionConfig::default().count_for(PartitionFamily::Budget), 32);
}
