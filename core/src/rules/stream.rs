//! Streams: what an attempt puts out, frame by frame.
//!
//! Frames are numbered through the attempt and their times never run backwards, so that their ids
//! `<ts_ms>-<seq>` grow and have no gaps but where frames were trimmed. A row per attempt holds
//! the position of its stream ([`position`]). A frame may also patch the attempt's summary document
//! ([`summary`]), or be of the kind that is dropped after a while ([`trim`]).
//!
//! Whatever changes a stream locks in one order: execution, attempt, position, summary, frames.
//!
//! ```
//! use ff_core::contracts::StreamCursor;
//! use ff_core::rules::stream::cursor::FrameId;
//!
//! let read = FrameId::of(&StreamCursor::At("1700000000000-4".into()))?;
//! assert_eq!((read.ts_ms, read.seq), (1_700_000_000_000, 4));
//! assert!(FrameId::FIRST < read);
//! let refusal = FrameId::of(&StreamCursor::At("yesterday".into())).unwrap_err();
//! assert!(refusal.to_string().contains("bad stream cursor 'yesterday' (ms)"));
//! # Ok::<(), ff_core::EngineError>(())
//! ```

pub mod append;
pub mod cursor;
pub mod key;
pub mod position;
pub mod read;
pub mod summary;
pub mod trim;
