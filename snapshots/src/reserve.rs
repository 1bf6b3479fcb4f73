//! The situations in which executions reserve from budgets, use what they reserved, and over-run.

use std::collections::BTreeMap;

use ff_core::backend::UsageDimensions;
use ff_core::contracts::{
    CreateBudgetArgs, DeliverApprovalSignalArgs, DeliverSignalArgs, ListPendingWaitpointsArgs,
    RecordSpendArgs,
};
use ff_core::engine_backend::EngineBackend;
use ff_core::policy::ExecutionPolicy;
use ff_core::types::{BudgetId, ExecutionId, TimestampMs, WaitpointId};
use uuid::Uuid;

use super::fixtures::{capabilities, lane, worker};
use super::grants::{grant, redemption};
use super::stage::{NOON, Scene, now};
use super::suspensions::{partition_key, signal};

fn budget(number: u128) -> BudgetId {
    BudgetId::from_uuid(Uuid::from_u128(0xB00 + number))
}

fn cost(amount: u64) -> BTreeMap<String, u64> {
    [("cost".to_owned(), amount)].into()
}

fn estimated(budgets: impl IntoIterator<Item = u128>) -> ExecutionPolicy {
    ExecutionPolicy {
        budget_ids: budgets.into_iter().map(budget).collect(),
        budget_estimate: cost(6),
        ..ExecutionPolicy::default()
    }
}

impl Scene {
    fn limited(&self, number: u128, on_hard_limit: &str) {
        let args = CreateBudgetArgs {
            on_hard_limit: on_hard_limit.into(),
            ..self.budget_args(budget(number))
        };
        let _ = now(self.backend.create_budget(args));
    }

    fn report(&mut self, case: &'static str, handle: &ff_core::backend::Handle, amount: u64) {
        for (case, key) in [(case.to_owned(), None), (format!("{case}, with a key"), Some("a"))] {
            let mut used = UsageDimensions::new();
            used.custom = cost(amount);
            used.dedup_key = key.map(|key| format!("{key}{amount}"));
            self.sample("report_usage", case, async |b| {
                b.report_usage(handle, &budget(1), used).await
            });
        }
    }

    /// Executions with an estimate: claimed, reported on, and at the end of their budget.
    pub(super) fn reservations(&mut self) {
        self.limited(1, "suspend");
        self.seed_key();
        let mut args = self.args();
        args.policy = Some(estimated([1]));
        self.sample("create_execution", "with an estimate", async |b| {
            b.create_execution(args).await
        });
        self.sample("has_claimable", "with an estimate", async |b| {
            b.has_claimable(&lane(), &capabilities()).await
        });
        self.sample("claim", "with an estimate", async |b| {
            b.claim(&lane(), &capabilities(), worker()).await
        });

        let Some((id, handle)) = self.held(Some(estimated([1]))) else { return };
        self.report("of what is reserved", &handle, 1);
        self.spend("of what is reserved", &id, 1);
        self.over_run(&id, &handle);
        self.some_budgets();
        self.reserving_grant();
        self.over_runs_by_id();
        self.over_runs_signalled();
        self.undefined_budgets();
    }

    /// The first reports on budgets that no call has defined.
    fn undefined_budgets(&mut self) {
        for (number, key) in [(20, None), (21, Some("a"))] {
            let reserved = estimated([number, number + 2]);
            let Some((id, handle)) = self.held(Some(reserved)) else { continue };
            let keyed = if key.is_some() { ", with a key" } else { "" };
            let case = format!("of what is reserved of an undefined budget{keyed}");

            let mut used = UsageDimensions::new();
            used.custom = cost(1);
            used.dedup_key = key.map(str::to_owned);
            self.sample("report_usage", case.clone(), async |b| {
                b.report_usage(&handle, &budget(number), used).await
            });
            let key = key.unwrap_or_default();
            let args = RecordSpendArgs::new(budget(number + 2), id, cost(1), key);
            self.sample("record_spend", case, async |b| b.record_spend(args).await);
        }
    }

    /// Reports that name a running execution: it fails, is cancelled, or waits.
    fn over_runs_by_id(&mut self) {
        for (number, word) in [(5, "fail"), (6, "cancel"), (7, "suspend")] {
            self.limited(number, word);
            let Some((id, _)) = self.held(Some(estimated([number]))) else { continue };
            let args = RecordSpendArgs::new(budget(number), id, cost(200), "");
            let case = format!("beyond a hard limit, to {word}");
            self.sample("record_spend", case, async |b| b.record_spend(args).await);

            let plain = ExecutionPolicy { budget_estimate: BTreeMap::new(), ..estimated([number]) };
            let Some((id, _)) = self.held(Some(plain)) else { continue };
            let args = RecordSpendArgs::new(budget(number), id, cost(200), "");
            let case = format!("beyond a hard limit, to {word}, without an estimate");
            self.sample("record_spend", case, async |b| b.record_spend(args).await);
        }
    }

    fn spend(&mut self, case: &'static str, id: &ExecutionId, amount: u64) {
        for (case, key) in [(case.to_owned(), ""), (format!("{case}, with a key"), "s")] {
            let args = RecordSpendArgs::new(budget(1), id.clone(), cost(amount), key);
            self.sample("record_spend", case, async |b| b.record_spend(args).await);
        }
    }

    /// A report beyond the limit, the wait that follows, and its approval.
    fn over_run(&mut self, id: &ExecutionId, handle: &ff_core::backend::Handle) {
        self.report("beyond a hard limit that suspends", handle, 200);
        let Some(waitpoint) = self.open_waitpoint(id) else { return };
        let (id, name, key) = (id.clone(), "approved", "");
        let args =
            DeliverApprovalSignalArgs::new(id, lane(), waitpoint, name, key, 60_000, None, None);
        self.sample("deliver_approval_signal", "more of a budget", async |b| {
            b.deliver_approval_signal(args).await
        });
    }

    /// The same approval by a signal with the token of the waitpoint.
    fn over_runs_signalled(&mut self) {
        for (number, key) in [(8, None), (9, Some("a"))] {
            self.limited(number, "suspend");
            let Some((id, _)) = self.held(Some(estimated([number]))) else { continue };
            let spent = RecordSpendArgs::new(budget(number), id.clone(), cost(200), "");
            let _ = now(self.backend.record_spend(spent));
            let Some(waitpoint_id) = self.open_waitpoint(&id) else { continue };
            let token = self.backend.read_waitpoint_token(partition_key(&id), &waitpoint_id);
            let Some(Ok(Some(token))) = now(token) else { continue };

            let args = DeliverSignalArgs {
                waitpoint_id,
                idempotency_key: key.map(str::to_owned),
                ..signal(&id, "approved", &token, self.at())
            };
            let keyed = if key.is_some() { ", with an idempotency key" } else { "" };
            self.sample("deliver_signal", format!("more of a budget{keyed}"), async |b| {
                b.deliver_signal(args).await
            });
        }
    }

    /// The waitpoint at which an execution waits.
    fn open_waitpoint(&self, id: &ExecutionId) -> Option<WaitpointId> {
        let open = ListPendingWaitpointsArgs::new(id.clone());
        let open = now(self.backend.list_pending_waitpoints(open)).and_then(Result::ok)?;
        Some(open.entries.into_iter().next()?.waitpoint_id)
    }

    /// Claims that reserve in two budgets, in one that is not defined, and when they are due.
    fn some_budgets(&mut self) {
        self.limited(2, "");
        for (case, budgets) in [
            ("with an estimate and two budgets", vec![1, 2]),
            ("with an estimate and a budget that is not defined", vec![3]),
        ] {
            self.submit(|args| args.policy = Some(estimated(budgets)));
            self.sample("claim", case, async |b| b.claim(&lane(), &capabilities(), worker()).await);
        }

        self.submit(|args| {
            args.policy = Some(estimated([2]));
            args.delay_until = Some(TimestampMs(NOON + 5));
        });
        self.pass(10);
        self.sample("claim", "with an estimate, due", async |b| {
            b.claim(&lane(), &capabilities(), worker()).await
        });
    }

    fn reserving_grant(&mut self) {
        for (case, budgets) in [
            ("with an estimate", vec![2]),
            ("with an estimate and two budgets", vec![1, 2]),
            ("with an estimate and a budget that is not defined", vec![3]),
        ] {
            let (id, at) = (self.submit(|args| args.policy = Some(estimated(budgets))), self.at());
            let issued = grant(&id, &capabilities().tokens, at);
            self.sample("issue_claim_grant", case, async |b| b.issue_claim_grant(issued).await);
            let args = redemption(&id, at);
            self.sample("claim_execution", case, async |b| b.claim_execution(args).await);
        }
    }
}
