//! The examples run, and each checks its own end. `approval` runs beside the commands.

mod orders;

#[allow(dead_code, reason = "its main function")]
#[path = "../../examples/budgeted.rs"]
mod budgeted;
#[allow(dead_code, reason = "its main function")]
#[path = "../../examples/cron_report.rs"]
mod cron_report;
#[allow(dead_code, reason = "its main function")]
#[path = "../../examples/quorum.rs"]
mod quorum;
#[allow(dead_code, reason = "its main function")]
#[path = "../../examples/saga.rs"]
mod saga;

use std::time::Duration;

/// How long all of them may take.
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_ends_as_it_says() {
    let url = "sqlite::memory:";
    let all = async {
        tokio::join!(budgeted::run(url), cron_report::run(url), quorum::run(url), saga::run(url))
    };
    let (answers, reports, price, journal) =
        tokio::time::timeout(BOUND, all).await.expect("they end in time");

    assert_eq!(answers.unwrap().len(), 5);
    assert_eq!(reports.unwrap().len(), 12);
    assert_eq!(price.unwrap(), 20);
    assert_eq!(journal.unwrap().len(), 4);
}
