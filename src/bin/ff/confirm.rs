//! Questions to the operator before a change.

use std::io::{self, IsTerminal as _, Write as _};

use super::failure::Failure;

/// True if there is a terminal to ask at.
pub(super) fn has_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks; true if the answer is yes.
pub(super) fn confirm(question: &str) -> Result<bool, Failure> {
    let failure = |error| Failure::new(format!("asking: {error}"));
    write!(io::stderr(), "{question}? [y/N] ").map_err(failure)?;

    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(failure)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
