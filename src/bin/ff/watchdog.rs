//! The watchdog: ends the commands of a killed worker.
//!
//! A worker cannot guard against SIGKILL or the kernel's out-of-memory killer: its commands would
//! run on while other workers run their executions again. So each worker has a small process beside
//! it, this program again, that reads the running groups from a pipe. When the pipe closes, the
//! worker is gone, and the watchdog ends the groups that are left. A death signal of the kernel
//! (`PR_SET_PDEATHSIG`) would reach only the command itself and not what it has started, exists on
//! Linux only, and depends on the thread that has started the command.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::{Instant, sleep};

use super::failure::Failure;
use super::group::{Signal, is_alive, signal};

/// The hidden command that a watchdog runs.
pub(super) const COMMAND: &str = "watch-groups";

/// The pause between two checks of the groups that are being ended.
const CHECK_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The time between SIGTERM and SIGKILL.
    #[arg(value_name = "MS")]
    kill_after_ms: u64,
}

/// The worker's side of its watchdog.
#[derive(Debug)]
pub(super) struct Watchdog {
    kill_after: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeSet<u32>,
    process: Option<(Child, ChildStdin)>,
}

impl Watchdog {
    /// Starts the process, so that it is there when the first command is.
    pub(super) fn new(kill_after: Duration) -> Self {
        let mut state = State::default();
        state.send("", kill_after);
        Self { kill_after, state: Mutex::new(state) }
    }

    /// Reports that a group runs.
    pub(super) fn add(&self, group: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.groups.insert(group);
        state.send(&format!("+{group}\n"), self.kill_after);
    }

    /// Reports that a group is over.
    pub(super) fn remove(&self, group: u32) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.groups.remove(&group);
        state.send(&format!("-{group}\n"), self.kill_after);
    }
}

impl State {
    /// Sends a line to the watchdog. If there is none, starts one and sends all groups that run.
    fn send(&mut self, line: &str, kill_after: Duration) {
        if let Some((_, pipe)) = &mut self.process
            && pipe.write_all(line.as_bytes()).is_ok()
        {
            return;
        }
        self.stop();

        let all: String = self.groups.iter().map(|group| format!("+{group}\n")).collect();
        let started = start(kill_after).and_then(|mut process| {
            process.1.write_all(all.as_bytes())?;
            Ok(process)
        });

        match started {
            Ok(process) => self.process = Some(process),
            Err(error) => tracing::warn!(%error, "commands would outlive a killed worker"),
        }
    }

    fn stop(&mut self) {
        if let Some((mut child, pipe)) = self.process.take() {
            drop(pipe);
            let _ = child.wait();
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start(kill_after: Duration) -> std::io::Result<(Child, ChildStdin)> {
    let mut command = Command::new(program()?);
    command.arg(COMMAND).arg(kill_after.as_millis().to_string());
    super::command::remove_secrets(&mut command);
    // It must hold none of this process's pipes open.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());

    let mut child = command.spawn()?;
    let pipe = child.stdin.take().ok_or_else(|| std::io::Error::other("no pipe"))?;
    Ok((child, pipe))
}

/// This program, also after its file was replaced by a newer one.
fn program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok("/proc/self/exe".into()) } else { std::env::current_exe() }
}

/// Reads which groups run. Ends those that are left when the worker is gone.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    #[cfg(unix)]
    let _ignored = detach_from_worker();

    let mut groups = BTreeSet::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let (sign, group) = line.split_at_checked(1).unwrap_or_default();
        if let Ok(group) = group.parse::<u32>() {
            if sign == "+" {
                groups.insert(group)
            } else {
                groups.remove(&group)
            };
        }
    }

    let deadline = Instant::now() + Duration::from_millis(arguments.kill_after_ms);
    groups.iter().for_each(|group| signal(*group, Signal::Terminate));
    while groups.iter().any(|group| is_alive(*group)) {
        if deadline <= Instant::now() {
            groups.iter().for_each(|group| signal(*group, Signal::Kill));
            break;
        }
        sleep(CHECK_PAUSE).await;
    }
    Ok(())
}

/// Protects the watchdog from signals that are meant for the worker.
#[cfg(unix)]
fn detach_from_worker() -> Vec<tokio::signal::unix::Signal> {
    use tokio::signal::unix::{SignalKind, signal};

    let _ = rustix::process::setsid();
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect()
}
