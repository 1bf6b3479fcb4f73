//! Runs one execution as a child process: payload in, output out, exit status as the outcome.

use std::ffi::OsString;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use ff_core::backend::FailureClass;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::worker::{Ending, Job, Runner};

/// How much of the end of stderr is kept to find its last line, in bytes.
const STDERR_TAIL: usize = 8 * 1024;

/// The longest message of a failure, in characters.
const MESSAGE_MAX: usize = 1_000;

/// A command to run for each execution.
#[derive(Clone, Debug)]
pub(super) struct CommandRunner {
    pub(super) program: OsString,
    pub(super) arguments: Vec<OsString>,
}

#[async_trait]
impl Runner for CommandRunner {
    async fn run(&self, job: Arc<Job>) -> Ending {
        let child = match self.spawn(&job) {
            Ok(child) => child,
            Err(error) => return self.not_spawned(&error),
        };
        let mut group = Group { child };
        match group.finish(&job.payload).await {
            Ok((status, stdout, _)) if status.success() => Ending::Completed(Some(stdout)),
            Ok((status, _, stderr)) => {
                Ending::Failed { message: message(status, &stderr), class: FailureClass::Transient }
            }
            Err(error) => Ending::Failed {
                message: format!("talking to {}: {error}", self.program.display()),
                class: FailureClass::Transient,
            },
        }
    }
}

impl CommandRunner {
    fn spawn(&self, job: &Job) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env("FF_EXECUTION_ID", job.execution_id.as_str())
            .env("FF_ATTEMPT_INDEX", job.attempt_index.to_string())
            .env("FF_KIND", &job.kind)
            .env("FF_LANE", job.lane_id.as_str())
            .env("FF_LEASE_EPOCH", job.lease_epoch.to_string())
            .envs(job.tags.iter().map(|(name, value)| (tag_variable(name), value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A group of its own: Ctrl-C in the terminal reaches the worker only, which decides.
        #[cfg(unix)]
        command.process_group(0);
        command.spawn()
    }

    /// A command that cannot be run now cannot be run later either, unless the machine is short of
    /// something.
    fn not_spawned(&self, error: &io::Error) -> Ending {
        use io::ErrorKind::{OutOfMemory, ResourceBusy, WouldBlock};
        let class = match error.kind() {
            WouldBlock | OutOfMemory | ResourceBusy => FailureClass::Transient,
            _ => FailureClass::Permanent,
        };
        Ending::Failed { message: format!("running {}: {error}", self.program.display()), class }
    }
}

/// A child with all that it has started. Both are killed when this is dropped.
struct Group {
    child: Child,
}

impl Group {
    async fn finish(&mut self, payload: &[u8]) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
        let (stdin, stdout, stderr) =
            (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A command may close its input before it has read all of it.
                let _ = stdin.write_all(payload).await;
                let _ = stdin.shutdown().await;
            }
        };
        let collect = async {
            let mut bytes = Vec::new();
            if let Some(mut stdout) = stdout {
                stdout.read_to_end(&mut bytes).await?;
            }
            io::Result::Ok(bytes)
        };
        let pass_on = async {
            match stderr {
                Some(stderr) => pass_on(stderr, tokio::io::stderr()).await,
                None => Ok(Vec::new()),
            }
        };
        let ((), stdout, stderr) = tokio::join!(feed, collect, pass_on);
        Ok((self.child.wait().await?, stdout?, stderr?))
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        // No id: the child has been waited for, and its number may belong to somebody else.
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = id.and_then(rustix::process::Pid::from_raw) {
            // An error means that there is nobody left to kill.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Copies one stream to the other and keeps its end.
async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
) -> io::Result<Vec<u8>> {
    let mut tail = Vec::new();
    let mut buffer = vec![0; STDERR_TAIL];
    loop {
        let read = from.read(&mut buffer).await?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Ok(tail);
        };
        // What the command says is kept, whether or not anybody hears it.
        let _ = to.write_all(chunk).await;
        let _ = to.flush().await;
        tail.extend_from_slice(chunk);
        let surplus = tail.len().saturating_sub(STDERR_TAIL);
        tail.drain(..surplus);
    }
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

/// `FF_TAG_` and the tag's name in capitals, with underscores for all that no variable name has.
fn tag_variable(name: &str) -> String {
    let upper = name.chars().map(|c| match c.to_ascii_uppercase() {
        c @ ('A'..='Z' | '0'..='9') => c,
        _ => '_',
    });
    "FF_TAG_".chars().chain(upper).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use ff_core::backend::stub_handle_fresh;
    use ff_core::types::{AttemptIndex, ExecutionId, LeaseEpoch};

    use super::*;

    fn job() -> Arc<Job> {
        Arc::new(Job {
            handle: stub_handle_fresh(),
            execution_id: ExecutionId::parse("{fp:7}:550e8400-e29b-41d4-a716-446655440000")
                .unwrap(),
            attempt_index: AttemptIndex(2),
            lease_epoch: LeaseEpoch(5),
            lane_id: "lane".into(),
            kind: "kind".to_owned(),
            payload: b"input".to_vec(),
            tags: HashMap::from([("app.order-id".to_owned(), "17".to_owned())]),
        })
    }

    async fn shell(script: &str) -> Ending {
        let arguments = vec!["-c".into(), script.into()];
        CommandRunner { program: "sh".into(), arguments }.run(job()).await
    }

    fn failed(message: &str) -> Ending {
        Ending::Failed { message: message.to_owned(), class: FailureClass::Transient }
    }

    #[tokio::test]
    async fn output_is_the_result() {
        assert_eq!(shell("cat").await, Ending::Completed(Some(b"input".to_vec())));
        assert_eq!(shell("true").await, Ending::Completed(Some(Vec::new())));
        let told =
            "printf %s $FF_KIND,$FF_LANE,$FF_ATTEMPT_INDEX,$FF_LEASE_EPOCH,$FF_TAG_APP_ORDER_ID";
        assert_eq!(shell(told).await, Ending::Completed(Some(b"kind,lane,2,5,17".to_vec())));
    }

    #[tokio::test]
    async fn exit_status_and_last_words_are_the_message() {
        assert_eq!(shell("exit 3").await, failed("exit status: 3"));
        assert_eq!(
            shell("echo one >&2; echo two >&2; echo >&2; exit 3").await,
            failed("exit status: 3: two")
        );
        assert_eq!(shell("kill -9 $$").await, failed("signal: 9 (SIGKILL)"));
    }

    #[tokio::test]
    async fn what_cannot_run_fails_for_good() {
        let runner = CommandRunner { program: "/no/such/program".into(), arguments: vec![] };
        let Ending::Failed { message, class } = runner.run(job()).await else { panic!() };
        assert_eq!(class, FailureClass::Permanent);
        assert!(message.starts_with("running /no/such/program: "), "{message}");
    }

    #[tokio::test]
    async fn all_that_a_command_started_ends_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let (begun, late) = (directory.path().join("begun"), directory.path().join("late"));
        let script =
            format!("(touch {}; sleep 1; touch {}) & wait", begun.display(), late.display());
        let run = tokio::spawn(async move { shell(&script).await });
        while !begun.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(!late.exists());
    }
}
