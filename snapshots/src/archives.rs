//! The situations in which ended executions are archived, and imported elsewhere.

use ff_core::contracts::{ArchivePass, ImportRun};
use ff_core::engine_backend::EngineBackend;
use ff_core::plan::value::Value;
use ff_core::policy::ExecutionPolicy;
use ff_core::rules::archive::check::CheckedFile;
use ff_core::rules::archive::import::outboxes;
use ff_core::rules::archive::record::{Record, Subject};
use ff_core::schema::TableRef;
use ff_core::schema::flow::{edge, edge_group, flow_core};
use ff_core::types::{BudgetId, ExecutionId};
use uuid::Uuid;

use super::stage::Scene;

impl Scene {
    pub(super) fn archives(&mut self) {
        let policy = ExecutionPolicy {
            budget_ids: vec![BudgetId::from_uuid(Uuid::from_u128(0xb))],
            ..ExecutionPolicy::default()
        };
        let id = self.submit(|args| args.policy = Some(policy));
        self.cancel_one(&id);
        // More frames than one line holds.
        let _ = self.completed(300);
        self.cancelled_flow();
        self.insert_signal_event(&id);

        let records = self.archived();
        let _ = self.sample("import_record", "that is there", async |b| {
            for record in &records {
                let _ = b.import_record(&nothing_taken(), record).await;
            }
        });
        self.in_own_database(|scene| scene.imported(&records));
        self.in_own_database(|scene| scene.imported_over_taken_numbers(&records));
    }

    /// An event of an outbox that the executions of this scene write none to.
    fn insert_signal_event(&self, id: &ExecutionId) {
        let cells = [
            ("execution_id", Value::Text(id.uuid().to_string())),
            ("signal_id", Value::Text(Uuid::from_u128(0x5).to_string())),
            ("delivered_at_ms", Value::Int(0)),
            ("partition_key", Value::Int(i64::from(id.partition()))),
        ];
        let _ = self.memory.insert_row("ff_signal_event", cells);
    }

    /// The records of everything that has ended.
    fn archived(&mut self) -> Vec<Record> {
        let (mut pass, mut records) = (ArchivePass::after(0), Vec::new());
        while !pass.is_done() {
            let run = pass.clone();
            let step = self.sample("archive_step", "all", async |b| b.archive_step(run).await);
            let Some(Ok(step)) = step else { break };
            records.extend(step.lines.iter().filter_map(|line| Record::read(line).ok()));
            pass = step.pass;
        }
        records
    }

    fn imported(&mut self, records: &[Record]) {
        let mut file = CheckedFile::default();
        for record in records {
            let _ = file.add(record);
        }
        // Some executions have no events of some kinds.
        file.highest.extend(outboxes().map(|(table, _)| (table.name, 1_000)));
        let begun = self.sample("begin_import", "of a file", async |b| b.begin_import(&file).await);
        let Some(Ok(run)) = begun else { return };

        for record in records {
            let case = match (record.subject, record.is_part) {
                (Subject::Execution(_), true) => "frames",
                (Subject::Execution(_), false) => "an execution",
                (Subject::Flow(_), _) => "a flow",
            };
            self.import(case, &run, record);
        }

        let flows = records.iter().filter(|record| matches!(record.subject, Subject::Flow(_)));
        for flow in flows {
            for (table, case) in [(edge::REF, "edges"), (edge_group::REF, "groups")] {
                let rows = only(flow, |own| own == table);
                self.import_elsewhere(case, &Record { is_part: true, ..rows });
            }
            let rows = only(flow, |own| own != flow_core::REF);
            self.import_elsewhere("a flow without a row", &rows);
        }
    }

    /// Every outbox has the numbers of the file already.
    fn imported_over_taken_numbers(&mut self, records: &[Record]) {
        let taken_up_to = outboxes().map(|(table, _)| (table.name, i64::MAX)).collect();
        let run = ImportRun { taken_up_to };
        for record in records {
            self.import("with numbers that may be taken", &run, record);
        }
    }

    fn import(&mut self, case: &'static str, run: &ImportRun, record: &Record) {
        self.sample("import_record", case, async |b| b.import_record(run, record).await);
    }

    fn import_elsewhere(&mut self, case: &'static str, record: &Record) {
        self.in_own_database(|scene| scene.import(case, &nothing_taken(), record));
    }
}

fn only(record: &Record, keep: impl Fn(TableRef) -> bool) -> Record {
    let rows = record.rows.iter().filter(|(table, _)| keep(*table)).cloned().collect();
    Record { rows, ..record.clone() }
}

fn nothing_taken() -> ImportRun {
    ImportRun { taken_up_to: [].into() }
}
