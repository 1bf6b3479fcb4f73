//! How a command fails: one line that says what and where, and an exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use ff_core::EngineError;
use serde_json::json;

/// Why a command ends with another code than 0.
#[derive(Debug)]
pub(super) struct Failure {
    message: Option<String>,
    code: u8,
}

impl Failure {
    /// The command failed.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), code: 1 }
    }

    /// The engine refused or failed, while doing `what`.
    pub(super) fn engine(what: &str, error: &EngineError) -> Self {
        Self::new(format!("{what}: {error}"))
    }

    /// The arguments are wrong.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), code: 2 }
    }

    /// Some of the input failed, as has been reported.
    pub(super) const fn partly() -> Self {
        Self { message: None, code: 2 }
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// Writes the message to stderr.
    pub(super) fn report(&self, as_json: bool) {
        let Some(message) = &self.message else { return };
        let message = message.replace('\n', " ");
        let text = if as_json {
            json!({ "error": message }).to_string()
        } else {
            format!("error: {message}")
        };
        // Nothing can be done about a closed stderr.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

impl From<io::Error> for Failure {
    /// A failure to write the output. That the reader has gone is none: `ff ls | head -1`.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self { message: None, code: 0 }
        } else {
            Self::new(format!("writing the output: {error}"))
        }
    }
}
