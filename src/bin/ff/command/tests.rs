use std::collections::HashMap;
use std::time::{Duration, Instant};

use ff_core::backend::stub_handle_fresh;
use ff_core::types::{AttemptIndex, ExecutionId, LeaseEpoch};

use super::*;
use crate::group::Leftover;

fn job_with(tags: &[(&str, &str)]) -> Arc<Run> {
    let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Arc::new(Run {
        handle: stub_handle_fresh(),
        execution_id: ExecutionId::parse("{fp:7}:550e8400-e29b-41d4-a716-446655440000").unwrap(),
        attempt_index: AttemptIndex(2),
        lease_epoch: LeaseEpoch(5),
        lane_id: "lane".into(),
        kind: "kind".to_owned(),
        payload: b"input".to_vec(),
        tags: tags.collect::<HashMap<_, _>>(),
    })
}

fn job() -> Arc<Run> {
    job_with(&[("app.order-id", "17")])
}

fn process(program: &str, arguments: &[&str]) -> Process {
    Process {
        program: program.into(),
        arguments: arguments.iter().map(Into::into).collect(),
        max_output: 1_000,
        endings: EndingGroups::new(Duration::from_millis(300), None),
    }
}

/// The end of a run without flow and signals.
async fn ended(process: &Process, run: &Run) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    let surroundings = Surroundings::default();
    let files = RunFiles::make(directory.path(), &surroundings).unwrap();
    process.run(run, &surroundings, &files, None).await
}

async fn ending(process: &Process, run: &Run) -> Ending {
    match ended(process, run).await {
        Ended::As(ending) => ending,
        other => panic!("{other:?}"),
    }
}

async fn shell(script: &str) -> Ending {
    ending(&process("sh", &["-c", script]), &job()).await
}

fn failed(message: &str) -> Ending {
    Ending::Failed { message: message.to_owned(), class: FailureClass::Transient }
}

fn completed(output: &str) -> Ending {
    Ending::Completed(Some(output.as_bytes().to_vec()))
}

/// Waits until the condition holds. Fails after 30 s.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn output_is_the_result() {
    assert_eq!(shell("cat").await, completed("input"));
    assert_eq!(shell("true").await, completed(""));
    let told = "printf %s $FF_KIND,$FF_LANE,$FF_ATTEMPT_INDEX,$FF_LEASE_EPOCH,$FF_TAG_APP_ORDER_ID";
    assert_eq!(shell(told).await, completed("kind,lane,2,5,17"));
}

#[test]
fn what_may_hold_a_password_is_not_passed_on() {
    let mut command = std::process::Command::new("true");
    remove_secrets(&mut command);
    let removed = command.get_envs().filter(|(_, value)| value.is_none());
    assert!(removed.map(|(name, _)| name).eq(["FF_DATABASE_URL", "FF_SCHEMA", "PGPASSWORD"]));
}

#[tokio::test]
async fn tags_that_would_share_a_variable_have_none() {
    let job = job_with(&[("a.b", "1"), ("a-b", "2"), ("c", "3")]);
    let script = "printf '%s|%s|%s' \"$FF_TAGS\" \"$FF_TAG_A_B\" \"$FF_TAG_C\"";
    let ended = ending(&process("sh", &["-c", script]), &job).await;
    assert_eq!(ended, completed(r#"{"a-b":"2","a.b":"1","c":"3"}||3"#));
}

#[tokio::test]
async fn exit_status_and_last_words_are_the_message() {
    assert_eq!(shell("exit 3").await, failed("exit status: 3"));
    assert_eq!(
        shell("echo one >&2; echo two >&2; echo >&2; exit 3").await,
        failed("exit status: 3: two")
    );
    assert_eq!(shell("kill -9 $$").await, failed("signal: 9 (SIGKILL)"));
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_no_failure_of_the_job() {
    for program in ["/no/such/program", "/", "/etc/passwd"] {
        let Ending::Unable(reason) = ending(&process(program, &[]), &job()).await else { panic!() };
        assert!(reason.starts_with(&format!("running {program}: ")), "{reason}");
        assert!(find_program(program.as_ref()).is_err());
    }
    assert!(find_program("no-such-program".as_ref()).is_err());
    assert_eq!((find_program("sh".as_ref()), find_program("/bin/sh".as_ref())), (Ok(()), Ok(())));
    // The job is at fault only if it brings more than a command can take.
    let ended = ending(&process("true", &[]), &job_with(&[("t", &"x".repeat(3 << 20))])).await;
    let Ending::Failed { class: FailureClass::Permanent, .. } = ended else { panic!("{ended:?}") };
}

#[tokio::test]
async fn output_without_end_is_a_failure_for_good() {
    let too_much = |ended| {
        let Ending::Failed { message, class: FailureClass::Permanent } = ended else { panic!() };
        assert_eq!(message, "it wrote more than 1000 bytes to stdout");
    };
    too_much(shell("yes").await);
    too_much(shell("head -c 1001 /dev/zero").await);
    assert_eq!(shell("head -c 1000 /dev/zero").await, Ending::Completed(Some(vec![0; 1_000])));
    // In a hundred lines: the output of the tests has them, too.
    let noise = "yes \"$(printf %0999d 0)\" | head -c 100000 >&2";
    assert_eq!(shell(noise).await, completed(""));
}

#[tokio::test]
async fn all_that_a_command_started_ends_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let alive = || {
        let pid = std::fs::read_to_string(&pid).unwrap_or_default();
        !pid.is_empty() && std::path::Path::new("/proc").join(pid.trim()).join("fd").exists()
    };
    // A background process holds the output open, and the job ends nevertheless.
    let script = format!("sleep 1000 & echo $! > {}; echo done", pid.display());
    assert_eq!(shell(&script).await, completed("done\n"));
    until("the process in the background is gone", || !alive()).await;
    // The same with a process that ignores SIGTERM.
    let deaf = format!("(trap '' TERM; sleep 1000; sleep 1000) & echo $! > {}", pid.display());
    assert_eq!(shell(&deaf).await, completed(""));
    until("the deaf process is gone", || !alive()).await;

    // A dropped run takes its processes with it.
    std::fs::remove_file(&pid).unwrap();
    let sleeping = format!("echo $$ > {}; sleep 1000", pid.display());
    let process = Arc::new(process("sh", &["-c", &sleeping]));
    let own = Arc::clone(&process);
    let run = tokio::spawn(async move { ended(&own, &job()).await });
    until("the command runs", alive).await;

    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    process.endings.wait_for_end(&key(&job())).await;
    assert!(!alive());
}

#[tokio::test]
async fn a_command_that_is_ended_may_clean_up() {
    let directory = tempfile::tempdir().unwrap();
    let (begun, cleaned) = (directory.path().join("begun"), directory.path().join("cleaned"));
    let script = format!(
        "trap 'echo cleaning up; echo so it is >&2; touch {}; exit' TERM; touch {}; \
         while :; do sleep 0.02; done",
        cleaned.display(),
        begun.display()
    );

    let process = Arc::new(Process {
        endings: EndingGroups::new(Duration::from_secs(30), None),
        ..process("sh", &["-c", &script])
    });

    let own = Arc::clone(&process);
    let run = tokio::spawn(async move { ended(&own, &job()).await });
    until("it has begun", || begun.exists()).await;
    run.abort();
    let _ = run.await;
    process.endings.wait_for_end(&key(&job())).await;
    assert!(cleaned.exists());
}

#[tokio::test]
async fn a_command_leads_a_session_without_a_terminal() {
    // The sixth field of its status is its session, which must be its own pid.
    let script = "(: < /dev/tty) 2> /dev/null && echo tty; read -r line < /proc/$$/stat; \
         set -- $line; test $6 = $$ && echo leads";
    assert_eq!(shell(script).await, completed("leads\n"));
}

#[tokio::test]
async fn exit_codes_are_a_contract() {
    let of = |code: u8| async move {
        let script = format!("echo why >&2; exit {code}");
        ended(&process("sh", &["-c", &script]), &job()).await
    };
    assert_eq!(of(75).await, Ended::Later);
    assert_eq!(of(79).await, Ended::Suspended);
    let message = "exit status: 65: why".to_owned();
    let for_good = Ending::Failed { message, class: FailureClass::Permanent };
    assert_eq!(of(65).await, Ended::As(for_good));
    for code in [1, 64, 66, 74, 76, 78, 80, 255] {
        let message = format!("exit status: {code}: why");
        assert_eq!(of(code).await, Ended::As(failed(&message)), "{code}");
    }
}

#[tokio::test]
async fn a_command_in_the_group_of_its_worker_is_ended_alone() {
    let directory = tempfile::tempdir().unwrap();
    let (inner, outer) = (directory.path().join("inner"), directory.path().join("outer"));
    let script = format!(
        "sleep 1000 > /dev/null 2>&1 & echo $! > {}; echo $$ > {}; wait",
        inner.display(),
        outer.display()
    );
    let mut process = process("sh", &["-c", &script]);
    process.endings.grouping = Grouping::OfWorker;
    let pid = |file: &Path| std::fs::read_to_string(file).unwrap_or_default();
    let alive = |file: &Path| {
        let pid = pid(file);
        !pid.is_empty() && Path::new("/proc").join(pid.trim()).join("fd").exists()
    };

    let process = Arc::new(process);
    let own = Arc::clone(&process);
    let run = tokio::spawn(async move { ended(&own, &job()).await });
    until("it runs", || alive(&inner) && alive(&outer)).await;
    run.abort();
    let _ = run.await;
    process.endings.wait_for_end(&key(&job())).await;
    assert!(!alive(&outer) && alive(&inner));
    std::process::Command::new("kill").arg(pid(&inner).trim()).status().unwrap();
}

#[tokio::test]
async fn what_a_command_leaves_running_may_be_kept() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let script = format!("sleep 1000 > /dev/null 2>&1 & echo $! > {}; echo done", file.display());
    let mut process = process("sh", &["-c", &script]);
    process.endings.leftover = Leftover::Keep;
    assert_eq!(ending(&process, &job()).await, completed("done\n"));
    let pid = std::fs::read_to_string(&file).unwrap();
    assert!(Path::new("/proc").join(pid.trim()).join("fd").exists());
    std::process::Command::new("kill").arg(pid.trim()).status().unwrap();
}
