//! The calls of clients in other languages: the statements that submit, claim, renew, end and
//! signal, with a name for every value that they bind.
//!
//! Such a client has no transition function, so it is given the plans that these functions make.
//! Each plan comes from the function itself, twice, with arguments that can be told apart
//! (`marks`): a bound value that is the same both times is a constant, and every other one is an
//! argument, found by its value. No statement and no name of a bind is written by hand, and a plan
//! that binds a value of unknown origin is an error. `ff sql --all` renders the calls.

mod lease;
mod marks;
mod reasons;
mod signal;
mod submit;
pub mod vectors;

use ff_core::EngineError;
use ff_core::plan::value::Value;
use serde_json::Value as Json;

use crate::Call;
use marks::Marks;

/// The version of the catalogue. Its first number grows with a change that an existing client does
/// not survive, its second one with an addition.
pub const VERSION: &str = "1.0";

/// A statement for a client.
#[derive(Debug)]
pub struct ClientCall {
    /// Its name: that of the operation, and behind points the cases that it is for.
    pub name: String,
    /// Its effect, in one sentence.
    pub summary: &'static str,
    /// The read or the plan.
    pub call: Call,
    /// The source of each bound value, by slot.
    pub given: Vec<Given>,
    /// The reasons for which it may be refused, most important first.
    pub reasons: Vec<Reason>,
}

/// A reason for which a plan is refused.
#[derive(Debug)]
pub struct Reason {
    /// The refusal.
    pub refusal: EngineError,
    /// A read that finds no row if this is a reason.
    pub call: Call,
    /// The source of each bound value, by slot.
    pub given: Vec<Given>,
}

/// The source of a bound value.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// The argument of that name.
    Argument(String),
    /// The argument of that name, a list with one value for each picked row.
    Each(String),
    /// The same value in every call.
    Constant(Value),
    /// A document. In it, `{"$value": name}` stands for an argument, and `{"$text": name}` for its
    /// text.
    Document(Json),
}

impl Reason {
    /// The name of the refusal, such as `lease_expired` or `not_found.execution`.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.refusal {
            EngineError::NotFound { entity } => format!("not_found.{entity}"),
            EngineError::State(kind) => in_snake_case(&format!("{kind:?}")),
            EngineError::Contention(kind) => in_snake_case(&format!("{kind:?}")),
            EngineError::Validation { kind, .. } => in_snake_case(&format!("{kind:?}")),
            other => in_snake_case(&format!("{other:?}")),
        }
    }
}

/// The first word of a text, in snake case.
fn in_snake_case(text: &str) -> String {
    let mut name = String::new();
    for letter in text.chars().take_while(char::is_ascii_alphanumeric) {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Every statement, in the order of a life.
///
/// # Errors
/// A refusal of the arguments, or `Validation(Corruption)` for a bound value of unknown origin:
/// faults of this crate.
pub fn client_calls() -> Result<Vec<ClientCall>, EngineError> {
    let parts = [submit::calls()?, lease::claims()?, lease::ends()?, signal::calls()?];
    Ok(parts.into_iter().flatten().collect())
}

/// The statement of that name. Its call is built twice, and must come out alike.
fn client_call(
    name: impl Into<String>,
    summary: &'static str,
    build: impl Fn(&mut Marks) -> Result<Call, EngineError>,
) -> Result<ClientCall, EngineError> {
    let (call, given) = marks::sources(build)?;
    Ok(ClientCall { name: name.into(), summary, call, given, reasons: Vec::new() })
}
