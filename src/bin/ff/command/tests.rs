use std::collections::HashMap;
use std::time::{Duration, Instant};

use ff_core::backend::stub_handle_fresh;
use ff_core::types::{AttemptIndex, ExecutionId, LeaseEpoch};

use super::*;

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

fn runner(program: &str, arguments: &[&str]) -> CommandRunner {
    CommandRunner {
        program: program.into(),
        arguments: arguments.iter().map(Into::into).collect(),
        max_output: 1_000,
        endings: EndingGroups::new(Duration::from_millis(300), None),
    }
}

async fn shell(script: &str) -> Ending {
    runner("sh", &["-c", script]).run(job()).await
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
    assert!(removed.map(|(name, _)| name).eq(["FF_DATABASE_URL", "FF_SCHEMA"]));
}

#[tokio::test]
async fn tags_that_would_share_a_variable_have_none() {
    let job = job_with(&[("a.b", "1"), ("a-b", "2"), ("c", "3")]);
    let script = "printf '%s|%s|%s' \"$FF_TAGS\" \"$FF_TAG_A_B\" \"$FF_TAG_C\"";
    let ended = runner("sh", &["-c", script]).run(job).await;
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
        let Ending::Unable(reason) = runner(program, &[]).run(job()).await else { panic!() };
        assert!(reason.starts_with(&format!("running {program}: ")), "{reason}");
        assert!(find_program(program.as_ref()).is_err());
    }
    assert!(find_program("no-such-program".as_ref()).is_err());
    assert_eq!((find_program("sh".as_ref()), find_program("/bin/sh".as_ref())), (Ok(()), Ok(())));
    // The job is at fault only if it brings more than a command can take.
    let ended = runner("true", &[]).run(job_with(&[("t", &"x".repeat(3 << 20))])).await;
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
    assert_eq!(shell("yes | head -c 100000 >&2").await, completed(""));
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
    let runner =
        Arc::new(runner("sh", &["-c", &format!("echo $$ > {}; sleep 1000", pid.display())]));
    let own = Arc::clone(&runner);
    let run = tokio::spawn(async move { own.run(job()).await });
    until("the command runs", alive).await;

    run.abort();
    assert!(run.await.unwrap_err().is_cancelled());
    runner.clean_up(&job()).await;
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

    let runner = Arc::new(CommandRunner {
        endings: EndingGroups::new(Duration::from_secs(30), None),
        ..runner("sh", &["-c", &script])
    });

    let own = Arc::clone(&runner);
    let run = tokio::spawn(async move { own.run(job()).await });
    until("it has begun", || begun.exists()).await;
    run.abort();
    let _ = run.await;
    runner.clean_up(&job()).await;
    assert!(cleaned.exists());
}

#[tokio::test]
async fn a_command_leads_a_session_without_a_terminal() {
    // The sixth field of its status is its session, which must be its own pid.
    let script = "(: < /dev/tty) 2> /dev/null && echo tty; read -r line < /proc/$$/stat; \
         set -- $line; test $6 = $$ && echo leads";
    assert_eq!(shell(script).await, completed("leads\n"));
}
