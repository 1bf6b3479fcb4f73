//! The time of the parts of an operation that run in this process, with the statistics of
//! `criterion`. `cargo bench --bench micro -- 'look up'` measures the parts of that name.

#[path = "common/parts.rs"]
mod parts;

use criterion::{BatchSize, Criterion};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for part in parts::parts() {
        criterion.bench_function(&part.name, |bencher| {
            bencher.iter_batched_ref(|| part.prepare(), |run| run(), BatchSize::SmallInput);
        });
    }
    criterion.final_summary();
}
