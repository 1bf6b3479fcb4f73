//! Runs one execution as a child process: payload in, output out, exit status as the outcome.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use ff_core::backend::FailureClass;
use process_wrap::tokio::{ChildWrapper, CommandWrap};
use tokio::process::Command;

use super::group::{EndingGroups, Finished, Group, RunKey, Unfinished};
use flowfabric_sql::telemetry::Traceparent;
use flowfabric_sql::worker::{Ending, Run, Runner};

/// The longest message of a failure, in characters.
const MESSAGE_MAX: usize = 1_000;

/// Variables of this program that a user's command does not need; the URL may hold a password.
const SECRETS: [&str; 2] = ["FF_DATABASE_URL", "FF_SCHEMA"];

/// A command to run for each execution.
#[derive(Clone, Debug)]
pub(super) struct CommandRunner {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
    /// The most bytes that it may write to stdout.
    pub(super) max_output: usize,
    /// The registry that ends its runs.
    pub(super) endings: EndingGroups,
}

#[async_trait]
impl Runner for CommandRunner {
    async fn run(&self, job: Arc<Run>) -> Ending {
        let child = match self.spawn(&job) {
            Ok(child) => child,
            Err(error) => return self.spawn_failure(&error),
        };

        let ended = {
            let mut group = Group::new(child, key(&job), self.endings.clone());
            group.finish(&job.payload, self.max_output).await
        };
        // Nothing that the command has started outlives its job.
        self.endings.wait_for_end(&key(&job)).await;

        match ended {
            Ok(Finished { status, stdout, .. }) if status.success() => {
                Ending::Completed(Some(stdout))
            }
            Ok(Finished { status, stderr, .. }) => {
                Ending::Failed { message: message(status, &stderr), class: FailureClass::Transient }
            }
            Err(Unfinished::TooMuch) => Ending::Failed {
                message: format!("it wrote more than {} bytes to stdout", self.max_output),
                class: FailureClass::Permanent,
            },
            Err(Unfinished::Io(error)) => Ending::Failed {
                message: format!("talking to {}: {error}", self.program.display()),
                class: FailureClass::Transient,
            },
        }
    }

    async fn clean_up(&self, job: &Run) {
        self.endings.wait_for_end(&key(job)).await;
    }
}

impl CommandRunner {
    fn spawn(&self, job: &Run) -> io::Result<Box<dyn ChildWrapper>> {
        let mut command = Command::new(&self.program);
        remove_secrets(command.as_std_mut());
        command
            .args(&self.arguments)
            .env("FF_EXECUTION_ID", job.execution_id.as_str())
            .env("FF_ATTEMPT_INDEX", job.attempt_index.to_string())
            .env("FF_KIND", &job.kind)
            .env("FF_LANE", job.lane_id.as_str())
            .env("FF_LEASE_EPOCH", job.lease_epoch.to_string())
            .env("FF_TAGS", tags(job))
            .envs(tag_variables(job))
            .env_remove("TRACEPARENT")
            .envs(Traceparent::current().map(|trace| ("TRACEPARENT", trace.to_string())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);

        let mut command = CommandWrap::from(command);
        #[cfg(unix)]
        command.wrap(process_wrap::tokio::ProcessSession);
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
