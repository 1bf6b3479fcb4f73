//! Durable steps: recorded once, read back in order, and taken over by forks.

use ff_core::contracts::{
    ForkExecutionArgs, ForkExecutionResult, NewStep, RecordStepOutcome, STEPS_MAX, StepRecord,
};
use ff_core::types::{AttemptIndex, LeaseEpoch, TimestampMs};

use crate::backends::{Bench, START, conformance};
use crate::bench::{assert_refused, id};

fn step(position: u32, name: &str, value: &[u8]) -> NewStep {
    NewStep::new(position, name, value.to_vec())
}

fn names(steps: &[StepRecord]) -> Vec<(u32, &str)> {
    steps.iter().map(|step| (step.position, step.name.as_str())).collect()
}

/// An execution that has recorded these steps, and is leased.
async fn with_steps(
    bench: &Bench,
    steps: &[&str],
) -> (ff_core::types::ExecutionId, ff_core::backend::Handle) {
    let (id, handle) = bench.leased().await;
    for (position, name) in (0..).zip(steps) {
        let step = step(position, name, name.as_bytes());
        bench.backend.record_step(&handle, step).await.unwrap();
    }
    (id, handle)
}

conformance! {
    async fn a_step_is_recorded_once_and_read_back(bench) {
        let (id, handle) = bench.leased().await;
        let backend = &bench.backend;
        assert_eq!(backend.list_steps(&id, None, 10).await.unwrap(), []);
        let bytes = [0, 255, 39, 92];
        let recorded = backend.record_step(&handle, step(0, "charge", &bytes)).await.unwrap();
        assert_eq!(recorded, RecordStepOutcome::Recorded);

        let attempt = AttemptIndex(0);
        let first = StepRecord::new(
            0, "charge", bytes.to_vec(), attempt, LeaseEpoch(1), TimestampMs(START),
        );
        let before = bench.everything().await;
        // A repetition gets the first result, and so does a step of another name.
        for name in ["charge", "mail"] {
            let found = backend.record_step(&handle, step(0, name, b"other")).await.unwrap();
            assert_eq!(found, RecordStepOutcome::Found(first.clone()));
        }
        assert_eq!(backend.list_steps(&id, None, 10).await.unwrap(), [first]);
        assert_eq!(bench.everything().await, before);
    }

    async fn steps_outlive_their_attempt(bench) {
        let (id, handle) = with_steps(&bench, &["charge"]).await;
        bench.backend.delay(&handle, bench.clock.now()).await.unwrap();
        let handle = bench.claim().await;
        let found = bench.backend.record_step(&handle, step(0, "charge", b"again")).await.unwrap();
        assert!(matches!(found, RecordStepOutcome::Found(_)), "{found:?}");
        bench.backend.record_step(&handle, step(1, "mail", b"")).await.unwrap();
        let steps = bench.backend.list_steps(&id, None, 10).await.unwrap();
        assert_eq!(names(&steps), [(0, "charge"), (1, "mail")]);
        assert!(steps[0].lease_epoch < steps[1].lease_epoch);
    }

    async fn steps_are_read_page_by_page(bench) {
        let (id, _) = with_steps(&bench, &["a", "b", "c"]).await;
        let list = |after, limit| bench.backend.list_steps(&id, after, limit);
        assert_eq!(names(&list(None, 2).await.unwrap()), [(0, "a"), (1, "b")]);
        assert_eq!(names(&list(Some(1), 2).await.unwrap()), [(2, "c")]);
        for (after, limit) in [(Some(2), 5), (Some(u32::MAX), 5), (None, 0)] {
            assert_eq!(list(after, limit).await.unwrap(), []);
        }
        assert_eq!(bench.backend.list_steps(&crate::bench::id(), None, 5).await.unwrap(), []);
    }

    async fn what_no_row_can_hold_is_refused(bench) {
        let (_, handle) = bench.leased().await;
        let before = bench.everything().await;
        let long = "x".repeat(513);
        for (step, refusal) in [
            (step(STEPS_MAX, "a", b""), "step.position: 10000 is not below 10000, the most steps"),
            (step(0, "", b""), "step.name: must not be empty"),
            (step(0, "a\0", b""), "step.name: must not contain NUL (at byte 1)"),
            (step(0, &long, b""), "step.name: 513 bytes exceed 512"),
        ] {
            let refusal = format!("validation: InvalidInput: {refusal}");
            assert_refused(bench.backend.record_step(&handle, step).await, &refusal);
        }
        assert_eq!(bench.everything().await, before);
    }

    async fn a_fork_takes_over_the_steps_before_one(bench) {
        let (source, handle) = with_steps(&bench, &["charge", "mail", "log"]).await;
        bench.backend.complete(&handle, Some(b"done".to_vec())).await.unwrap();
        for (from, kept) in [(None, 0), (Some("charge"), 0), (Some("log"), 2)] {
            let forked = id();
            let mut args = ForkExecutionArgs::new(source.clone(), forked.clone(), "operator");
            args.from_step = from.map(str::to_owned);
            let answer = bench.backend.fork_execution(args.clone()).await.unwrap();
            let new = ForkExecutionResult::Forked { execution_id: forked.clone(), steps: kept };
            assert_eq!(answer, new);

            let steps = bench.backend.list_steps(&forked, None, 10).await.unwrap();
            let originals = bench.backend.list_steps(&source, None, kept).await.unwrap();
            assert_eq!(steps, originals);
            let context = bench.backend.read_execution_context(&forked).await.unwrap();
            let of_source = bench.backend.read_execution_context(&source).await.unwrap();
            assert_eq!(context.input_payload, of_source.input_payload);
            assert_eq!(context.tags, of_source.tags);

            // It goes on behind them, and a repetition changes nothing.
            let handle = bench.claim().await;
            bench.backend.record_step(&handle, step(kept, "new", b"")).await.unwrap();
            let before = bench.everything().await;
            let again = bench.backend.fork_execution(args).await.unwrap();
            assert_eq!(again, ForkExecutionResult::Duplicate { execution_id: forked });
            assert_eq!(bench.everything().await, before);
            bench.backend.complete(&handle, None).await.unwrap();
        }
    }

    async fn a_fork_from_what_is_not_there_is_refused(bench) {
        let (source, _) = with_steps(&bench, &["charge", "mail"]).await;
        let before = bench.everything().await;
        let fork = |source, step: &str| {
            let args = ForkExecutionArgs::new(source, id(), "operator").from_step(step);
            bench.backend.fork_execution(args)
        };
        assert_refused(
            fork(source.clone(), "ship").await,
            "validation: InvalidInput: from_step: the execution has no step \"ship\"; it has \
             charge, mail",
        );
        assert_refused(
            fork(source, "").await,
            "validation: InvalidInput: from_step: must not be empty",
        );
        assert_refused(fork(id(), "charge").await, "not found: execution");
        assert_eq!(bench.everything().await, before);
    }
}
