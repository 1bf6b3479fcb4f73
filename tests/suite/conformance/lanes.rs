//! Lanes that an operator has paused, drains or has disabled, and how submissions and claims
//! respect it.

use ff_core::backend::{CapabilitySet, ResumeToken};
use ff_core::contracts::{
    CreateExecutionResult, CreateFlowArgs, IssueGrantAndClaimArgs, LANE_REASON_MAX_BYTES, LaneInfo,
    ResumeGrant, SetLaneStateArgs,
};
use ff_core::engine_backend::Scan;
use ff_core::engine_error::{EngineError, StateKind};
use ff_core::partition::PartitionKey;
use ff_core::state::LaneState;
use ff_core::types::{FlowId, LaneId, Namespace, TimestampMs};

use crate::backends::{Bench, START, conformance};
use crate::bench::{INSTANCE, LANE, TTL, assert_refused, id, lane, partition, payload_of, worker};
use crate::plain::{int, text};

async fn set(bench: &Bench, state: LaneState) {
    let args = SetLaneStateArgs::new(lane(), state, "op").with_reason("repairs");
    bench.backend.set_lane_state(args).await.unwrap();
}

async fn claimed(bench: &Bench) -> usize {
    let none = CapabilitySet::default();
    bench.backend.claim_many(&lane(), &none, worker("w"), 10).await.unwrap().len()
}

async fn read(bench: &Bench) -> LaneInfo {
    bench.backend.read_lane(&lane()).await.unwrap().unwrap()
}

fn closed(state: LaneState) -> StateKind {
    StateKind::LaneClosed { lane_id: LANE.into(), state, reason: Some("repairs".into()) }
}

conformance! {
    async fn each_state_takes_what_it_says(bench) {
        for (state, submits, claims) in [
            (LaneState::Active, true, true),
            (LaneState::Paused, true, false),
            (LaneState::Draining, false, true),
            (LaneState::Disabled, false, false),
            (LaneState::Active, true, true),
        ] {
            bench.create().await;
            set(&bench, state).await;
            let submitted = bench.backend.create_execution(bench.args(&id())).await;
            match submitted {
                Ok(_) => assert!(submits, "{state:?}"),
                Err(EngineError::State(kind)) => {
                    assert!(!submits, "{state:?}");
                    assert_eq!(kind, closed(state));
                }
                Err(other) => panic!("{other}"),
            }
            assert_eq!(0 < claimed(&bench).await, claims, "{state:?}");
            set(&bench, LaneState::Active).await;
            claimed(&bench).await;
        }
    }

    async fn a_refused_submission_changes_nothing_and_a_repeated_one_is_no_new_one(bench) {
        let known = bench.create().await;
        set(&bench, LaneState::Disabled).await;
        let repeated = bench.backend.create_execution(bench.args(&known)).await.unwrap();
        assert!(matches!(repeated, CreateExecutionResult::Duplicate { .. }), "{repeated:?}");
        let refused = id();
        assert_refused(
            bench.backend.create_execution(bench.args(&refused)).await,
            r#"state: LaneClosed { lane_id: "work", state: Disabled, reason: Some("repairs") }"#,
        );
        assert_eq!(bench.backend.read_execution_state(&refused).await.unwrap(), None);
        assert_eq!(bench.plain.rows("ff_exec_core").await.len(), 1);
        set(&bench, LaneState::Active).await;
        bench.backend.create_execution(bench.args(&refused)).await.unwrap();
    }

    async fn one_closed_lane_of_a_batch_refuses_its_own(bench) {
        set(&bench, LaneState::Draining).await;
        let batch = (0..6).map(|n| {
            let mut args = bench.args(&id());
            if n % 2 == 0 {
                args.lane_id = LaneId::new("other");
            }
            args
        });
        let results = bench.backend.create_executions(batch.collect()).await;
        let accepted: Vec<bool> = results.iter().map(Result::is_ok).collect();
        assert_eq!(accepted, [true, false, true, false, true, false]);
        assert_eq!(bench.plain.rows("ff_exec_core").await.len(), 3);
    }

    async fn a_member_of_a_flow_is_a_submission_too(bench) {
        let flow = FlowId::from_uuid(id().uuid());
        let args = CreateFlowArgs {
            flow_id: flow.clone(),
            flow_kind: "k".into(),
            namespace: Namespace::new("n"),
            now: TimestampMs(START),
        };
        bench.backend.create_flow(args).await.unwrap();
        set(&bench, LaneState::Draining).await;
        let config = ff_core::partition::PartitionConfig::default();
        let member = ff_core::types::ExecutionId::for_flow(&flow, &config);
        let batch = || vec![bench.args(&member)];
        let refused = bench.backend.create_flow_members(&flow, batch()).await.remove(0);
        assert!(
            matches!(&refused, Err(EngineError::State(kind)) if *kind == closed(LaneState::Draining)),
            "{refused:?}"
        );
        set(&bench, LaneState::Paused).await;
        bench.backend.create_flow_members(&flow, batch()).await.remove(0).unwrap();
        set(&bench, LaneState::Disabled).await;
        let repeated = bench.backend.create_flow_members(&flow, batch()).await.remove(0).unwrap();
        assert!(matches!(repeated, CreateExecutionResult::Duplicate { .. }), "{repeated:?}");
    }

    async fn a_state_ends_by_itself(bench) {
        bench.create().await;
        let args = SetLaneStateArgs::new(lane(), LaneState::Disabled, "op")
            .with_reason("repairs")
            .with_until(TimestampMs(START + 1_000));
        bench.backend.set_lane_state(args).await.unwrap();
        bench.clock.advance(999);
        assert_eq!(claimed(&bench).await, 0);
        assert_refused(
            bench.backend.create_execution(bench.args(&id())).await,
            r#"state: LaneClosed { lane_id: "work", state: Disabled, reason: Some("repairs") }"#,
        );
        assert_eq!(read(&bench).await.state, LaneState::Disabled);
        bench.clock.advance(1);
        let lane = read(&bench).await;
        assert_eq!((lane.state, lane.reason, lane.until), (LaneState::Active, None, None));
        bench.create().await;
        assert_eq!(claimed(&bench).await, 2);
    }

    async fn work_that_is_due_waits_for_the_lane_too(bench) {
        let mut args = bench.args(&id());
        args.delay_until = Some(TimestampMs(START + 10));
        bench.backend.create_execution(args).await.unwrap();
        set(&bench, LaneState::Paused).await;
        bench.clock.advance(100);
        assert_eq!(claimed(&bench).await, 0, "no scanner has promoted it");
        bench.backend.scan(Scan::DelayedPromotion, 10).await.unwrap();
        assert_eq!(claimed(&bench).await, 0);
        set(&bench, LaneState::Active).await;
        assert_eq!(claimed(&bench).await, 1);
    }

    async fn work_that_runs_and_work_that_is_named_go_on(bench) {
        let held = bench.create().await;
        let handle = bench.claim().await;
        let waiting = bench.create().await;
        set(&bench, LaneState::Disabled).await;
        bench.backend.renew(&handle).await.unwrap();
        let named = IssueGrantAndClaimArgs::new(waiting, lane(), 1_000);
        bench.backend.issue_grant_and_claim(named).await.unwrap();

        bench.clock.advance(TTL + 1);
        let token = ResumeToken::new(
            ResumeGrant::new(
                held.clone(),
                PartitionKey::from(partition(&held)),
                "k".into(),
                u64::MAX,
                lane(),
            ),
            "w".into(),
            INSTANCE.into(),
            1_000,
        );
        let taken = bench.backend.claim_from_resume_grant(token).await.unwrap().unwrap();
        assert_eq!(payload_of(&taken).execution_id, held);
    }

    async fn a_lane_is_shown_as_it_is(bench) {
        assert_eq!(bench.backend.read_lane(&lane()).await.unwrap(), None);
        bench.create().await;
        let fresh = read(&bench).await;
        assert_eq!(fresh, LaneInfo::new(lane(), TimestampMs(START)));

        bench.clock.advance(5);
        set(&bench, LaneState::Draining).await;
        let lane = read(&bench).await;
        assert_eq!(lane.state, LaneState::Draining);
        assert_eq!(lane.registered_at, TimestampMs(START));
        assert_eq!((lane.reason.as_deref(), lane.actor.as_deref()), (Some("repairs"), Some("op")));
        assert_eq!((lane.since, lane.until), (Some(TimestampMs(START + 5)), None));
        let page = bench.backend.list_lanes(None, 10).await.unwrap();
        assert_eq!((page.lanes, page.details), (vec![LaneId::new(LANE)], vec![lane]));
    }

    async fn a_lane_may_be_closed_before_its_first_submission(bench) {
        set(&bench, LaneState::Paused).await;
        bench.create().await;
        assert_eq!(claimed(&bench).await, 0);
        let rows = bench.plain.rows("ff_lane_registry").await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].text("registered_by"), "set_lane_state");
    }

    async fn a_row_that_an_older_program_wrote_is_an_active_lane(bench) {
        let old = vec![
            ("lane_id", text(LANE)),
            ("registered_at_ms", int(7)),
            ("registered_by", text("create_execution")),
        ];
        bench.plain.insert("ff_lane_registry", old).await;
        bench.create().await;
        assert_eq!(claimed(&bench).await, 1);
        assert_eq!(read(&bench).await, LaneInfo::new(lane(), TimestampMs(7)));
    }

    async fn arguments_that_make_no_sense_change_nothing(bench) {
        let args = |state| SetLaneStateArgs::new(lane(), state, "op");
        let mut bad_lane = args(LaneState::Paused);
        bad_lane.lane_id = LaneId::new("");
        let long = "x".repeat(LANE_REASON_MAX_BYTES + 1);
        for (args, reason) in [
            (bad_lane, "lane_id: lane id is empty"),
            (args(LaneState::Paused).with_reason(long), "reason: 257 bytes exceed 256"),
            (args(LaneState::Paused).with_reason("a\0"), "reason: must not contain NUL (at byte 1)"),
            (SetLaneStateArgs::new(lane(), LaneState::Paused, "\0"),
             "actor: must not contain NUL (at byte 0)"),
            (args(LaneState::Paused).with_until(TimestampMs(START)), "until: must lie in the future"),
            (args(LaneState::Active).with_until(TimestampMs(START + 1)),
             "until: an active lane has no end"),
        ] {
            assert_refused(
                bench.backend.set_lane_state(args).await,
                &format!("validation: InvalidInput: {reason}"),
            );
        }
        assert!(bench.plain.rows("ff_lane_registry").await.is_empty());
    }
}
