//! Hostile strings and bytes: stored and read back as they were, or refused; never understood.

use std::collections::HashMap;
use std::time::Duration;

use ff_core::backend::{CapabilitySet, FailureClass, FailureReason};
use ff_core::contracts::{
    CompleteExecutionArgs, CreateExecutionArgs, ExecutionQuery, IdempotencyKey,
};
use ff_core::types::{AttemptIndex, CancelSource, LaneId, Namespace};

use crate::backends::conformance;
use crate::bench::{assert_refused, id, lane, payload_of, requiring, worker};
use crate::suspended::{fresh, named};

/// What a database, a driver, a shell or a terminal might trip over.
const HOSTILE: [&str; 22] = [
    "",
    " ",
    "'",
    "''",
    "\"",
    "`",
    "\\",
    "\\'",
    "$1",
    "?",
    ":now",
    "@p1",
    "%s %n %",
    "_%_",
    "'; DROP TABLE ff_exec_core; --",
    "/* */ -- \r\n\t",
    "{\"a\": [1, null]}",
    "\u{1f980}\u{1f468}\u{200d}\u{1f469}",
    "\u{202e}abc\u{5d0}\u{5d1}",
    "e\u{301}\u{e9}\u{fffd}\u{feff}",
    "\u{1}\u{1b}[31m\u{7f}\u{85}",
    "\\u0000 \\x00",
];

type Spoil = fn(&mut CreateExecutionArgs);

conformance! {
    async fn every_text_comes_back_as_it_was(bench) {
        for text in HOSTILE {
            let id = bench
                .create_with(&|args| {
                    args.namespace = Namespace::new(text);
                    args.execution_kind = text.into();
                    args.creator_identity = text.into();
                    args.idempotency_key = Some(text.into());
                    args.payload_encoding = Some(text.into());
                    args.input_payload = text.into();
                    args.tags = HashMap::from([(text.into(), text.into())]);
                })
                .await;
            let context = bench.backend.read_execution_context(&id).await.unwrap();
            assert_eq!(context.input_payload, text.as_bytes());
            assert_eq!(context.execution_kind, text);
            assert_eq!(context.tags, HashMap::from([(text.to_owned(), text.to_owned())]));
            let namespace = bench.backend.get_execution_namespace(&id).await.unwrap();
            assert_eq!(namespace.as_deref(), Some(text));
            let core = bench.core(&id).await;
            assert_eq!(core.raw("creator_identity"), text);
            assert_eq!(core.raw("idempotency_key"), text);
            assert_eq!(core.raw("payload_encoding"), text);
            let query = ExecutionQuery::new(10).with_namespace(Namespace::new(text));
            let page = bench.backend.list_executions_by(query).await.unwrap();
            let found: Vec<_> = page.executions.into_iter().map(|row| row.execution_id).collect();
            assert_eq!(found, std::slice::from_ref(&id), "{text:?}");

            let handle = bench
                .backend
                .claim(&crate::bench::lane(), &CapabilitySet::new([text]), worker(text))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(payload_of(&handle).execution_id, id);
            assert_eq!(bench.attempt(&id, 0).await.text("worker_instance_id"), format!("{text}-1"));
            bench.backend.progress(&handle, None, Some(text.into())).await.unwrap();
            assert_eq!(bench.core(&id).await.raw("progress_message"), text);
            bench.backend.set_execution_tag(&id, "a.b", text).await.unwrap();
            let tag = bench.backend.get_execution_tag(&id, "a.b").await.unwrap();
            assert_eq!(tag.as_deref(), Some(text));
            bench.backend.complete(&handle, Some(text.into())).await.unwrap();
            let result = bench.backend.get_execution_result(&id).await.unwrap();
            assert_eq!(result.as_deref(), Some(text.as_bytes()));
            let events = bench.of("ff_completion_event", &id).await;
            assert_eq!(events[0].text("namespace"), text);
        }
    }

    async fn every_reason_comes_back_as_it_was(bench) {
        for text in HOSTILE {
            let (id, handle) = bench.leased().await;
            bench.backend.cancel(&handle, text).await.unwrap();
            assert_eq!(bench.core(&id).await.text("cancellation_reason"), text);
            let (id, handle) = bench.leased().await;
            let class = FailureClass::Permanent;
            bench.backend.fail(&handle, FailureReason::new(text), class).await.unwrap();
            assert_eq!(bench.core(&id).await.raw("failure_reason"), text);
        }
    }

    async fn every_capability_is_only_itself(bench) {
        for text in HOSTILE.into_iter().filter(|text| !text.is_empty()) {
            let policy = requiring(&[text]);
            let id = bench.create_with(&|args| args.policy = Some(policy.clone())).await;
            let others: Vec<&str> = HOSTILE.into_iter().filter(|other| *other != text).collect();
            let lane = crate::bench::lane();
            let claim = |tokens: Vec<&str>| {
                let offered = CapabilitySet::new(tokens);
                let (backend, lane) = (std::sync::Arc::clone(&bench.backend), lane.clone());
                async move { backend.claim(&lane, &offered, worker("w")).await.unwrap() }
            };
            assert!(claim(others).await.is_none(), "{text:?}");
            let handle = claim(vec![text]).await.unwrap_or_else(|| panic!("{text:?}"));
            assert_eq!(payload_of(&handle).execution_id, id);
            bench.backend.complete(&handle, None).await.unwrap();
        }
    }

    async fn every_lane_name_is_only_itself(bench) {
        let names: Vec<LaneId> =
            HOSTILE.into_iter().filter_map(|text| LaneId::try_new(text).ok()).collect();
        assert!(10 < names.len());
        let mut ids = Vec::new();
        for name in &names {
            ids.push(bench.create_with(&|args| args.lane_id = name.clone()).await);
        }
        for (name, id) in names.iter().zip(&ids) {
            let none = CapabilitySet::default();
            let handle = bench.backend.claim(name, &none, worker("w")).await.unwrap().unwrap();
            assert_eq!(payload_of(&handle).execution_id, *id, "{name:?}");
            assert!(bench.backend.claim(name, &none, worker("w")).await.unwrap().is_none());
        }
    }

    async fn every_byte_comes_back_as_it_was(bench) {
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let large: Vec<u8> =
            (0..1_048_576_u32).map(|n| u8::try_from(n.wrapping_mul(2_654_435_761) >> 24).unwrap()).collect();
        for bytes in [vec![], vec![0], all, large] {
            let (id, handle) = bench.leased_with(&|args| args.input_payload = bytes.clone()).await;
            let context = bench.backend.read_execution_context(&id).await.unwrap();
            assert!(context.input_payload == bytes, "{} bytes in", bytes.len());
            bench.backend.complete(&handle, Some(bytes.clone())).await.unwrap();
            let result = bench.backend.get_execution_result(&id).await.unwrap().unwrap();
            assert!(result == bytes, "{} bytes out", bytes.len());
        }
    }

    async fn long_texts_come_back_as_they_were(bench) {
        let long = "\u{1f980}'".repeat(200_000);
        let id = bench.create_with(&|args| args.execution_kind = long.clone()).await;
        let context = bench.backend.read_execution_context(&id).await.unwrap();
        assert!(context.execution_kind == long);
    }

    /// Names enter keys and indexes, where every database has a bound of its own.
    async fn a_name_has_as_many_bytes_everywhere(bench) {
        let (longest, longer) = ("\u{e9}".repeat(256), format!("{}x", "\u{e9}".repeat(256)));
        let refuse = |field: &str| format!("validation: InvalidInput: {field}: 513 bytes exceed 512");
        let called = |name: &str| {
            let mut args = bench.args(&id());
            args.namespace = Namespace::new(name);
            args.idempotency_key = Some(name.into());
            args.tags = HashMap::from([(name.into(), "v".into())]);
            args
        };
        bench.backend.create_execution(called(&longest)).await.unwrap();
        let fields: [(&str, Spoil); 3] = [
            ("namespace", |_| {}),
            ("idempotency_key", |args| args.namespace = Namespace::new("n")),
            ("tags", |args| {
                args.namespace = Namespace::new("n");
                args.idempotency_key = None;
            }),
        ];
        for (field, shorten) in fields {
            let mut args = called(&longer);
            shorten(&mut args);
            assert_refused(bench.backend.create_execution(args).await, &refuse(field));
        }

        let capabilities = CapabilitySet::default();
        let claimed = bench.backend.claim(&lane(), &capabilities, worker(&longest[2..])).await.unwrap();
        let handle = claimed.unwrap();
        let refused_claim = bench.backend.claim(&lane(), &capabilities, worker(&longer)).await;
        assert_refused(refused_claim, &refuse("worker_id"));

        bench.seed().await;
        for (waitpoint, key, field) in [(&*longer, "k", "waitpoint_key"), ("w", &*longer, "idempotency_key")] {
            let args = bench.wait(vec![fresh(waitpoint)], named(waitpoint, "go"));
            let args = args.with_idempotency_key(IdempotencyKey::new(key));
            assert_refused(bench.backend.suspend(&handle, args).await, &refuse(field));
        }
        let held = payload_of(&handle).execution_id;
        let args = bench.wait(vec![fresh(&longest)], named(&longest, "go"));
        let args = args.with_idempotency_key(IdempotencyKey::new(&longest));
        let target = bench.suspend(&held, &handle, args).await.remove(0);
        let mut signal = bench.signal(&target, "other");
        signal.idempotency_key = Some(longer.clone());
        assert_refused(bench.backend.deliver_signal(signal).await, &refuse("idempotency_key"));
        let mut signal = bench.signal(&target, "other");
        signal.idempotency_key = Some(longest);
        bench.backend.deliver_signal(signal).await.unwrap();
    }

    async fn an_argument_that_would_have_no_effect_is_refused(bench) {
        let refuse = |field: &str| {
            format!("validation: InvalidInput: {field}: has no effect in this version")
        };

        let (held, handle) = bench.leased().await;
        let mut terms = worker("w");
        terms.max_wait = Some(Duration::from_millis(1));
        let none = CapabilitySet::default();
        let claimed = bench.backend.claim(&lane(), &none, terms.clone()).await;
        assert_refused(claimed, &refuse("max_wait"));
        terms.max_wait = Some(Duration::ZERO);
        assert!(bench.backend.claim(&lane(), &none, terms).await.unwrap().is_none());

        let completion = CompleteExecutionArgs {
            execution_id: held.clone(),
            fence: None,
            attempt_index: AttemptIndex(0),
            result_payload: None,
            result_encoding: Some("json".into()),
            source: CancelSource::OperatorOverride,
            now: bench.clock.now(),
        };
        let completed = bench.backend.complete_execution(completion).await;
        assert_refused(completed, &refuse("result_encoding"));

        bench.seed().await;
        let args = bench.wait(vec![fresh("w")], named("w", "go"));
        let target = bench.suspend(&held, &handle, args).await.remove(0);
        let mut signal = bench.signal(&target, "go");
        signal.payload_encoding = Some("json".into());
        assert_refused(bench.backend.deliver_signal(signal).await, &refuse("payload_encoding"));
    }

    async fn numbers_at_their_edges_come_back_as_they_were(bench) {
        for (priority, at) in [(i32::MIN, i64::MIN), (i32::MAX, i64::MAX), (0, 0), (-1, -1)] {
            let id = bench
                .create_with(&|args| {
                    args.priority = priority;
                    args.execution_deadline_at = Some(ff_core::types::TimestampMs(at));
                })
                .await;
            let info = bench.backend.read_execution_info(&id).await.unwrap().unwrap();
            assert_eq!(info.priority, priority);
            assert_eq!(bench.core(&id).await.int("deadline_at_ms"), Some(at));
        }
        let last = ff_core::types::ExecutionId::from_parts(32_767, id().uuid());
        bench.create_with(&|args| args.execution_id = last.clone()).await;
        assert!(bench.backend.describe_execution(&last).await.unwrap().is_some());
    }
}
