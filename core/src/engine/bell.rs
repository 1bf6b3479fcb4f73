//! The bell: wakes subscribers and waiting workers when another task or process commits.
//!
//! A backend has one bell and rings it after every commit. A listener begins to listen before it
//! reads, so no ring between the read and the wait is lost. A ring carries nothing and may be
//! superfluous: a listener re-reads the table. Runs on every runtime and knows no clock.

use event_listener::{Event, EventListener};

use super::Commit;
use crate::model::state::{
    ClosedSet as _, CompletionKind, EligibilityState, LaneState, LeaseEventType,
};
use crate::plan::{Assign, Expr, Mutation, Plan};
use crate::schema::admin::lane_registry;
use crate::schema::budget::{budget_reservation, budget_usage, budget_usage_by_exec};
use crate::schema::execution::exec_core;
use crate::schema::limit::{limit, limit_permit};
use crate::schema::{ColumnRef, TableRef, outbox, suspension};

/// The subject of a ring: new rows of one table, or a change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// An execution ended or may resume.
    Completions,
    /// A lease changed.
    Leases,
    /// A signal was accepted.
    Signals,
    /// An operator intervened.
    Operators,
    /// An instance tag was attached or cleared.
    InstanceTags,
    /// An attempt wrote a frame.
    Frames,
    /// An execution may be claimed now, or once its delay is over; a lane takes claims again; or a
    /// budget may have room again.
    Claimable,
    /// A run may have to stop: its execution was cancelled or is out of time, or its lease has
    /// lapsed.
    Interruptions,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 8] = [
        Self::Completions,
        Self::Leases,
        Self::Signals,
        Self::Operators,
        Self::InstanceTags,
        Self::Frames,
        Self::Claimable,
        Self::Interruptions,
    ];

    /// The table with the new rows that ring this topic, if there is one.
    #[must_use]
    pub fn table(self) -> Option<&'static str> {
        match self {
            Self::Completions => Some(outbox::completion_event::TABLE.name),
            Self::Leases => Some(outbox::lease_event::TABLE.name),
            Self::Signals => Some(outbox::signal_event::TABLE.name),
            Self::Operators => Some(outbox::operator_event::TABLE.name),
            Self::InstanceTags => Some(outbox::instance_tag_event::TABLE.name),
            Self::Frames => Some(suspension::stream_frame::TABLE.name),
            Self::Claimable => Some(exec_core::TABLE.name),
            Self::Interruptions => None,
        }
    }

    /// The name of the channel that carries its rings between processes. A channel belongs to a
    /// database, whichever schema the tables are in.
    #[must_use]
    pub const fn channel(self) -> &'static str {
        match self {
            Self::Completions => "ff_completion",
            Self::Leases => "ff_lease_event",
            Self::Signals => "ff_signal_event",
            Self::Operators => "ff_operator_event",
            Self::InstanceTags => "ff_instance_tag_event",
            Self::Frames => "ff_stream_frame",
            Self::Claimable => "ff_claimable",
            Self::Interruptions => "ff_interruption",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topics(u8);

impl Topics {
    /// No topic.
    pub const NONE: Self = Self(0);

    /// Every topic.
    #[must_use]
    pub fn all() -> Self {
        Topic::ALL.into_iter().fold(Self::NONE, Self::with)
    }

    /// The topic that a new row of `table` rings, if there is one.
    #[must_use]
    pub fn of_table(table: &str) -> Self {
        let topic = Topic::ALL.into_iter().find(|topic| topic.table() == Some(table));
        topic.map_or(Self::NONE, |topic| Self::NONE.with(topic))
    }

    /// These and `topic`.
    #[must_use]
    pub const fn with(self, topic: Topic) -> Self {
        Self(self.0 | topic.bit())
    }

    /// The union of both sets.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// These without the others.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// True if the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True if `topic` is in the set.
    #[must_use]
    pub const fn contains(self, topic: Topic) -> bool {
        self.0 & topic.bit() != 0
    }

    /// The topics of the set, in the order of [`Topic::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Topic> {
        Topic::ALL.into_iter().filter(move |topic| self.contains(*topic))
    }
}

/// The topics that the commits of a plan ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// For rows that the plan inserts once.
    once: Topics,
    /// For rows that it inserts for every picked row.
    each: Topics,
}

impl Rings {
    /// The rings of this plan, by the tables that it inserts into and the states that it writes.
    /// States are part of a plan's shape, so all plans of a shape ring alike.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut rings = Self::default();
        let removes_execution =
            plan.mutations.iter().any(|mutation| deletes(mutation, exec_core::REF));
        for mutation in &plan.mutations {
            let mut topics = topics_of(mutation);
            // What is removed with its execution was given back when that ended.
            if !removes_execution && frees_room(mutation) {
                topics = topics.with(Topic::Claimable);
            }
            if plan.per_picked_row(mutation) {
                rings.each = rings.each.and(topics);
            } else {
                rings.once = rings.once.and(topics);
            }
        }

        rings
    }

    /// The topics to ring after this result of a commit.
    #[must_use]
    pub fn after(self, commit: &Commit) -> Topics {
        match commit {
            Commit::Applied(rows) if rows.is_empty() => self.once,
            Commit::Applied(_) => self.once.and(self.each),
            Commit::Refused | Commit::Prevented => Topics::NONE,
        }
    }
}

fn deletes(mutation: &Mutation, from: TableRef) -> bool {
    matches!(mutation, Mutation::Delete { table, .. } if *table == from)
}

/// True if a change may leave more room in a budget or a limit, for executions that no claim could
/// take: it resets totals, takes back what an execution spent, gives back what one has reserved or
/// the permits that it holds, or sets a limit.
fn frees_room(mutation: &Mutation) -> bool {
    let resets = matches!(mutation, Mutation::Update { table, .. } if *table == budget_usage::REF);
    let sets = matches!(mutation, Mutation::Insert { table, .. } if *table == limit::REF);
    resets
        || sets
        || deletes(mutation, limit::REF)
        || deletes(mutation, limit_permit::REF)
        || deletes(mutation, budget_usage_by_exec::REF)
        || deletes(mutation, budget_reservation::REF)
}

/// The topics that one change rings.
fn topics_of(mutation: &Mutation) -> Topics {
    match mutation {
        Mutation::Insert { table, row, .. } | Mutation::InsertEach { table, row, .. } => {
            let states = of_states(row.iter().map(|(column, value)| (*column, value)));
            // A new execution may not be claimable: that follows from its states.
            if *table == exec_core::REF { states } else { Topics::of_table(table.name).and(states) }
        }
        Mutation::Update { set, .. } => {
            of_states(set.iter().filter_map(|(column, assign)| match assign {
                Assign::Set(value) | Assign::Keep(value) => Some((*column, value)),
                Assign::Add(_) | Assign::Merge { .. } => None,
            }))
        }
        Mutation::Delete { .. } => Topics::NONE,
    }
}

/// The topics that the written states ring. A delay counts as claimable, since it may be over at
/// once. A lease revoked by an operator rings for claims only: its worker notices at the next
/// renewal.
fn of_states<'a>(written: impl Iterator<Item = (ColumnRef, &'a Expr)>) -> Topics {
    use {CompletionKind as End, EligibilityState as Eligible};
    let (eligibility, outcome) =
        (exec_core::eligibility_state.column(), outbox::completion_event::outcome.column());
    let event = outbox::lease_event::event_type.column();

    let mut topics = Topics::NONE;
    for (column, value) in written {
        let is_one_of =
            |words: &[&str]| matches!(value, Expr::Const(word) if words.contains(&word.as_ref()));
        let claimable = [Eligible::EligibleNow.as_str(), Eligible::NotEligibleUntilTime.as_str()];
        if column == eligibility && is_one_of(&claimable) {
            topics = topics.with(Topic::Claimable);
        }
        // A lane that is open again may hold executions that no claim has found.
        let open = [LaneState::Active.as_str(), LaneState::Draining.as_str()];
        if column == lane_registry::state.column() && is_one_of(&open) {
            topics = topics.with(Topic::Claimable);
        }
        if (column == outcome && is_one_of(&[End::Cancelled.as_str(), End::Expired.as_str()]))
            || (column == event && is_one_of(&[LeaseEventType::Expired.as_str()]))
        {
            topics = topics.with(Topic::Interruptions);
        }
    }

    topics
}

/// Wakes the listeners of each topic.
#[derive(Debug, Default)]
pub struct Bell {
    completions: Event,
    leases: Event,
    signals: Event,
    operators: Event,
    instance_tags: Event,
    frames: Event,
    claimable: Event,
    interruptions: Event,
}

impl Bell {
    /// A bell without listeners.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes all listeners of the topic.
    pub fn ring(&self, topic: Topic) {
        self.event(topic).notify(usize::MAX);
    }

    /// Wakes all listeners of these topics.
    pub fn ring_each(&self, topics: Topics) {
        topics.iter().for_each(|topic| self.ring(topic));
    }

    /// Listens from this call on, not only from the first poll: the future is ready once the topic
    /// has been rung after it. Call it before reading rows.
    #[must_use]
    pub fn listen(&self, topic: Topic) -> EventListener {
        self.event(topic).listen()
    }

    /// True if any topic has a listener.
    #[must_use]
    pub fn has_listeners(&self) -> bool {
        Topic::ALL.into_iter().any(|topic| 0 < self.event(topic).total_listeners())
    }

    const fn event(&self, topic: Topic) -> &Event {
        match topic {
            Topic::Completions => &self.completions,
            Topic::Leases => &self.leases,
            Topic::Signals => &self.signals,
            Topic::Operators => &self.operators,
            Topic::InstanceTags => &self.instance_tags,
            Topic::Frames => &self.frames,
            Topic::Claimable => &self.claimable,
            Topic::Interruptions => &self.interruptions,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::plan::OnConflict;
    use crate::schema::execution::{attempt, exec_core};

    #[test]
    fn a_ring_between_the_read_and_the_wait_is_not_lost() {
        let bell = Bell::new();
        assert!(!bell.has_listeners());
        let mut listener = bell.listen(Topic::Leases);
        assert!(bell.has_listeners());
        assert!((&mut listener).now_or_never().is_none());
        bell.ring(Topic::Completions);
        assert!((&mut listener).now_or_never().is_none());
        bell.ring(Topic::Leases);
        assert!(listener.now_or_never().is_some());
        assert!(!bell.has_listeners());
    }

    #[test]
    fn every_listener_is_woken() {
        let bell = Bell::new();
        let listeners = [(); 3].map(|()| bell.listen(Topic::Signals));
        bell.ring_each(Topics::all());
        assert!(listeners.into_iter().all(|listener| listener.now_or_never().is_some()));
    }

    #[test]
    fn inserts_ring_the_topic_of_their_table() {
        let plan = Plan::new("test")
            .update(exec_core::REF, Vec::new(), Vec::new())
            .insert(attempt::REF, Vec::new(), OnConflict::Refuse)
            .insert(outbox::lease_event::REF, Vec::new(), OnConflict::Refuse)
            .insert(outbox::completion_event::REF, Vec::new(), OnConflict::Refuse);
        let written = Topics::NONE.with(Topic::Leases).with(Topic::Completions);
        let rings = Rings::of(&plan);
        assert_eq!(rings.once.and(rings.each), written);
        assert_eq!(rings.after(&Commit::Applied(vec![Vec::new()])), written);
        assert_eq!(rings.after(&Commit::Refused), Topics::NONE);
        let rings = Rings::of(&Plan::new("nothing"));
        assert!(rings.once.and(rings.each).is_empty());
    }

    #[test]
    fn a_lane_that_takes_claims_again_wakes_idle_workers() {
        for (state, wakes) in [
            (LaneState::Active, true),
            (LaneState::Draining, true),
            (LaneState::Paused, false),
            (LaneState::Disabled, false),
        ] {
            let row = vec![lane_registry::state.with(state)];
            let plan = Plan::new("test").insert(lane_registry::REF, row, OnConflict::Ignore);
            let rung = Rings::of(&plan).after(&Commit::Applied(vec![Vec::new()]));
            assert_eq!(rung.contains(Topic::Claimable), wakes, "{state:?}");
        }
    }

    #[test]
    fn room_in_a_budget_or_a_limit_wakes_idle_workers() {
        let wakes = |plan: &Plan| {
            let rung = Rings::of(plan).after(&Commit::Applied(vec![Vec::new()]));
            rung.contains(Topic::Claimable)
        };
        let delete = |table| Mutation::delete(table, Vec::new());
        let reset = Mutation::update(budget_usage::REF, Vec::new(), Vec::new());
        let spend = Mutation::insert(budget_usage::REF, Vec::new(), OnConflict::Refuse);
        let set_limit = Mutation::insert(limit::REF, Vec::new(), OnConflict::Refuse);
        for (mutation, expected) in [
            (reset, true),
            (delete(budget_usage_by_exec::REF), true),
            (delete(budget_reservation::REF), true),
            (delete(limit_permit::REF), true),
            (delete(limit::REF), true),
            (set_limit, true),
            (spend, false),
        ] {
            let mut plan = Plan::new("test");
            plan.mutations = vec![mutation];
            assert_eq!(wakes(&plan), expected, "{plan:?}");
            plan.mutations.push(delete(exec_core::REF));
            assert!(!wakes(&plan), "it is removed with its execution");
        }
    }

    #[test]
    fn every_topic_is_a_table_of_its_own() {
        for topic in Topic::ALL {
            let Some(table) = topic.table() else { continue };
            assert_eq!(Topics::of_table(table).iter().collect::<Vec<_>>(), [topic]);
        }
    }
}
