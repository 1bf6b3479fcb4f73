//! A command with all the processes that it has started, and the way they are ended.
//!
//! A command leads a session and a process group of its own. Ctrl-C in the terminal reaches the
//! worker only, and a command that reads from the terminal gets an error instead of being stopped.
//! When a command is over, or no longer wanted, its whole group gets SIGTERM, and SIGKILL if
//! anything of it is left after a time. A process that leaves the group is not ended.
//!
//! An operator may choose otherwise: commands in the worker's own group, of which only the command
//! itself is ended; and groups that may outlive a command that has exited.

use std::collections::HashMap;
use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ff_core::backend::FrameKind;
use ff_core::types::{ExecutionId, LeaseEpoch};
use process_wrap::tokio::ChildWrapper;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::command::FrameSender;
use super::log;
use super::watchdog::Watchdog;

/// The time for which the output of a command is read after the command itself has exited: a
/// process that it left running may hold the output open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(100);

/// The bytes kept of the end of stderr, to find its last line.
const STDERR_TAIL: usize = 8 * 1024;

/// The longest pause between two checks of a group that is being ended.
const CHECK_MAX: Duration = Duration::from_millis(50);

/// The run that a group belongs to.
pub(super) type RunKey = (ExecutionId, LeaseEpoch);

/// The group that a command belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grouping {
    /// One of its own, which is ended as a whole.
    Own,
    /// That of the worker: only the command itself is ended.
    OfWorker,
}

/// The fate of processes that a command has left running when it exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leftover {
    End,
    Keep,
}

/// The groups that are being ended.
#[derive(Clone, Debug)]
pub(super) struct EndingGroups {
    pub(super) grouping: Grouping,
    pub(super) leftover: Leftover,
    /// The time between SIGTERM and SIGKILL.
    pub(super) kill_after: Duration,
    /// Ends the groups if this process cannot.
    pub(super) watchdog: Option<Arc<Watchdog>>,
    tasks: Arc<Mutex<HashMap<RunKey, JoinHandle<()>>>>,
}

impl EndingGroups {
    /// Groups of their own, of which nothing is left running.
    pub(super) fn new(kill_after: Duration, watchdog: Option<Arc<Watchdog>>) -> Self {
        let (grouping, leftover) = (Grouping::Own, Leftover::End);
        Self { grouping, leftover, kill_after, watchdog, tasks: Arc::default() }
    }

    /// The same for commands in such groups, with such leftovers.
    pub(super) fn with(self, grouping: Grouping, leftover: Leftover) -> Self {
        Self { grouping, leftover, ..self }
    }

    /// Reports to the watchdog that the group of a command runs.
    fn watch(&self, id: u32) {
        if let (Some(watchdog), Grouping::Own) = (&self.watchdog, self.grouping) {
            watchdog.add(id);
        }
    }

    /// Waits until nothing of the run's group is left.
    pub(super) async fn wait_for_end(&self, key: &RunKey) {
        let task = self.lock().remove(key);
        if let Some(task) = task {
            // A task that panicked has ended as well.
            let _ = task.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunKey, JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running command. Dropping it starts to end it and its group.
pub(super) struct Group {
    child: Option<Box<dyn ChildWrapper>>,
    output: Output,
    id: Option<u32>,
    key: RunKey,
    endings: EndingGroups,
}

/// The streams that a command writes to. They are read until the group has ended: a command that
/// cleans up may write, and would get SIGPIPE otherwise.
#[derive(Default)]
struct Output {
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
}

/// The exit and the output of a command.
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// The reason why a command did not get to its exit.
pub(super) enum Unfinished {
    /// It wrote more than allowed.
    TooMuch,
    /// Input or output failed.
    Io(io::Error),
}

impl From<io::Error> for Unfinished {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Group {
    pub(super) fn new(
        mut child: Box<dyn ChildWrapper>,
        key: RunKey,
        endings: EndingGroups,
    ) -> Self {
        let output = Output { stdout: child.stdout().take(), stderr: child.stderr().take() };
        let id = child.id();
        id.into_iter().for_each(|id| endings.watch(id));
        Self { child: Some(child), output, id, key, endings }
    }

    /// Writes the payload to the command and reads up to `max` bytes of its output, until it has
    /// exited. The output goes into frames, too, if there are any.
    pub(super) async fn finish(
        &mut self,
        payload: &[u8],
        max: usize,
        frames: Option<FrameSender>,
    ) -> Result<Finished, Unfinished> {
        let Some(child) = &mut self.child else {
            return Err(io::Error::other("the command has been ended").into());
        };
        let stdin = child.stdin().take();
        let Output { stdout, stderr } = &mut self.output;
        let (mut stdout_bytes, mut stderr_end) = (Vec::new(), Vec::new());
        let frames = frames.as_ref();

        let status = {
            let streams = async {
                tokio::try_join!(
                    write_payload(stdin, payload),
                    collect(stdout.as_mut(), &mut stdout_bytes, max, frames),
                    copy_to_stderr(stderr.as_mut(), &mut stderr_end, frames)
                )
                .map(drop)
            };
            let mut streams = std::pin::pin!(streams);
            tokio::select! {
                biased;
                status = child.wait() => {
                    let status = status?;
                    frames.into_iter().for_each(FrameSender::stop_waiting);
                    // A process that the command left running may hold the streams open.
                    if let Ok(read) = timeout(OUTPUT_GRACE, &mut streams).await {
                        read?;
                    }
                    status
                }
                read = &mut streams => {
                    read?;
                    child.wait().await?
                }
            }
        };
        if self.endings.leftover == Leftover::Keep {
            self.forget();
        }
        Ok(Finished { status, stdout: stdout_bytes, stderr: stderr_end })
    }

    /// Leaves the group running. The command itself has exited and is reaped.
    fn forget(&mut self) {
        self.child = None;
        if let (Some(watchdog), Some(id)) = (&self.endings.watchdog, self.id) {
            watchdog.remove(id);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let (Some(child), Some(id)) = (self.child.take(), self.id) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // Without a runtime nothing can wait for SIGTERM to take effect.
            self.endings.grouping.signal(id, Signal::Kill);
            return;
        };

        let EndingGroups { grouping, kill_after, .. } = self.endings;
        let watchdog = self.endings.watchdog.clone();
        let output = std::mem::take(&mut self.output);
        let task = runtime.spawn(async move {
            tokio::select! {
                () = end_group(grouping, id, child, kill_after) => {}
                () = output.drain() => {}
            }
            if let Some(watchdog) = watchdog {
                watchdog.remove(id);
            }
        });
        self.endings.lock().insert(self.key.clone(), task);
    }
}

impl Output {
    /// Reads the rest, without end.
    async fn drain(mut self) {
        let (mut sink, mut tail) = (tokio::io::sink(), Vec::new());
        let stdout = async {
            if let Some(stdout) = &mut self.stdout {
                let _ = tokio::io::copy(stdout, &mut sink).await;
            }
        };

        let _ = tokio::join!(stdout, copy_to_stderr(self.stderr.as_mut(), &mut tail, None));
        std::future::pending::<()>().await;
    }
}

impl Grouping {
    /// Signals a command, with its group if that is its own.
    fn signal(self, id: u32, urgency: Signal) {
        match self {
            Self::Own => signal(id, urgency),
            Self::OfWorker => signal_process(id, urgency),
        }
    }

    /// True if anything is left of a command that has exited.
    fn is_alive(self, id: u32) -> bool {
        self == Self::Own && is_alive(id)
    }
}

/// Ends a group: SIGTERM, and SIGKILL for what is left after a time.
async fn end_group(
    grouping: Grouping,
    id: u32,
    mut child: Box<dyn ChildWrapper>,
    kill_after: Duration,
) {
    let deadline = Instant::now() + kill_after;
    // A command that was waited for has given its pid away, which only its group still keeps.
    let is_over = grouping == Grouping::OfWorker && !matches!(child.try_wait(), Ok(None));
    if !is_over {
        grouping.signal(id, Signal::Terminate);
    }

    let mut pause = Duration::from_millis(1);
    loop {
        // The command is reaped here at the latest: until then its pid stays its own, and the
        // group's id does for as long as anything of the group is left.
        let exited = !matches!(child.try_wait(), Ok(None));
        if exited && !grouping.is_alive(id) {
            return;
        }

        if deadline <= Instant::now() {
            grouping.signal(id, Signal::Kill);
            let _ = child.wait().await;
            return;
        }

        sleep(pause).await;
        pause = (pause * 2).min(CHECK_MAX);
    }
}

/// A signal to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Terminate,
    Kill,
}

/// Signals every process of a group.
#[cfg(unix)]
pub(super) fn signal(group: u32, signal: Signal) {
    use rustix::process::{Signal as Unix, kill_process_group};
    let Some(group) = group_pid(group) else { return };
    // An error means that nothing of the group is left.
    match signal {
        Signal::Terminate => {
            let _ = kill_process_group(group, Unix::TERM);
            // A stopped process gets the signal only once it continues.
            let _ = kill_process_group(group, Unix::CONT);
        }
        Signal::Kill => {
            let _ = kill_process_group(group, Unix::KILL);
        }
    }
}

/// Signals one process.
#[cfg(unix)]
fn signal_process(id: u32, signal: Signal) {
    use rustix::process::{Signal as Unix, kill_process};
    let Some(process) = group_pid(id) else { return };
    let signals: &[Unix] = match signal {
        Signal::Terminate => &[Unix::TERM, Unix::CONT],
        Signal::Kill => &[Unix::KILL],
    };
    // An error means that it is gone.
    for signal in signals {
        let _ = kill_process(process, *signal);
    }
}

/// True if anything of a group is left.
#[cfg(unix)]
pub(super) fn is_alive(group: u32) -> bool {
    let left = |group| rustix::process::test_kill_process_group(group);
    group_pid(group).is_some_and(|group| left(group) != Err(rustix::io::Errno::SRCH))
}

#[cfg(unix)]
fn group_pid(id: u32) -> Option<rustix::process::Pid> {
    i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw)
}

/// Does nothing, since there are no groups: the command itself is killed when it is dropped.
#[cfg(not(unix))]
pub(super) fn signal(_: u32, _: Signal) {}

/// The same for one process.
#[cfg(not(unix))]
fn signal_process(_: u32, _: Signal) {}

/// False, since there are no groups.
#[cfg(not(unix))]
pub(super) fn is_alive(_: u32) -> bool {
    false
}

async fn write_payload(
    stdin: Option<impl AsyncWrite + Unpin>,
    payload: &[u8],
) -> Result<(), Unfinished> {
    if let Some(mut stdin) = stdin {
        // A command may close its input before it has read all of it.
        let _ = stdin.write_all(payload).await;
        let _ = stdin.shutdown().await;
    }
    Ok(())
}

/// Reads all of a stream, up to `max` bytes.
async fn collect(
    from: Option<impl AsyncRead + Unpin>,
    into: &mut Vec<u8>,
    max: usize,
    frames: Option<&FrameSender>,
) -> Result<(), Unfinished> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; 64 * 1024];

    loop {
        let read = from.read(&mut buffer).await?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Ok(());
        };

        if max.saturating_sub(into.len()) < chunk.len() {
            return Err(Unfinished::TooMuch);
        }
        into.extend_from_slice(chunk);
        if let Some(frames) = frames {
            frames.send(FrameKind::Stdout, chunk).await;
        }
    }
}

/// Copies a stream to stderr, and keeps its end.
async fn copy_to_stderr(
    from: Option<impl AsyncRead + Unpin>,
    tail: &mut Vec<u8>,
    frames: Option<&FrameSender>,
) -> Result<(), Unfinished> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; STDERR_TAIL];
    loop {
        let read = from.read(&mut buffer).await?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Ok(());
        };

        log::write_to_stderr(chunk);
        tail.extend_from_slice(chunk);
        let surplus = tail.len().saturating_sub(STDERR_TAIL);
        tail.drain(..surplus);
        if let Some(frames) = frames {
            frames.send(FrameKind::Stderr, chunk).await;
        }
    }
}
