//! Executions that claims of this process are taking at the moment.
//!
//! A claim lists and chooses in its turn, and takes what it chose after that: the next claim
//! chooses meanwhile. Until the plans of the first have committed, the database shows the
//! executions as waiting and their permits as free. So the next claim passes over the former, and
//! counts the latter as taken.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use uuid::Uuid;

use super::lock::lock;
use crate::model::ids::LaneId;
use crate::rules::key::ExecutionKey;
use crate::rules::limit::held::Holdings;
use crate::rules::limit::read::HeldLimits;

/// The executions that are being taken.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<HashMap<Uuid, Taking>>);

/// The lane of an execution, and what it takes of its limits.
#[derive(Debug)]
struct Taking {
    lane: LaneId,
    execution: ExecutionKey,
    holdings: Holdings,
}

/// Some of them. They count as such until this is dropped.
#[derive(Debug)]
pub(super) struct Sent<'a> {
    in_flight: &'a InFlight,
    executions: Vec<Uuid>,
}

impl InFlight {
    /// Begins to take executions of a lane.
    pub(super) fn send<'a>(
        &self,
        lane: &LaneId,
        taken: impl IntoIterator<Item = (ExecutionKey, &'a Holdings)>,
    ) -> Sent<'_> {
        let mut in_flight = lock(&self.0);
        let one = |(execution, holdings): (ExecutionKey, &Holdings)| {
            let (lane, holdings) = (lane.clone(), holdings.clone());
            in_flight.insert(execution.uuid, Taking { lane, execution, holdings });
            execution.uuid
        };
        Sent { executions: taken.into_iter().map(one).collect(), in_flight: self }
    }

    /// The executions of a lane that are being taken.
    pub(super) fn executions_of(&self, lane: &LaneId) -> HashSet<Uuid> {
        let in_flight = lock(&self.0);
        let of_lane = in_flight.iter().filter(|(_, taking)| taking.lane == *lane);
        of_lane.map(|(execution, _)| *execution).collect()
    }

    /// Counts what they take as taken.
    pub(super) fn note(&self, held: &mut HeldLimits) {
        for Taking { execution, holdings, .. } in lock(&self.0).values() {
            held.note(holdings, *execution);
        }
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        let mut in_flight = lock(&self.in_flight.0);
        for execution in &self.executions {
            in_flight.remove(execution);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_in_flight_until_what_was_sent_is_over() {
        let (in_flight, nothing) = (InFlight::default(), Holdings::default());
        let of = |uuid| ExecutionKey { partition: 3, uuid: Uuid::from_u128(uuid) };
        let (lane, other) = (LaneId::new("a"), LaneId::new("b"));
        let first = in_flight.send(&lane, [(of(1), &nothing), (of(2), &nothing)]);
        let second = in_flight.send(&lane, [(of(3), &nothing)]);
        assert_eq!(in_flight.executions_of(&lane).len(), 3);
        assert!(in_flight.executions_of(&other).is_empty());
        drop(first);
        assert_eq!(in_flight.executions_of(&lane), HashSet::from([of(3).uuid]));
        drop(second);
        assert!(in_flight.executions_of(&lane).is_empty());
    }
}
