//! The failure of a command: a sentence that says what failed and where, an optional hint, and an
//! exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use ff_core::EngineError;
use serde::Serialize;

use super::exit::Exit;
use super::shown::{Shown, escaped_json};

/// The reason why a command ends with another code than 0.
#[derive(Debug)]
pub(super) struct Failure {
    message: Option<String>,
    help: Option<String>,
    exit: Exit,
}

/// A failure as JSON.
#[derive(Serialize)]
struct ErrorView<'a> {
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
}

impl Failure {
    const fn of(message: Option<String>, exit: Exit) -> Self {
        Self { message, help: None, exit }
    }

    /// A failure of the command.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self::of(Some(message.into()), Exit::Failed)
    }

    /// A refusal or a failure of the engine, during `what`.
    pub(super) fn engine(what: &str, error: &EngineError) -> Self {
        Self::new(format!("{what}: {}", error.sentence()))
    }

    /// Wrong arguments.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::of(Some(message.into()), Exit::Wrong)
    }

    /// A failure of the command, already reported.
    pub(super) const fn reported() -> Self {
        Self::of(None, Exit::Failed)
    }

    /// A failure of some of the input, already reported.
    pub(super) const fn partly() -> Self {
        Self::of(None, Exit::Wrong)
    }

    /// The end of a command that was stopped.
    pub(super) const fn interrupted() -> Self {
        Self::of(None, Exit::Interrupted)
    }

    /// The end of a command that was stopped before it was done.
    pub(super) fn interrupted_at(message: impl Into<String>) -> Self {
        Self::of(Some(message.into()), Exit::Interrupted)
    }

    /// The same with a hint: the command that helps, or what to change.
    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit.code())
    }

    /// Writes the message to stderr.
    pub(super) fn report(&self, as_json: bool) {
        // Nothing can be done about a closed stderr.
        let _ = self.write(as_json, &mut io::stderr().lock());
    }

    fn write(&self, as_json: bool, stderr: &mut impl Write) -> io::Result<()> {
        let Some(message) = &self.message else { return Ok(()) };

        let message = message.replace('\n', " ");
        let help = self.help.as_ref().map(|help| help.replace('\n', " "));
        if as_json {
            let view = ErrorView { error: &message, help: help.as_deref() };
            return writeln!(stderr, "{}", escaped_json(&serde_json::to_string(&view)?));
        }

        writeln!(stderr, "error: {}", Shown::from(message))?;
        match help {
            Some(help) => writeln!(stderr, "help: {}", Shown::from(help)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = Vec::new();
        self.write(false, &mut bytes).map_err(|_| std::fmt::Error)?;
        f.write_str(&String::from_utf8_lossy(&bytes))
    }
}

impl From<io::Error> for Failure {
    /// A failure to write the output. A reader that has gone is no failure: `ff ls | head -1`.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::of(None, Exit::Done)
        } else {
            Self::new(format!("writing the output: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_and_a_hint() {
        let failure = Failure::new("no\nlane \u{1b}]0;x\u{7}").with_help("ff ls");
        assert_eq!(failure.to_string(), "error: no lane \\u{1b}]0;x\\u{7}\nhelp: ff ls\n");
        let mut json = Vec::new();
        failure.write(true, &mut json).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["error"], "no lane \u{1b}]0;x\u{7}");
        assert_eq!(json["help"], "ff ls");
        assert_eq!(Failure::partly().to_string(), "");
    }
}
