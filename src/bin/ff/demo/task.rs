//! The work of the demo: sleeps a few milliseconds and prints a receipt. Flaky work fails at first.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::failure::Failure;

/// The kind of execution that fails at its first attempt.
pub(crate) const FLAKY: &str = "flaky";

pub(crate) fn run() -> Result<(), Failure> {
    let mut payload = String::new();
    std::io::stdin()
        .read_to_string(&mut payload)
        .map_err(|error| Failure::new(format!("reading the payload: {error}")))?;

    let kind = std::env::var("FF_KIND").unwrap_or_default();
    let attempt = std::env::var("FF_ATTEMPT_INDEX").unwrap_or_default();
    // The time differs between payloads, but not between runs.
    let spread = payload.bytes().fold(0_u64, |sum, byte| sum + u64::from(byte)) % 40;
    std::thread::sleep(Duration::from_millis(30 + spread));

    if kind == FLAKY && attempt == "0" {
        return Err(Failure::new("the service did not answer (as it does the first time)"));
    }

    let reference: Json = serde_json::from_str(&payload).unwrap_or(Json::Null);
    let receipt = json!({ "done": kind, "reference": reference.get("reference") });
    Ok(writeln!(std::io::stdout(), "{receipt}")?)
}
