//! `ff quota`: defines quota policies, shows them, and admits and releases executions.

use std::sync::Arc;

use ff_core::contracts::{
    CheckAdmissionArgs, CheckAdmissionResult, CreateQuotaPolicyArgs, CreateQuotaPolicyResult,
    QuotaPolicyLimits, ReleaseAdmissionArgs,
};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{ExecutionId, QuotaPolicyId};

use super::Global;
use super::clock::{now, span as span_text};
use super::failure::Failure;
use super::filter::span;
use super::ids::{ExecutionName, any_execution};
use super::output::Output;
use super::view::{AdmissionView, QuotaDefinedView, QuotaView};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Define a quota policy. If there is one with that id already, it is kept.
    Create(Create),
    /// Show the limits of a policy.
    Show {
        /// The policy.
        #[arg(value_name = "QUOTA", value_parser = quota_id)]
        quota: QuotaPolicyId,
    },
    /// Ask a policy to admit an execution, within its limits. Fails if it does not.
    Check(Admission),
    /// Release an execution that was admitted.
    Release(Admission),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The id of the policy; a new one if it is absent.
    #[arg(long, value_name = "UUID", value_parser = quota_id)]
    id: Option<QuotaPolicyId>,
    /// The length of the window: 30s, 1m, 1h.
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "1m")]
    window: i64,
    /// The most admissions within a window; 0 for any number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    rate: u64,
    /// The most admitted executions at once; 0 for any number.
    #[arg(long, value_name = "N", default_value_t = 0)]
    concurrency: u64,
}

#[derive(Debug, clap::Args)]
struct Admission {
    /// The policy.
    #[arg(value_name = "QUOTA", value_parser = quota_id)]
    quota: QuotaPolicyId,
    /// The execution: its id, or the first digits of the UUID.
    #[arg(value_name = "ID", value_parser = any_execution)]
    execution: ExecutionName,
}

/// Reads the id of a policy.
fn quota_id(text: &str) -> Result<QuotaPolicyId, String> {
    QuotaPolicyId::parse(text).map_err(|_| format!("quota policy {text:?} is no UUID"))
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let output = global.output();
    match arguments.action {
        Action::Create(create) => define(&global.open_or_create().await?, output, create).await,
        Action::Show { quota } => {
            let limits = limits(&global.open().await?, &quota).await?;
            show(output, &quota, limits)
        }
        Action::Check(admission) => check(&global.open_existing().await?, output, admission).await,
        Action::Release(Admission { quota, execution }) => {
            let engine = global.open_existing().await?;
            limits(&engine, &quota).await?;
            let execution = execution.find(&engine).await?;
            let args = ReleaseAdmissionArgs::new(quota, execution.clone());
            let released = engine.release_admission(args).await;
            released.map_err(|error| Failure::engine("releasing", &error))?;
            answer(output, &execution, "released")
        }
    }
}

async fn define(
    engine: &Arc<dyn EngineBackend>,
    output: Output,
    create: Create,
) -> Result<(), Failure> {
    let args = CreateQuotaPolicyArgs {
        quota_policy_id: create.id.unwrap_or_default(),
        window_seconds: create.window.unsigned_abs() / 1_000,
        max_requests_per_window: create.rate,
        max_concurrent: create.concurrency,
        now: now(engine).await?,
    };
    let created = engine.create_quota_policy(args).await;
    let (id, outcome, text) =
        match created.map_err(|error| Failure::engine("defining a quota policy", &error))? {
            CreateQuotaPolicyResult::Created { quota_policy_id } => {
                (quota_policy_id, "created", "is defined")
            }
            CreateQuotaPolicyResult::AlreadySatisfied { quota_policy_id } => {
                (quota_policy_id, "already_defined", "is defined already: nothing was changed")
            }
        };

    if output.is_json() {
        return Ok(output.json(&QuotaDefinedView { quota_policy_id: &id, outcome })?);
    }
    Ok(output.line(format!("quota policy {id} {text}"))?)
}

async fn limits(
    engine: &Arc<dyn EngineBackend>,
    quota: &QuotaPolicyId,
) -> Result<QuotaPolicyLimits, Failure> {
    let limits = engine.read_quota_policy_limits(quota).await;
    let limits = limits.map_err(|error| Failure::engine("reading the quota policy", &error))?;
    limits.ok_or_else(|| Failure::new(format!("there is no quota policy {quota}")))
}

fn show(output: Output, quota: &QuotaPolicyId, limits: QuotaPolicyLimits) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(output.json(&QuotaView {
            quota_policy_id: quota,
            window_ms: limits.requests_per_window_seconds.saturating_mul(1_000),
            max_requests_per_window: limits.max_requests_per_window,
            max_concurrent: limits.active_concurrency_cap,
        })?);
    }

    let limit = |limit: u64| if limit == 0 { "any number".to_owned() } else { limit.to_string() };
    let window = i64::try_from(limits.requests_per_window_seconds).unwrap_or(i64::MAX);
    let window = span_text(window.saturating_mul(1_000));
    output.line(format!("quota       {quota}"))?;
    output.line(format!("rate        {} in {window}", limit(limits.max_requests_per_window)))?;
    Ok(output.line(format!("concurrency {}", limit(limits.active_concurrency_cap)))?)
}

async fn check(
    engine: &Arc<dyn EngineBackend>,
    output: Output,
    admission: Admission,
) -> Result<(), Failure> {
    let Admission { quota, execution } = admission;
    let limits = limits(engine, &quota).await?;
    let execution = execution.find(engine).await?;
    let args = CheckAdmissionArgs {
        execution_id: execution.clone(),
        now: now(engine).await?,
        window_seconds: limits.requests_per_window_seconds,
        rate_limit: limits.max_requests_per_window,
        concurrency_cap: limits.active_concurrency_cap,
        jitter_ms: None,
    };

    let checked = engine.check_admission(&quota, "", args).await;
    match checked.map_err(|error| Failure::engine("asking for admission", &error))? {
        CheckAdmissionResult::Admitted => answer(output, &execution, "admitted"),
        CheckAdmissionResult::AlreadyAdmitted => answer(output, &execution, "already_admitted"),
        CheckAdmissionResult::RateExceeded { retry_after_ms } => {
            let wait = span_text(i64::try_from(retry_after_ms).unwrap_or(i64::MAX));
            Err(Failure::new(format!("not admitted: the window is full for another {wait}")))
        }
        CheckAdmissionResult::ConcurrencyExceeded => {
            Err(Failure::new("not admitted: too many admitted executions run"))
        }
    }
}

fn answer(output: Output, execution: &ExecutionId, outcome: &'static str) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(output.json(&AdmissionView { execution_id: execution, outcome })?);
    }
    Ok(output.line(format!("{execution} is {}", outcome.replace('_', " ")))?)
}
