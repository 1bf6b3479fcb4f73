//! Subscriptions to finished executions.

use std::pin::Pin;

use async_trait::async_trait;
use futures_core::Stream;

use crate::contracts::{CompletionPayload, ScannerFilter};
use crate::model::error::EngineError;

/// Finished executions, in the order in which the backend saw them.
pub type CompletionStream = Pin<Box<dyn Stream<Item = CompletionPayload> + Send + Unpin>>;

/// A backend that announces finished executions.
#[async_trait]
pub trait CompletionBackend: Send + Sync + 'static {
    /// Every execution that finishes from now on, at most once each.
    ///
    /// # Errors
    /// When the backend cannot subscribe.
    async fn subscribe_completions(&self) -> Result<CompletionStream, EngineError>;

    /// Like [`Self::subscribe_completions`], for the executions that `filter` lets through.
    ///
    /// # Errors
    /// When the backend cannot subscribe, or cannot filter and `filter` asks for it.
    async fn subscribe_completions_filtered(
        &self,
        filter: &ScannerFilter,
    ) -> Result<CompletionStream, EngineError> {
        if filter.is_noop() {
            self.subscribe_completions().await
        } else {
            Err(EngineError::Unavailable { op: "subscribe_completions_filtered" })
        }
    }
}
