//! The event or action that ends each reason: in one sentence, and as a command where there is one.

use serde::Serialize;

use super::NotRunning;
use crate::contracts::Scan;
use crate::model::ids::ExecutionId;

/// The change that ends a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// The change, in one sentence.
    pub sentence: String,
    /// The command of the program `ff` that makes it, where there is one.
    pub command: Option<String>,
}

impl Remedy {
    fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), command: None }
    }

    fn by(self, command: impl Into<String>) -> Self {
        Self { command: Some(command.into()), ..self }
    }
}

impl NotRunning {
    /// The change that ends this reason of that execution.
    #[must_use]
    pub fn remedy(&self, id: &ExecutionId) -> Remedy {
        match self {
            Self::Ended { .. } => {
                Remedy::new("A replay lets it run again.").by(format!("ff replay '{id}'"))
            }
            Self::Running { .. } => {
                Remedy::new("It ends, or its lease ends.").by(format!("ff revoke '{id}'"))
            }
            Self::Suspended { waitpoints, .. } => suspended(id, waitpoints.is_empty()),
            Self::Delayed { .. } => Remedy::new("The time comes."),
            Self::WaitingForDependencies { flow_id, .. } => {
                let remedy = Remedy::new("The executions that it waits for end.");
                match flow_id {
                    Some(flow) => remedy.by(format!("ff flow show {flow}")),
                    None => remedy,
                }
            }
            Self::HeldBack { flow_id } => Remedy::new("Its flow is submitted to the end.")
                .by(format!("ff flow show {flow_id}")),
            Self::Blocked { .. } => {
                Remedy::new("The scheduler that blocked it calls unblock_execution.")
            }
            Self::LaneClosed { lane_id, .. } => Remedy::new("An operator resumes the lane.")
                .by(format!("ff lanes resume {lane_id}")),
            Self::AnotherLane { lane_id, .. } => {
                Remedy::new(format!("A worker claims from lane {lane_id}."))
            }
            Self::Reserved { .. } => {
                Remedy::new("The holder of the grant claims it, or the grant lapses.")
            }
            Self::BudgetWithoutRoom { budget_id, .. } => {
                Remedy::new("The budget is reset, gets a higher limit, or gets something back.")
                    .by(format!("ff budget show {budget_id}"))
            }
            Self::TooManyReservations { budget_id } => {
                Remedy::new("Executions with a reservation end.")
                    .by(format!("ff budget show {budget_id}"))
            }
            Self::LimitReached { limit_key, .. } => {
                Remedy::new("An execution of the key ends, or the limit is raised.")
                    .by(format!("ff limits show '{limit_key}'"))
            }
            Self::RateReached { limit_key, .. } => {
                Remedy::new("The time comes, or the limit is raised.")
                    .by(format!("ff limits show '{limit_key}'"))
            }
            Self::MissingCapabilities { missing } => {
                Remedy::new(format!("The worker also offers {}.", missing.join(", ")))
            }
            Self::NoLiveWorker { lane_id, live_in_lane, missing } => {
                no_worker(lane_id.as_str(), *live_in_lane, missing)
            }
            Self::ScanDue { scan, .. } => scan_due(*scan),
        }
    }
}

fn suspended(id: &ExecutionId, at_no_waitpoint: bool) -> Remedy {
    if at_no_waitpoint {
        Remedy::new("An operator resumes it.").by(format!("ff resume '{id}'"))
    } else {
        Remedy::new("The signals that it waits for are delivered, or an operator resumes it.")
            .by(format!("ff waitpoints '{id}'"))
    }
}

fn no_worker(lane: &str, live_in_lane: u32, missing: &[String]) -> Remedy {
    let offering = if missing.is_empty() {
        String::new()
    } else {
        format!(" that offers {}", missing.join(", "))
    };
    let other = if live_in_lane == 0 { "A" } else { "Another" };
    Remedy::new(format!("{other} worker of lane {lane}{offering} starts.")).by("ff workers")
}

fn scan_due(scan: Scan) -> Remedy {
    let sentence = format!("A scanner runs the scan {}.", scan.as_str());
    Remedy::new(sentence).by("ff scan --until-idle")
}
