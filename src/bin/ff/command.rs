//! Runs one execution as a child process: payload in, output out, exit status as the outcome.
//!
//! It knows how a command and the engine talk to each other, and no rule: what a suspension or a
//! failure means is the engine's to decide.

mod files;
mod frames;
mod outcome;
mod surroundings;
mod suspension;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ff_core::EngineError;
use ff_core::backend::FailureClass;
use ff_core::engine_backend::EngineBackend;
use ff_core::types::TimestampMs;
use process_wrap::tokio::{ChildWrapper, CommandWrap};
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::group::{EndingGroups, Finished, Group, Grouping, RunKey, Unfinished};
use flowfabric_sql::signing::ensure_key;
use flowfabric_sql::telemetry::Traceparent;
use flowfabric_sql::worker::{Ending, Run, Runner};

use files::RunFiles;
use outcome::Outcome;
use surroundings::Surroundings;
use suspension::SuspensionFile;

pub(super) use frames::FrameSender;
pub(super) use outcome::table as outcomes;

/// The longest message of a failure, in characters.
const MESSAGE_MAX: usize = 1_000;

/// Variables of this program that a user's command does not need. The URL and the password open the
/// database.
const SECRETS: [&str; 3] = ["FF_DATABASE_URL", "FF_SCHEMA", "PGPASSWORD"];

/// The effect of a command's output on the stream of its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Streaming {
    /// None.
    Off,
    /// It becomes frames.
    Frames,
}

/// Runs a command for each execution.
pub(super) struct CommandRunner {
    pub(super) engine: Arc<dyn EngineBackend>,
    pub(super) process: Process,
    /// The directory that the files of the runs are in.
    pub(super) directory: tempfile::TempDir,
    pub(super) streaming: Streaming,
    /// The time after which a command that cannot run now runs again.
    pub(super) snooze: Duration,
    /// Set once there is a key for the tokens of waitpoints.
    pub(super) has_key: OnceCell<()>,
}

/// A command as a process.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    /// The most bytes that it may write to stdout.
    pub(super) max_output: usize,
    /// The registry that ends its runs.
    pub(super) endings: EndingGroups,
}

/// The end of a process.
#[derive(Debug, PartialEq)]
enum Ended {
    /// The execution ends so.
    As(Ending),
    /// It runs again later.
    Later,
    /// It waits for the condition that the command has written down.
    Suspended,
}

#[async_trait]
impl Runner for CommandRunner {
    async fn run(&self, run: Arc<Run>) -> Ending {
        let surroundings = match Surroundings::read(&self.engine, &run).await {
            Ok(surroundings) => surroundings,
            Err(error) => return unreadable(&error),
        };
        let files = match RunFiles::make(self.directory.path(), &surroundings) {
            Ok(files) => files,
            Err(error) => return Ending::Unable(format!("writing the files of a run: {error}")),
        };

        let ended = match self.streaming {
            Streaming::Off => self.process.run(&run, &surroundings, &files, None).await,
            Streaming::Frames => {
                let (sender, writer) = frames::frames(&self.engine, &run);
                let process = self.process.run(&run, &surroundings, &files, Some(sender));
                // The last frame is stored before the execution ends: later ones are refused.
                tokio::join!(process, writer.run()).0
            }
        };
        match ended {
            Ended::As(ending) => ending,
            Ended::Later => self.later().await,
            Ended::Suspended => self.suspended(&files.suspension()).await,
        }
    }

    async fn clean_up(&self, run: &Run) {
        self.process.endings.wait_for_end(&key(run)).await;
    }
}

impl CommandRunner {
    async fn later(&self) -> Ending {
        let span = i64::try_from(self.snooze.as_millis()).unwrap_or(i64::MAX);
        match now(&self.engine).await {
            Ok(now) => Ending::Delayed(TimestampMs(now.0.saturating_add(span))),
            Err(error) => unreadable(&error),
        }
    }

    async fn suspended(&self, file: &Path) -> Ending {
        let file = match SuspensionFile::read(file) {
            Ok(file) => file,
            Err(message) => return Ending::Failed { message, class: FailureClass::Permanent },
        };
        let seeded = async {
            self.has_key.get_or_try_init(|| ensure_key(self.engine.as_ref(), "work")).await?;
            now(&self.engine).await
        };
        match seeded.await {
            Ok(now) => Ending::Suspended(file.args(now)),
            Err(error) => unreadable(&error),
        }
    }
}

/// The time by the engine's clock.
async fn now(engine: &Arc<dyn EngineBackend>) -> Result<TimestampMs, EngineError> {
    let ms = engine.server_time_ms().await?;
    Ok(TimestampMs(i64::try_from(ms).unwrap_or(i64::MAX)))
}

/// The ending of a run about which the database has not answered. That is no fault of the job,
/// unless its rows are.
fn unreadable(error: &EngineError) -> Ending {
    let message = format!("reading what belongs to a run: {}", error.sentence());
    match error {
        EngineError::Validation { .. } | EngineError::NotFound { .. } => {
            Ending::Failed { message, class: FailureClass::Transient }
        }
        _ => Ending::Unable(message),
    }
}

impl Process {
    /// Runs the command, until nothing of it is left.
    async fn run(
        &self,
        run: &Run,
        surroundings: &Surroundings,
        files: &RunFiles,
        frames: Option<FrameSender>,
    ) -> Ended {
        let child = match self.spawn(run, surroundings, files) {
            Ok(child) => child,
            Err(error) => return Ended::As(self.spawn_failure(&error)),
        };

        let finished = {
            let mut group = Group::new(child, key(run), self.endings.clone());
            group.finish(&run.payload, self.max_output, frames).await
        };
        // Nothing that the command has started outlives its job.
        self.endings.wait_for_end(&key(run)).await;

        let failed = |message, class| Ended::As(Ending::Failed { message, class });
        match finished {
            Ok(Finished { status, stdout, stderr }) => match Outcome::of(status) {
                Outcome::Done => Ended::As(Ending::Completed(Some(stdout))),
                Outcome::Later => Ended::Later,
                Outcome::Suspended => Ended::Suspended,
                Outcome::Failed => failed(message(status, &stderr), FailureClass::Transient),
                Outcome::FailedForGood => failed(message(status, &stderr), FailureClass::Permanent),
            },
            Err(Unfinished::TooMuch) => {
                let message = format!("it wrote more than {} bytes to stdout", self.max_output);
                failed(message, FailureClass::Permanent)
            }
            Err(Unfinished::Io(error)) => {
                let message = format!("talking to {}: {error}", self.program.display());
                failed(message, FailureClass::Transient)
            }
        }
    }

    fn spawn(
        &self,
        run: &Run,
        surroundings: &Surroundings,
        files: &RunFiles,
    ) -> io::Result<Box<dyn ChildWrapper>> {
        let mut command = Command::new(&self.program);
        remove_secrets(command.as_std_mut());
        command
            .args(&self.arguments)
            .envs(variables(run))
            .env("FF_TAGS", tags(run))
            .envs(tag_variables(run))
            .env("FF_SUSPEND_FILE", files.suspension())
            .env("FF_SIGNALS_FILE", files.signals())
            .env_remove("TRACEPARENT")
            .envs(Traceparent::current().map(|trace| ("TRACEPARENT", trace.to_string())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A worker may itself be a command of another one, so what is not set is removed.
        let flow_id = surroundings.flow_id.as_ref().map(|flow| flow.to_string().into());
        let node = surroundings.node.as_ref().map(OsString::from);
        let upstream = files.upstream().map(OsString::from);
        for (name, value) in
            [("FF_FLOW_ID", flow_id), ("FF_NODE", node), ("FF_UPSTREAM_FILE", upstream)]
        {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }

        let mut command = CommandWrap::from(command);
        #[cfg(unix)]
        if self.endings.grouping == Grouping::Own {
            command.wrap(process_wrap::tokio::ProcessSession);
        }
        // The wrapper's own child waits for the whole group, which is ended and not waited for.
        Ok(command.spawn()?.into_inner())
    }

    /// The ending of a job that has no process. That is no fault of the job, unless the system
    /// refuses its arguments or its environment.
    fn spawn_failure(&self, error: &io::Error) -> Ending {
        use io::ErrorKind::{ArgumentListTooLong, InvalidInput};
        let reason = format!("running {}: {error}", self.program.display());
        match error.kind() {
            ArgumentListTooLong | InvalidInput => {
                Ending::Failed { message: reason, class: FailureClass::Permanent }
            }
            _ => Ending::Unable(reason),
        }
    }
}

/// The variables that every run has.
fn variables(run: &Run) -> [(&'static str, String); 5] {
    [
        ("FF_EXECUTION_ID", run.execution_id.to_string()),
        ("FF_ATTEMPT_INDEX", run.attempt_index.to_string()),
        ("FF_KIND", run.kind.clone()),
        ("FF_LANE", run.lane_id.to_string()),
        ("FF_LEASE_EPOCH", run.lease_epoch.to_string()),
    ]
}

fn key(job: &Run) -> RunKey {
    (job.execution_id.clone(), job.lease_epoch)
}

/// Removes the variables from a command's environment that only this program should know.
pub(super) fn remove_secrets(command: &mut std::process::Command) {
    for variable in SECRETS {
        command.env_remove(variable);
    }
}

/// Checks that the program exists, before anything is claimed for it.
///
/// # Errors
/// The reason why it cannot be run.
pub(super) fn find_program(program: &OsStr) -> Result<(), String> {
    let name = program.display();
    let mut not_executable = None;
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let candidates: Vec<_> = if std::path::Path::new(program).components().count() == 1 {
        std::env::split_paths(&directories).map(|directory| directory.join(program)).collect()
    } else {
        vec![program.into()]
    };

    for candidate in candidates {
        match std::fs::metadata(&candidate) {
            Ok(found) if found.is_file() && is_executable(&found) => return Ok(()),
            Ok(_) => not_executable = Some(candidate),
            Err(_) => {}
        }
    }

    Err(match not_executable {
        Some(found) => format!("{name}: {} is no executable file", found.display()),
        None => format!("{name}: there is no such command"),
    })
}

#[cfg(unix)]
fn is_executable(found: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    found.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &std::fs::Metadata) -> bool {
    true
}

fn message(status: ExitStatus, stderr: &[u8]) -> String {
    let said = String::from_utf8_lossy(stderr);
    let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    // The databases store no NUL.
    let last = last.map(|line| line.replace('\0', "\u{fffd}"));

    let message = match last {
        Some(line) => format!("{status}: {line}"),
        None => status.to_string(),
    };
    message.chars().take(MESSAGE_MAX).collect()
}

/// All tags as one JSON object.
fn tags(job: &Run) -> String {
    let sorted: BTreeMap<_, _> = job.tags.iter().collect();
    serde_json::to_string(&sorted).unwrap_or_default()
}

/// A variable for each tag. Tags that would share a variable get none, since the choice would be
/// random; `FF_TAGS` has them all.
fn tag_variables(job: &Run) -> BTreeMap<String, &str> {
    let mut variables: BTreeMap<String, Option<&str>> = BTreeMap::new();
    for (name, value) in &job.tags {
        let shared = |known: &mut Option<&str>| *known = None;
        variables.entry(tag_variable(name)).and_modify(shared).or_insert(Some(value));
    }

    variables
        .into_iter()
        .filter_map(|(variable, value)| {
            if value.is_none() {
                let execution_id = &job.execution_id;
                tracing::warn!(%execution_id, variable, "tags share a variable, and so have none");
            }
            value.map(|value| (variable, value))
        })
        .collect()
}

/// The variable of a tag: `FF_TAG_` and its name in capitals, with underscores for all characters
/// that a variable's name cannot have.
fn tag_variable(name: &str) -> String {
    let upper = name.chars().map(|c| match c.to_ascii_uppercase() {
        c @ ('A'..='Z' | '0'..='9') => c,
        _ => '_',
    });
    "FF_TAG_".chars().chain(upper).collect()
}

#[cfg(all(test, unix))]
mod tests;
