//! The runs of one worker, so that it never has two of one execution at once.

use std::collections::HashMap;

use ff_core::types::ExecutionId;
use tokio::sync::watch;

/// Why a run is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The worker ends: the execution goes back.
    HandBack,
    /// The worker has claimed the execution again, so this lease has lapsed.
    Superseded,
}

/// What the worker knows of each run.
#[derive(Debug, Default)]
pub(super) struct Running(HashMap<ExecutionId, Run>);

#[derive(Debug)]
struct Run {
    order: watch::Sender<Option<Order>>,
    over: watch::Receiver<()>,
}

/// A run's end of it. The run is over when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    orders: watch::Receiver<Option<Order>>,
    older: Option<watch::Receiver<()>>,
    _present: watch::Sender<()>,
}

impl Running {
    /// Enters a run, and tells an older one of the same execution to stop.
    pub(super) fn begin(&mut self, id: &ExecutionId) -> Place {
        self.0.retain(|_, run| run.over.has_changed().is_ok());

        let (order, orders) = watch::channel(None);
        let (present, over) = watch::channel(());
        let older = self.0.insert(id.clone(), Run { order, over }).map(|run| {
            run.order.send_replace(Some(Order::Superseded));
            run.over
        });
        Place { orders, older, _present: present }
    }

    /// Tells every run to stop.
    pub(super) fn hand_back(&self) {
        for run in self.0.values() {
            run.order.send_replace(Some(Order::HandBack));
        }
    }
}

impl Place {
    /// Returns when the run is to stop.
    pub(super) async fn ordered(&self) -> Order {
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

    /// Returns when the older run of the same execution is over.
    pub(super) async fn alone(&self) {
        if let Some(mut older) = self.older.clone() {
            while older.changed().await.is_ok() {}
        }
    }
}
