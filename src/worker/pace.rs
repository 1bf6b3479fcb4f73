//! The times at which a worker polls for work: at each ring of the bell, and at growing intervals
//! without one.
//!
//! A ring is a hint to every worker. A worker that finds nothing several times after a ring skips
//! more and more of them, so that a busy database is not asked once for every commit.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::WorkerError;

/// The shortest pause between two polls while no bell rings.
const POLL_MIN: Duration = Duration::from_millis(5);

/// The shortest pause after the database could not be reached.
const RECOVERY_MIN: Duration = Duration::from_millis(250);

/// The longest pause after the database could not be reached, or the machine could run nothing.
const RECOVERY_MAX: Duration = Duration::from_secs(5);

/// The first pause after the machine could run nothing.
const UNABLE_PAUSE: Duration = Duration::from_millis(100);

/// The number of times in a row that the machine may be unable to run anything.
const UNABLE_MAX: u32 = 6;

/// The longest pause between two polls that rings ask for, after many that found nothing.
const RING_GAP_MAX: Duration = Duration::from_millis(50);

/// The longest delay of which the end is noted.
const DELAY_MAX: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub(super) struct Pace {
    poll: Duration,
    /// The longest pause between two polls while no bell rings.
    poll_max: Duration,
    polled_at: Instant,
    /// The worker does not poll before this time.
    rest_until: Option<Instant>,
    /// The number of polls in a row that followed a ring and found nothing.
    empty_rings: u32,
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
            polled_at: Instant::now(),
            rest_until: None,
            empty_rings: 0,
            delays: BinaryHeap::new(),
            unable: 0,
            reason: String::new(),
        }
    }

    /// Starts a poll. Returns false if the worker must still rest.
    pub(super) fn start_poll(&mut self) -> bool {
        let now = Instant::now();
        if self.rest_until.is_some_and(|until| now < until) {
            return false;
        }
        self.rest_until = None;

        while self.delays.peek().is_some_and(|Reverse(end)| *end <= now) {
            self.delays.pop();
        }

        self.polled_at = now;
        true
    }

    /// Notes that a poll found work.
    pub(super) fn note_work(&mut self) {
        (self.poll, self.empty_rings) = (POLL_MIN, 0);
    }

    /// Notes that a poll found nothing.
    pub(super) fn note_no_work(&mut self) {
        self.poll = (self.poll * 2).clamp(POLL_MIN, self.poll_max);
    }

    /// Notes that the database could not be reached.
    pub(super) fn note_failure(&mut self) {
        self.poll = (self.poll * 2).clamp(RECOVERY_MIN, RECOVERY_MAX);
        self.rest_until = Some(Instant::now() + self.poll);
    }

    /// Notes that an execution can be claimed after this time.
    pub(super) fn note_delay(&mut self, time: Duration) {
        if time <= DELAY_MAX {
            self.delays.push(Reverse(Instant::now() + time));
        }
    }

    /// Notes that the machine could not run what was claimed. Executions claimed together count
    /// once.
    pub(super) fn note_unable(&mut self, reason: String) {
        let now = Instant::now();
        self.reason = reason;

        if self.rest_until.is_none_or(|until| until <= now) {
            let pause = UNABLE_PAUSE * 2_u32.saturating_pow(self.unable);
            self.rest_until = Some(now + pause.min(RECOVERY_MAX));
            self.unable += 1;
        }
    }

    /// Notes that the machine ran something.
    pub(super) fn note_able(&mut self) {
        self.unable = 0;
    }

    /// Checks that the machine has run something recently enough for the worker to go on.
    ///
    /// # Errors
    /// `Unable` when nothing could be run too often in a row.
    pub(super) fn check_ability(&self) -> Result<(), WorkerError> {
        if self.unable < UNABLE_MAX {
            return Ok(());
        }
        Err(WorkerError::Unable { tries: self.unable, reason: self.reason.clone() })
    }

    /// Waits until it is time for the next poll.
    pub(super) async fn wait(&mut self, rung: impl Future<Output = ()>) {
        if let Some(until) = self.rest_until {
            sleep_until(until).await;
            return;
        }

        let mut deadline = self.polled_at + self.poll;
        if let Some(Reverse(end)) = self.delays.peek() {
            deadline = deadline.min(*end);
        }

        match timeout_at(deadline, rung).await {
            Ok(()) => {
                // The gap doubles from 1 ms with each ring without work; the first costs no wait.
                let gap = Duration::from_millis(1) * 2_u32.saturating_pow(self.empty_rings.min(8));
                self.empty_rings = self.empty_rings.saturating_add(1);
                if 1 < self.empty_rings {
                    sleep_until(self.polled_at + gap.min(RING_GAP_MAX)).await;
                }
            }
            Err(_) => self.empty_rings = 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const POLL_MAX: Duration = Duration::from_millis(250);

    /// Polls, finds nothing and waits. Returns the milliseconds that it took.
    async fn empty_poll(pace: &mut Pace, rung: bool) -> u128 {
        let begun = Instant::now();
        assert!(pace.start_poll());
        pace.note_no_work();
        if rung {
            pace.wait(ready(())).await;
        } else {
            pace.wait(pending()).await;
        }
        begun.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn a_ring_ends_the_wait_and_rings_without_work_count_less() {
        let mut pace = Pace::new(POLL_MAX);
        let mut waits = Vec::new();
        for _ in 0..8 {
            waits.push(empty_poll(&mut pace, true).await);
        }
        assert_eq!(waits, [0, 2, 4, 8, 16, 32, 50, 50]);
        pace.note_work();
        assert_eq!(empty_poll(&mut pace, true).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_ring_the_pauses_grow_up_to_the_longest() {
        let mut pace = Pace::new(POLL_MAX);
        let mut waits = Vec::new();
        for _ in 0..7 {
            waits.push(empty_poll(&mut pace, false).await);
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 250, 250]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_known_delay_is_awaited_and_no_longer() {
        let mut pace = Pace::new(POLL_MAX);
        for _ in 0..6 {
            empty_poll(&mut pace, false).await;
        }
        pace.note_delay(Duration::from_millis(7));
        pace.note_delay(Duration::MAX);
        assert_eq!(empty_poll(&mut pace, false).await, 7);
        assert_eq!(empty_poll(&mut pace, false).await, 250);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_can_run_nothing_pauses_longer_and_then_ends() {
        let mut pace = Pace::new(POLL_MAX);
        let mut waits = Vec::new();
        for _ in 0..5 {
            let begun = Instant::now();
            assert!(pace.start_poll());
            for _ in 0..3 {
                pace.note_unable("no memory".to_owned());
            }
            assert!(!pace.start_poll());
            pace.check_ability().unwrap();
            pace.wait(ready(())).await;
            waits.push(begun.elapsed().as_millis());
        }
        assert_eq!(waits, [100, 200, 400, 800, 1_600]);

        pace.note_unable("no memory".to_owned());
        let error = pace.check_ability().unwrap_err().to_string();
        assert_eq!(error, "nothing could be run 6 times in a row; the last time: no memory");
        pace.note_able();
        pace.check_ability().unwrap();
    }
}
