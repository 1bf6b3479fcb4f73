//! An order service over HTTP: charges a card, waits for the warehouse, and writes an email.
//!
//! `cargo run --example order_service` keeps its orders in `orders.db` and serves 127.0.0.1:3000;
//! `… -- postgres://USER@HOST/NAME 127.0.0.1:8080` keeps and serves them elsewhere.

mod jobs;
mod shop;

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use flowfabric_sql::JobError;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use jobs::{App, Failed};
use shop::Order;

type Number = Path<String>;

async fn place(
    State(app): State<App>,
    headers: HeaderMap,
    Json(mut order): Json<Order>,
) -> Result<(StatusCode, String), Refused> {
    let key = headers.get("idempotency-key").map_or(Ok(""), HeaderValue::to_str)?;
    order.number = uuid::Uuid::new_v4().to_string();
    let (number, is_new) = app.place(&order, key).await?;
    Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, number))
}

/// The warehouse has sent the parcel.
async fn ship(
    State(app): State<App>,
    Path(number): Number,
    parcel: String,
) -> Result<StatusCode, Refused> {
    app.job(&number).await?.signal("shipped", &parcel).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The text of the email. The client asks again while the order is not done.
async fn show(State(app): State<App>, Path(number): Number) -> Result<String, Refused> {
    Ok(app.job(&number).await?.result_within(Duration::from_secs(2)).await?)
}

async fn ready(State(app): State<App>) -> Result<(), Refused> {
    Ok(app.client.engine().ping().await?)
}

/// A request that was not done, or an order without a result.
struct Refused(Failed);

impl<E: Into<Failed>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.0.downcast_ref() {
            Some(JobError::StillRunning(_)) => StatusCode::ACCEPTED,
            Some(JobError::NotFound) => StatusCode::NOT_FOUND,
            Some(JobError::NotWaiting { .. }) => StatusCode::CONFLICT,
            _ => {
                eprintln!("a request failed: {}", self.0);
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
        };
        (status, self.0.to_string()).into_response()
    }
}

/// Serves until SIGTERM. Then the requests end first, and after them the jobs.
pub(crate) async fn serve(url: &str, address: &str) -> Result<(), Failed> {
    let mut terminated = signal(SignalKind::terminate())?;
    let app = App::open(url).await?;
    let routes = Router::new()
        .route("/orders", post(place))
        .route("/orders/{number}", get(show))
        .route("/orders/{number}/parcel", post(ship))
        .route("/readyz", get(ready))
        .with_state(app.clone());
    let listener = TcpListener::bind(address).await?;
    println!("serves http://{}", listener.local_addr()?);

    let (served, last_request) = oneshot::channel::<()>();
    let serving = async {
        let stopped = async move { terminated.recv().await.unwrap_or_default() };
        axum::serve(listener, routes).with_graceful_shutdown(stopped).await?;
        drop(served);
        Ok(())
    };
    let working = app.work(async { last_request.await.unwrap_or_default() });
    tokio::try_join!(serving, working)?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "sqlite:orders.db".into());
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".into());
    serve(&url, &address).await
}
