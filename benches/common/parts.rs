//! The parts of an operation that run in this process, each by itself: decide, split into a shape,
//! render or look up the shape, interpret, encode a handle.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;

use ff_backend_memory::MemoryBackend;
use ff_bench::{PAYLOAD, submission, terms};
use ff_codegen::{ByShape, Dialect, Postgres, Sqlite, render};
use ff_core::EngineError;
use ff_core::backend::{BackendTag, CapabilitySet};
use ff_core::engine::{Commit, Executor};
use ff_core::engine_backend::EngineBackend;
use ff_core::handle_codec::{self, HandlePayload};
use ff_core::partition::PartitionConfig;
use ff_core::plan::Plan;
use ff_core::plan::facts::Facts;
use ff_core::rules::ctx::{Ctx, Seeded};
use ff_core::rules::decision::{Step, Transition};
use ff_core::rules::execution::claim::Claim;
use ff_core::rules::execution::create::Create;
use ff_core::rules::execution::finish::Complete;
use ff_core::rules::execution::lease::Renew;
use ff_core::rules::fence::Fence;
use ff_core::rules::handle;
use ff_core::types::{LaneId, TimestampMs};
use futures_util::FutureExt;

/// One part of an operation.
pub(crate) struct Part {
    pub(crate) name: String,
    prepare: Box<dyn Fn() -> Run>,
}

/// One run of a part, with its inputs. Only the first call does anything.
pub(crate) type Run = Box<dyn FnMut()>;

impl Part {
    /// A part that consumes what `make` returns. The result is dropped within the run.
    fn new<I: 'static, O: 'static>(
        name: impl Into<String>,
        make: impl Fn() -> I + 'static,
        part: impl Fn(I) -> O + 'static,
    ) -> Self {
        let part = Arc::new(part);
        let prepare = move || -> Run {
            let (mut input, part) = (Some(make()), Arc::clone(&part));
            Box::new(move || {
                if let Some(input) = input.take() {
                    drop(black_box(part(input)));
                }
            })
        };
        Self { name: name.into(), prepare: Box::new(prepare) }
    }

    /// A run with fresh inputs.
    pub(crate) fn prepare(&self) -> Run {
        (self.prepare)()
    }
}

/// Every part, in the order of an operation.
pub(crate) fn parts() -> Vec<Part> {
    let payload = held_on(&MemoryBackend::new());
    let plans = [
        ("create", decided(&create())),
        ("claim", decided(&claim())),
        ("complete", decided(&complete(&payload))),
        ("renew", decided(&renew(&payload))),
    ];

    let mut parts = decisions(&payload);
    for (name, plan) in &plans {
        parts.extend(translation(name, plan));
    }
    parts.extend(interpretation());
    parts.extend(codec(payload));
    parts.push(observation());
    parts
}

fn create() -> Create {
    let lane = LaneId::new("bench");
    Create::new(submission(&lane, PAYLOAD), &PartitionConfig::default()).expect("valid arguments")
}

fn claim() -> Claim {
    let (lane, none) = (LaneId::new("bench"), CapabilitySet::default());
    Claim::new(BackendTag::Memory, &lane, &none, terms(0), 1).expect("valid arguments")
}

fn complete(payload: &HandlePayload) -> Complete {
    Complete { fence: Fence::of_handle(payload).expect("a fence"), result: None, at: None }
}

fn renew(payload: &HandlePayload) -> Renew {
    Renew { fence: Fence::of_handle(payload).expect("a fence"), ttl_ms: 30_000 }
}

/// The plan that an operation commits before it has read anything.
fn decided<T: Transition>(operation: &T) -> Plan {
    let mut source = Seeded::new(7);
    match operation.step(&Facts::default(), &mut Ctx::new(TimestampMs::now(), &mut source)) {
        Ok(Step::Commit(plan, _)) => plan,
        Ok(Step::Read(_) | Step::Answer(_)) | Err(_) => panic!("it expects its rows"),
    }
}

/// Submits and claims an execution.
fn held_on(backend: &MemoryBackend) -> HandlePayload {
    let (lane, none) = (LaneId::new("bench"), CapabilitySet::default());
    applied(backend, decided(&create()));
    let claimed = backend.claim(&lane, &none, terms(0)).now_or_never().expect("does not wait");
    let handle = claimed.expect("claims").expect("there is one");
    handle::open(BackendTag::Memory, &handle).expect("its own handle")
}

fn applied(backend: &MemoryBackend, plan: Plan) {
    let committed = backend.commit(plan).now_or_never().expect("does not wait");
    assert!(matches!(committed, Ok(Commit::Applied(_))), "{committed:?}");
}

/// Each decision, with the check of its arguments.
fn decisions(payload: &HandlePayload) -> Vec<Part> {
    let (completed, renewed) = (payload.clone(), payload.clone());
    let lane = LaneId::new("bench");
    let submitted = move || submission(&lane, PAYLOAD);
    vec![
        Part::new("decide create", submitted, |args| {
            decided(&Create::new(args, &PartitionConfig::default()).expect("valid arguments"))
        }),
        Part::new("decide claim", || (), |()| decided(&claim())),
        Part::new("decide complete", move || completed.clone(), |held| decided(&complete(&held))),
        Part::new("decide renew", move || renewed.clone(), |held| decided(&renew(&held))),
    ]
}

/// The way of a plan to its statement.
fn translation(operation: &str, plan: &Plan) -> Vec<Part> {
    let shape = plan.shape();
    let render_in = |dialect: &'static dyn Dialect| {
        let shape = shape.clone();
        let name = format!("render {operation}, {}, cold", dialect.name());
        Part::new(name, || (), move |()| render(dialect, &shape).expect("renders"))
    };

    let known = ByShape::default();
    let make = |_: &_| Ok::<_, Infallible>(());
    let Ok(_) = known.find(shape.clone(), make);
    let (split, looked_up) = (plan.clone(), shape.clone());
    vec![
        Part::new(
            format!("split {operation} into its shape"),
            move || split.clone(),
            Plan::into_shape,
        ),
        Part::new(
            format!("look up the shape of {operation}"),
            move || looked_up.clone(),
            move |shape| known.find(shape, make),
        ),
        render_in(&Postgres),
        render_in(&Sqlite),
    ]
}

/// Plans applied in memory, in a database with one execution.
fn interpretation() -> Vec<Part> {
    let interpret = |(backend, plan): (MemoryBackend, Plan)| {
        applied(&backend, plan);
        backend
    };
    let with_one = || {
        let backend = MemoryBackend::new();
        applied(&backend, decided(&create()));
        backend
    };
    let held = |operation: fn(&HandlePayload) -> Plan| {
        move || {
            let backend = MemoryBackend::new();
            let payload = held_on(&backend);
            (backend, operation(&payload))
        }
    };

    vec![
        Part::new("interpret create", || (MemoryBackend::new(), decided(&create())), interpret),
        Part::new("interpret claim", move || (with_one(), decided(&claim())), interpret),
        Part::new("interpret complete", held(|payload| decided(&complete(payload))), interpret),
        Part::new("interpret renew", held(|payload| decided(&renew(payload))), interpret),
    ]
}

/// An operation that does nothing, observed without a recorder and a subscriber.
fn observation() -> Part {
    let nothing = |()| {
        let operation = ff_telemetry::operation!("nothing");
        let done = async { Ok::<(), EngineError>(()) };
        ff_telemetry::observe(operation, done).now_or_never().expect("does not wait")
    };
    Part::new("observe an operation", || (), nothing)
}

fn codec(payload: HandlePayload) -> Vec<Part> {
    let opaque = handle_codec::encode(BackendTag::Memory, &payload);
    vec![
        Part::new(
            "encode a handle",
            move || payload.clone(),
            |payload| handle_codec::encode(BackendTag::Memory, &payload),
        ),
        Part::new(
            "decode a handle",
            move || opaque.clone(),
            |opaque| handle_codec::decode(&opaque).expect("its own bytes"),
        ),
    ]
}
