//! `ff show`: prints everything that is known about one execution.

use ff_core::contracts::{
    AttemptRecord, ExecutionInfo, ExecutionSnapshot, ExecutionTimeline, ExplainExecutionArgs,
    Explanation, FailureSummary, Outbox, TimelineEvent,
};
use ff_core::types::{TimestampMs, WorkerInstanceId};

use super::Global;
use super::clock::{Times, Zone, now, since, span};
use super::explain::explain;
use super::failure::Failure;
use super::ids::IdArguments;
use super::next;
use super::output::Output;
use super::refusal::missing;
use super::table::{Column, Table};
use super::view::ExecutionView;
use super::words::{or_dash, word};

/// The one completion event that is not an end.
const RESUMABLE: &str = "resumable";

/// The lease event of a claim.
const ACQUIRED: &str = "acquired";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let name = arguments.id.name()?;
    let engine = global.open().await?;
    let id = name.find(&engine).await?;

    let read_failure = |error| Failure::engine(&format!("reading {id}"), &error);
    let info = engine.read_execution_info(&id).await.map_err(read_failure)?;
    let snapshot = engine.describe_execution(&id).await.map_err(read_failure)?;
    let (Some(info), Some(snapshot)) = (info, snapshot) else {
        return Err(missing(&id));
    };
    let timeline = engine.execution_timeline(&id).await.map_err(read_failure)?;
    let explanation = explain(&engine, ExplainExecutionArgs::new(id)).await?;
    let known = Known { info, snapshot, timeline, explanation };

    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&ExecutionView::from(&known))?);
    }

    let times = output.times(now(&engine).await?);
    print_facts(output, times, &known)?;
    print_timeline(output, known.snapshot.created_at, &known.timeline)
}

/// What the engine knows of one execution.
pub(super) struct Known {
    pub(super) info: ExecutionInfo,
    pub(super) snapshot: ExecutionSnapshot,
    pub(super) timeline: ExecutionTimeline,
    pub(super) explanation: Explanation,
}

impl Known {
    /// The attempt that failed last, with the instance of the worker that ran it.
    pub(super) fn failed_attempt(&self) -> Option<(&AttemptRecord, Option<&WorkerInstanceId>)> {
        let attempts = &self.timeline.attempts;
        let attempt = attempts.iter().rev().find(|attempt| attempt.failure.is_some())?;
        Some((attempt, last_instance(attempt, &self.timeline.events)))
    }
}

/// The instance that held the last lease of an attempt. The attempt's row names it only until the
/// lease ends; the events of leases keep it.
fn last_instance<'a>(
    attempt: &'a AttemptRecord,
    events: &'a [TimelineEvent],
) -> Option<&'a WorkerInstanceId> {
    let ended_at = attempt.ended_at;
    let of_attempt = |event: &&TimelineEvent| {
        // A lease that is taken as the attempt ends is the next attempt's.
        let is_next = event.event == ACQUIRED && ended_at.is_some_and(|end| end <= event.at);
        !is_next && ended_at.is_none_or(|end| event.at <= end)
    };

    let instances = events.iter().filter(|event| event.outbox == Outbox::Lease).filter(of_attempt);
    let last = instances.filter_map(|event| event.worker_instance_id.as_ref()).next_back();
    attempt.worker_instance_id.as_ref().or(last)
}

fn print_facts(output: Output, times: Times, known: &Known) -> Result<(), Failure> {
    let Known { info, snapshot, .. } = known;
    let state = &info.state_vector;
    let table = Table::new([Column::whole("", 0), Column::wrapped("", 0)]);
    let mut table = table.with_header([word(&info.public_state), info.execution_id.to_string()]);
    let mut fact = |name: &str, value: String| table.row([name.to_owned(), value]);

    fact("kind", info.execution_kind.clone());
    fact("lane", info.lane_id.clone());
    fact("namespace", info.namespace.clone());
    if let Some(flow_id) = &info.flow_id {
        fact("flow", flow_id.clone());
    }

    fact("priority", info.priority.to_string());
    fact("lifecycle phase", word(&state.lifecycle_phase));
    fact("ownership", word(&state.ownership_state));
    fact("eligibility", word(&state.eligibility_state));
    fact("blocking reason", word(&state.blocking_reason));
    fact("terminal outcome", word(&state.terminal_outcome));
    fact("attempt state", word(&state.attempt_state));
    fact("claims", snapshot.total_attempt_count.to_string());

    if let Some(lease) = &snapshot.current_lease {
        let (owner, epoch) = (&lease.worker_instance_id, lease.lease_epoch);
        let until = times.format(lease.expires_at);
        fact("lease", format!("{owner}, epoch {epoch}, expires {until}"));
    }
    if let Some(detail) = snapshot.blocking_detail.as_ref().filter(|detail| !detail.is_empty()) {
        fact("blocking detail", detail.clone());
    }
    if let Some(failure) = &snapshot.last_failure {
        fact("failure", failure_in_words(failure));
        if let Some((attempt, instance)) = known.failed_attempt() {
            fact("failed in", place_of_failure(attempt, instance));
        }
    }
    if let Some(cancelled) = &snapshot.cancellation {
        let by = cancelled.cancelled_by.as_deref().unwrap_or("unknown");
        fact("cancelled", format!("{} (by {by})", cancelled.reason.as_deref().unwrap_or("-")));
    }

    let next = next::in_words(&known.explanation, times);
    for (place, sentence) in next.into_iter().enumerate() {
        fact(if place == 0 { "next" } else { "" }, sentence);
    }

    fact("created", times.format_in_sentence(snapshot.created_at));
    if let Some(since) = snapshot.claimable_since {
        fact("claimable since", times.format_in_sentence(since));
    }
    fact("last change", times.format_in_sentence(snapshot.last_mutation_at));

    for (name, value) in &snapshot.tags {
        fact(&format!("tag {name}"), value.clone());
    }
    Ok(output.table(&table)?)
}

/// The attempt that failed, and the worker and the instance that ran it.
fn place_of_failure(attempt: &AttemptRecord, instance: Option<&WorkerInstanceId>) -> String {
    let index = attempt.attempt_index;
    match (&attempt.worker_id, instance) {
        (Some(worker), Some(instance)) => {
            format!("attempt {index} on worker {worker}, instance {instance}")
        }
        (Some(worker), None) => format!("attempt {index} on worker {worker}"),
        (None, Some(instance)) => format!("attempt {index} on instance {instance}"),
        (None, None) => format!("attempt {index}"),
    }
}

/// The message of a failure, with its class.
fn failure_in_words(failure: &FailureSummary) -> String {
    match failure.class {
        Some(class) => format!("{} ({})", failure.message, word(&class)),
        None => failure.message.clone(),
    }
}

/// Prints the attempts and the events, with their times since `start`.
pub(super) fn print_timeline(
    output: Output,
    start: TimestampMs,
    timeline: &ExecutionTimeline,
) -> Result<(), Failure> {
    output.line("")?;
    output.line("attempts")?;
    output.table(&attempts(start, &timeline.attempts))?;

    output.line("")?;
    output.line("events")?;
    Ok(output.table(&events(start, &timeline.events, output.zone()))?)
}

fn attempts(start: TimestampMs, attempts: &[AttemptRecord]) -> Table {
    let mut table = Table::new([
        Column::whole("attempt", 0),
        Column::cut("worker", 2),
        Column::whole("epoch", 4),
        Column::whole("started", 3),
        Column::whole("took", 1),
        Column::whole("outcome", 0),
        Column::wrapped("failure", 0),
    ]);

    for attempt in attempts {
        let took = attempt.started_at.zip(attempt.ended_at);
        table.row([
            attempt.attempt_index.to_string(),
            holder(attempt),
            attempt.lease_epoch.to_string(),
            or_dash(attempt.started_at.map(|at| since(start, at))),
            or_dash(took.map(|(from, to)| span(to.0.saturating_sub(from.0)))),
            or_dash(attempt.outcome.as_ref().map(word)),
            or_dash(attempt.failure.as_ref().map(failure_in_words)),
        ]);
    }
    table
}

/// The worker of an attempt. The instance is stored only while it holds the lease; the worker's id
/// stays.
fn holder(attempt: &AttemptRecord) -> String {
    let instance = attempt.worker_instance_id.as_ref().map(ToString::to_string);
    or_dash(instance.or_else(|| attempt.worker_id.as_ref().map(ToString::to_string)))
}

fn events(start: TimestampMs, events: &[TimelineEvent], zone: Zone) -> Table {
    let mut table = Table::new([
        Column::whole("after", 0),
        Column::whole(zone.header(), 1),
        Column::wrapped("event", 0),
    ]);

    table.row([since(start, start), zone.format(start), "created".to_owned()]);
    for event in events {
        table.row([since(start, event.at), zone.format(event.at), event_in_words(event)]);
    }
    table
}

/// An event in words: its kind, its reason, its worker.
fn event_in_words(event: &TimelineEvent) -> String {
    let mut what = match event.outbox {
        Outbox::Lease => match &event.cause {
            // The outbox has one word for every end of a lease.
            Some(cause) => format!("lease ended: {}", word(cause)),
            None if event.event == "revoked" => "lease ended (revoked)".to_owned(),
            None => format!("lease {}", event.event),
        },
        Outbox::Completion if event.event == RESUMABLE => "may go on (resumable)".to_owned(),
        Outbox::Completion => format!("ended: {}", event.event),
        Outbox::Operator => format!("operator: {}", event.event),
        Outbox::Signal => format!("signal {}", event.event),
    };

    if let Some(reason) = &event.reason {
        what.push_str(&format!(", {reason}"));
    }
    if let Some(class) = &event.failure_class {
        what.push_str(&format!(" ({})", word(class)));
    }

    let instance = event.worker_instance_id.as_ref().map(ToString::to_string);
    if let Some(worker) = instance.or(event.worker_id.as_ref().map(ToString::to_string)) {
        what.push_str(&format!(", worker {worker}"));
    }
    what
}

#[cfg(test)]
mod tests {
    use ff_core::types::{AttemptIndex, LeaseEpoch, WorkerId};

    use super::*;

    fn lease(at: i64, event: &str, instance: Option<&str>) -> TimelineEvent {
        let mut lease = TimelineEvent::new(TimestampMs(at), Outbox::Lease, event.to_owned(), at);
        lease.worker_instance_id = instance.map(WorkerInstanceId::new);
        lease
    }

    fn attempt(ended_at: Option<i64>) -> AttemptRecord {
        let worker = Some(WorkerId::new("w"));
        let (index, epoch, end) = (AttemptIndex(2), LeaseEpoch(1), ended_at.map(TimestampMs));
        AttemptRecord::new(index, worker, None, epoch, None, None, end, None)
    }

    /// Also where the next attempt begins at the time at which this one ends.
    #[test]
    fn the_instance_of_a_failed_attempt_is_that_of_its_last_lease() {
        let events = [
            lease(1, ACQUIRED, Some("lost")),
            lease(5, "expired", Some("lost")),
            lease(6, ACQUIRED, Some("failing")),
            lease(9, "revoked", None),
            lease(9, ACQUIRED, Some("next")),
        ];
        for (ended_at, expected) in [
            (Some(5), Some("lost")),
            (Some(9), Some("failing")),
            (None, Some("next")),
            (Some(0), None),
        ] {
            let attempt = attempt(ended_at);
            let found = last_instance(&attempt, &events);
            assert_eq!(found.map(WorkerInstanceId::as_str), expected, "{ended_at:?}");
        }
    }

    #[test]
    fn the_place_of_a_failure_names_what_is_known() {
        let instance = WorkerInstanceId::new("w-1");
        let mut attempt = attempt(None);
        let text = place_of_failure(&attempt, Some(&instance));
        assert_eq!(text, "attempt 2 on worker w, instance w-1");
        assert_eq!(place_of_failure(&attempt, None), "attempt 2 on worker w");
        attempt.worker_id = None;
        assert_eq!(place_of_failure(&attempt, Some(&instance)), "attempt 2 on instance w-1");
        assert_eq!(place_of_failure(&attempt, None), "attempt 2");
    }
}
