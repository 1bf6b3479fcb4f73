//! Streams: what an attempt puts out, frame by frame.
//!
//! Frames are numbered through the attempt and their times never run backwards, so that their ids
//! `<ts_ms>-<seq>` grow and have no gaps but where frames were trimmed. A row per attempt holds
//! the position of its stream ([`position`]). A frame may also patch the attempt's summary document
//! ([`summary`]), or be of the kind that is dropped after a while ([`trim`]).
//!
//! Whatever changes a stream locks in one order: execution, attempt, position, summary, frames.

pub mod append;
pub mod cursor;
pub mod key;
pub mod position;
pub mod read;
pub mod summary;
pub mod trim;
