//! Upkeep in every state that a search meets: no counter has drifted, and what has ended comes back
//! from its archive as it was.

use std::collections::BTreeMap;
use std::fmt::Debug;

use ff_core::backend::ScannerFilter;
use ff_core::contracts::{ArchivePass, Imported, ReconcileCounts};
use ff_core::engine_backend::EngineBackend as _;
use ff_core::partition::{Partition, PartitionFamily};
use ff_core::rules::archive::check::CheckedFile;
use ff_core::rules::archive::record::Record;
use ff_core::schema::TABLES;

use super::{Rows, World, int, lane, over, partition};

/// Checks the state, and leaves it as it is.
pub(super) async fn check(world: &World, history: &dyn Debug) {
    let stored = world.backend.snapshot();
    find_no_drift(world, history).await;
    if over(&world.core()) {
        move_through_an_archive(world, history).await;
    }
    world.backend.restore(&stored);
}

async fn find_no_drift(world: &World, history: &dyn Debug) {
    let (backend, all, now) = (&world.backend, ScannerFilter::NOOP, world.now());
    let mut found = vec![backend.reconcile_execution_index(partition(), &[], &all).await];
    for place in places(world, "ff_budget_policy", PartitionFamily::Budget) {
        found.push(backend.reconcile_budget_counters(place, now).await);
    }
    for place in places(world, "ff_quota_policy", PartitionFamily::Quota) {
        found.push(backend.reconcile_quota_counters(place, now).await);
    }
    for counts in found {
        let ReconcileCounts { processed, errors, .. } = counts.unwrap();
        assert_eq!((processed, errors), (0, 0), "the engine leaves no drift: {history:?}");
    }
}

/// The partitions that have rows in the table.
fn places(world: &World, table: &str, family: PartitionFamily) -> Vec<Partition> {
    let rows = world.rows(table);
    let indexes = rows.iter().filter_map(|row| int(&row["partition_key"]));
    indexes.map(|index| Partition { family, index: u16::try_from(index).unwrap() }).collect()
}

/// Archives the ended execution, removes it and imports it.
async fn move_through_an_archive(world: &World, history: &dyn Debug) {
    let before = rows(world);
    let records = archived(world).await;
    let (backend, all) = (&world.backend, ScannerFilter::NOOP);
    let trimmed = backend.trim_retention(partition(), &lane(), 0, world.now(), 1, &all).await;
    assert_eq!(trimmed.unwrap(), 1, "it has ended: {history:?}");
    assert!(world.rows("ff_exec_core").is_empty(), "{history:?}");

    let mut file = CheckedFile::default();
    records.iter().for_each(|record| file.add(record).unwrap());
    file.finish().unwrap();
    let run = backend.begin_import(&file).await.unwrap();
    for record in records.iter().filter(|record| !file.is_superseded(record)) {
        let imported = backend.import_record(&run, record).await.unwrap();
        assert_eq!(imported, Imported::Added, "{history:?}");
    }

    let after = rows(world);
    for (table, before) in &before {
        assert_eq!(before, &after[table], "{table} before and after an archive: {history:?}");
    }
}

/// The lines of an archive of everything that has ended.
async fn archived(world: &World) -> Vec<Record> {
    let mut pass = ArchivePass::after(0);
    pass.until = Some(i64::MAX);
    let mut records = Vec::new();
    while !pass.is_done() {
        let step = world.backend.archive_step(pass).await.unwrap();
        records.extend(step.lines.iter().map(|line| Record::read(line).unwrap()));
        pass = step.pass;
    }
    records
}

/// All rows.
fn rows(world: &World) -> BTreeMap<&'static str, Vec<Rows>> {
    let of = |name: &str| -> Vec<Rows> {
        let mut rows = world.rows(name);
        rows.sort_by_key(|row| format!("{row:?}"));
        rows
    };
    TABLES.iter().map(|table| (table.name, of(table.name))).collect()
}
