//! Submissions: the stored rows, the winner of a race, the refusals.

use ff_core::contracts::CreateExecutionResult;
use ff_core::policy::{ExecutionPolicy, TimeoutPolicy};
use ff_core::state::PublicState;
use ff_core::types::{LaneId, TimestampMs};
use serde_json::json;

use crate::backends::{START, conformance};
use crate::bench::{LANE, WAITING, assert_refused, id, id_in, payload_of, requiring};

conformance! {
    async fn a_submission_is_claimable_at_once(bench) {
        let id = id();
        let result = bench.backend.create_execution(bench.args(&id)).await.unwrap();
        let created = CreateExecutionResult::Created {
            execution_id: id.clone(),
            public_state: PublicState::Waiting,
        };
        assert_eq!(result, created);
        let core = bench.core(&id).await;
        assert_eq!(core.states(), WAITING);
        assert_eq!(core.text("lane_id"), LANE);
        assert_eq!(core.bytes("payload"), Some(b"input".as_slice()));
        assert_eq!(core.int("created_at_ms"), Some(START));
        assert_eq!(core.int("attempt_index"), Some(0));
        assert_eq!(core.int("total_attempt_count"), Some(0));
        assert_eq!(core.int("started_at_ms"), None);
        assert_eq!(core.int("eligible_at_ms"), None);
        assert_eq!(core.raw("execution_kind"), "job");
        assert_eq!(core.raw("creator_identity"), "suite");
        assert_eq!(core.int("last_changed_at_ms"), Some(START));
        assert_eq!(core.raw("tags"), json!({ "cairn.instance_id": "instance-7" }));
        assert_eq!(core.raw("idempotency_key"), json!(null));
        assert_eq!(bench.attempts(&id).await, []);
        assert_eq!(payload_of(&bench.claim().await).execution_id, id);
    }

    async fn the_first_submission_of_an_id_wins(bench) {
        let id = bench.create_with(&|args| args.input_payload = b"first".to_vec()).await;
        let before = bench.everything().await;
        let mut again = bench.args(&id);
        again.input_payload = b"second".to_vec();
        again.priority = 9;
        let result = bench.backend.create_execution(again).await.unwrap();
        assert_eq!(result, CreateExecutionResult::Duplicate { execution_id: id });
        assert_eq!(bench.everything().await, before);
    }

    async fn sixteen_submissions_of_one_id_make_one_execution(bench) {
        let id = id();
        let submissions = (0..16).map(|number: u8| {
            let mut args = bench.args(&id);
            args.input_payload = vec![number];
            let backend = std::sync::Arc::clone(&bench.backend);
            tokio::spawn(async move { backend.create_execution(args).await.unwrap() })
        });
        let mut created = 0;
        for submission in submissions.collect::<Vec<_>>() {
            match submission.await.unwrap() {
                CreateExecutionResult::Created { .. } => created += 1,
                CreateExecutionResult::Duplicate { execution_id } => assert_eq!(execution_id, id),
            }
        }
        assert_eq!(created, 1);
        assert_eq!(bench.core(&id).await.states(), WAITING);
    }

    async fn a_delayed_submission_waits_for_its_time(bench) {
        let id = bench.create_with(&|args| args.delay_until = Some(TimestampMs(START + 500))).await;
        let core = bench.core(&id).await;
        let delayed =
            "runnable unowned not_eligible_until_time delayed pending_first_attempt waiting_for_delay";
        assert_eq!(core.states(), delayed);
        assert_eq!(core.int("eligible_at_ms"), Some(START + 500));
        assert_eq!(core.int("deadline_at_ms"), None);
        assert!(bench.try_claim().await.is_none());
    }

    async fn a_delay_in_the_past_has_no_effect(bench) {
        let id = bench.create_with(&|args| args.delay_until = Some(TimestampMs(START))).await;
        assert_eq!(bench.core(&id).await.states(), WAITING);
    }

    async fn the_policy_may_delay_too(bench) {
        let until = Some(TimestampMs(START + 1));
        let policy = ExecutionPolicy { delay_until: until, ..ExecutionPolicy::default() };
        let id = bench.create_with(&|args| args.policy = Some(policy.clone())).await;
        assert_eq!(bench.core(&id).await.int("eligible_at_ms"), Some(START + 1));
    }

    async fn deadlines_and_timeouts_are_stored(bench) {
        let timeouts = TimeoutPolicy {
            attempt_timeout_ms: Some(40),
            execution_deadline_ms: Some(900),
            max_reclaim_count: 3,
        };
        let policy = ExecutionPolicy { timeout_policy: Some(timeouts), ..ExecutionPolicy::default() };
        let by_policy = bench.create_with(&|args| args.policy = Some(policy.clone())).await;
        let core = bench.core(&by_policy).await;
        assert_eq!(core.int("deadline_at_ms"), Some(START + 900));
        assert_eq!(core.int("attempt_timeout_ms"), Some(40));
        let given = bench
            .create_with(&|args| {
                args.policy = Some(policy.clone());
                args.execution_deadline_at = Some(TimestampMs(START + 5));
            })
            .await;
        assert_eq!(bench.core(&given).await.int("deadline_at_ms"), Some(START + 5));
    }

    async fn required_capabilities_are_stored(bench) {
        let policy = requiring(&["gpu", "cuda"]);
        let id = bench.create_with(&|args| args.policy = Some(policy.clone())).await;
        assert!(bench.try_claim().await.is_none());
        let core = bench.core(&id).await;
        let stored = core.0.get("required_capabilities").unwrap();
        let expected = vec!["cuda".to_owned(), "gpu".to_owned()];
        assert_eq!(*stored, ff_core::plan::value::Value::TextList(expected));
    }

    async fn the_lane_is_registered_once(bench) {
        bench.create().await;
        bench.clock.advance(5);
        bench.create().await;
        let lanes = bench.plain.rows("ff_lane_registry").await;
        assert_eq!(lanes.len(), 1);
        assert_eq!(lanes[0].text("lane_id"), LANE);
        assert_eq!(lanes[0].int("registered_at_ms"), Some(START));
        assert_eq!(lanes[0].text("registered_by"), "create_execution");
    }

    async fn a_batch_answers_in_its_order(bench) {
        let ids: Vec<_> = (0..100).map(|number| id_in(number % 256)).collect();
        let mut batch: Vec<_> = ids.iter().map(|id| bench.args(id)).collect();
        batch[40].lane_id = LaneId::new("");
        batch[60].execution_id = ids[59].clone();
        let results = bench.backend.create_executions(batch).await;
        assert_eq!(results.len(), 100);
        let mut duplicates = 0;
        for (number, result) in results.into_iter().enumerate() {
            match (number, result) {
                (40, result) => assert_refused(
                    result,
                    "validation: InvalidInput: lane_id: lane id is empty",
                ),
                (59 | 60, Ok(CreateExecutionResult::Duplicate { execution_id })) => {
                    assert_eq!(execution_id, ids[59]);
                    duplicates += 1;
                }
                (_, Ok(CreateExecutionResult::Created { execution_id, .. })) => {
                    let expected = if number == 60 { 59 } else { number };
                    assert_eq!(execution_id, ids[expected]);
                }
                (_, other) => panic!("{number}: {other:?}"),
            }
        }
        assert_eq!(duplicates, 1);
        assert_eq!(bench.plain.rows("ff_exec_core").await.len(), 98);
    }

    async fn submissions_are_checked_before_anything_is_stored(bench) {
        type Change = fn(&mut ff_core::contracts::CreateExecutionArgs);
        let cases: [(Change, &str); 9] = [
            (|args| args.lane_id = LaneId::new("x".repeat(65)), "InvalidInput: lane_id: "),
            (|args| args.lane_id = LaneId::new("a\tb"), "InvalidInput: lane_id: "),
            (
                |args| args.namespace = ff_core::types::Namespace::new("a\0b"),
                "InvalidInput: namespace: must not contain NUL (at byte 1)",
            ),
            (|args| args.execution_kind = "\0".into(), "InvalidInput: execution_kind: "),
            (|args| args.creator_identity = "\0".into(), "InvalidInput: creator_identity: "),
            (|args| args.idempotency_key = Some("\0".into()), "InvalidInput: idempotency_key: "),
            (
                |args| drop(args.tags.insert("a.b".into(), "\0".into())),
                "InvalidInput: tags: must not contain NUL",
            ),
            (
                |args| args.policy = Some(requiring(&[""])),
                "InvalidCapabilities: policy.routing_requirements.required_capabilities: token \"\" is",
            ),
            (
                |args| {
                    let tokens: Vec<String> = (0..257).map(|n: u32| n.to_string()).collect();
                    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
                    args.policy = Some(requiring(&tokens));
                },
                "InvalidCapabilities: policy.routing_requirements.required_capabilities: 257 tokens",
            ),
        ];
        for (change, expected) in cases {
            let mut args = bench.args(&id());
            change(&mut args);
            let error = bench.backend.create_execution(args).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("validation: {expected}")), "{error}");
        }
        let beyond = bench.args(&id_in(32_768));
        assert_refused(
            bench.backend.create_execution(beyond).await,
            "validation: InvalidInput: partition index 32768 exceeds i16 range (max 32767)",
        );
        assert!(bench.everything().await.iter().all(|(table, rows)| {
            !matches!(*table, "ff_exec_core" | "ff_lane_registry") || rows.is_empty()
        }));
    }
}
