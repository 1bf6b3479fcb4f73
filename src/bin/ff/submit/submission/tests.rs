use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::mpsc::channel;

use super::*;
use crate::output::OnClosed;

fn defaults() -> Defaults {
    Defaults { lane: "default".into(), namespace: "default".into(), traceparent: None }
}

/// The fate of a line that is sent.
#[derive(Clone, Copy)]
enum LineFate {
    Created,
    /// The execution is created, and the answer is lost.
    CreatedUnnoticed,
    /// The execution is not created, and the answer is lost.
    Lost,
    Refused,
}

/// A backend that answers by script and remembers ids. Lines beyond the script share its last fate.
struct Fake {
    fates: Vec<LineFate>,
    seen: Mutex<Vec<ExecutionId>>,
    created: Mutex<Vec<ExecutionId>>,
    batches: Mutex<Vec<usize>>,
}

impl Fake {
    fn answer(&self, args: &CreateExecutionArgs) -> Result<CreateExecutionResult, EngineError> {
        let id = args.execution_id.clone();
        let (mut seen, mut created) = (self.seen.lock().unwrap(), self.created.lock().unwrap());
        let place = seen.iter().position(|known| *known == id).unwrap_or(seen.len());
        if place == seen.len() {
            seen.push(id.clone());
        }

        let down = || EngineError::Timeout { op: "x", elapsed: Duration::ZERO };
        let fate =
            self.fates.get(place).or(self.fates.last()).copied().unwrap_or(LineFate::Created);
        match fate {
            LineFate::Refused => Err(EngineError::Unavailable { op: "x" }),
            LineFate::Lost => Err(down()),
            _ if created.contains(&id) => Ok(CreateExecutionResult::Duplicate { execution_id: id }),
            fate => {
                created.push(id.clone());
                if matches!(fate, LineFate::CreatedUnnoticed) {
                    return Err(down());
                }
                Ok(CreateExecutionResult::Created {
                    execution_id: id,
                    public_state: ff_core::state::PublicState::Waiting,
                })
            }
        }
    }
}

#[async_trait]
impl EngineBackend for Fake {
    async fn create_executions(
        &self,
        batch: Vec<CreateExecutionArgs>,
    ) -> Vec<Result<CreateExecutionResult, EngineError>> {
        self.batches.lock().unwrap().push(batch.len());
        batch.iter().map(|args| self.answer(args)).collect()
    }

    async fn server_time_ms(&self) -> Result<u64, EngineError> {
        Ok(1)
    }
}

fn submission(fates: &[LineFate]) -> (Arc<Fake>, Submission) {
    let fake = Arc::new(Fake {
        fates: fates.to_vec(),
        seen: Mutex::default(),
        created: Mutex::default(),
        batches: Mutex::default(),
    });

    let submission = Submission {
        engine: Arc::clone(&fake) as _,
        output: Output::new(true, None, OnClosed::GoOn),
        defaults: defaults(),
        progress: ProgressBar::hidden(),
        input: "in.jsonl".to_owned(),
        only: None,
        print_ids: false,
        outcome: Outcome::default(),
    };
    (fake, submission)
}

const LINE: &[u8] = b"{\"kind\":\"k\",\"payload\":1}\n";

async fn run(submission: &mut Submission, lines: usize) -> End {
    let (sender, receiver) = channel(lines + 1);
    for _ in 0..lines {
        sender.send(Ok(LINE.to_vec())).await.unwrap();
    }
    drop(sender);
    submission.run(receiver, &mut Interrupts::new().unwrap()).await
}

#[test]
fn blank_lines_and_marks_are_no_executions() {
    for blank in ["", "\n", "  \r\n", "\u{feff}\n"] {
        assert!(parse_line(blank.as_bytes(), 1, &defaults()).unwrap().is_none());
    }

    let marked = "\u{feff}{\"kind\":\"k\",\"payload\":1}\r\n";
    assert!(parse_line(marked.as_bytes(), 1, &defaults()).unwrap().is_some());
    let error = parse_line(b"{\"kind\":\"\xff\"}", 2, &defaults()).unwrap_err();
    assert_eq!(error, "not UTF-8 after byte 9");
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_and_nothing_is_created_twice() {
    let (fake, mut submission) =
        submission(&[LineFate::Created, LineFate::CreatedUnnoticed, LineFate::Created]);
    assert_eq!(run(&mut submission, 3).await, End::Read);
    let counts = submission.outcome.counts;
    assert_eq!((counts.created + counts.duplicate, counts.failed), (3, 0));
    assert_eq!(fake.created.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn an_interruption_names_the_lines_that_are_left_and_those_unsure() {
    let (fake, mut submission) = submission(&[
        LineFate::Created,
        LineFate::Refused,
        LineFate::Lost,
        LineFate::Created,
        LineFate::Refused,
    ]);
    assert_eq!(run(&mut submission, 6).await, End::BrokenOff);
    let Outcome { counts, read, left, unsure, .. } = &submission.outcome;
    assert_eq!((counts.created, counts.failed, *read), (2, 4, 6));
    assert_eq!((left.as_slice(), unsure.as_slice()), ([2, 5, 6].as_slice(), [3].as_slice()));
    assert_eq!(fake.created.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn only_the_lines_that_are_named_are_submitted() {
    let (fake, mut submission) = submission(&[]);
    submission.only = Some("2,5-".parse().unwrap());
    assert_eq!(run(&mut submission, 6).await, End::Read);
    assert_eq!(fake.created.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_read_is_sent_when_the_input_falls_silent() {
    let (fake, mut submission) = submission(&[]);
    let (sender, receiver) = channel(10);
    sender.send(Ok(LINE.to_vec())).await.unwrap();
    let feeding = async {
        // Virtual time passes only while everything else waits.
        tokio::time::sleep(SILENCE * 5).await;
        assert_eq!(fake.created.lock().unwrap().len(), 1, "although more may come");
        sender.send(Ok(LINE.to_vec())).await.unwrap();
        drop(sender);
    };

    let mut interrupts = Interrupts::new().unwrap();
    let (end, ()) = tokio::join!(submission.run(receiver, &mut interrupts), feeding);
    assert_eq!(end, End::Read);
    assert_eq!(*fake.batches.lock().unwrap(), [1, 0, 1, 0]);
}
