//! The routes, each a question to the engine, and what a request has to look like.
//!
//! Bodies are read by hand, not by an extractor, so that every refusal is JSON of one shape and names the field. Each
//! change leaves one line in the log (target `audit`): who, what, with what.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use units::Probability;

use super::guard::{Access, Refusal, guard};
use super::listener::Origin;
use super::metrics;
use crate::control::{
    BroadcastReply, BroadcastRequest, ClientInfo, ServerStats, ShutdownReply, ShutdownRequest,
    SimulationRequest, SimulationStatus, plain_text,
};
use crate::engine::Simulation;
use crate::net::remote::Remote;

type From = ConnectInfo<Origin>;
type Answer<T> = Result<T, Refusal>;

/// Every route behind the guard.
pub(crate) fn router(remote: Remote, access: Access) -> Router {
    Router::new()
        .route("/v1/stats", get(stats))
        .route("/v1/clients", get(clients))
        .route("/v1/clients/{who}", delete(kick))
        .route("/v1/broadcast", post(broadcast))
        .route("/v1/simulation", put(simulate).delete(stop_simulation))
        .route("/v1/shutdown", post(shutdown))
        .route("/healthz", get(health))
        .route("/metrics", get(show_metrics))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(Arc::new(access), guard))
        .with_state(remote)
}

async fn stats(State(remote): State<Remote>) -> Answer<Json<ServerStats>> {
    Ok(Json(remote.stats().await.ok_or_else(stopped)?))
}

async fn clients(State(remote): State<Remote>) -> Answer<Json<Vec<ClientInfo>>> {
    let clients = remote.ask(|engine, now| engine.clients(now)).await;
    Ok(Json(clients.ok_or_else(stopped)?))
}

#[derive(Debug, Deserialize)]
struct KickQuery {
    #[serde(default)]
    reason: String,
}

async fn kick(
    State(remote): State<Remote>,
    ConnectInfo(Origin(from)): From,
    Path(who): Path<String>,
    Query(query): Query<KickQuery>,
) -> Answer<Json<ClientInfo>> {
    let reason = limited(&query.reason, "reason", MAX_REASON_BYTES)?;
    let reason = if reason.is_empty() { "no reason given".to_owned() } else { reason };
    let who = plain_text(&who);
    audit(from, "kick", &format!("{who}: {reason}"));
    let kicked = remote.ask(move |engine, now| engine.kick(now, &who, &reason)).await.ok_or_else(stopped)?;
    kicked.map(Json).map_err(|error| Refusal(StatusCode::NOT_FOUND, error.to_string()))
}

async fn broadcast(
    State(remote): State<Remote>,
    ConnectInfo(Origin(from)): From,
    body: Bytes,
) -> Answer<Json<BroadcastReply>> {
    let request: BroadcastRequest = read(&body)?;
    let text = limited(&request.text, "text", MAX_BROADCAST_BYTES)?;
    if text.trim().is_empty() {
        return Err(bad("text: it is empty; write what everyone should read".to_owned()));
    }
    audit(from, "broadcast", &text);
    let reached = remote.ask(move |engine, now| engine.broadcast(now, &text)).await.ok_or_else(stopped)?;
    Ok(Json(BroadcastReply { reached: reached as u64 }))
}

async fn simulate(
    State(remote): State<Remote>,
    ConnectInfo(Origin(from)): From,
    body: Bytes,
) -> Answer<Json<Option<SimulationStatus>>> {
    let request: SimulationRequest = read(&body)?;
    let simulation = Simulation::try_from(request).map_err(bad)?;
    let ends = request.for_s.map_or(String::new(), |seconds| format!(" for {seconds} s"));
    audit(from, "simulate", &format!("{} % loss, {} ms delay{ends}", request.loss_percent, request.delay_ms));
    configure(&remote, Some(simulation)).await
}

async fn stop_simulation(
    State(remote): State<Remote>,
    ConnectInfo(Origin(from)): From,
) -> Answer<Json<Option<SimulationStatus>>> {
    audit(from, "simulate", "off");
    configure(&remote, None).await
}

async fn configure(
    remote: &Remote,
    simulation: Option<Simulation>,
) -> Answer<Json<Option<SimulationStatus>>> {
    let status = remote.ask(move |engine, now| {
        engine.simulate(now, simulation);
        engine.stats(now).simulation
    });
    Ok(Json(status.await.ok_or_else(stopped)?))
}

async fn shutdown(
    State(remote): State<Remote>,
    ConnectInfo(Origin(from)): From,
    body: Bytes,
) -> Answer<(StatusCode, Json<ShutdownReply>)> {
    let request: ShutdownRequest = if body.is_empty() { read(b"{}")? } else { read(&body)? };
    let drain = seconds("drain_s", request.drain_s).map_err(bad)?;
    audit(from, "shutdown", &format!("drain {} s", request.drain_s));
    remote.shutdown(drain).await.ok_or_else(stopped)?;
    Ok((StatusCode::ACCEPTED, Json(ShutdownReply { drain_s: request.drain_s })))
}

/// 200 while new clients are welcome, 503 while the server drains.
async fn health(State(remote): State<Remote>) -> Response {
    match remote.stats().await {
        Some(stats) if !stats.draining => "ok\n".into_response(),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "stopped\n").into_response(),
    }
}

async fn show_metrics(State(remote): State<Remote>) -> Answer<Response> {
    let stats = remote.stats().await.ok_or_else(stopped)?;
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((content_type, metrics::render(&stats)).into_response())
}

async fn no_route(uri: Uri) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, format!("no route {}; docs/ADMIN.md lists them", plain_text(uri.path())))
}

async fn no_method(uri: Uri) -> Refusal {
    let text = format!("{} does not take this method; docs/ADMIN.md lists them", plain_text(uri.path()));
    Refusal(StatusCode::METHOD_NOT_ALLOWED, text)
}

impl TryFrom<SimulationRequest> for Simulation {
    type Error = String;

    /// Refuses what is no percentage, no delay or no span of time, in a sentence.
    fn try_from(request: SimulationRequest) -> Result<Self, String> {
        let loss = Probability::new(request.loss_percent / 100.0).ok_or_else(|| {
            format!("loss_percent: {} is not a percentage; write 0 to 100", request.loss_percent)
        })?;
        if !(0.0..=MAX_DELAY_MS).contains(&request.delay_ms) {
            return Err(format!("delay_ms: {} is not from 0 to {MAX_DELAY_MS}", request.delay_ms));
        }
        let duration = request.for_s.map(|value| seconds("for_s", value)).transpose()?;
        if duration == Some(Duration::ZERO) {
            return Err("for_s: it is 0; write how long, or leave it out for no end".to_owned());
        }
        Ok(Self { loss, delay: Duration::from_secs_f64(request.delay_ms / 1e3), duration })
    }
}

fn seconds(field: &str, value: f64) -> Result<Duration, String> {
    if !(0.0..=MAX_SPAN_S).contains(&value) {
        return Err(format!("{field}: {value} is not from 0 to {MAX_SPAN_S} seconds"));
    }
    Ok(Duration::from_secs_f64(value))
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Answer<T> {
    serde_json::from_slice(body).map_err(|error| bad(format!("the body cannot be read: {error}")))
}

/// Text from a request without what a terminal would interpret, if it is short enough.
fn limited(text: &str, field: &str, limit: usize) -> Answer<String> {
    if text.len() > limit {
        return Err(bad(format!("{field}: {} bytes are too long; at most {limit}", text.len())));
    }
    Ok(plain_text(text))
}

fn bad(text: String) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, text)
}

fn stopped() -> Refusal {
    Refusal(StatusCode::SERVICE_UNAVAILABLE, "the server has stopped".to_owned())
}

fn audit(from: SocketAddr, action: &str, detail: &str) {
    tracing::info!(target: "audit", %from, action, detail);
}

/// The largest request is a broadcast.
const MAX_BODY_BYTES: usize = 16 << 10;
const MAX_REASON_BYTES: usize = 500;
/// Fits into a few segments; everyone gets a copy.
const MAX_BROADCAST_BYTES: usize = 4 << 10;
/// Longer than any path on Earth, and than the idle timeout of every connection.
const MAX_DELAY_MS: f64 = 60_000.0;
/// A day. For longer, leave it open.
const MAX_SPAN_S: f64 = 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_weather_is_refused_with_the_field() {
        for (loss_percent, delay_ms, for_s, field) in [
            (101.0, 0.0, None, "loss_percent"),
            (-1.0, 0.0, None, "loss_percent"),
            (f64::NAN, 0.0, None, "loss_percent"),
            (10.0, -5.0, None, "delay_ms"),
            (10.0, 1e9, None, "delay_ms"),
            (10.0, 5.0, Some(0.0), "for_s"),
            (10.0, 5.0, Some(-1.0), "for_s"),
        ] {
            let error =
                Simulation::try_from(SimulationRequest { loss_percent, delay_ms, for_s }).unwrap_err();
            assert!(error.starts_with(field), "{error}");
        }
    }

    #[test]
    fn weather_in_percent_and_milliseconds() {
        let request = SimulationRequest { loss_percent: 10.0, delay_ms: 50.0, for_s: Some(1.5) };
        let simulation = Simulation::try_from(request).unwrap();
        assert_eq!(simulation.loss.get(), 0.1);
        assert_eq!(simulation.delay, Duration::from_millis(50));
        assert_eq!(simulation.duration, Some(Duration::from_millis(1500)));
    }

    #[test]
    fn unknown_fields_are_named() {
        let Refusal(status, text) = read::<SimulationRequest>(br#"{"loss": 10}"#).unwrap_err();
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(text.contains("unknown field `loss`"), "{text}");
    }
}
