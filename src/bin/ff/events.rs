//! `ff events`: prints events as they happen, or from any point of the past on.

mod event;
mod kind;
mod position;
mod start_point;

use std::time::{Duration, Instant};

use ff_core::EngineError;
use ff_core::backend::ScannerFilter;
use ff_core::contracts::INSTANCE_TAG;
use futures_util::StreamExt;
use futures_util::stream::select_all;

use super::Global;
use super::clock::Zone;
use super::failure::Failure;
use super::output::Output;
use super::view::AnnouncedView;
pub(super) use event::Event;
use kind::Kind;
use position::Positions;
use start_point::StartPoint;

/// The idle time after which the backlog counts as drained.
const IDLE: Duration = Duration::from_millis(200);

/// The number of round trips to the database added to that, so that a slow link is not taken for
/// silence.
const IDLE_ROUND_TRIPS: u32 = 10;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Follow new events until interrupted.
    #[arg(long)]
    follow: bool,
    /// The place to begin: `start`, `now`, or after an event, by its cursor as printed. Each kind
    /// has its own cursors, so there may be one for each. Without `--kind`, cursors choose the
    /// kinds: only theirs are printed, unless `start` or `now` stands beside them.
    #[arg(long, value_name = "CURSOR", default_value = "start")]
    from: Vec<StartPoint>,
    /// Read as this subscriber: go on behind the last event that was printed under this name, and
    /// store in the database how far it has read. Retention keeps the events that it has not read.
    #[arg(long = "as", value_name = "NAME")]
    subscriber: Option<String>,
    /// Only events of this kind; may be given many times.
    #[arg(long = "kind", value_name = "KIND", value_enum)]
    kinds: Vec<Kind>,
    /// Only events of executions of this tenant; not possible for the kind `tag`.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only events of executions with this value of the tag `cairn.instance_id`, likewise.
    #[arg(long, value_name = "VALUE")]
    instance: Option<String>,
}

impl Arguments {
    /// The kinds asked for, and the filter on their events.
    fn choice(&self) -> Result<(Vec<Kind>, ScannerFilter), Failure> {
        let filter = self.filter();
        let named =
            if self.kinds.is_empty() { start_point::kinds(&self.from) } else { self.kinds.clone() };

        match named.as_slice() {
            [] if filter.is_noop() => Ok((Kind::ALL.to_vec(), filter)),
            [] => Ok((Kind::FILTERED.to_vec(), filter)),
            kinds if !filter.is_noop() && kinds.contains(&Kind::Tag) => {
                Err(Failure::usage("events of the kind tag are all or none"))
            }
            _ => Ok((named, filter)),
        }
    }

    fn filter(&self) -> ScannerFilter {
        let mut filter = ScannerFilter::new();
        if let Some(namespace) = &self.namespace {
            filter = filter.with_namespace(namespace.as_str());
        }
        if let Some(instance) = &self.instance {
            filter = filter.with_instance_tag(INSTANCE_TAG, instance);
        }
        filter
    }
}

pub(super) async fn run(global: &Global, arguments: Arguments) -> Result<(), Failure> {
    let (kinds, filter) = arguments.choice()?;
    let mut cursors = start_point::cursors(&kinds, &arguments.from).map_err(Failure::usage)?;
    let engine = match &arguments.subscriber {
        Some(_) => global.open_existing().await?,
        None => global.open().await?,
    };
    let output = global.output();

    let mut positions = Positions::of(&engine, arguments.subscriber.clone());
    positions.go_on(&mut cursors, &arguments.from).await?;

    // A slow database needs a longer silence before its backlog counts as drained.
    let started = Instant::now();
    engine.ping().await.map_err(|error| Failure::engine("reaching the database", &error))?;
    let idle = IDLE + started.elapsed() * IDLE_ROUND_TRIPS;

    let mut subscriptions = Vec::new();
    for (kind, cursor) in cursors {
        let subscription = kind.subscribe(engine.as_ref(), cursor, &filter).await;
        subscriptions.push(subscription.map_err(|error| read_failure(&error))?);
    }

    let mut events = select_all(subscriptions);
    loop {
        let Ok(next) = tokio::time::timeout(idle, events.next()).await else {
            positions.store().await?;
            if arguments.follow { continue } else { return Ok(()) }
        };

        match next {
            Some(Ok(event)) => {
                print(output, &event)?;
                positions.passed(&event).await?;
            }
            // The subscription goes on by itself, from where it was.
            Some(Err(error @ EngineError::StreamDisconnected { .. })) => tracing::warn!(%error),
            Some(Err(error)) => {
                positions.store().await?;
                return Err(read_failure(&error));
            }
            None => return positions.store().await,
        }
    }
}

fn read_failure(error: &EngineError) -> Failure {
    Failure::engine("reading events", error)
}

fn print(output: Output, event: &Event) -> Result<(), Failure> {
    if output.is_json() {
        Ok(output.json_line(&AnnouncedView::from(event))?)
    } else {
        Ok(output.line(text(event, output.zone()))?)
    }
}

/// One line: the cursor as `--from` takes it, the time, the execution and the event.
fn text(event: &Event, zone: Zone) -> String {
    let (cursor, at) = (event.cursor_text(), zone.format(event.at));
    let mut line = format!("{cursor}  {at}  {}  {}", event.execution_id, event.what);
    for (name, value) in &event.details {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        line.push_str(&format!("  {name}={}", value.trim_end()));
    }
    line
}

#[cfg(test)]
mod tests {
    use ff_core::stream_events::{CompletionEvent, CompletionOutcome};
    use ff_core::stream_subscribe::encode_postgres_event_cursor;
    use ff_core::types::{ExecutionId, TimestampMs};
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_line_that_begins_with_its_cursor() {
        let id = "{fp:7}:550e8400-e29b-41d4-a716-446655440000";
        let mut event = Event::from(CompletionEvent::new(
            encode_postgres_event_cursor(12_345),
            ExecutionId::parse(id).unwrap(),
            CompletionOutcome::from_wire("success"),
            TimestampMs(0),
        ));
        assert_eq!(
            text(&event, Zone::Utc),
            format!("completion:020000000000003039  1970-01-01 00:00:00.000  {id}  success")
        );
        event.details.push(("more", json!({ "a": "\u{1b}" })));
        event.details.push(("who", json!("me\n")));
        assert!(text(&event, Zone::Utc).ends_with("  success  more={\"a\":\"\\u001b\"}  who=me"));

        let object = serde_json::to_value(AnnouncedView::from(&event)).unwrap();
        assert_eq!(
            (&object["cursor"], &object["who"], &object["at_ms"]),
            (&json!("completion:020000000000003039"), &json!("me\n"), &json!(0))
        );
    }
}
