//! The HTTP server: three paths, one connection at a time per scraper, and a bound on all of them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Health, Site};

/// The most connections at a time; further ones wait.
const CONNECTIONS: usize = 32;

/// The longest time that a client may take for the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause after a connection that could not be accepted, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

type Answer = Response<Full<Bytes>>;

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, site: Arc<Site>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}

        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection for metrics was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };

        let site = Arc::clone(&site);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&site), request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // A client that breaks off harms itself only.
            let _ = connection.await;
            drop(permit);
        });
    }
}

async fn answer(site: Arc<Site>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET\n".to_owned()));
    }
    Ok(match request.uri().path() {
        "/metrics" => text(StatusCode::OK, PROMETHEUS, site.metrics().await),
        "/healthz" => health(site.liveness()),
        "/readyz" => health(site.readiness().await),
        _ => {
            let paths = "there are /metrics, /healthz and /readyz\n".to_owned();
            text(StatusCode::NOT_FOUND, PLAIN, paths)
        }
    })
}

fn health(Health(is_well, sentence): Health) -> Answer {
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, PLAIN, format!("{sentence}\n"))
}

fn text(status: StatusCode, content_type: HeaderValue, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
