//! Many senders signal one wait at the same time: each of them is accepted, in one process and in
//! two, and the wait ends once.

use std::sync::Arc;

use ff_core::contracts::{CompositeBody, CountKind, DeliverSignalResult, ResumeCondition};
use futures_util::future::join_all;

use crate::backends::conformance;
use crate::suspended::{RESUMABLE, fresh};

const SENDERS: usize = 100;

conformance! {
    async fn a_hundred_signals_at_once_are_accepted_and_end_the_wait_once(bench) {
        bench.seed().await;
        let (id, handle) = bench.leased().await;
        let condition = ResumeCondition::Composite(CompositeBody::Count {
            n: 100,
            count_kind: CountKind::DistinctSignals,
            matcher: None,
            waitpoints: vec!["a".into()],
        });
        let args = bench.wait(vec![fresh("a")], condition);
        let target = bench.suspend(&id, &handle, args).await.remove(0);

        let engines = [Arc::clone(&bench.backend), bench.another_process().await];
        let calls = engines.into_iter().cycle().take(SENDERS).map(|engine| {
            let signal = bench.signal(&target, "go");
            tokio::spawn(async move { engine.deliver_signal(signal).await })
        });
        let mut woke = 0;
        for delivered in join_all(calls.collect::<Vec<_>>()).await {
            match delivered.unwrap().unwrap() {
                DeliverSignalResult::Accepted { effect, .. } => {
                    woke += usize::from(effect == "resume_condition_satisfied");
                }
                other @ DeliverSignalResult::Duplicate { .. } => panic!("{other:?}"),
            }
        }

        assert_eq!(woke, 1, "the last one ends the wait");
        assert_eq!(bench.core(&id).await.states(), RESUMABLE);
        assert_eq!(bench.completions(&id).await, ["resumable"]);
        assert_eq!(bench.of("ff_signal_event", &id).await.len(), SENDERS);
    }
}
