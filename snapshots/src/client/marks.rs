//! Arguments that can be told apart, and the origin of bound values.

use ff_core::EngineError;
use ff_core::engine_error::ValidationKind;
use ff_core::plan::facts::{Answer, Facts, Questions, Row};
use ff_core::plan::value::Value;
use ff_core::plan::{Bindings, Query};
use ff_core::rules::ctx::{Ctx, Source};
use ff_core::rules::decision::{Step, Transition};
use ff_core::types::TimestampMs;
use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use super::Given;
use crate::Call;

/// The arguments of one call. No two are equal, and none is equal to one of another call.
pub(super) struct Marks {
    /// The number of the call, from 1.
    call: u16,
    made: u16,
    drawn: u16,
    /// Two arguments that cannot be told apart.
    ambiguous: Option<String>,
    known: Vec<(String, Vec<Value>)>,
}

impl Marks {
    /// Those of the call with that number, from 1.
    pub(super) fn new(call: u16) -> Self {
        Self { call, made: 0, drawn: 0, ambiguous: None, known: Vec::new() }
    }

    /// A number for each argument, the same for none of another call. Those that follow from it by
    /// a step or two are free.
    fn next(&mut self) -> u16 {
        self.made += 10;
        self.call * 10_000 + self.made
    }

    /// The number of the call, from 1: for arguments of a closed set.
    pub(super) fn call(&self) -> u16 {
        self.call
    }

    /// Names a value that follows from arguments.
    pub(super) fn note(&mut self, name: &str, value: Value) {
        self.note_each(name, vec![value]);
    }

    /// Names values of which each picked row takes one.
    pub(super) fn note_each(&mut self, name: &str, values: Vec<Value>) {
        let other = self.known.iter().find(|(_, known)| *known == values);
        self.ambiguous = other
            .map(|(other, _)| format!("{other} and {name} are equal"))
            .or(self.ambiguous.take());
        self.known.push((name.to_owned(), values));
    }

    /// The value of that name; NULL for an unknown one.
    pub(super) fn value(&self, name: &str) -> Value {
        let known = self.known.iter().find(|(known, _)| known == name);
        known.and_then(|(_, values)| values.first()).unwrap_or(&Value::Null).clone()
    }

    pub(super) fn number(&mut self, name: &str) -> u16 {
        let number = self.next();
        self.note(name, Value::Int(number.into()));
        number
    }

    pub(super) fn time(&mut self, name: &str) -> TimestampMs {
        let time = 1_700_000_000_000 + 1_000_000 * i64::from(self.next());
        self.note(name, Value::Int(time));
        TimestampMs(time)
    }

    pub(super) fn text(&mut self, name: &str) -> String {
        let text = format!("{name}-{}", self.next());
        self.note(name, Value::Text(text.clone()));
        text
    }

    pub(super) fn bytes(&mut self, name: &str) -> Vec<u8> {
        let bytes = format!("{name}-{}", self.next()).into_bytes();
        self.note(name, Value::Bytes(bytes.clone()));
        bytes
    }

    pub(super) fn uuid(&mut self, name: &str) -> Uuid {
        let uuid = Uuid::from_u128(self.next().into());
        self.note(name, Value::Uuid(uuid));
        uuid
    }

    /// The step of a transition at that time.
    pub(super) fn step<T: Transition>(
        &mut self,
        transition: &T,
        facts: &Facts,
        now: TimestampMs,
    ) -> Result<Step<T::Outcome>, EngineError> {
        transition.step(facts, &mut Ctx::new(now, self))
    }

    /// The plan of a transition that knows these facts.
    pub(super) fn plan<T: Transition>(
        &mut self,
        transition: &T,
        facts: &Facts,
        now: TimestampMs,
    ) -> Result<Call, EngineError> {
        match self.step(transition, facts, now)? {
            Step::Commit(plan, _) => Ok(Call::Plan(plan)),
            Step::Read(_) | Step::Answer(_) => Err(fault("no plan follows from the arguments")),
        }
    }

    /// The one query of a transition that knows these facts.
    pub(super) fn query<T: Transition>(
        &mut self,
        transition: &T,
        facts: &Facts,
        now: TimestampMs,
    ) -> Result<Query, EngineError> {
        match self.step(transition, facts, now)? {
            Step::Read(queries) => match <[Query; 1]>::try_from(queries) {
                Ok([query]) => Ok(query),
                Err(_) => Err(fault("a client asks one question at a time")),
            },
            Step::Commit(..) | Step::Answer(_) => Err(fault("nothing is read")),
        }
    }

    /// The facts of a transition that finds these rows.
    pub(super) fn facts<T: Transition>(
        &mut self,
        transition: &T,
        now: TimestampMs,
        rows: &[(&str, Row)],
    ) -> Result<Facts, EngineError> {
        let mut facts = Facts::after_prevention(1);
        let query = self.query(transition, &facts, now)?;
        let questions = Questions::of(std::slice::from_ref(&query));
        let found = |name: &str| rows.iter().find(|(row, _)| *row == name);
        let answer = match query {
            Query::Lookup(lookups) => Answer::Lookup(
                lookups.iter().map(|wanted| Some(found(&wanted.row)?.1.clone())).collect(),
            ),
            Query::List(_) | Query::Sums(_) => Answer::List(Vec::new()),
        };

        facts.learn(&questions, vec![answer]);
        Ok(facts)
    }

    fn given(&self, bindings: &Bindings, slot: usize) -> Given {
        let values = [0, 1].map(|item| bindings.value(slot, item));
        let named = self.known.iter().find(|(_, known)| match known.as_slice() {
            [one] => values.into_iter().all(|value| is_same(value, one)),
            several => several.iter().zip(values).all(|(known, value)| is_same(value, known)),
        });

        match (named, values[0]) {
            (Some((name, known)), _) if known.len() == 1 => Given::Argument(name.clone()),
            (Some((name, _)), _) => Given::Each(name.clone()),
            (None, Value::Json(document)) => Given::Document(self.template(document)),
            (None, value) => Given::Constant(value.clone()),
        }
    }

    /// The document with arguments replaced by their names.
    fn template(&self, document: &Json) -> Json {
        if let Some(name) = self.name_of(|known| *known == Value::Json(document.clone())) {
            return json!({ "$value": name });
        }

        match document {
            Json::Object(members) => members
                .iter()
                .map(|(name, member)| (name.clone(), self.template(member)))
                .collect::<Map<_, _>>()
                .into(),
            Json::Array(items) => items.iter().map(|item| self.template(item)).collect(),
            Json::String(text) => self.text_template(text),
            Json::Number(number) => match number
                .as_i64()
                .and_then(|number| self.name_of(|known| *known == Value::Int(number)))
            {
                Some(name) => json!({ "$value": name }),
                None => document.clone(),
            },
            Json::Null | Json::Bool(_) => document.clone(),
        }
    }

    fn text_template(&self, text: &str) -> Json {
        let number = text.parse().ok().map(Value::Int);
        if let Some(name) = self.name_of(|known| *known == Value::Text(text.to_owned())) {
            json!({ "$value": name })
        } else if let Some(name) = self.name_of(|known| number.as_ref() == Some(known)) {
            json!({ "$text": name })
        } else {
            text.into()
        }
    }

    fn name_of(&self, is_it: impl Fn(&Value) -> bool) -> Option<&str> {
        let mut named = self.known.iter();
        let (name, _) = named.find(|(_, known)| matches!(known.as_slice(), [one] if is_it(one)))?;
        Some(name)
    }
}

/// Fresh ids can be told apart, too; the caller names them.
impl Source for Marks {
    fn uuid(&mut self) -> Uuid {
        self.drawn += 1;
        drawn(self.call, self.drawn)
    }

    fn fraction(&mut self) -> f64 {
        0.5
    }
}

/// The n-th id that a call draws, from 1.
pub(super) fn drawn(call: u16, number: u16) -> Uuid {
    Uuid::from_u128((u128::from(call) << 64) | u128::from(number))
}

/// A UUID bound as text is its hyphenated form.
fn is_same(value: &Value, known: &Value) -> bool {
    match (value, known) {
        (Value::Text(text), Value::Uuid(uuid)) => *text == uuid.to_string(),
        (value, known) => value == known,
    }
}

/// The call that these arguments make, and the sources of its values.
pub(super) fn sources(
    build: impl Fn(&mut Marks) -> Result<Call, EngineError>,
) -> Result<(Call, Vec<Given>), EngineError> {
    let once = |number| -> Result<(Call, Vec<Given>), EngineError> {
        let mut marks = Marks::new(number);
        let call = build(&mut marks)?;
        if let Some(detail) = &marks.ambiguous {
            return Err(fault(detail));
        }

        let (count, bindings) = match &call {
            Call::Query(query) => {
                let (shape, bindings) = query.clone().into_shape();
                (shape.slot_types().len(), bindings)
            }
            Call::Plan(plan) => {
                let (shape, bindings) = plan.clone().into_shape();
                (shape.slot_types().len(), bindings)
            }
        };
        let given: Vec<Given> = (0..count).map(|slot| marks.given(&bindings, slot)).collect();
        Ok((call, given))
    };

    let (call, given) = once(1)?;
    let (other, again) = once(2)?;
    if call.shape() != other.shape() {
        return Err(fault("the shape depends on an argument"));
    }
    if let Some((one, two)) = given.iter().zip(&again).find(|(one, two)| one != two) {
        return Err(fault(&format!("a bound value of unknown origin: {one:?}, {two:?}")));
    }
    Ok((call, given))
}

/// A fault of this crate.
pub(super) fn fault(detail: &str) -> EngineError {
    EngineError::Validation { kind: ValidationKind::Corruption, detail: detail.to_owned() }
}
