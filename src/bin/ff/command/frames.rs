//! Output of a command on its way into the stream of its attempt.
//!
//! What a command writes within a short time becomes one frame, so that a command that writes much
//! costs few commits. Frames end with lines where that is possible. A database that is slow slows
//! the command down, and never one that has exited.

use std::sync::Arc;
use std::time::Duration;

use ff_core::EngineError;
use ff_core::backend::{Frame, FrameKind, Handle};
use ff_core::engine_backend::EngineBackend;
use ff_core::engine_error::StoreClass;
use ff_core::types::ExecutionId;
use flowfabric_sql::worker::Run;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// The most bytes of a frame.
const FRAME_MAX: usize = 32 * 1024;

/// The bytes that may wait to be appended before the command has to wait.
const ROOM: usize = 1024 * 1024;

/// The time for which output is gathered into one frame.
const GATHERING: Duration = Duration::from_millis(50);

/// The time after which a line without an end is appended.
const PATIENCE: Duration = Duration::from_secs(1);

/// The pause before a frame is appended again that the database did not take.
const PAUSE: Duration = Duration::from_millis(200);

/// The number of times that a frame is appended again.
const REPEATS: usize = 100;

/// Bytes of one of a command's streams.
struct Piece {
    kind: FrameKind,
    bytes: Vec<u8>,
}

/// The end that output is put into.
#[derive(Clone)]
pub(crate) struct FrameSender {
    pieces: UnboundedSender<Piece>,
    room: Arc<Semaphore>,
}

/// The end that appends it.
pub(super) struct FrameWriter {
    engine: Arc<dyn EngineBackend>,
    handle: Handle,
    execution_id: ExecutionId,
    pieces: UnboundedReceiver<Piece>,
    room: Arc<Semaphore>,
    gathered: Gathered,
    /// True once a frame was refused: the lease is over, and further ones would be refused, too.
    is_refused: bool,
}

/// Both ends for a run.
pub(super) fn frames(engine: &Arc<dyn EngineBackend>, run: &Run) -> (FrameSender, FrameWriter) {
    let (sender, pieces) = unbounded_channel();
    let room = Arc::new(Semaphore::new(ROOM));
    let writer = FrameWriter {
        engine: Arc::clone(engine),
        handle: run.handle.clone(),
        execution_id: run.execution_id.clone(),
        pieces,
        room: Arc::clone(&room),
        gathered: Gathered::default(),
        is_refused: false,
    };
    (FrameSender { pieces: sender, room }, writer)
}

impl FrameSender {
    /// Hands bytes over, once there is room.
    pub(crate) async fn send(&self, kind: FrameKind, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if let Ok(room) = self.room.acquire_many(length).await {
            room.forget();
        }
        // A writer that is gone has no use for it.
        let _ = self.pieces.send(Piece { kind, bytes: bytes.to_vec() });
    }

    /// Waits for room no longer: the command has exited, and all that is left is in its pipes.
    pub(crate) fn stop_waiting(&self) {
        self.room.close();
    }
}

impl FrameWriter {
    /// Appends all output, until the other end is dropped.
    pub(super) async fn run(mut self) {
        while let Some(piece) = self.next().await {
            self.gathered.add(piece);
            let until = Instant::now() + GATHERING;
            while self.gathered.length() < FRAME_MAX {
                match timeout_at(until, self.pieces.recv()).await {
                    Ok(Some(piece)) => self.gathered.add(piece),
                    Ok(None) | Err(_) => break,
                }
            }
            let frames = self.gathered.take_lines();
            self.append(frames).await;
        }
        let rest = self.gathered.take_all();
        self.append(rest).await;
    }

    /// The next piece. Appends the beginning of a line that does not go on.
    async fn next(&mut self) -> Option<Piece> {
        if self.gathered.length() != 0 {
            if let Ok(piece) = timeout(PATIENCE, self.pieces.recv()).await {
                return piece;
            }
            let rest = self.gathered.take_all();
            self.append(rest).await;
        }
        self.pieces.recv().await
    }

    async fn append(&mut self, frames: Vec<Piece>) {
        for Piece { kind, bytes } in frames {
            let length = bytes.len();
            if !self.is_refused {
                self.append_until_accepted(Frame::new(bytes, kind)).await;
            }
            self.room.add_permits(length);
        }
    }

    /// Appends a frame. The command's end matters more than its output, so a frame that cannot be
    /// stored is only logged.
    async fn append_until_accepted(&mut self, frame: Frame) {
        let execution_id = &self.execution_id;
        for _ in 0..REPEATS {
            match self.engine.append_frame(&self.handle, frame.clone()).await {
                Ok(_) => return,
                Err(error) if changed_nothing(&error) => sleep(PAUSE).await,
                Err(error) => {
                    tracing::warn!(%execution_id, %error, "the output is no longer stored");
                    self.is_refused = true;
                    return;
                }
            }
        }
        tracing::warn!(%execution_id, "a frame of the output was not stored");
    }
}

/// True if the same call may succeed later, and the frame is certainly not there.
fn changed_nothing(error: &EngineError) -> bool {
    match error.store_class() {
        Some(StoreClass::Retryable | StoreClass::Full) => true,
        Some(StoreClass::OutcomeUnknown | StoreClass::Permanent | StoreClass::Corrupt) | None => {
            false
        }
    }
}

/// Output that is not appended yet, in the order in which it came.
#[derive(Default)]
struct Gathered {
    pieces: Vec<Piece>,
}

impl Gathered {
    fn length(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }

    /// Adds bytes to the last piece, if they are of the same stream.
    fn add(&mut self, piece: Piece) {
        match self.pieces.last_mut() {
            Some(last) if last.kind == piece.kind => last.bytes.extend(piece.bytes),
            Some(_) | None => self.pieces.push(piece),
        }
    }

    /// Takes what ends with a line; the beginning of the last line stays, unless it is long.
    fn take_lines(&mut self) -> Vec<Piece> {
        let rest = self.pieces.last_mut().and_then(|last| {
            let end = last.bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let is_short = last.bytes.len() - end < FRAME_MAX;
            let rest = if is_short { last.bytes.split_off(end) } else { Vec::new() };
            (!rest.is_empty()).then_some(Piece { kind: last.kind, bytes: rest })
        });
        let taken = self.take_all();
        self.pieces.extend(rest);
        taken
    }

    /// Takes everything, in frames of the greatest length at most.
    fn take_all(&mut self) -> Vec<Piece> {
        let pieces = std::mem::take(&mut self.pieces);
        let frames = pieces.into_iter().flat_map(|Piece { kind, mut bytes }| {
            let mut frames = Vec::new();
            while !bytes.is_empty() {
                let rest = bytes.split_off(frame_length(&bytes));
                frames.push(Piece { kind, bytes: std::mem::replace(&mut bytes, rest) });
            }
            frames
        });
        frames.collect()
    }
}

/// The length of the next frame: up to the last line end or character that fits.
fn frame_length(bytes: &[u8]) -> usize {
    let Some(fitting) = bytes.get(..FRAME_MAX).filter(|_| FRAME_MAX < bytes.len()) else {
        return bytes.len();
    };
    if let Some(line_end) = fitting.iter().rposition(|byte| *byte == b'\n') {
        return line_end + 1;
    }
    // A character of UTF-8 begins with a byte that is no continuation.
    let begins = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    (FRAME_MAX - 3..=FRAME_MAX).rev().find(begins).unwrap_or(FRAME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(pieces: &[(FrameKind, &str)]) -> Gathered {
        let mut gathered = Gathered::default();
        for (kind, text) in pieces {
            gathered.add(Piece { kind: *kind, bytes: text.as_bytes().to_vec() });
        }
        gathered
    }

    fn shown(pieces: Vec<Piece>) -> Vec<(FrameKind, String)> {
        let shown = |piece: Piece| (piece.kind, String::from_utf8(piece.bytes).unwrap());
        pieces.into_iter().map(shown).collect()
    }

    #[test]
    fn frames_end_with_lines_and_keep_their_order() {
        use FrameKind::{Stderr, Stdout};
        let mut output =
            gathered(&[(Stdout, "one\n"), (Stdout, "tw"), (Stderr, "no\n"), (Stdout, "o\nthr")]);
        let expected = [(Stdout, "one\ntw"), (Stderr, "no\n"), (Stdout, "o\n")];
        assert_eq!(
            shown(output.take_lines()),
            expected.map(|(kind, text)| (kind, text.to_owned()))
        );
        assert_eq!(shown(output.take_lines()), []);
        output.add(Piece { kind: Stdout, bytes: b"ee\n".to_vec() });
        assert_eq!(shown(output.take_lines()), [(Stdout, "three\n".to_owned())]);
        assert_eq!(output.length(), 0);
    }

    #[test]
    fn long_output_is_cut_between_lines_or_characters() {
        let line = format!("{}\n", "x".repeat(20_000));
        let lengths = |text: &str| {
            let mut output = gathered(&[(FrameKind::Stdout, text)]);
            let frames = output.take_lines();
            assert_eq!(output.length(), 0);
            let whole: String = shown(frames).into_iter().map(|(_, text)| text).collect();
            assert_eq!(whole, text);
            let mut output = gathered(&[(FrameKind::Stdout, text)]);
            output.take_all().iter().map(|frame| frame.bytes.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&line.repeat(3)), [20_001, 20_001, 20_001]);
        assert_eq!(lengths(&format!("y{}", "é".repeat(20_000))), [32_767, 7_234]);
    }
}
