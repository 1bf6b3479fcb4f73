//! The times at which a worker looks for work: at each ring of the bell, and at growing intervals
//! without one.
//!
//! A ring is a hint to every worker. A worker that finds nothing several times after a ring skips
//! more and more of them, so that a busy database is not asked once for every commit.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::WorkerError;

/// The shortest pause between looks while no bell rings.
const POLL_MIN: Duration = Duration::from_millis(5);

/// The shortest pause after the database could not be reached.
const RECOVERY_MIN: Duration = Duration::from_millis(250);

/// The longest pause after the database could not be reached, or the machine could run nothing.
const RECOVERY_MAX: Duration = Duration::from_secs(5);

/// The first pause after the machine could run nothing.
const UNABLE: Duration = Duration::from_millis(100);

/// The number of times in a row that the machine may be unable to run anything.
const UNABLE_MAX: u32 = 6;

/// The longest pause between two looks that rings ask for, after many that found nothing.
const RING_GAP_MAX: Duration = Duration::from_millis(50);

/// The longest time ahead for which the end of a delay is noted.
const NOTED: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub(super) struct Pace {
    poll: Duration,
    /// The longest pause between looks while no bell rings.
    poll_max: Duration,
    looked: Instant,
    /// The worker does not look before this time.
    resting: Option<Instant>,
    /// The number of looks in a row that followed a ring and found nothing.
    in_vain: u32,
    /// The ends of the delays that this worker knows of.
    delays: BinaryHeap<Reverse<Instant>>,
    unable: u32,
    reason: String,
}

impl Pace {
    pub(super) fn new(poll_max: Duration) -> Self {
        Self {
            poll: POLL_MIN,
            poll_max: poll_max.max(POLL_MIN),
            looked: Instant::now(),
            resting: None,
            in_vain: 0,
            delays: BinaryHeap::new(),
            unable: 0,
            reason: String::new(),
        }
    }

    /// True if the worker may look now; it then counts as having looked.
    pub(super) fn may_look(&mut self) -> bool {
        let now = Instant::now();
        if self.resting.is_some_and(|until| now < until) {
            return false;
        }
        self.resting = None;

        while self.delays.peek().is_some_and(|Reverse(end)| *end <= now) {
            self.delays.pop();
        }

        self.looked = now;
        true
    }

    /// Notes that a look found work.
    pub(super) fn found(&mut self) {
        (self.poll, self.in_vain) = (POLL_MIN, 0);
    }

    /// Notes that a look found nothing.
    pub(super) fn found_nothing(&mut self) {
        self.poll = (self.poll * 2).clamp(POLL_MIN, self.poll_max);
    }

    /// Notes that the database could not be reached.
    pub(super) fn failed(&mut self) {
        self.poll = (self.poll * 2).clamp(RECOVERY_MIN, RECOVERY_MAX);
        self.resting = Some(Instant::now() + self.poll);
    }

    /// Notes that an execution can be claimed after this time.
    pub(super) fn delayed(&mut self, time: Duration) {
        if time <= NOTED {
            self.delays.push(Reverse(Instant::now() + time));
        }
    }

    /// Notes that the machine could not run what was claimed. Executions claimed together count
    /// once.
    pub(super) fn unable(&mut self, reason: String) {
        let now = Instant::now();
        self.reason = reason;

        if self.resting.is_none_or(|until| until <= now) {
            let pause = UNABLE * 2_u32.saturating_pow(self.unable);
            self.resting = Some(now + pause.min(RECOVERY_MAX));
            self.unable += 1;
        }
    }

    /// Notes that the machine ran something.
    pub(super) fn able(&mut self) {
        self.unable = 0;
    }

    /// Checks that the worker is not to give up.
    ///
    /// # Errors
    /// `Unable` when nothing could be run too often in a row.
    pub(super) fn check(&self) -> Result<(), WorkerError> {
        if self.unable < UNABLE_MAX {
            return Ok(());
        }
        Err(WorkerError::Unable { tries: self.unable, reason: self.reason.clone() })
    }

    /// Waits until it is time to look again.
    pub(super) async fn wait(&mut self, rung: impl Future<Output = ()>) {
        if let Some(until) = self.resting {
            sleep_until(until).await;
            return;
        }

        let mut patience = self.looked + self.poll;
        if let Some(Reverse(end)) = self.delays.peek() {
            patience = patience.min(*end);
        }

        match timeout_at(patience, rung).await {
            Ok(()) => {
                // The gap doubles from 1 ms with each ring in vain; the first one costs no wait.
                let gap = Duration::from_millis(1) * 2_u32.saturating_pow(self.in_vain.min(8));
                self.in_vain = self.in_vain.saturating_add(1);
                if 1 < self.in_vain {
                    sleep_until(self.looked + gap.min(RING_GAP_MAX)).await;
                }
            }
            Err(_) => self.in_vain = 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const POLL_MAX: Duration = Duration::from_millis(250);

    /// Looks, finds nothing and waits. Returns the milliseconds that it took.
    async fn looked(pace: &mut Pace, rung: bool) -> u128 {
        let begun = Instant::now();
        assert!(pace.may_look());
        pace.found_nothing();
        if rung {
            pace.wait(ready(())).await;
        } else {
            pace.wait(pending()).await;
        }
        begun.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_ends_the_wait_and_many_in_vain_count_less() {
        let mut pace = Pace::new(POLL_MAX);
        let mut waits = Vec::new();
        for _ in 0..8 {
            waits.push(looked(&mut pace, true).await);
        }
        assert_eq!(waits, [0, 2, 4, 8, 16, 32, 50, 50]);
        pace.found();
        assert_eq!(looked(&mut pace, true).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_ring_the_pauses_grow_up_to_the_longest() {
        let mut pace = Pace::new(POLL_MAX);
        let mut waits = Vec::new();
        for _ in 0..7 {
            waits.push(looked(&mut pace, false).await);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 250, 250]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_known_delay_is_awaited_and_no_longer() {
        let mut pace = Pace::new(POLL_MAX);
        for _ in 0..6 {
            looked(&mut pace, false).await;
        }
        pace.delayed(Duration::from_millis(7));
        pace.delayed(Duration::MAX);
        assert_eq!(looked(&mut pace, false).await, 7);
        assert_eq!(looked(&mut pace, false).await, 250);
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_runs_nothing_is_given_more_and_more_time_and_then_up() {
        let mut pace = Pace::new(POLL_MAX);
        let mut waits = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            assert!(pace.may_look());
            for _ in 0..3 {
                pace.unable("no memory".to_owned());
            }
            assert!(!pace.may_look());
            pace.check().unwrap();
            pace.wait(ready(())).await;
            waits.push(begun.elapsed().as_millis());
        }
        assert_eq!(waits, [100, 200, 400, 800, 1_600]);

        pace.unable("no memory".to_owned());
        let error = pace.check().unwrap_err().to_string();
        assert_eq!(error, "nothing could be run 6 times in a row; the last time: no memory");
        pace.able();
        pace.check().unwrap();
    }
}
