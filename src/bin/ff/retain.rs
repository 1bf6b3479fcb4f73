//! The option `--retain`: rules by which the scanners remove ended executions.

use std::str::FromStr;

use ff_core::contracts::RetentionRule;
use ff_core::state::PublicState;

use super::failure::Failure;
use super::filter::{one_of, span};
use super::ids::lane;

#[derive(Debug, clap::Args)]
pub(super) struct RetentionArguments {
    /// Remove executions that ended longer ago than this, with everything that belongs to them:
    /// `30d`, or fields separated by commas: `lane=audit,outcome=failed,older-than=90d,keep=100`.
    /// May be given many times; the first that selects an execution decides.
    #[arg(long, value_name = "RULE")]
    retain: Vec<Retain>,
}

impl RetentionArguments {
    /// The rules, in their order.
    pub(super) fn rules(&self) -> Result<Vec<RetentionRule>, Failure> {
        self.retain.iter().map(Retain::rule).collect()
    }
}

/// One rule, as it is written on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Retain {
    lane: Option<String>,
    outcomes: Vec<PublicState>,
    older_than_ms: Option<i64>,
    keep: Option<u64>,
}

impl FromStr for Retain {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rule = Self::default();
        for field in text.split(',') {
            match field.split_once('=').unwrap_or(("older-than", field)) {
                ("lane", name) => rule.lane = Some(name.to_owned()),
                ("outcome", word) => rule.outcomes.push(one_of(word)?),
                ("older-than", text) => rule.older_than_ms = Some(span(text)?),
                ("keep", number) => {
                    let keep = number.parse().ok().filter(|number| *number != 0);
                    rule.keep = Some(keep.ok_or("keep: expected a number from 1 on")?);
                }
                (other, _) => {
                    let known = "lane, outcome, older-than and keep";
                    return Err(format!("{other} is no field of a rule; these are {known}"));
                }
            }
        }

        if rule.older_than_ms.is_none() && rule.keep.is_none() {
            return Err("say older-than, keep or both".to_owned());
        }
        Ok(rule)
    }
}

impl Retain {
    fn rule(&self) -> Result<RetentionRule, Failure> {
        let older_than = self.older_than_ms.unwrap_or_default().unsigned_abs();
        let rule = RetentionRule::older_than(older_than)
            .keeping(self.keep.unwrap_or_default())
            .with_outcomes(self.outcomes.clone());
        Ok(match &self.lane {
            Some(name) => rule.in_lane(lane(name)?),
            None => rule,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_span_or_fields() {
        let rule = |text: &str| text.parse::<Retain>().unwrap().rule().unwrap();
        assert_eq!(rule("2h"), RetentionRule::older_than(7_200_000));
        let audit = RetentionRule::older_than(1_000)
            .keeping(5)
            .with_outcomes([PublicState::Failed, PublicState::Expired])
            .in_lane(ff_core::types::LaneId::new("audit"));
        assert_eq!(rule("lane=audit,outcome=failed,outcome=expired,keep=5,older-than=1s"), audit);

        for bad in ["", "lane=a", "keep=0", "keep=x", "age=3d", "3", "outcome=gone,3d"] {
            assert!(bad.parse::<Retain>().is_err(), "{bad}");
        }
    }
}
