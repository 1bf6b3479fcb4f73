//! The execution that an argument names, and ids as short as lists show them.

pub(super) mod search;

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use ff_core::engine_backend::EngineBackend;
use ff_core::partition::PartitionConfig;
use ff_core::types::{BudgetId, ExecutionId, FlowId, LaneId, WaitpointId};
use uuid::Uuid;

use super::failure::Failure;

/// The lane if none is given.
pub(super) const DEFAULT_LANE: &str = "default";

/// The fewest digits of a UUID that name it on their own.
pub(super) const DIGITS_MIN: usize = 4;

/// The fewest digits of a UUID that lists show.
const DIGITS_SHOWN: usize = 8;

/// The number of digits of a UUID.
const DIGITS: usize = 32;

/// The number of ids that an error names if several begin alike.
const NAMES_SHOWN: usize = 5;

/// The argument that names one execution.
#[derive(Debug, clap::Args)]
pub(super) struct IdArguments {
    /// The execution: `{fp:N}:UUID` with or without braces, or `N:DIGITS` as lists show it, or the
    /// UUID, or the first digits of it.
    #[arg(value_name = "ID")]
    id: String,
    /// The lane of the execution that is meant, if several have the same UUID.
    #[arg(long, value_name = "LANE", default_value = DEFAULT_LANE)]
    lane: String,
}

impl IdArguments {
    pub(super) fn name(&self) -> Result<ExecutionName, Failure> {
        execution_name(&self.id, &lane(&self.lane)?).map_err(Failure::usage)
    }
}

/// An execution as an argument names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ExecutionName {
    InFull(ExecutionId),
    /// By its UUID alone. It is the execution of the lane that is outside any flow, if there is
    /// one, and otherwise any execution with this UUID.
    Bare(ExecutionId),
    /// By the first digits of its UUID, perhaps with its partition.
    Prefix {
        partition: Option<u16>,
        digits: Digits,
    },
}

impl ExecutionName {
    /// Finds the one execution with this name.
    pub(super) async fn find(
        self,
        engine: &Arc<dyn EngineBackend>,
    ) -> Result<ExecutionId, Failure> {
        match self {
            Self::InFull(id) => Ok(id),
            Self::Bare(id) => {
                let state = engine.read_execution_state(&id).await;
                let state = state.map_err(|error| search::failure("the execution", &error))?;
                if state.is_some() {
                    return Ok(id);
                }

                let digits = Digits(id.uuid().simple().to_string());
                let found = search::executions(engine, None, &digits).await?;
                // If there is none at all, the command says so in its own words.
                if found.is_empty() {
                    return Ok(id);
                }
                only(&digits, "execution", found, ToString::to_string)
            }
            Self::Prefix { partition, digits } => {
                let found = search::executions(engine, partition, &digits).await?;
                only(&digits, "execution", found, ToString::to_string)
            }
        }
    }
}

/// The first digits of a UUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digits(String);

impl Digits {
    /// Hex digits, at least [`DIGITS_MIN`] of them; hyphens do not count.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        Self::parse(text, DIGITS_MIN)
    }

    /// Hex digits, at least `least` of them.
    fn parse(text: &str, least: usize) -> Option<Self> {
        let digits = text.replace('-', "").to_ascii_lowercase();
        let are_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        (are_hex && (least..=DIGITS).contains(&digits.len())).then_some(Self(digits))
    }

    pub(super) fn is_prefix_of(&self, uuid: Uuid) -> bool {
        uuid.simple().to_string().starts_with(&self.0)
    }

    /// The UUID just before all that begin with the digits; none before the first.
    fn last_uuid_before(&self) -> Option<Uuid> {
        let first = u128::from_str_radix(&format!("{:0<32}", self.0), 16).ok()?;
        first.checked_sub(1).map(Uuid::from_u128)
    }
}

/// The one element that was found.
pub(super) fn only<T>(
    digits: &Digits,
    what: &str,
    found: Vec<T>,
    name: impl Fn(&T) -> String,
) -> Result<T, Failure> {
    let Digits(digits) = digits;

    if 1 < found.len() {
        let names: Vec<String> = found.iter().take(NAMES_SHOWN).map(name).collect();
        let more = if NAMES_SHOWN < found.len() { ", …" } else { "" };
        let names = names.join(", ");
        return Err(Failure::new(format!("{digits} is the beginning of several: {names}{more}"))
            .with_help("give more digits"));
    }

    let list = match what {
        "flow" => "ff flow ls lists flows".to_owned(),
        "budget" => "ff budget ls lists budgets".to_owned(),
        _ => format!("ff ls lists {what}s"),
    };
    found.into_iter().next().ok_or_else(|| {
        Failure::new(format!("there is no {what} with a UUID that begins with {digits}"))
            .with_help(list)
    })
}

/// The lane of this name.
pub(super) fn lane(name: &str) -> Result<LaneId, Failure> {
    LaneId::try_new(name).map_err(|error| Failure::usage(format!("lane {name:?}: {error}")))
}

/// The flow of this id.
pub(super) fn flow_id(text: &str) -> Result<FlowId, String> {
    FlowId::parse(text).map_err(|_| format!("flow {text:?} is no UUID"))
}

/// A waitpoint by its id, by the first digits of it, or by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WaitpointName(String);

/// Reads the name of a waitpoint. Any text may be its key.
#[allow(clippy::unnecessary_wraps, reason = "the form that clap takes")]
pub(super) fn waitpoint_name(text: &str) -> Result<WaitpointName, String> {
    if text.is_empty() {
        return Err("a waitpoint has an id and a key; this is neither".to_owned());
    }
    Ok(WaitpointName(text.to_owned()))
}

impl WaitpointName {
    /// The id, if the name is one in full.
    pub(super) fn in_full(&self) -> Option<WaitpointId> {
        WaitpointId::parse(&self.0).ok()
    }

    /// True if it names the waitpoint.
    pub(super) fn names(&self, id: &WaitpointId, key: &str) -> bool {
        let begins = |digits: Digits| id.to_string().replace('-', "").starts_with(&digits.0);
        self.0 == key || Digits::parse(&self.0, DIGITS_MIN).is_some_and(begins)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The execution that `text` names in full, or by the UUID alone as one of `lane`.
pub(super) fn execution_id(text: &str, lane: &LaneId) -> Result<ExecutionId, String> {
    if text.starts_with('{') {
        return ExecutionId::parse(text).map_err(|error| format!("id {text:?}: {error}"));
    }
    let uuid = Uuid::parse_str(text)
        .map_err(|_| format!("id {text:?} is neither {{fp:N}}:UUID nor a UUID"))?;
    Ok(ExecutionId::deterministic_solo(lane, &PartitionConfig::default(), uuid))
}

/// The execution that an argument names, in full or by a beginning, where no lane is given.
pub(super) fn any_execution(text: &str) -> Result<ExecutionName, String> {
    execution_name(text, &LaneId::new(DEFAULT_LANE))
}

/// The execution that an argument names, in full or by a beginning. The braces of an id may be left
/// out, since shells give them a meaning.
pub(super) fn execution_name(text: &str, lane: &LaneId) -> Result<ExecutionName, String> {
    let bare = text.trim_start_matches('{');
    let bare = bare.strip_prefix("fp:").unwrap_or(bare);
    if let Some((partition, rest)) = bare.split_once(':') {
        let partition = partition.strip_suffix('}').unwrap_or(partition);
        let whole = ExecutionId::parse(&format!("{{fp:{partition}}}:{rest}"));
        return match (whole, partition.parse(), Digits::parse(rest, 1)) {
            (Ok(id), _, _) => Ok(ExecutionName::InFull(id)),
            (Err(_), Ok(index), Some(digits)) => {
                Ok(ExecutionName::Prefix { partition: Some(index), digits })
            }
            (Err(error), _, _) => Err(format!("id {text:?}: {error}")),
        };
    }

    if let Ok(id) = execution_id(text, lane) {
        return Ok(ExecutionName::Bare(id));
    }
    match Digits::parse(text, DIGITS_MIN) {
        Some(digits) => Ok(ExecutionName::Prefix { partition: None, digits }),
        None => Err(format!(
            "id {text:?} is neither {{fp:N}}:UUID nor a UUID nor the first {DIGITS_MIN} digits of one"
        )),
    }
}

/// A budget by its id, or by the first digits of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BudgetName {
    InFull(BudgetId),
    Prefix(Digits),
}

impl FromStr for BudgetName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (BudgetId::parse(text), Digits::of_text(text)) {
            (Ok(id), _) => Ok(Self::InFull(id)),
            (Err(_), Some(digits)) => Ok(Self::Prefix(digits)),
            (Err(_), None) => Err(format!(
                "budget {text:?} is neither a UUID nor the first {DIGITS_MIN} digits of one"
            )),
        }
    }
}

impl BudgetName {
    /// Finds the one budget with this name.
    pub(super) async fn find(self, engine: &Arc<dyn EngineBackend>) -> Result<BudgetId, Failure> {
        match self {
            Self::InFull(id) => Ok(id),
            Self::Prefix(digits) => {
                let found = search::budgets(engine, &digits).await?;
                only(&digits, "budget", found, ToString::to_string)
            }
        }
    }
}

/// The form of the ids of one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    InFull,
    /// With this number of digits, which tells those of the list apart.
    Short(usize),
}

impl Ids {
    /// Short ids if the list goes to a terminal, full ones otherwise.
    pub(super) fn of(uuids: impl IntoIterator<Item = Uuid>, width: Option<usize>) -> Self {
        if width.is_none() {
            return Self::InFull;
        }

        let all: HashSet<String> =
            uuids.into_iter().map(|uuid| uuid.simple().to_string()).collect();
        let tells_apart = |digits: &usize| {
            let begins: HashSet<&str> = all.iter().filter_map(|id| id.get(..*digits)).collect();
            begins.len() == all.len()
        };

        Self::Short((DIGITS_SHOWN..DIGITS).find(tells_apart).unwrap_or(DIGITS))
    }

    pub(super) fn execution(self, id: &ExecutionId) -> String {
        match self {
            Self::InFull => id.to_string(),
            Self::Short(digits) => format!("{}:{}", id.partition(), first(id.uuid(), digits)),
        }
    }

    pub(super) fn uuid(self, id: Uuid) -> String {
        match self {
            Self::InFull => id.to_string(),
            Self::Short(digits) => first(id, digits),
        }
    }
}

fn first(uuid: Uuid, digits: usize) -> String {
    uuid.simple().to_string().chars().take(digits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

    #[test]
    fn ids_are_full_or_belong_to_a_lane() {
        let lane = LaneId::new("default");
        let full = format!("{{fp:7}}:{UUID}");
        assert_eq!(execution_id(&full, &lane).unwrap().as_str(), full);
        assert_eq!(execution_id(UUID, &lane).unwrap().as_str(), format!("{{fp:86}}:{UUID}"));
        for bad in ["", "x", "{fp:x}:1", "{fp:7}", "fp:7:550e8400", "7:550e", "550e8400"] {
            assert!(execution_id(bad, &lane).is_err(), "{bad}");
        }
    }

    #[test]
    fn arguments_may_be_beginnings() {
        let lane = LaneId::new("default");
        let name = |text: &str| execution_name(text, &lane);
        let prefix = |partition, digits: &str| {
            Ok(ExecutionName::Prefix { partition, digits: Digits(digits.to_owned()) })
        };
        assert!(matches!(name(UUID), Ok(ExecutionName::Bare(_))));
        let full = ExecutionName::InFull(execution_id(&format!("{{fp:7}}:{UUID}"), &lane).unwrap());
        for text in ["{fp:7}:", "fp:7:", "7:"] {
            assert_eq!(name(&format!("{text}{UUID}")), Ok(full.clone()), "{text}");
            assert_eq!(name(&format!("{text}550e")), prefix(Some(7), "550e"), "{text}");
        }
        assert_eq!(name("550E8"), prefix(None, "550e8"));
        assert_eq!(name("550e8400-e2"), prefix(None, "550e8400e2"));
        assert_eq!(name("7:5"), prefix(Some(7), "5"));
        for bad in ["", "x", "550", "7:", "7:x", "{fp:}:550e", "70000:550e", "nonsense"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_beginning_stands_before_all_that_begin_with_it() {
        let digits = |text: &str| Digits::parse(text, 1).unwrap();
        assert_eq!(digits("0").last_uuid_before(), None);
        assert_eq!(
            digits("00000001").last_uuid_before().unwrap().simple().to_string(),
            "00000000f".to_owned() + &"f".repeat(23)
        );
        assert!(digits("550e8").is_prefix_of(Uuid::parse_str(UUID).unwrap()));
        assert!(!digits("550e9").is_prefix_of(Uuid::parse_str(UUID).unwrap()));
    }

    #[test]
    fn short_ids_tell_those_of_a_list_apart() {
        let uuid = |text: &str| Uuid::parse_str(text).unwrap();
        let (one, two) = (uuid(UUID), uuid("550e8400-e29b-51d4-a716-446655440000"));
        let id = ExecutionId::from_parts(7, one);
        assert_eq!(Ids::of([one], Some(80)).execution(&id), "7:550e8400");
        assert_eq!(Ids::of([one, two, one], Some(80)).execution(&id), "7:550e8400e29b4");
        assert_eq!(Ids::of([one, two], None).execution(&id), id.as_str());
        assert_eq!(Ids::of([one], Some(80)).uuid(one), "550e8400");
    }
}
