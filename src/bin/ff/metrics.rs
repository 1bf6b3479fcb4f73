//! The metrics and the health of a process that works or scans, served over HTTP.
//!
//! `/metrics` is Prometheus' text. `/healthz` says whether the loops live, `/readyz` whether the
//! database answers and its tables fit. No answer holds more than names, lanes and numbers.

mod server;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ff_core::engine_backend::EngineBackend;
use flowfabric_sql::scanner::ScannerLiveness;
use flowfabric_sql::telemetry::{METRICS, MetricKind, QueueGauges, Unit};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::failure::Failure;
use super::log;

/// The time between two clean-ups of what no scraper has fetched.
const UPKEEP: Duration = Duration::from_secs(5);

/// The longest time that an answer waits for the database.
const PATIENCE: Duration = Duration::from_secs(2);

/// The option that serves metrics.
#[derive(Debug, clap::Args)]
pub(super) struct MetricsArguments {
    /// Serve /metrics (Prometheus), /healthz and /readyz at this address: a port of this machine's
    /// loopback, or ADDRESS:PORT. Port 0 takes a free one; stderr says which.
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    metrics: Option<SocketAddr>,
}

/// Reads a port, which means that of the loopback, or an address with a port.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    let expected = "expected a port, such as 9464, or an address with a port, such as 0.0.0.0:9464";
    text.parse().map_err(|_| expected.to_owned())
}

impl MetricsArguments {
    /// Takes the address and begins to record, before anything else is done. `None` without the
    /// option.
    pub(super) async fn begin(&self) -> Result<Option<Recording>, Failure> {
        let Some(address) = self.metrics else { return Ok(None) };
        let failed = |error| Failure::new(format!("--metrics {address}: {error}"));
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let handle = install_recorder()?;
        log::write_to_stderr(format!("metrics at http://{bound}/metrics\n").as_bytes());
        Ok(Some(Recording { listener, handle }))
    }
}

/// Metrics that are recorded and not served yet.
pub(super) struct Recording {
    listener: TcpListener,
    handle: PrometheusHandle,
}

/// The running server. Dropping it ends it.
pub(super) struct Serving {
    // Held for its drop, which aborts the tasks.
    _tasks: JoinSet<()>,
}

impl Recording {
    /// Serves the metrics, and the health of the engine and its scanners.
    pub(super) fn serve(
        self,
        engine: Arc<dyn EngineBackend>,
        scanners: ScannerLiveness,
    ) -> Serving {
        let handle = self.handle.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                handle.run_upkeep();
            }
        });

        let site = Site { handle: self.handle, engine, scanners, queues: Mutex::default() };
        tasks.spawn(server::serve(self.listener, Arc::new(site)));
        Serving { _tasks: tasks }
    }
}

/// Installs the recorder of this process, with the help and the buckets of every metric.
fn install_recorder() -> Result<PrometheusHandle, Failure> {
    let failed = |error| Failure::new(format!("recording metrics: {error}"));
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS.iter().filter(|metric| metric.kind == MetricKind::Histogram) {
        let name = Matcher::Full(metric.name.to_owned());
        builder = builder
            .set_buckets_for_metric(name, metric.buckets)
            .map_err(|error| failed(error.to_string()))?;
    }

    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| failed(error.to_string()))?;

    for metric in &METRICS {
        let unit = match metric.unit {
            Unit::Count => metrics::Unit::Count,
            Unit::Seconds => metrics::Unit::Seconds,
        };
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, unit, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, unit, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, unit, metric.help),
        }
    }
    Ok(handle)
}

/// The answers of the server.
struct Site {
    handle: PrometheusHandle,
    engine: Arc<dyn EngineBackend>,
    scanners: ScannerLiveness,
    queues: Mutex<QueueGauges>,
}

/// The answer to a health check: the sentence, and whether all is well.
struct Health(bool, String);

impl Site {
    /// The metrics as text. While the database does not answer, the gauges of its queues keep their
    /// values.
    async fn metrics(&self) -> String {
        let mut queues = self.queues.lock().await;
        match tokio::time::timeout(PATIENCE, queues.update(self.engine.as_ref())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the queues could not be counted"),
            Err(_) => tracing::warn!("the queues could not be counted in time"),
        }
        self.handle.render()
    }

    /// Whether the loops live.
    fn liveness(&self) -> Health {
        let ended = self.scanners.ended();
        if ended.is_empty() {
            return Health(true, "alive".to_owned());
        }
        Health(false, format!("scanner loops have ended: {}", ended.join(", ")))
    }

    /// Whether the database answers and its tables fit.
    async fn readiness(&self) -> Health {
        let checked = async {
            self.engine.ping().await?;
            QueueGauges::default().update(self.engine.as_ref()).await
        };
        match tokio::time::timeout(PATIENCE, checked).await {
            Ok(Ok(())) => Health(true, "ready".to_owned()),
            Ok(Err(error)) if error.store_class().is_some_and(|class| !class.may_pass()) => {
                Health(false, "the database's tables do not fit this program".to_owned())
            }
            Ok(Err(error)) => Health(false, format!("the database fails: {}", error.kind())),
            Err(_) => Health(false, "the database does not answer in time".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_is_of_the_loopback() {
        assert_eq!(parse_address("9464").unwrap().to_string(), "127.0.0.1:9464");
        assert_eq!(parse_address("0.0.0.0:80").unwrap().to_string(), "0.0.0.0:80");
        assert_eq!(parse_address("[::1]:80").unwrap().to_string(), "[::1]:80");
        for wrong in ["", "host", ":80", "70000", "127.0.0.1"] {
            assert!(parse_address(wrong).unwrap_err().contains("a port"), "{wrong}");
        }
    }
}
