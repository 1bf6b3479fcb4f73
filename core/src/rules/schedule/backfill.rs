//! Past ticks that are submitted by hand.

use crate::contracts::{BACKFILL_MAX, BackfillScheduleArgs, CreateExecutionArgs};
use crate::model::error::EngineError;
use crate::model::partition::PartitionConfig;
use crate::plan::Query;
use crate::plan::facts::Facts;
use crate::rules::ctx::Ctx;
use crate::rules::decision::{Step, Transition};
use crate::rules::input;
use crate::rules::schedule::calendar::Calendar;
use crate::rules::schedule::create::stored;
use crate::rules::schedule::key::ScheduleKey;
use crate::rules::schedule::submission::submission;

/// Lists the submissions of the ticks in a span of the past. Submitting them is repeatable: each
/// tick has its one execution.
#[derive(Clone, Debug)]
pub struct Backfill {
    key: ScheduleKey,
    args: BackfillScheduleArgs,
}

impl Backfill {
    /// Checks the arguments.
    ///
    /// # Errors
    /// `Validation(InvalidInput)` naming the field: a name that is none, a span that ends before it
    /// begins.
    pub fn new(
        args: BackfillScheduleArgs,
        partitions: &PartitionConfig,
    ) -> Result<Self, EngineError> {
        if args.until < args.from {
            return Err(input::invalid("until: must not lie before `from`"));
        }
        Ok(Self { key: ScheduleKey::of(&args.id, partitions)?, args })
    }
}

impl Transition for Backfill {
    type Outcome = Vec<CreateExecutionArgs>;

    fn step(&self, facts: &Facts, ctx: &mut Ctx<'_>) -> Result<Step<Self::Outcome>, EngineError> {
        if ctx.now < self.args.until {
            return Err(input::invalid("until: must not lie in the future"));
        }
        if !facts.have_rows() {
            return Ok(Step::Read(vec![Query::Lookup(vec![self.key.lookup()])]));
        }

        let spec = stored(facts)?.spec;
        let calendar = Calendar::of(&spec)?;
        let first = calendar.next_after(self.args.from.0.saturating_sub(1));
        let ticks = std::iter::successors(first, |tick| calendar.next_after(*tick));
        let ticks = ticks.take_while(|tick| *tick <= self.args.until.0);

        let ticks: Vec<i64> = ticks.take(BACKFILL_MAX.saturating_add(1)).collect();
        if BACKFILL_MAX < ticks.len() {
            let most = BACKFILL_MAX;
            return Err(input::invalid(format!("until: more than {most} ticks since `from`")));
        }
        let submit = |tick: &i64| submission(&self.key, &spec.work, &calendar, *tick);
        Ok(Step::Answer(ticks.iter().map(submit).collect()))
    }
}
