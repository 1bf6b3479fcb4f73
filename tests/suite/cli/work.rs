//! `ff work` as a process: its commands end with it, and it obeys signals.

use std::io::Read as _;
use std::time::Instant;

use super::*;

/// A worker process, killed when dropped.
struct Worker(Child);

impl Worker {
    /// Works on the place's database; what it says on stderr goes where `stderr` says.
    fn start(place: &Place, stderr: Stdio, arguments: &[&str], script: &str) -> Self {
        let mut command = binary(place.0.path());
        command.args(arguments).args(["--", "sh", "-c", script]);
        Self(command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap())
    }

    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// The exit code, in time.
    fn code(&mut self) -> Option<i32> {
        until("the worker ends", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks again until there is something to see.
pub(super) fn until<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = poll() {
            return seen;
        }
        assert!(begun.elapsed() < BOUND, "{what} did not happen within {BOUND:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The number that a command has written to a file.
fn pid(place: &Place, name: &str) -> Option<u32> {
    std::fs::read_to_string(place.0.path().join(name)).ok()?.trim().parse().ok()
}

/// Whether a process is there that is no zombie.
fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit_once(')').map(|(_, rest)| rest.trim_start());
    state.is_some_and(|state| !state.starts_with('Z'))
}

#[test]
fn what_a_killed_worker_has_started_ends_with_it() {
    let place = Place::with_two();
    let script = "sleep 1000 & echo $! > inner; echo $$ > outer; wait";
    let mut worker = Worker::start(&place, Stdio::null(), &["work"], script);
    let inner = until("the command runs", || pid(&place, "inner"));
    let outer = until("the command runs", || pid(&place, "outer"));
    assert!(runs(inner) && runs(outer));
    worker.0.kill().unwrap();
    until("nothing is left", || (!runs(inner) && !runs(outer)).then_some(()));
}

/// True if the tests were started by `nohup`: what they start goes on after a hangup, too.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 != 0
}

#[test]
fn the_end_of_the_terminal_is_a_request_to_stop() {
    for signal in ["-HUP", "-TERM", "-INT"] {
        let place = Place::with_two();
        let script = "echo $$ > pid; while [ ! -e go ]; do sleep 0.02; done";
        let mut worker = Worker::start(&place, Stdio::null(), &["work"], script);
        until("the command runs", || pid(&place, "pid"));
        worker.signal(signal);
        if signal == "-HUP" && ignores_hangup() {
            worker.signal("-TERM");
        }
        place.write("go", &[]);
        assert_eq!(worker.code(), Some(0), "{signal}");
        let states = place.json(&["ls"]);
        let states = states["executions"].as_array().unwrap();
        let completed = states.iter().filter(|row| row["public_state"] == "completed").count();
        assert_eq!((completed, states.len()), (1, 2), "{signal}");
    }
}

#[test]
fn a_stderr_that_is_no_longer_read_holds_up_nothing() {
    // Closed by its reader, and full since its reader has fallen asleep.
    for closed in [true, false] {
        let place = Place::with_two();
        let script = "head -c 1000000 /dev/zero >&2; echo $$ > pid; sleep 1000";
        let arguments = ["work", "--concurrency", "2", "--grace-ms", "10"];
        let mut worker = Worker::start(&place, Stdio::piped(), &arguments, script);
        let stderr = worker.0.stderr.take();
        let stderr = if closed { None } else { stderr };
        until("the command runs", || pid(&place, "pid"));
        worker.signal("-TERM");
        assert_eq!(worker.code(), Some(0), "closed: {closed}");
        drop(stderr);
    }
}

#[test]
fn a_command_learns_nothing_of_the_database() {
    let place = Place::new();
    place.write("in.jsonl", &[&json!({ "kind": "x", "payload": "", "id": ONE }).to_string()]);
    place.out(&["submit", "in.jsonl"]);
    let mut command = binary(place.0.path());
    command.env("FF_DATABASE_URL", "sqlite:ff.db").env("MINE", "kept").env("PGPASSWORD", "hunter2");
    command.args(["work", "--until-empty", "--", "sh", "-c", "env | grep -e ^FF_ -e ^MINE -e ^PG"]);
    assert_eq!(finished(command.output().unwrap()).code, 0);
    let result = place.out(&["result", ONE]);
    assert!(!result.contains("FF_DATABASE_URL") && !result.contains("PGPASSWORD"), "{result}");
    assert!(result.contains("MINE=kept") && result.contains("FF_KIND=x"), "{result}");
}

#[test]
fn a_command_that_is_not_there_is_noticed_before_anything_is_claimed() {
    let place = Place::with_two();
    place.write("no-program", &["not executable"]);
    for program in ["./no-such-program", "no-such-program", "./no-program", "/"] {
        let finished = place.ff(&["work", "--until-empty", "--", program]);
        assert_eq!((finished.code, finished.out.as_str()), (2, ""), "{finished:?}");
        assert!(finished.err.starts_with(&format!("error: {program}: ")), "{finished:?}");
    }
    // One whose interpreter is missing is only noticed when it is started.
    let script = place.0.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    assert!(Command::new("chmod").arg("+x").arg(&script).status().unwrap().success());
    let finished = place.ff(&["work", "--concurrency", "2", "--until-empty", "--", "./script"]);
    assert_eq!(finished.code, 1, "{finished:?}");
    let error = finished.err.lines().last().unwrap();
    assert!(
        error.contains("nothing could be run 6 times in a row; the last time: "),
        "{finished:?}"
    );

    // And nothing was lost.
    let worked = place.json(&["work", "--until-empty", "--", "cat"]);
    assert_eq!((&worked["claimed"], &worked["completed"]), (&json!(2), &json!(2)));
}

#[test]
fn an_execution_that_needs_other_capabilities_is_left_and_reported() {
    let place = Place::with_two();
    let policy = json!({ "routing_requirements": { "required_capabilities": ["gpu"] } });
    let line = json!({ "kind": "render", "payload": "", "policy": policy });
    place.write("gpu.jsonl", &[&line.to_string()]);
    place.out(&["submit", "gpu.jsonl"]);
    let said = "some executions wait for capabilities that this worker does not offer";
    for completed in [2, 0] {
        let finished = place.ff(&["work", "--until-empty", "--capability", "cpu", "--", "cat"]);
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(finished.out.contains(&format!("{completed} completed")), "{finished:?}");
        assert!(finished.out.contains(said), "{finished:?}");
    }
    let finished = place.ff(&["work", "--until-empty", "--capability", "gpu", "--", "cat"]);
    assert!(finished.out.contains("1 completed") && !finished.out.contains(said), "{finished:?}");
}

#[test]
fn output_without_end_fails_for_good() {
    let place = Place::with_two();
    let arguments = ["work", "--until-empty", "--max-output", "1000", "--", "yes"];
    let worked = place.json(&arguments);
    assert_eq!((&worked["failed"], &worked["retried"]), (&json!(2), &json!(0)));
}

#[test]
fn starts_and_ends_are_logged_as_lines_of_json() {
    let place = Place::with_two();
    let mut command = binary(place.0.path());
    command.env("RUST_LOG", "info").stderr(Stdio::piped()).stdout(Stdio::null());
    command.args(["work", "--until-empty", "--log-format", "json", "--", "true"]);
    let mut child = command.spawn().unwrap();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success());

    let lines: Vec<Json> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for message in ["started", "completed"] {
        let logged = lines.iter().map(|line| &line["fields"]);
        let of_one = |fields: &&Json| {
            fields["message"] == message && fields["execution_id"].as_str().unwrap().ends_with(ONE)
        };
        let fields = logged.filter(|fields| !fields["execution_id"].is_null()).find(of_one);
        let fields = fields.unwrap_or_else(|| panic!("{message}: {log}"));
        assert_eq!((&fields["kind"], &fields["attempt"]), (&json!("echo"), &json!(0)));
    }
    assert!(lines.iter().all(|line| line["level"] == "INFO"), "{log}");
}

/// Runs plain SQL on the place's database.
pub(super) fn plainly(place: &Place, sql: &str) {
    let path = place.0.path().join("ff.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        use sqlx::Connection as _;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

/// Starts the command, waits for its end, and says what it printed.
fn ended(place: &Place, arguments: &[&str]) -> Finished {
    let mut command = binary(place.0.path());
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut worker = Worker(command.spawn().unwrap());
    let code = worker.code().unwrap();
    let mut finished = Finished { code, out: String::new(), err: String::new() };
    worker.0.stdout.take().unwrap().read_to_string(&mut finished.out).unwrap();
    worker.0.stderr.take().unwrap().read_to_string(&mut finished.err).unwrap();
    finished
}

/// A claim goes through, and no ending can be stored: neither repeating it nor another execution
/// helps.
#[test]
fn a_worker_that_can_report_no_ending_ends_with_an_error() {
    let place = Place::with_two();
    plainly(
        &place,
        "CREATE TRIGGER broken BEFORE INSERT ON ff_completion_event \
         BEGIN SELECT RAISE(ABORT, 'no more events'); END",
    );
    let finished = ended(&place, &["work", "--concurrency", "1", "--", "true"]);
    assert_eq!(finished.code, 1, "{finished:?}");
    let last = finished.err.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: the database fails for good"), "{finished:?}");
    assert!(last.contains("no more events"), "{finished:?}");
}

/// Nothing is claimed from that lane, so that only the scanners meet the missing table.
#[test]
fn scanners_that_cannot_go_on_end_the_process() {
    let place = Place::with_two();
    plainly(&place, "DROP TABLE ff_pending_cancel_groups");
    for arguments in [&["scan"][..], &["work", "--lane", "other", "--", "true"]] {
        let finished = ended(&place, arguments);
        assert_eq!(finished.code, 1, "{arguments:?}: {finished:?}");
        let last = finished.err.lines().last().unwrap_or_default();
        assert!(last.starts_with("error: "), "{arguments:?}: {finished:?}");
        assert!(last.contains("ff_pending_cancel_groups"), "{arguments:?}: {finished:?}");
    }
}
