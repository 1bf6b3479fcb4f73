//! `ff explain`: prints every reason why an execution is not running, and what would end each.

use std::sync::Arc;

use ff_core::backend::CapabilitySet;
use ff_core::contracts::{
    AwaitedWaitpoint, ClaimingWorker, ExplainExecutionArgs, Explanation, NotRunning,
    UnmetDependency,
};
use ff_core::engine_backend::EngineBackend;
use ff_core::engine_error::EngineError;
use ff_core::state::ClosedSet as _;
use ff_core::types::ExecutionId;

use super::Global;
use super::clock::Times;
use super::failure::Failure;
use super::filter::capability;
use super::ids::{IdArguments, lane};
use super::output::Output;
use super::refusal::missing;
use super::view::ExplanationView;
use super::words::{or_dash, word};

/// The dependencies and waitpoints that a sentence names.
const NAMED: usize = 3;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    id: IdArguments,
    /// Ask about a worker of this lane, instead of those that are registered.
    #[arg(long, value_name = "LANE")]
    worker_lane: Option<String>,
    /// Ask about a worker that offers this capability; may be repeated.
    #[arg(long, value_name = "TOKEN", value_parser = capability)]
    capability: Vec<String>,
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let name = arguments.id.name()?;
    let worker_lane = arguments.worker_lane.as_deref().map(lane).transpose()?;
    let engine = global.open().await?;
    let id = name.find(&engine).await?;

    let mut explanation = explain(&engine, ExplainExecutionArgs::new(id.clone())).await?;
    if worker_lane.is_some() || !arguments.capability.is_empty() {
        let lane = worker_lane.unwrap_or_else(|| explanation.lane_id.clone());
        let worker = ClaimingWorker::new(lane, CapabilitySet::new(arguments.capability));
        explanation = explain(&engine, ExplainExecutionArgs::new(id).for_worker(worker)).await?;
    }

    let output = global.output();
    if output.is_json() {
        return Ok(output.json(&ExplanationView::from(&explanation))?);
    }
    print(output, &explanation)
}

/// Every reason why an execution is not running.
pub(super) async fn explain(
    engine: &Arc<dyn EngineBackend>,
    args: ExplainExecutionArgs,
) -> Result<Explanation, Failure> {
    let id = args.execution_id.clone();
    engine.explain_execution(args).await.map_err(|error| match error {
        EngineError::NotFound { entity: "execution" } => missing(&id),
        error => Failure::engine(&format!("explaining {id}"), &error),
    })
}

fn print(output: Output, explanation: &Explanation) -> Result<(), Failure> {
    let (id, state) = (&explanation.execution_id, word(&explanation.public_state));
    if explanation.reasons.is_empty() {
        let lane = &explanation.lane_id;
        let line = format!("{state} {id}: nothing holds it up but its place in lane {lane}");
        return Ok(output.line(line)?);
    }

    output.line(format!("{state} {id}"))?;
    let times = output.times(explanation.at_ms);
    for reason in &explanation.reasons {
        let remedy = reason.remedy(id);
        output.line(format!("- {}", sentence(reason, times)))?;
        output.line(match remedy.command {
            Some(command) => format!("  ends when: {} {command}", remedy.sentence),
            None => format!("  ends when: {}", remedy.sentence),
        })?;
    }
    Ok(())
}

/// A reason in words.
pub(super) fn sentence(reason: &NotRunning, times: Times) -> String {
    let at = |at| times.format_in_sentence(at);
    match reason {
        NotRunning::Ended { outcome, ended_at_ms } => {
            format!("it has ended: {} ({})", word(outcome), or_dash(ended_at_ms.map(at)))
        }
        NotRunning::Running { worker_instance_id, lease_epoch, lease_expires_at_ms, .. } => {
            let (worker, until) = (or_dash(worker_instance_id.as_ref()), lease_expires_at_ms);
            let until = or_dash(until.map(at));
            format!("worker {worker} runs it, with epoch {lease_epoch}; the lease expires {until}")
        }
        NotRunning::Suspended { waitpoints, timeout_at_ms, .. } => {
            let timeout = timeout_at_ms.map(|timeout| format!("; it times out {}", at(timeout)));
            format!("it is suspended{}{}", awaited(waitpoints), timeout.unwrap_or_default())
        }
        NotRunning::Delayed { until_ms, blocking_reason } => {
            let why = blocking_reason.map(|reason| format!(" ({})", word(&reason)));
            format!("it waits for a time: {}{}", at(*until_ms), why.unwrap_or_default())
        }
        NotRunning::WaitingForDependencies { unmet, .. } => dependencies(unmet),
        NotRunning::HeldBack { flow_id } => format!("flow {flow_id} is not released"),
        NotRunning::Blocked { eligibility, blocking_reason, detail } => {
            let why = blocking_reason.map(|reason| format!(" ({})", word(&reason)));
            let detail = detail.as_ref().map(|detail| format!(": {detail}"));
            let (why, detail) = (why.unwrap_or_default(), detail.unwrap_or_default());
            format!("it is {}{why}{detail}", eligibility.as_str())
        }
        NotRunning::LaneClosed { lane_id, state, actor, reason, since_ms, until_ms } => {
            let (by, since) = (or_dash(actor.as_ref()), or_dash(since_ms.map(at)));
            let until = until_ms.map(|until| format!(", until {}", at(until))).unwrap_or_default();
            let why = reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("lane {lane_id} is {} (by {by}, {since}{until}){why}", state.as_str())
        }
        NotRunning::AnotherLane { lane_id, worker_lane_id } => {
            format!("the worker claims from lane {worker_lane_id}, not from {lane_id}")
        }
        NotRunning::Reserved { worker_instance_id, until_ms, .. } => {
            let worker = or_dash(worker_instance_id.as_ref());
            format!("a grant reserves it for worker {worker}; it lapses {}", at(*until_ms))
        }
        NotRunning::BudgetWithoutRoom {
            budget_id,
            dimension,
            used,
            reserved,
            requested,
            limit,
        } => {
            let taken = format!("{used} used, {reserved} reserved, {requested} asked for");
            format!("budget {budget_id} has no room for {dimension}: {taken}, of {limit}")
        }
        NotRunning::TooManyReservations { budget_id } => {
            format!("too many executions have reserved something of budget {budget_id}")
        }
        NotRunning::LimitReached { limit_key, max_running, running, .. } => {
            format!("{running} executions of {limit_key} run, and {max_running} may")
        }
        NotRunning::RateReached { limit_key, next_start_ms, .. } => {
            format!("as many of {limit_key} have started as may; next {}", at(*next_start_ms))
        }
        NotRunning::MissingCapabilities { missing } => {
            format!("the worker does not offer {}", missing.join(", "))
        }
        NotRunning::NoLiveWorker { lane_id, live_in_lane, missing } => {
            no_worker(lane_id.as_str(), *live_in_lane, missing)
        }
        NotRunning::ScanDue { scan, since_ms } => {
            let since = at(*since_ms);
            format!("no scanner has run {}, which is due since {since}", scan.as_str())
        }
    }
}

fn awaited(waitpoints: &[AwaitedWaitpoint]) -> String {
    if waitpoints.is_empty() {
        return String::new();
    }

    let signals = |waitpoint: &AwaitedWaitpoint| {
        let names = waitpoint.required_signal_names.join(" or ");
        let names = if names.is_empty() { "any signal".to_owned() } else { names };
        format!("{} ({names})", waitpoint.waitpoint_key)
    };
    format!(" at {}", listed(waitpoints.iter().map(signals), waitpoints.len()))
}

fn dependencies(unmet: &[UnmetDependency]) -> String {
    if unmet.is_empty() {
        return "it waits for others of its flow".to_owned();
    }

    let named = |upstream: &UnmetDependency| {
        let id: &ExecutionId = &upstream.execution_id;
        format!("{id} ({})", word(&upstream.public_state))
    };
    format!("it waits for {}", listed(unmet.iter().map(named), unmet.len()))
}

/// The first few of several things.
fn listed(things: impl Iterator<Item = String>, count: usize) -> String {
    let named = things.take(NAMED).collect::<Vec<_>>().join(", ");
    match count.saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn no_worker(lane: &str, live_in_lane: u32, missing: &[String]) -> String {
    let offers = missing.join(", ");
    match (live_in_lane, missing.is_empty()) {
        (0, true) => format!("no registered worker of lane {lane} is alive"),
        (0, false) => format!("no registered worker of lane {lane} is alive; needed is {offers}"),
        (live, _) => format!("none of {live} live workers of lane {lane} offers {offers}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let three = || ["a", "b", "c"].map(str::to_owned).into_iter();
        assert_eq!(listed(three(), 3), "a, b, c");
        assert_eq!(listed(three(), 5), "a, b, c and 2 more");
    }
}
