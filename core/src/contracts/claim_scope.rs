//! The partitions that claims take executions of.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::model::error::{EngineError, ValidationKind};
use crate::model::partition::{PartitionConfig, PartitionFamily};

/// The largest partition that a row can store.
const LAST: u16 = i16::MAX.unsigned_abs();

/// The executions of a lane that a claim may take, by their partitions.
///
/// A claim takes the best executions of its scope, so the order of a lane holds within each scope,
/// not across several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ClaimScope {
    /// Those of all partitions.
    #[default]
    Everywhere,
    /// Those of some partitions. Of one, the database looks at that partition only.
    Of(PartitionSet),
}

impl ClaimScope {
    /// The same scope in a database with so many partitions: all of them are everywhere.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` for a partition that the database has not.
    pub fn within(self, partitions: &PartitionConfig) -> Result<Self, EngineError> {
        let Self::Of(set) = self else { return Ok(self) };
        let count = partitions.count_for(PartitionFamily::Execution).max(1);
        if let Some(beyond) = set.0.last().filter(|last| count <= **last) {
            return Err(invalid(format!("{beyond} is not below {count}, their number")));
        }
        let all = set.0.len() == usize::from(count);
        Ok(if all { Self::Everywhere } else { Self::Of(set) })
    }
}

/// Some partitions, at least one.
///
/// Their text form names single ones and ranges, such as `0-31,40`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionSet(
    // Invariant: not empty, and none above what a row can store.
    BTreeSet<u16>,
);

impl PartitionSet {
    /// The set of these.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` where there are none, or one is above 32767.
    pub fn new(partitions: impl IntoIterator<Item = u16>) -> Result<Self, EngineError> {
        let partitions: BTreeSet<u16> = partitions.into_iter().collect();
        match partitions.last() {
            None => Err(invalid("there is none")),
            Some(last) if LAST < *last => Err(invalid(format!("{last} is above {LAST}"))),
            Some(_) => Ok(Self(partitions)),
        }
    }

    /// The partitions, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().copied()
    }

    /// A set of each of them alone.
    pub fn one_by_one(&self) -> impl Iterator<Item = Self> {
        self.iter().map(|partition| Self(BTreeSet::from([partition])))
    }
}

fn invalid(reason: impl fmt::Display) -> EngineError {
    EngineError::Validation {
        kind: ValidationKind::InvalidInput,
        detail: format!("partitions: {reason}"),
    }
}

impl FromStr for PartitionSet {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let malformed =
            |part: &str| invalid(format!("{part:?} is neither a number nor a range such as 0-31"));
        let mut all = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |digits: &str| digits.trim().parse::<u16>().map_err(|_| malformed(part));
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return Err(invalid(format!("{part:?} ends before it begins")));
            }
            all.extend(first..=last);
        }
        Self::new(all)
    }
}

impl fmt::Display for PartitionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for partition in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == partition => *last = partition,
                Some(_) | None => ranges.push((partition, partition)),
            }
        }
        for (index, (first, last)) in ranges.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: fmt::Debug>(result: Result<T, EngineError>) -> String {
        let Err(EngineError::Validation { kind: ValidationKind::InvalidInput, detail }) = result
        else {
            panic!("{result:?}");
        };
        detail
    }

    #[test]
    fn a_set_is_read_and_written_as_ranges() {
        for (text, written) in [("7", "7"), ("0-31,40", "0-31,40"), ("3, 1,2", "1-3"), ("9-9", "9")]
        {
            let set: PartitionSet = text.parse().unwrap();
            assert_eq!(set.to_string(), written);
            assert_eq!(written.parse::<PartitionSet>().unwrap(), set);
        }
    }

    #[test]
    fn what_is_no_set_does_not_parse() {
        for text in ["", "a", "1,", "-1", "1-", "1-2-3", "65536"] {
            let refused = refusal(text.parse::<PartitionSet>());
            assert!(refused.contains("neither a number nor a range"), "{text}: {refused}");
        }
        assert_eq!(
            refusal("5-3".parse::<PartitionSet>()),
            "partitions: \"5-3\" ends before it begins"
        );
        assert_eq!(refusal("32768".parse::<PartitionSet>()), "partitions: 32768 is above 32767");
        assert_eq!(refusal(PartitionSet::new([])), "partitions: there is none");
    }

    #[test]
    fn a_scope_is_of_partitions_that_exist_and_all_of_them_are_everywhere() {
        let config = PartitionConfig { num_flow_partitions: 4, ..PartitionConfig::default() };
        let scope = |text: &str| ClaimScope::Of(text.parse().unwrap());
        assert_eq!(scope("0-3").within(&config).unwrap(), ClaimScope::Everywhere);
        assert_eq!(scope("0-2").within(&config).unwrap(), scope("0-2"));
        let refused = refusal(scope("1,4").within(&config));
        assert_eq!(refused, "partitions: 4 is not below 4, their number");
        let none = PartitionConfig { num_flow_partitions: 0, ..config };
        assert_eq!(scope("0").within(&none).unwrap(), ClaimScope::Everywhere);
    }

    #[test]
    fn one_by_one_each_is_a_set_of_its_own() {
        let set: PartitionSet = "1,5-6".parse().unwrap();
        let all: Vec<String> = set.one_by_one().map(|one| one.to_string()).collect();
        assert_eq!(all, ["1", "5", "6"]);
    }
}
