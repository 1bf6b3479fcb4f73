//! Frames of an attempt over a pool.

use ff_core::EngineError;
use ff_core::backend::{AppendFrameOutcome, Frame, Handle, SummaryDocument};
use ff_core::contracts::{StreamCursor, StreamFrames};
use ff_core::engine_backend::EngineBackend;
use ff_core::partition::PartitionConfig;
use ff_core::types::{AttemptIndex, ExecutionId};
use sqlx::postgres::PgPool;

use super::{engine, partitioned_engine};

/// Appends one frame to the stream of the handle's attempt.
///
/// # Errors
/// As [`EngineBackend::append_frame`].
pub async fn append_frame(
    pool: &PgPool,
    partitions: &PartitionConfig,
    handle: &Handle,
    frame: Frame,
) -> Result<AppendFrameOutcome, EngineError> {
    partitioned_engine(pool, partitions).await?.append_frame(handle, frame).await
}

/// The frames of an attempt from one cursor to another, both inclusive.
///
/// # Errors
/// As [`EngineBackend::read_stream`].
pub async fn read_stream(
    pool: &PgPool,
    execution_id: &ExecutionId,
    attempt_index: AttemptIndex,
    from: StreamCursor,
    to: StreamCursor,
    count_limit: u64,
) -> Result<StreamFrames, EngineError> {
    let engine = engine(pool).await?;
    engine.read_stream(execution_id, attempt_index, from, to, count_limit).await
}

/// The merged summary of an attempt's frames; `None` without one.
///
/// # Errors
/// As [`EngineBackend::read_summary`].
pub async fn read_summary(
    pool: &PgPool,
    execution_id: &ExecutionId,
    attempt_index: AttemptIndex,
) -> Result<Option<SummaryDocument>, EngineError> {
    engine(pool).await?.read_summary(execution_id, attempt_index).await
}
