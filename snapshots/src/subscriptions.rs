//! The situations in which subscribers read the outboxes.

use ff_core::contracts::INSTANCE_TAG;
use ff_core::engine::{Executor as _, unreadable_page_queries};
use ff_core::engine_backend::EngineBackend;
use ff_core::stream_subscribe::{StreamCursor, encode_postgres_event_cursor};
use ff_core::{EngineError, ScannerFilter};
use futures_util::{Stream, StreamExt};

use super::fixtures::flow;
use super::stage::Scene;

impl Scene {
    pub(super) fn subscriptions(&mut self) {
        let all = ScannerFilter::NOOP;
        let starts = [
            ("from a cursor", encode_postgres_event_cursor(0)),
            ("from now on", StreamCursor::empty()),
        ];
        for (case, start) in starts {
            let cursor = || start.clone();
            self.sample("subscribe_completion", case, async |b| {
                look(b.subscribe_completion(cursor(), &all).await).await;
            });
            self.sample("subscribe_lease_history", case, async |b| {
                look(b.subscribe_lease_history(cursor(), &all).await).await;
            });
            self.sample("subscribe_signal_delivery", case, async |b| {
                look(b.subscribe_signal_delivery(cursor(), &all).await).await;
            });
            self.sample("subscribe_operator_events", case, async |b| {
                look(b.subscribe_operator_events(cursor(), &all).await).await;
            });
            self.sample("subscribe_instance_tags", case, async |b| {
                look(b.subscribe_instance_tags(cursor()).await).await;
            });
        }
    }

    pub(super) fn unreadable_page_queries(&mut self) {
        for (operation, query) in unreadable_page_queries() {
            self.sample(operation, "a row that cannot be read", async |b| {
                b.read(vec![query]).await
            });
        }
    }

    pub(super) fn instance_tags(&mut self) {
        let id = self.submit(|_| ());
        for (case, value) in [("instance tag attached", "eu-2"), ("instance tag cleared", "")] {
            self.sample("set_execution_tag", case, async |b| {
                b.set_execution_tag(&id, INSTANCE_TAG, value).await
            });
        }

        let mut args = self.args();
        args.tags.clear();

        self.create_flow();
        let mut member = args.clone();
        member.execution_id = self.in_flow(&flow());

        self.sample("create_flow_members", "without an instance tag", async |b| {
            b.create_flow_members(&flow(), vec![member]).await
        });
    }
}

/// Polls the stream once.
async fn look<T>(
    stream: Result<impl Stream<Item = Result<T, EngineError>> + Unpin, EngineError>,
) -> Option<Result<T, EngineError>> {
    stream.ok()?.next().await
}
