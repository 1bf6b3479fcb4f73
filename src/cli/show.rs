//! `ff show`: everything that is known about one execution.

use ff_core::contracts::{ExecutionInfo, ExecutionSnapshot, ExecutionTimeline, Outbox};
use ff_core::types::TimestampMs;
use serde_json::json;

use super::Global;
use super::failure::Failure;
use super::ids::IdArguments;
use super::output::{Output, or_dash, since, table, time, word};

/// The one completion event that is no end.
const RESUMABLE: &str = "resumable";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let id = arguments.id.execution_id()?;
    let engine = global.open().await?;
    let failed = |error| Failure::engine(&format!("reading {id}"), &error);
    let info = engine.read_execution_info(&id).await.map_err(failed)?;
    let snapshot = engine.describe_execution(&id).await.map_err(failed)?;
    let (Some(info), Some(snapshot)) = (info, snapshot) else {
        return Err(Failure::new(format!("there is no execution {id}")));
    };
    let timeline = engine.execution_timeline(&id).await.map_err(failed)?;
    let output = global.output();
    if output.is_json() {
        let lease = snapshot.current_lease.as_ref().map(|lease| {
            json!({
                "lease_id": lease.lease_id,
                "lease_epoch": lease.lease_epoch,
                "worker_instance_id": lease.worker_instance_id,
                "expires_at": lease.expires_at,
            })
        });
        output.json(&json!({
            "execution": info,
            "total_attempt_count": snapshot.total_attempt_count,
            "last_mutation_at": snapshot.last_mutation_at,
            "tags": snapshot.tags,
            "lease": lease,
            "attempts": timeline.attempts,
            "events": timeline.events,
        }))?;
        return Ok(());
    }
    print_facts(output, &info, &snapshot)?;
    print_timeline(output, snapshot.created_at, &timeline)
}

fn print_facts(
    output: Output,
    info: &ExecutionInfo,
    snapshot: &ExecutionSnapshot,
) -> Result<(), Failure> {
    let state = &info.state_vector;
    let mut table = table([info.execution_id.as_str(), &word(&info.public_state)]);
    let mut fact = |name: &str, value: String| {
        table.add_row([name.to_owned(), value]);
    };
    fact("kind", info.execution_kind.clone());
    fact("lane", info.lane_id.clone());
    fact("namespace", info.namespace.clone());
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
        fact("lease", format!("{owner}, epoch {epoch}, until {}", time(lease.expires_at)));
    }
    if let Some(detail) = snapshot.blocking_detail.as_ref().filter(|detail| !detail.is_empty()) {
        fact("blocking detail", detail.clone());
    }
    fact("created", time(snapshot.created_at));
    fact("last change", time(snapshot.last_mutation_at));
    for (name, value) in &snapshot.tags {
        fact(&format!("tag {name}"), value.clone());
    }
    Ok(output.line(table.to_string())?)
}

/// The attempts, and what was announced, by time since `start`.
pub(super) fn print_timeline(
    output: Output,
    start: TimestampMs,
    timeline: &ExecutionTimeline,
) -> Result<(), Failure> {
    let mut attempts = table(["attempt", "worker", "epoch", "started", "ended", "outcome"]);
    for attempt in &timeline.attempts {
        // The instance is known while it holds the lease, its pool ever after.
        let holder = attempt.worker_instance_id.as_ref().map(ToString::to_string);
        let pool = attempt.worker_id.as_ref().map(ToString::to_string);
        attempts.add_row([
            attempt.attempt_index.to_string(),
            or_dash(holder.or(pool)),
            attempt.lease_epoch.to_string(),
            or_dash(attempt.started_at.map(|at| since(start, at))),
            or_dash(attempt.ended_at.map(|at| since(start, at))),
            or_dash(attempt.outcome.as_ref().map(word)),
        ]);
    }
    output.line("\nattempts")?;
    output.line(attempts.to_string())?;
    let mut events = table(["after", "time (UTC)", "event"]);
    events.add_row([since(start, start), time(start), "created".to_owned()]);
    for event in &timeline.events {
        let what = match event.outbox {
            // Its holder has ended it as a rule: the outbox has one word for that and for worse.
            Outbox::Lease if event.event == "revoked" => "lease ended (revoked)".to_owned(),
            Outbox::Lease => format!("lease {}", event.event),
            Outbox::Completion if event.event == RESUMABLE => "may go on (resumable)".to_owned(),
            Outbox::Completion => format!("ended: {}", event.event),
            Outbox::Operator => format!("operator: {}", event.event),
            Outbox::Signal => format!("signal {}", event.event),
        };
        events.add_row([since(start, event.at), time(event.at), what]);
    }
    output.line("\nevents")?;
    Ok(output.line(events.to_string())?)
}
