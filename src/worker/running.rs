//! The runs of one worker. They ensure that it never runs one execution twice at the same time.

use std::collections::HashMap;

use ff_core::types::ExecutionId;
use tokio::sync::watch;

/// The reason for which a run is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopOrder {
    /// The worker ends: the execution goes back.
    HandBack,
    /// The worker has claimed the execution again, so this lease has lapsed.
    Superseded,
}

/// The runs in progress, by execution.
#[derive(Debug, Default)]
pub(super) struct Running(HashMap<ExecutionId, Run>);

#[derive(Debug)]
struct Run {
    order: watch::Sender<Option<StopOrder>>,
    over: watch::Receiver<()>,
}

/// A run's side of its entry in [`Running`]. Dropping it says that the run is over.
#[derive(Debug)]
pub(super) struct RunEntry {
    orders: watch::Receiver<Option<StopOrder>>,
    older: Option<watch::Receiver<()>>,
    _running: watch::Sender<()>,
}

impl Running {
    /// Adds a run, and stops an older run of the same execution.
    pub(super) fn add(&mut self, id: &ExecutionId) -> RunEntry {
        // Runs that are over have dropped their end.
        self.0.retain(|_, run| run.over.has_changed().is_ok());

        let (order, orders) = watch::channel(None);
        let (running, over) = watch::channel(());
        let older = self.0.insert(id.clone(), Run { order, over }).map(|run| {
            run.order.send_replace(Some(StopOrder::Superseded));
            run.over
        });
        RunEntry { orders, older, _running: running }
    }

    /// Orders every run to stop.
    pub(super) fn hand_back(&self) {
        for run in self.0.values() {
            run.order.send_replace(Some(StopOrder::HandBack));
        }
    }
}

impl RunEntry {
    /// Waits for the order to stop.
    pub(super) async fn wait_for_order(&self) -> StopOrder {
        let mut orders = self.orders.clone();
        loop {
            if let Some(order) = *orders.borrow_and_update() {
                return order;
            }
            if orders.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the older run of the same execution is over.
    pub(super) async fn wait_for_older_run(&self) {
        if let Some(mut older) = self.older.clone() {
            // Nothing is ever sent; the channel closes when the older run is over.
            while older.changed().await.is_ok() {}
        }
    }
}
