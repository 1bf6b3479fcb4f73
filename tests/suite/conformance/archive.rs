//! Archives: what a run hands out, what an import adds, and what may be trimmed afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ff_core::backend::{Frame, FrameKind};
use ff_core::contracts::{
    ArchivePass, ArchiveStage, HeldBack, ImportRun, Imported, RetentionRule, TrimPass, TrimReport,
};
use ff_core::rules::archive::check::CheckedFile;
use ff_core::rules::archive::record::{Record, Subject};
use ff_core::types::ExecutionId;
use futures_util::future::join_all;

use super::retention::{AGE, old};
use crate::backends::{self, Bench, conformance};
use crate::bench::assert_refused;
use crate::flow::End;
use crate::plain::PlainSql;

impl Bench {
    /// A run to its end: its lines, and where it stopped.
    async fn archive_after(&self, position: i64) -> (Vec<String>, ArchivePass) {
        let (mut pass, mut lines) = (ArchivePass::after(position), Vec::new());
        while !pass.is_done() {
            let step = self.backend.archive_step(pass).await.unwrap();
            lines.extend(step.lines);
            pass = step.pass;
        }
        (lines, pass)
    }

    async fn archive(&self) -> Vec<String> {
        let (lines, pass) = self.archive_after(0).await;
        assert_eq!(pass.stage, ArchiveStage::Done);
        lines
    }

    /// The run of the archive `a`, which goes on where it was.
    async fn archive_on(&self) -> Vec<Record> {
        let cursors = self.backend.list_subscriber_cursors().await.unwrap();
        let at = cursors.iter().find(|at| at.name == "a").map_or(0, |at| at.event_id);
        let (lines, pass) = self.archive_after(at).await;
        self.backend.store_archive_position("a", pass.position, "0 note").await.unwrap();
        records(&lines)
    }

    /// An import of all lines: what became of each.
    async fn import(&self, lines: &[String]) -> Vec<Imported> {
        let (file, records) = checked(lines);
        let run = self.backend.begin_import(&file).await.unwrap();
        let mut imported = Vec::new();
        for record in records.iter().filter(|record| !file.is_superseded(record)) {
            imported.push(self.backend.import_record(&run, record).await.unwrap());
        }
        imported
    }

    async fn trim_archived(&self) -> TrimReport {
        let rule = RetentionRule::older_than(0);
        self.pass(TrimPass { archive: Some("a".into()), ..TrimPass::new(vec![rule]) }).await
    }

    async fn held_back(&self) -> BTreeMap<HeldBack, u64> {
        let report = self.trim_archived().await;
        assert_eq!(report.executions, 0);
        report.held_back
    }

    /// Executions and flows of all kinds that have ended, and some that have not.
    async fn population(&self, rounds: usize) {
        for round in 0..rounds {
            self.completed().await;
            let (_, handle) = self.leased().await;
            self.fail(&handle).await;
            let replayed = self.create().await;
            self.cancel_one(&replayed).await;
            self.replay(&replayed).await;
            self.cancel_one(&replayed).await;
            if round % 10 == 0 {
                self.with_all_rows().await;
                self.with_frames(300).await;
            }

            let flow = self.flow(3).await;
            self.connect(&flow, &[(0, 1), (1, 2)]).await;
            self.end_and_dispatch(&flow.members[0], End::Success).await;
            if round % 2 == 0 {
                self.end_and_dispatch(&flow.members[1], End::Failed).await;
            }
            self.clock.advance(7);
        }
        self.create().await;
    }

    /// An execution with so many frames, in several parts.
    async fn with_frames(&self, frames: usize) -> ExecutionId {
        let (id, handle) = self.leased().await;
        for number in 0..frames {
            // Bytes that are no text, a number that JSON writes in two ways, and a text.
            let payload = [vec![0xff, 0], b"{\"loss\":0.30000000000000004,\"n\":1e20}".to_vec()];
            let frame = Frame::new(payload[number % 2].clone(), FrameKind::Stdout);
            self.backend.append_frame(&handle, frame).await.unwrap();
        }
        self.backend.complete(&handle, Some(vec![0xff, 0, 1])).await.unwrap();
        id
    }
}

fn records(lines: &[String]) -> Vec<Record> {
    lines.iter().map(|line| Record::read(line).unwrap()).collect()
}

fn checked(lines: &[String]) -> (CheckedFile, Vec<Record>) {
    let (mut file, records) = (CheckedFile::default(), records(lines));
    for record in &records {
        file.add(record).unwrap();
        assert_eq!(record.to_line(), lines[records.iter().position(|r| r == record).unwrap()]);
    }
    file.finish().unwrap();
    (file, records)
}

fn ids(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| record.subject.to_string()).collect()
}

/// Archives one database, imports that into another, and archives the other.
async fn there_and_back(from: Bench, to: Bench) {
    let rounds = std::env::var("FF_ARCHIVE").ok().and_then(|text| text.parse().ok());
    from.population(rounds.unwrap_or(3)).await;
    from.settle().await;
    let lines = from.archive().await;

    let added = to.import(&lines).await;
    assert!(added.iter().all(|imported| *imported == Imported::Added));
    assert_eq!(to.archive().await, lines);
    let before = to.everything().await;
    let again = to.import(&lines).await;
    assert!(again.iter().all(|imported| *imported == Imported::AlreadyThere));
    assert_eq!(to.everything().await, before, "a repeat changes nothing");

    // Numbers go on behind those of the file.
    let (file, _) = checked(&lines);
    let late = to.completed().await;
    for table in ["ff_completion_event", "ff_lease_event"] {
        let events = to.plain.rows(table).await;
        let own = events.iter().filter(|row| format!("{row:?}").contains(&late.uuid().to_string()));
        let least = own.filter_map(|row| row.int("event_id")).min().unwrap();
        assert!(file.highest[table] < least, "{table}");
    }

    // The other database trims what it has like its own.
    to.clock.advance(1_000 * AGE);
    to.pass_of(old()).await;
    to.assert_no_orphan().await;
    from.tear_down().await;
    to.tear_down().await;
}

/// A transaction that writes keeps the numbers from moving on, for as long as it is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_waits_for_a_transaction_that_writes_events() {
    let (from, to) = (backends::memory().await, backends::postgres().await);
    from.completed().await;
    let (file, _) = checked(&from.archive().await);
    let PlainSql::Postgres(pool) = &to.plain else { panic!("this is Postgres") };
    let mut writing = pool.begin().await.unwrap();
    let lock = "LOCK TABLE ff_lease_event IN ROW EXCLUSIVE MODE";
    sqlx::query(lock).execute(&mut *writing).await.unwrap();

    let waits = async |expected: bool| {
        let waiting = "SELECT count(*) FROM pg_locks \
                       WHERE relation = 'ff_lease_event'::regclass AND NOT granted";
        for _ in 0..2_000 {
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(pool).await.unwrap();
            if (waiting != 0) == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it never waits, or for ever");
    };
    // It lets the writers through in between, and then asks again.
    let (begun, ()) = tokio::join!(to.backend.begin_import(&file), async {
        waits(true).await;
        waits(false).await;
        writing.commit().await.unwrap();
    });
    begun.unwrap();
    from.tear_down().await;
    to.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_and_postgres_archive_the_same_bytes() {
    there_and_back(backends::sqlite_file().await, backends::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_and_sqlite_archive_the_same_bytes() {
    there_and_back(backends::postgres().await, backends::sqlite_memory().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_and_postgres_archive_the_same_bytes() {
    there_and_back(backends::memory().await, backends::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_and_memory_archive_the_same_bytes() {
    there_and_back(backends::sqlite_file().await, backends::memory().await).await;
}

conformance! {
    lag_window: Duration::from_secs(2);

    async fn a_run_hands_out_what_ended_since_the_last(bench) {
        assert_eq!(bench.archive_on().await, []);
        let (first, second) = (bench.completed().await, bench.completed().await);
        bench.leased().await;
        assert_eq!(ids(&bench.archive_on().await), [first.to_string(), second.to_string()]);
        assert_eq!(bench.archive_on().await, []);
        let third = bench.completed().await;
        assert_eq!(ids(&bench.archive_on().await), [third.to_string()]);
        assert_eq!(bench.trim_archived().await.executions, 3);
        assert_eq!(bench.archive_on().await, []);
    }

    async fn an_archive_holds_back_what_it_does_not_contain(bench) {
        bench.completed().await;
        bench.archive_on().await;
        let late = bench.completed().await;
        let report = bench.trim_archived().await;
        assert_eq!(report.executions, 1);
        assert_eq!(report.held_back, BTreeMap::from([(HeldBack::NotArchived, 1)]));
        // Also from rules that do not name it.
        bench.clock.advance(AGE);
        assert_eq!(bench.pass_of(old()).await.executions, 0);
        assert!(bench.exists(&late).await);
        bench.archive_on().await;
        assert_eq!(bench.trim_archived().await.executions, 1);
    }

    async fn what_was_replayed_is_archived_again_before_it_goes(bench) {
        let id = bench.completed().await;
        let first = bench.archive_on().await;
        bench.replay(&id).await;
        assert_eq!(bench.trim_archived().await.executions, 0);
        assert_eq!(bench.archive_on().await, [], "it runs");
        bench.cancel_one(&id).await;
        assert_eq!(bench.held_back().await, BTreeMap::from([(HeldBack::NotArchived, 1)]));

        let second = bench.archive_on().await;
        assert_eq!(ids(&second), ids(&first));
        assert_ne!(second, first);
        let lines: Vec<String> = first.iter().chain(&second).map(Record::to_line).collect();
        let (file, _) = checked(&lines);
        assert!(file.is_superseded(&first[0]) && !file.is_superseded(&second[0]));
        assert_eq!(bench.trim_archived().await.executions, 1);
        bench.assert_gone(&id).await;
    }

    async fn what_changed_after_its_end_stays_until_another_archive(bench) {
        let (changed, other) = (bench.completed().await, bench.completed().await);
        bench.archive_on().await;
        bench.clock.advance(1);
        bench.backend.set_execution_tag(&changed, "team.name", "billing").await.unwrap();
        let report = bench.trim_archived().await;
        assert_eq!(report.executions, 1);
        assert_eq!(report.held_back, BTreeMap::from([(HeldBack::ChangedSince, 1)]));
        bench.assert_gone(&other).await;

        bench.backend.drop_subscriber("a").await.unwrap();
        bench.clock.advance(1);
        assert!(bench.archive_on().await[0].to_line().contains("billing"));
        assert_eq!(bench.trim_archived().await.executions, 1);
    }

    async fn a_flow_is_archived_whole_at_its_last_end(bench) {
        let flow = bench.flow(3).await;
        bench.connect(&flow, &[(0, 1), (1, 2)]).await;
        bench.end_and_dispatch(&flow.members[0], End::Success).await;
        assert_eq!(bench.archive_on().await, [], "it goes on");
        assert_eq!(bench.held_back().await, BTreeMap::from([(HeldBack::LiveFlow, 1)]));
        bench.end_and_dispatch(&flow.members[1], End::Success).await;
        bench.end(&flow.members[2], End::Failed).await;

        // An end that is not dispatched may still change the flow.
        let (lines, pass) = bench.archive_after(0).await;
        assert_eq!((lines.len(), pass.stage), (0, ArchiveStage::Waiting { flow: flow.id.0 }));
        let alone = bench.completed().await;
        assert_eq!(bench.archive_on().await, [], "it stops before that flow");
        bench.settle().await;
        let archived = bench.archive_on().await;
        assert_eq!(archived.len(), 5);
        assert!(archived[..3].iter().all(|line| line.at == archived[3].at));
        let Subject::Flow(key) = archived[3].subject else { panic!("the flow comes last") };
        assert_eq!((key.uuid, archived[3].members), (flow.id.0, Some(3)));
        assert_eq!(ids(&archived)[4], alone.to_string());

        let report = bench.trim_archived().await;
        assert_eq!((report.executions, report.flows), (4, 1));
    }

    async fn a_flow_that_went_on_is_archived_again(bench) {
        let flow = bench.flow(2).await;
        for member in &flow.members {
            bench.end_and_dispatch(member, End::Success).await;
        }
        assert_eq!(bench.archive_on().await.len(), 3);
        bench.replay(&flow.members[0]).await;
        assert_eq!(bench.held_back().await, BTreeMap::from([(HeldBack::LiveFlow, 1)]));
        bench.cancel_one(&flow.members[0]).await;
        bench.settle().await;
        assert_eq!(bench.held_back().await, BTreeMap::from([(HeldBack::NotArchived, 2)]));
        assert_eq!(bench.archive_on().await.len(), 3);
        assert_eq!(bench.trim_archived().await.flows, 1);
    }

    async fn a_taken_number_refuses_a_line_and_nothing_of_it_is_added(bench) {
        let elsewhere = backends::memory().await;
        let theirs = elsewhere.completed().await;
        let own = bench.completed().await;
        let before = bench.everything().await;
        let (file, records) = checked(&elsewhere.archive().await);
        let run = bench.backend.begin_import(&file).await.unwrap();
        let refused = bench.backend.import_record(&run, &records[0]).await;
        let detail = "ff_completion_event.event_id: 1: another event has this number";
        assert_refused(refused, &format!("validation: InvalidInput: {detail}"));
        // The database sees to it also where the import does not know.
        let unknown = ImportRun { taken_up_to: BTreeMap::new() };
        let refused = bench.backend.import_record(&unknown, &records[0]).await;
        // Postgres tells events apart by their partition, too, and so may not see it.
        assert!(refused.is_err() || theirs.partition() != own.partition());
        if refused.is_err() {
            assert_eq!(bench.everything().await, before);
        }
        elsewhere.tear_down().await;
    }

    async fn what_is_there_in_another_state_stays(bench) {
        let id = bench.completed().await;
        let lines = bench.archive().await;
        assert_eq!(bench.import(&lines).await, [Imported::AlreadyThere]);
        bench.replay(&id).await;
        let before = bench.everything().await;
        assert_eq!(bench.import(&lines).await, [Imported::Differs]);
        assert_eq!(bench.everything().await, before);
    }

    async fn an_import_that_was_cut_off_goes_on(bench) {
        let elsewhere = backends::memory().await;
        elsewhere.with_frames(600).await;
        elsewhere.completed().await;
        let lines = elsewhere.archive().await;
        assert_eq!(lines.len(), 4, "two parts before the rest");
        let (file, records) = checked(&lines);
        let run = bench.backend.begin_import(&file).await.unwrap();
        for record in &records[..2] {
            bench.backend.import_record(&run, record).await.unwrap();
        }
        assert_eq!(bench.plain.rows("ff_stream_frame").await.len(), 512);
        assert_eq!(bench.plain.rows("ff_exec_core").await.len(), 0);
        bench.import(&lines).await;
        assert_eq!(bench.archive().await, lines);
        elsewhere.tear_down().await;
    }

    async fn what_ends_during_an_import_takes_numbers_behind_the_file(bench) {
        let elsewhere = backends::memory().await;
        for _ in 0..60 {
            elsewhere.completed().await;
        }
        let lines = elsewhere.archive().await;
        for _ in 0..3 {
            bench.completed().await;
        }
        let (file, records) = checked(&lines);
        let run = bench.backend.begin_import(&file).await.unwrap();

        // The first numbers of the file are taken here.
        let free = records.iter().filter(|record| 10 < record.at);
        let import = join_all(free.map(|record| bench.backend.import_record(&run, record)));
        let own = async {
            for _ in 0..20 {
                bench.completed().await;
            }
        };
        let (imported, ()) = tokio::join!(import, own);
        assert!(imported.iter().all(|done| matches!(done, Ok(Imported::Added))), "{imported:?}");
        let ends = bench.plain.rows("ff_completion_event").await;
        let numbers: BTreeSet<_> = ends.iter().filter_map(|row| row.int("event_id")).collect();
        assert_eq!((ends.len(), numbers.len()), (73, 73));
        elsewhere.tear_down().await;
    }

    async fn a_token_is_not_archived(bench) {
        let id = bench.with_all_rows().await;
        let lines = bench.archive().await;
        assert!(lines[0].contains("ff_waitpoint_pending") && !lines[0].contains("k:00"));
        let elsewhere = backends::memory().await;
        elsewhere.import(&lines).await;
        let open = elsewhere.of("ff_waitpoint_pending", &id).await;
        assert_eq!(open[0].text("token"), "");
        elsewhere.tear_down().await;
        bench.clock.advance(AGE);
        bench.pass_of(old()).await;
    }

    async fn a_line_of_another_partitioning_is_refused(bench) {
        let elsewhere = backends::memory().await;
        elsewhere.completed().await;
        let line = elsewhere.archive().await.remove(0);
        let id = records(std::slice::from_ref(&line))[0].subject.to_string();
        let home = id.split_once("}:").unwrap().0.trim_start_matches("{fp:").to_owned();
        let moved = line
            .replace(&format!("{{fp:{home}}}"), "{fp:999}")
            .replace(&format!("\"partition_key\":{home}"), "\"partition_key\":999");
        let run = ImportRun { taken_up_to: BTreeMap::new() };
        let refused = bench.backend.import_record(&run, &records(&[moved])[0]).await;
        let detail = "partition 999: this database has 256, from 0 on";
        assert_refused(refused, &format!("validation: InvalidInput: {detail}"));
        elsewhere.tear_down().await;
    }

    async fn an_archive_is_one_by_its_note(bench) {
        bench.completed().await;
        let refused = async |detail: &str| {
            let rule = RetentionRule::older_than(0);
            let mut pass = TrimPass { archive: Some("a".into()), ..TrimPass::new(vec![rule]) };
            let error = loop {
                match bench.backend.trim_step(pass).await {
                    Ok(next) if next.is_done() => panic!("{next:?}"),
                    Ok(next) => pass = next,
                    Err(error) => break error,
                }
            };
            assert_eq!(error.to_string(), format!("validation: InvalidInput: archive: {detail}"));
        };
        refused("a has not been written yet").await;
        let outbox = ff_core::state::OutboxKind::Completion;
        bench.backend.store_subscriber_cursor("a", outbox, 1).await.unwrap();
        refused("a is a subscriber, not an archive").await;
        let noted = bench.backend.store_archive_position("a", 1, "a\0").await;
        assert_refused(noted, "validation: InvalidInput: note: must not contain NUL (at byte 1)");
        bench.clock.advance(5);
        bench.archive_on().await;
        let cursors = bench.backend.list_subscriber_cursors().await.unwrap();
        assert_eq!(cursors[0].note.as_deref(), Some("0 note"));
        assert_eq!(cursors[0].began_at_ms, Some(bench.clock.now().0 - 5));
    }
}
