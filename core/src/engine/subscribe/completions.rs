//! The subscription to completions without cursors. It logs interruptions and continues.

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::future::ready;

use super::events::Completion;
use super::subscribe;
use crate::contracts::ScannerFilter;
use crate::engine::Executor;
use crate::engine::completions::{CompletionBackend, CompletionStream};
use crate::model::cursor::StreamCursor;
use crate::model::error::EngineError;

#[async_trait]
impl<E: Executor> CompletionBackend for E {
    async fn subscribe_completions(&self) -> Result<CompletionStream, EngineError> {
        self.subscribe_completions_filtered(&ScannerFilter::NOOP).await
    }

    async fn subscribe_completions_filtered(
        &self,
        filter: &ScannerFilter,
    ) -> Result<CompletionStream, EngineError> {
        let events = subscribe::<Completion>(self, &StreamCursor::empty(), filter).await?;
        Ok(Box::pin(events.filter_map(|event| {
            ready(match event {
                Ok(Completion(payload)) => Some(payload),
                Err(error) => {
                    tracing::warn!(%error, "completions were interrupted");
                    None
                }
            })
        })))
    }
}
