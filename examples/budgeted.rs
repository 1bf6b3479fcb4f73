//! Calls of a model within a budget: what does not fit waits until there is room again.
//!
//! `cargo run --example budgeted` works in memory, `… -- sqlite:budgeted.db` in a file.

use std::error::Error;
use std::time::Duration;

use flowfabric_sql::core::contracts::{
    CreateBudgetArgs, ReportUsageResult, ResetBudgetArgs, UsageDimensions,
};
use flowfabric_sql::core::types::BudgetId;
use flowfabric_sql::{Client, Context, ExecutionPolicy, Failure, Job, Service, TimestampMs};
use serde::{Deserialize, Serialize};

const TOKENS: &str = "output_tokens";

/// The tokens of one call.
const CALL: u64 = 30;

/// The tokens of a whole day.
const DAY: u64 = 100;

#[derive(Serialize, Deserialize)]
struct Prompt {
    text: String,
}

impl Job for Prompt {
    const KIND: &'static str = "prompt";
    type Output = String;
}

/// A model of this process: it answers with the words in reverse order.
fn model(prompt: &str) -> (String, u64) {
    let words: Vec<&str> = prompt.split(' ').rev().collect();
    (words.join(" "), CALL)
}

async fn answer(prompt: Prompt, context: Context<BudgetId>) -> Result<String, Failure> {
    let (text, tokens) =
        context.step("call", || async { Ok::<_, Failure>(model(&prompt.text)) }).await?;

    // The key makes a repeated report count once.
    let key = context.run().execution_id.to_string();
    let used = UsageDimensions::new().with_output_tokens(tokens).with_dedup_key(key);
    match context.engine().report_usage(&context.run().handle, context.state(), used).await? {
        ReportUsageResult::HardBreach { hard_limit, .. } => {
            Err(Failure::fail(format!("the budget of {hard_limit} tokens is used up")))
        }
        _ => Ok(text),
    }
}

/// Calls the model five times under a budget for three calls, and again once it is reset.
pub(crate) async fn run(url: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let engine = flowfabric_sql::open(url).await?;
    let budget = BudgetId::new();
    let args = CreateBudgetArgs {
        budget_id: budget.clone(),
        scope_type: "team".into(),
        scope_id: "docs".into(),
        enforcement_mode: String::new(),
        on_hard_limit: "fail".into(),
        on_soft_limit: String::new(),
        reset_interval_ms: 0,
        dimensions: vec![TOKENS.into()],
        hard_limits: vec![DAY],
        soft_limits: vec![0],
        now: TimestampMs::now(),
    };
    engine.create_budget(args).await?;

    let client = Client::new(engine.clone());
    let policy = ExecutionPolicy {
        budget_ids: vec![budget.clone()],
        budget_estimate: [(TOKENS.to_owned(), CALL)].into(),
        ..ExecutionPolicy::default()
    };
    let mut prompts = Vec::new();
    for number in 1..=5 {
        let prompt = Prompt { text: format!("prompt number {number}") };
        prompts.push(client.submit(&prompt).policy(policy.clone()).await?);
    }

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = Service::builder(engine.clone(), budget.clone()).handler(answer).build();
    let running = tokio::spawn(service.run_until(async {
        let _ = stopped.await;
    }));

    // Three calls of 30 tokens fit into 100.
    while engine.get_budget_status(&budget).await?.usage.get(TOKENS) != Some(&(3 * CALL)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    engine
        .reset_budget(ResetBudgetArgs { budget_id: budget.clone(), now: TimestampMs::now() })
        .await?;

    let mut answers = Vec::new();
    for prompt in &prompts {
        answers.push(prompt.result_within(Duration::from_secs(20)).await?);
    }
    drop(stop);
    running.await??;
    assert_eq!(answers.last().map(String::as_str), Some("5 number prompt"));
    assert_eq!(engine.get_budget_status(&budget).await?.usage.get(TOKENS), Some(&(2 * CALL)));
    Ok(answers)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "sqlite::memory:".into());
    println!("{}", run(&url).await?.join("\n"));
    Ok(())
}
