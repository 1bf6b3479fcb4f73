//! `ff budget`: defines budgets, shows them, and reports to them, for an operator.

use std::collections::BTreeMap;
use std::sync::Arc;

use ff_core::EngineError;
use ff_core::contracts::{
    BudgetStatus, BudgetUsageAndLimits, CreateBudgetArgs, CreateBudgetResult, RecordSpendArgs,
    ReleaseBudgetArgs, ReportUsageAdminArgs, ReportUsageResult, ResetBudgetArgs, ResetBudgetResult,
};
use ff_core::engine_backend::EngineBackend;
use ff_core::types::{BudgetId, TimestampMs};

use super::Global;
use super::clock::now;
use super::failure::Failure;
use super::filter::span;
use super::ids::{BudgetName, ExecutionName, any_execution};
use super::output::Output;
use super::table::{Column, Table};
use super::view::{BudgetChangedView, BudgetReportView, BudgetView, BudgetsView};
use super::words::or_dash;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Define a budget. If there is one with that id already, it is kept.
    Create(Create),
    /// Show a budget: its limits, its totals and its breaches.
    Show {
        /// The budget: its id, or the first digits of it.
        #[arg(value_name = "BUDGET")]
        budget: BudgetName,
    },
    /// List budgets, by id.
    Ls {
        /// The most budgets to list.
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Only those after this one, in the order of the list.
        #[arg(long, value_name = "BUDGET")]
        after: Option<BudgetName>,
    },
    /// Set the totals of a budget to 0.
    Reset {
        /// The budget: its id, or the first digits of it.
        #[arg(value_name = "BUDGET")]
        budget: BudgetName,
    },
    /// Add to the totals of a budget. Fails, and adds nothing, beyond a hard limit.
    Report(Report),
    /// Take back what one execution contributed to a budget.
    Release {
        /// The budget: its id, or the first digits of it.
        #[arg(value_name = "BUDGET")]
        budget: BudgetName,
        /// The execution: its id, or the first digits of the UUID.
        #[arg(value_name = "ID", value_parser = any_execution)]
        execution: ExecutionName,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The id of the budget; a new one if it is absent.
    #[arg(long, value_name = "UUID", value_parser = budget_id)]
    id: Option<BudgetId>,
    /// A limit that no report may exceed, such as `cost=100`.
    #[arg(long, value_name = "DIMENSION=N", value_parser = amount)]
    hard: Vec<(String, u64)>,
    /// A limit that may be exceeded, which is counted, such as `cost=80`.
    #[arg(long, value_name = "DIMENSION=N", value_parser = amount)]
    soft: Vec<(String, u64)>,
    /// What a report beyond a hard limit does, besides being refused, to the execution that made
    /// it. One that warns counts. One that suspends waits for `ff approve`, which raises the limit.
    #[arg(long, value_name = "ACTION", default_value = "refuse")]
    over_run: OverRunAction,
    /// The time between two resets: 1h, 1d. Without it, only `ff budget reset` resets the budget.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    every: Option<i64>,
    /// The kind of thing that the budget covers, in words of your own.
    #[arg(long, value_name = "TEXT", default_value = "")]
    scope_type: String,
    /// The thing that the budget covers, in words of your own.
    #[arg(long, value_name = "TEXT", default_value = "")]
    scope: String,
}

/// What a report beyond a hard limit does.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum OverRunAction {
    Refuse,
    Warn,
    Fail,
    Cancel,
    Suspend,
}

impl OverRunAction {
    /// The word of a budget's policy.
    fn word(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Cancel => "cancel",
            Self::Suspend => "suspend",
        }
    }
}

#[derive(Debug, clap::Args)]
struct Report {
    /// The budget: its id, or the first digits of it.
    #[arg(value_name = "BUDGET")]
    budget: BudgetName,
    /// The amounts, such as `cost=5`.
    #[arg(value_name = "DIMENSION=N", required = true, value_parser = amount)]
    amounts: Vec<(String, u64)>,
    /// Counts the report once a day, however often it is made with this key.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The execution that spent it, so that it can be released: its id, or the first digits of it.
    #[arg(long, value_name = "ID", value_parser = any_execution)]
    execution: Option<ExecutionName>,
}

/// Reads the id of a budget.
fn budget_id(text: &str) -> Result<BudgetId, String> {
    BudgetId::parse(text).map_err(|_| format!("budget {text:?} is no UUID"))
}

/// Reads an amount of a dimension.
fn amount(text: &str) -> Result<(String, u64), String> {
    let parsed = text.rsplit_once('=').and_then(|(dimension, amount)| {
        Some((dimension.to_owned(), amount.parse().ok()?)).filter(|(name, _)| !name.is_empty())
    });
    parsed.ok_or_else(|| "expected DIMENSION=N, such as cost=5".to_owned())
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let output = global.output();
    match arguments.action {
        Action::Create(create) => define(&global.open_or_create().await?, output, create).await,
        Action::Show { budget } => {
            let engine = global.open().await?;
            let (budget, status) = defined(&engine, budget).await?;
            show(&engine, output, &budget, &status).await
        }
        Action::Ls { limit, after } => list(&global.open().await?, output, limit, after).await,
        Action::Reset { budget } => {
            let engine = global.open_existing().await?;
            let (budget, _) = defined(&engine, budget).await?;
            reset(&engine, output, budget).await
        }
        Action::Report(report) => {
            report_usage(&global.open_existing().await?, output, report).await
        }
        Action::Release { budget, execution } => {
            let engine = global.open_existing().await?;
            let (budget, _) = defined(&engine, budget).await?;
            let execution = execution.find(&engine).await?;
            let args = ReleaseBudgetArgs::new(budget.clone(), execution);
            let released = engine.release_budget(args).await;
            released.map_err(|error| Failure::engine("releasing", &error))?;
            changed(output, &budget, "released", None, format!("budget {budget} is released"))
        }
    }
}

/// Finds a budget that is defined. The engine counts reports to any id, so a mistyped one would be
/// no error.
async fn defined(
    engine: &Arc<dyn EngineBackend>,
    name: BudgetName,
) -> Result<(BudgetId, BudgetStatus), Failure> {
    let budget = name.find(engine).await?;
    match engine.get_budget_status(&budget).await {
        Ok(status) => Ok((budget, status)),
        Err(EngineError::NotFound { .. }) => {
            Err(Failure::new(format!("there is no budget {budget}"))
                .with_help("ff budget ls lists budgets"))
        }
        Err(error) => Err(Failure::engine("reading the budget", &error)),
    }
}

async fn define(
    engine: &Arc<dyn EngineBackend>,
    output: Output,
    create: Create,
) -> Result<(), Failure> {
    if create.every == Some(0) {
        return Err(Failure::usage("--every: a budget cannot be reset all the time"));
    }

    let (hard, soft): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (create.hard.into_iter().collect(), create.soft.into_iter().collect());
    let dimensions: std::collections::BTreeSet<String> =
        hard.keys().chain(soft.keys()).cloned().collect();
    let limits = |of: &BTreeMap<String, u64>| {
        dimensions.iter().map(|name| of.get(name).copied().unwrap_or(0)).collect()
    };

    let args = CreateBudgetArgs {
        budget_id: create.id.unwrap_or_default(),
        scope_type: create.scope_type,
        scope_id: create.scope,
        enforcement_mode: String::new(),
        on_hard_limit: create.over_run.word().to_owned(),
        on_soft_limit: String::new(),
        reset_interval_ms: create.every.unwrap_or(0).unsigned_abs(),
        hard_limits: limits(&hard),
        soft_limits: limits(&soft),
        dimensions: dimensions.into_iter().collect(),
        now: now(engine).await?,
    };
    let created = engine.create_budget(args).await;
    match created.map_err(|error| Failure::engine("defining a budget", &error))? {
        CreateBudgetResult::Created { budget_id: id } => {
            changed(output, &id, "created", None, format!("budget {id} is defined"))
        }
        CreateBudgetResult::AlreadySatisfied { budget_id: id } => {
            let text = format!("budget {id} is defined already: nothing was changed");
            changed(output, &id, "already_defined", None, text)
        }
    }
}

async fn show(
    engine: &Arc<dyn EngineBackend>,
    output: Output,
    budget: &BudgetId,
    status: &BudgetStatus,
) -> Result<(), Failure> {
    let totals = engine.read_budget_usage_and_limits(budget).await;
    let totals = totals.map_err(|error| Failure::engine("reading the budget", &error))?;
    let view = BudgetView::of(status, &totals);
    if output.is_json() {
        return Ok(output.json(&view)?);
    }

    output.line(format!("budget   {}", status.budget_id))?;
    let scope = format!("{} {}", status.scope_type, status.scope_id);
    if !scope.trim().is_empty() {
        output.line(format!("scope    {}", scope.trim()))?;
    }
    output.line(format!("breaches {} hard, {} soft", view.breach_count, view.soft_breach_count))?;
    if let Some(next) = view.next_reset_at_ms {
        let times = output.times(now(engine).await?);
        let next = times.format_in_sentence(TimestampMs(next));
        output.line(format!("reset    {next}"))?;
    }
    Ok(output.table(&dimensions(status, &totals))?)
}

fn dimensions(status: &BudgetStatus, totals: &BudgetUsageAndLimits) -> Table {
    let columns = [
        Column::cut("dimension", 0),
        Column::whole("used", 0),
        Column::whole("reserved", 0),
        Column::whole("hard", 0),
        Column::whole("raised by", 0),
        Column::whole("soft", 0),
    ];
    let limits = status.hard_limits.keys().chain(status.soft_limits.keys());
    let used = status.usage.keys().chain(totals.reserved.keys());
    let names: std::collections::BTreeSet<&String> = used.chain(limits).collect();

    let mut table = Table::new(columns);
    for name in names {
        let limit = |of: &std::collections::HashMap<String, u64>| {
            or_dash(of.get(name).filter(|limit| 0 < **limit))
        };
        let used = status.usage.get(name).copied().unwrap_or(0).to_string();
        let (hard, soft) = (limit(&status.hard_limits), limit(&status.soft_limits));
        let reserved = totals.reserved.get(name).copied().unwrap_or(0).to_string();
        let raised = or_dash(totals.overdraft.get(name));
        table.row([name.clone(), used, reserved, hard, raised, soft]);
    }
    table
}

async fn list(
    engine: &Arc<dyn EngineBackend>,
    output: Output,
    limit: u32,
    after: Option<BudgetName>,
) -> Result<(), Failure> {
    let after = match after {
        Some(name) => Some(name.find(engine).await?),
        None => None,
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = engine.list_budgets(after, limit).await;
    let page = page.map_err(|error| Failure::engine("listing budgets", &error))?;
    if output.is_json() {
        return Ok(output.json(&BudgetsView::of(&page))?);
    }
    if page.budgets.is_empty() {
        return Ok(output.line("no budgets")?);
    }

    let columns = [
        Column::whole("budget", 0),
        Column::cut("scope", 1),
        Column::whole("breaches", 0),
        Column::whole("reset", 1),
    ];
    let times = output.times(now(engine).await?);
    let mut table = Table::new(columns);
    for budget in &page.budgets {
        let scope = format!("{} {}", budget.scope_type, budget.scope_id);
        let breaches = format!("{} hard, {} soft", budget.breach_count, budget.soft_breach_count);
        let reset = or_dash(budget.next_reset_at.map(|next| times.format(next)));
        table.row([budget.budget_id.to_string(), scope.trim().to_owned(), breaches, reset]);
    }
    output.table(&table)?;
    if let Some(next) = page.next_cursor {
        output.line(format!("more: --after '{next}'"))?;
    }
    Ok(())
}

async fn reset(
    engine: &Arc<dyn EngineBackend>,
    output: Output,
    budget: BudgetId,
) -> Result<(), Failure> {
    let at = now(engine).await?;
    let reset = engine.reset_budget(ResetBudgetArgs { budget_id: budget.clone(), now: at }).await;
    let ResetBudgetResult::Reset { next_reset_at } =
        reset.map_err(|error| Failure::engine("resetting", &error))?;

    // Zero stands for a budget that is never reset by itself.
    let next = Some(next_reset_at).filter(|next| 0 < next.0);
    let again = next.map(|next| output.times(at).format_in_sentence(next));
    let again = again.map(|next| format!("; the next reset is {next}")).unwrap_or_default();
    changed(output, &budget, "reset", next, format!("budget {budget} is reset{again}"))
}

async fn report_usage(
    engine: &Arc<dyn EngineBackend>,
    output: Output,
    report: Report,
) -> Result<(), Failure> {
    let Report { budget, amounts, key, execution } = report;
    let (budget, _) = defined(engine, budget).await?;
    let reported = match execution {
        Some(execution) => {
            let execution = execution.find(engine).await?;
            let amounts = amounts.into_iter().collect();
            let key = key.unwrap_or_default();
            let args = RecordSpendArgs::new(budget.clone(), execution, amounts, key);
            engine.record_spend(args).await
        }
        None => {
            let (dimensions, deltas) = amounts.into_iter().unzip();
            let mut args = ReportUsageAdminArgs::new(dimensions, deltas, now(engine).await?);
            args.dedup_key = key;
            engine.report_usage_admin(&budget, args).await
        }
    };

    let (view, text) = match reported.map_err(|error| Failure::engine("reporting", &error))? {
        ReportUsageResult::Ok => {
            (BudgetReportView::of(&budget, "ok"), "counted, within all limits".to_owned())
        }
        ReportUsageResult::SoftBreach { dimension, current_usage, soft_limit } => {
            let text = format!(
                "counted; {dimension} is at {current_usage}, above its soft limit of {soft_limit}"
            );
            let view = BudgetReportView {
                dimension: Some(dimension),
                total: Some(current_usage),
                limit: Some(soft_limit),
                ..BudgetReportView::of(&budget, "soft_breach")
            };
            (view, text)
        }
        ReportUsageResult::HardBreach { dimension, current_usage, hard_limit } => {
            return Err(Failure::new(format!(
                "not counted: {dimension} is at {current_usage} and would exceed its hard limit \
                 of {hard_limit}"
            )));
        }
        ReportUsageResult::AlreadyApplied => {
            (BudgetReportView::of(&budget, "already_applied"), "counted before".to_owned())
        }
        _ => return Err(Failure::new("reporting: the answer is unknown")),
    };
    if output.is_json() { Ok(output.json(&view)?) } else { Ok(output.line(text)?) }
}

fn changed(
    output: Output,
    budget: &BudgetId,
    outcome: &'static str,
    next_reset_at: Option<TimestampMs>,
    text: String,
) -> Result<(), Failure> {
    if output.is_json() {
        let next_reset_at_ms = next_reset_at.map(|next| next.0);
        let view = BudgetChangedView { budget_id: budget, outcome, next_reset_at_ms };
        return Ok(output.json(&view)?);
    }
    Ok(output.line(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_names_its_dimension() {
        assert_eq!(amount("cost=5"), Ok(("cost".to_owned(), 5)));
        assert_eq!(amount("a=b=5"), Ok(("a=b".to_owned(), 5)));
        for wrong in ["cost", "=5", "cost=", "cost=-1", "cost=1.5"] {
            assert!(amount(wrong).is_err(), "{wrong}");
        }
    }
}
