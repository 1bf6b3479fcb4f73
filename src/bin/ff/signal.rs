//! `ff signal`: delivers a signal to a waitpoint, for a holder of its token.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ff_core::contracts::{DeliverSignalArgs, DeliverSignalResult};
use ff_core::types::{ExecutionId, SignalId, WaitpointToken};

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::ids::{DEFAULT_LANE, WaitpointName, execution_name, lane, waitpoint_name};
use super::output::Output;
use super::refusal::OperatorAction;
use super::view::SignalView;
use super::waitpoints::find;

/// The engine's answer to a signal that the execution was waiting for.
const SATISFIED: &str = "resume_condition_satisfied";

/// The time for which a repeated key is recognised, in milliseconds.
pub(super) const DEDUP_TTL_MS: u64 = 24 * 60 * 60 * 1_000;

/// The longest token, in bytes.
const TOKEN_MAX: u64 = 4 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The waitpoint's token; `-` reads it from stdin, where no list of processes shows it.
    #[arg(value_name = "TOKEN", value_parser = token)]
    token: Token,
    /// The execution: `{fp:N}:UUID` with or without braces, or `N:DIGITS` as lists show it, or the
    /// UUID, or the first digits of it.
    #[arg(long, value_name = "ID")]
    execution: String,
    /// The lane of the execution that is meant, if several have the same UUID.
    #[arg(long, value_name = "LANE", default_value = DEFAULT_LANE)]
    lane: String,
    /// The waitpoint: its id, the first digits of it, or its key.
    #[arg(long, value_name = "WAITPOINT", value_parser = waitpoint_name)]
    waitpoint: WaitpointName,
    /// The name of the signal, which conditions ask for.
    #[arg(long, value_name = "NAME", default_value = "signal")]
    name: String,
    /// The category of the signal.
    #[arg(long, value_name = "NAME", default_value = "external")]
    category: String,
    /// The sender. Conditions may count different ones.
    #[arg(long, value_name = "NAME", default_value = "ff signal")]
    source: String,
    /// The payload of the signal.
    #[arg(long, value_name = "TEXT", conflicts_with = "payload_file")]
    payload: Option<String>,
    /// The file with the payload; `-` is stdin.
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// Make it repeatable: within a day, a second signal with this key changes nothing.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The sender's own reference, such as an order number.
    #[arg(long, value_name = "TEXT")]
    correlation: Option<String>,
}

/// The source of the token.
#[derive(Clone, Debug)]
enum Token {
    Given(WaitpointToken),
    OnStdin,
}

// Infallible, so that no error can repeat the token.
#[allow(clippy::unnecessary_wraps, reason = "what clap takes")]
fn token(text: &str) -> Result<Token, String> {
    Ok(if text == "-" { Token::OnStdin } else { Token::Given(WaitpointToken::new(text)) })
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let name =
        execution_name(&arguments.execution, &lane(&arguments.lane)?).map_err(Failure::usage)?;
    let token_on_stdin = matches!(arguments.token, Token::OnStdin);
    let payload_on_stdin = arguments.payload_file.as_deref() == Some(Path::new("-"));

    if token_on_stdin && payload_on_stdin {
        return Err(Failure::usage("token and payload cannot both come from stdin"));
    }

    let waitpoint_token = match arguments.token {
        Token::Given(token) => token,
        Token::OnStdin => read_token()?,
    };
    let payload = match (arguments.payload, arguments.payload_file) {
        (Some(text), _) => Some(text.into_bytes()),
        (None, Some(path)) => Some(file_content(&path)?),
        (None, None) => None,
    };

    let engine = global.open_existing().await?;
    let id = name.find(&engine).await?;
    let waitpoint_id = match arguments.waitpoint.in_full() {
        Some(waitpoint_id) => waitpoint_id,
        None => find(&engine, &id, Some(&arguments.waitpoint)).await?,
    };

    let now = now(&engine).await?;
    let args = DeliverSignalArgs {
        execution_id: id.clone(),
        waitpoint_id,
        signal_id: SignalId::new(),
        signal_name: arguments.name,
        signal_category: arguments.category,
        source_type: "external".to_owned(),
        source_identity: arguments.source,
        payload,
        payload_encoding: None,
        correlation_id: arguments.correlation,
        dedup_ttl_ms: arguments.key.as_ref().map(|_| DEDUP_TTL_MS),
        idempotency_key: arguments.key,
        target_scope: "waitpoint".to_owned(),
        created_at: None,
        resume_delay_ms: None,
        max_signals_per_execution: None,
        signal_maxlen: None,
        waitpoint_token,
        now,
    };

    match engine.deliver_signal(args).await {
        Ok(delivered) => print_outcome(global.output(), &id, &delivered),
        Err(error) => Err(OperatorAction::Signal.failure(&engine, &id, &error).await),
    }
}

fn read_token() -> Result<WaitpointToken, Failure> {
    let mut text = String::new();
    // Bounded, in case stdin is not a token at all.
    let read = io::stdin().lock().take(TOKEN_MAX).read_to_string(&mut text);
    read.map_err(|error| Failure::new(format!("reading the token: {error}")))?;

    match text.trim() {
        "" => Err(Failure::usage("no token on stdin")),
        token => Ok(WaitpointToken::new(token)),
    }
}

fn file_content(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::new(format!("{}: {error}", path.display()));
    if path == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes).map_err(failed)?;
        return Ok(bytes);
    }

    fs::read(path).map_err(failed)
}

/// Prints the outcome of a signal.
pub(super) fn print_outcome(
    output: Output,
    id: &ExecutionId,
    delivered: &DeliverSignalResult,
) -> Result<(), Failure> {
    let (answer, text) = outcome_in_words(id, delivered);
    if output.is_json() { Ok(output.json(&answer)?) } else { Ok(output.line(text)?) }
}

fn outcome_in_words<'a>(
    id: &'a ExecutionId,
    delivered: &'a DeliverSignalResult,
) -> (SignalView<'a>, String) {
    let (outcome, signal_id, effect, text) = match delivered {
        DeliverSignalResult::Accepted { signal_id, effect } if effect == SATISFIED => {
            ("resumed", signal_id, Some(effect.as_str()), format!("{id} resumes"))
        }
        DeliverSignalResult::Accepted { signal_id, effect } => {
            let text = format!("the signal is collected; {id} still waits");
            ("collected", signal_id, Some(effect.as_str()), text)
        }
        DeliverSignalResult::Duplicate { existing_signal_id } => {
            let text = format!("a duplicate of signal {existing_signal_id}: nothing was changed");
            ("duplicate", existing_signal_id, None, text)
        }
    };

    (SignalView { execution_id: id, outcome, signal_id, effect }, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "550e8400-e29b-41d4-a716-446655440000";

    #[test]
    fn each_outcome_has_its_words() {
        let id = ExecutionId::parse(&format!("{{fp:7}}:{ID}")).unwrap();
        let signal_id = SignalId::parse(ID).unwrap();
        let accepted = |effect: &str| DeliverSignalResult::Accepted {
            signal_id: signal_id.clone(),
            effect: effect.to_owned(),
        };

        let satisfied = accepted(SATISFIED);
        let (answer, text) = outcome_in_words(&id, &satisfied);
        assert_eq!((answer.outcome, text), ("resumed", format!("{id} resumes")));
        let appended = accepted("appended_to_waitpoint");
        let (answer, text) = outcome_in_words(&id, &appended);
        assert_eq!((answer.outcome, answer.effect), ("collected", Some("appended_to_waitpoint")));
        assert_eq!(text, format!("the signal is collected; {id} still waits"));
        let duplicate = DeliverSignalResult::Duplicate { existing_signal_id: signal_id.clone() };
        let (answer, text) = outcome_in_words(&id, &duplicate);
        assert_eq!((answer.outcome, answer.effect), ("duplicate", None));
        assert!(text.contains(ID), "{text}");
    }

    #[test]
    fn a_token_is_not_printed() {
        let secret = "c0ffee";
        let given = token(&format!("k1:{secret}")).unwrap();
        assert!(!format!("{given:?}").contains(secret));
        assert!(matches!(token("-").unwrap(), Token::OnStdin));
    }
}
