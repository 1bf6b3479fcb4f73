//! The bell: wakes whoever waits for rows that somebody else commits.
//!
//! A backend has one and rings it after every commit; whoever waits listens before looking, so that
//! no ring between the look and the wait is lost. A ring says only that there may be something new:
//! it carries nothing, it may be superfluous, and whoever hears it looks for himself. Runs on every
//! runtime and knows no clock.

use event_listener::{Event, EventListener};

use super::Commit;
use crate::plan::{Mutation, Plan};
use crate::schema::{outbox, suspension};

/// What a listener waits for: new rows of one table.
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
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 6] = [
        Self::Completions,
        Self::Leases,
        Self::Signals,
        Self::Operators,
        Self::InstanceTags,
        Self::Frames,
    ];

    /// The table whose new rows it stands for.
    #[must_use]
    pub fn table(self) -> &'static str {
        match self {
            Self::Completions => outbox::completion_event::TABLE.name,
            Self::Leases => outbox::lease_event::TABLE.name,
            Self::Signals => outbox::signal_event::TABLE.name,
            Self::Operators => outbox::operator_event::TABLE.name,
            Self::InstanceTags => outbox::instance_tag_event::TABLE.name,
            Self::Frames => suspension::stream_frame::TABLE.name,
        }
    }

    /// What it is called where databases pass wake-ups from process to process. A channel belongs to a
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

    /// The topics that a plan's inserts ring.
    #[must_use]
    pub fn written_by(plan: &Plan) -> Self {
        let Rings { once, each } = Rings::of(plan);
        once.and(each)
    }

    /// The topic that a new row of `table` rings, if there is one.
    #[must_use]
    pub fn of_table(table: &str) -> Self {
        let topic = Topic::ALL.into_iter().find(|topic| topic.table() == table);
        topic.map_or(Self::NONE, |topic| Self::NONE.with(topic))
    }

    /// These and `topic`.
    #[must_use]
    pub const fn with(self, topic: Topic) -> Self {
        Self(self.0 | topic.bit())
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `topic` is among them.
    #[must_use]
    pub const fn contains(self, topic: Topic) -> bool {
        self.0 & topic.bit() != 0
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = Topic> {
        Topic::ALL.into_iter().filter(move |topic| self.contains(*topic))
    }
}

/// Which topics the commits of a plan ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// By what is inserted once.
    once: Topics,
    /// By what is inserted for every picked row.
    each: Topics,
}

impl Rings {
    /// Those of this plan, by the tables that it inserts into.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut rings = Self::default();
        for mutation in &plan.mutations {
            let topics = match mutation {
                Mutation::Insert { table, .. } | Mutation::InsertEach { table, .. } => {
                    Topics::of_table(table.name)
                }
                Mutation::Update { .. } | Mutation::Delete { .. } => Topics::NONE,
            };
            if plan.per_picked_row(mutation) {
                rings.each = rings.each.and(topics);
            } else {
                rings.once = rings.once.and(topics);
            }
        }
        rings
    }

    /// What to ring, now that this became of the plan.
    #[must_use]
    pub fn after(self, commit: &Commit) -> Topics {
        match commit {
            Commit::Applied(rows) if rows.is_empty() => self.once,
            Commit::Applied(_) => self.once.and(self.each),
            Commit::Refused => Topics::NONE,
        }
    }
}

/// Wakes those who wait for new rows.
#[derive(Debug, Default)]
pub struct Bell {
    completions: Event,
    leases: Event,
    signals: Event,
    operators: Event,
    instance_tags: Event,
    frames: Event,
}

impl Bell {
    /// Nobody listens yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes everybody who listens for the topic.
    pub fn ring(&self, topic: Topic) {
        self.event(topic).notify(usize::MAX);
    }

    /// Wakes everybody who listens for one of these topics.
    pub fn ring_each(&self, topics: Topics) {
        topics.iter().for_each(|topic| self.ring(topic));
    }

    /// Listens from now on, not only from the first poll: the future is ready once the topic has been
    /// rung after this call. Call it before looking for rows.
    #[must_use]
    pub fn listen(&self, topic: Topic) -> EventListener {
        self.event(topic).listen()
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
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
    fn a_ring_between_the_look_and_the_wait_is_not_lost() {
        let bell = Bell::new();
        assert!(!bell.is_awaited());
        let mut listener = bell.listen(Topic::Leases);
        assert!(bell.is_awaited());
        assert!((&mut listener).now_or_never().is_none());
        bell.ring(Topic::Completions);
        assert!((&mut listener).now_or_never().is_none());
        bell.ring(Topic::Leases);
        assert!(listener.now_or_never().is_some());
        assert!(!bell.is_awaited());
    }

    #[test]
    fn everybody_who_listens_is_woken() {
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
        assert_eq!(Topics::written_by(&plan), written);
        let rings = Rings::of(&plan);
        assert_eq!(rings.after(&Commit::Applied(vec![Vec::new()])), written);
        assert_eq!(rings.after(&Commit::Refused), Topics::NONE);
        assert!(Topics::written_by(&Plan::new("nothing")).is_empty());
    }

    #[test]
    fn every_topic_is_a_table_of_its_own() {
        for topic in Topic::ALL {
            assert_eq!(Topics::of_table(topic.table()).iter().collect::<Vec<_>>(), [topic]);
        }
    }
}
