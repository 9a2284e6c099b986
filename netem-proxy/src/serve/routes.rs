//! The routes that Toxiproxy's clients know.
//!
//! Each takes a body to the registry and its answer back, on a thread that may block: the registry binds ports, looks up
//! names and waits for the relay's threads. What has no route, or not with that method, is answered as Go's `net/http`
//! does, because clients tell a wrong server by it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::json;

use super::error::{ApiError, plain_text};
use super::guard::{RequestIds, guard};
use super::json::Value;
use super::registry::{Populated, Registry};
use super::{API_VERSION, Served, metrics, v1};

type Api = State<Arc<Served>>;

/// Everything the port answers.
pub(super) fn router(served: Arc<Served>) -> Router {
    // Without metrics the route does not exist, rather than being empty.
    let metrics = Router::new().route("/metrics", get(show_metrics));
    let metrics = if served.metrics.is_any() { metrics } else { Router::new() };
    Router::new()
        .route("/proxies", get(proxies).post(create))
        .route("/proxies/{proxy}", get(proxy).post(update).patch(update).delete(delete_proxy))
        .route("/proxies/{proxy}/toxics", get(toxics).post(add_toxic))
        .route(
            "/proxies/{proxy}/toxics/{toxic}",
            get(toxic).post(update_toxic).patch(update_toxic).delete(remove_toxic),
        )
        .route("/populate", post(populate))
        .route("/reset", post(reset))
        .route("/version", get(version))
        .merge(metrics)
        .merge(v1::routes())
        .method_not_allowed_fallback(async || StatusCode::METHOD_NOT_ALLOWED)
        .route_layer(from_fn_with_state(Arc::new(RequestIds::new()), guard))
        .fallback(async || not_found())
        .with_state(served)
}

async fn proxies(State(served): Api) -> Response {
    blocking(served, |served| json_response(StatusCode::OK, &served.registry.views())).await
}

async fn create(State(served): Api, request: Request) -> Result<Response, ApiError> {
    let body = body(request).await?;
    on_registry(served, StatusCode::CREATED, move |registry| registry.create(&Value::parse(&body)?)).await
}

async fn proxy(State(served): Api, Path(name): Path<String>) -> Result<Response, ApiError> {
    on_registry(served, StatusCode::OK, move |registry| registry.view(&name)).await
}

async fn update(
    State(served): Api,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body(request).await?;
    on_registry(served, StatusCode::OK, move |registry| {
        // An unknown proxy is told before a wrong body.
        registry.view(&name)?;
        registry.update(&name, &Value::parse(&body)?)
    })
    .await
}

async fn delete_proxy(State(served): Api, Path(name): Path<String>) -> Result<Response, ApiError> {
    without_answer(served, move |registry| registry.delete(&name)).await
}

async fn toxics(State(served): Api, Path(name): Path<String>) -> Result<Response, ApiError> {
    on_registry(served, StatusCode::OK, move |registry| registry.toxics(&name)).await
}

async fn add_toxic(
    State(served): Api,
    Path(proxy): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body(request).await?;
    on_registry(served, StatusCode::OK, move |registry| registry.add_toxic(&proxy, &body)).await
}

async fn toxic(
    State(served): Api,
    Path((proxy, toxic)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    on_registry(served, StatusCode::OK, move |registry| registry.toxic(&proxy, &toxic)).await
}

async fn update_toxic(
    State(served): Api,
    Path((proxy, toxic)): Path<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body(request).await?;
    on_registry(served, StatusCode::OK, move |registry| registry.update_toxic(&proxy, &toxic, &body)).await
}

async fn remove_toxic(
    State(served): Api,
    Path((proxy, toxic)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    without_answer(served, move |registry| registry.remove_toxic(&proxy, &toxic)).await
}

/// Its errors are honest JSON, unlike those of the other routes, and say what was done before them.
async fn populate(State(served): Api, request: Request) -> Result<Response, ApiError> {
    let body = body(request).await?;
    Ok(blocking(served, move |served| {
        let Populated { proxies, error } = served.registry.populate(&body);
        let Some(error) = error else {
            return json_response(StatusCode::CREATED, &json!({"proxies": proxies}));
        };
        let status = error.status;
        let document = json!({"error": error.message, "status": status.as_u16(), "proxies": proxies});
        json_response(status, &document)
    })
    .await)
}

async fn reset(State(served): Api) -> Result<Response, ApiError> {
    without_answer(served, Registry::reset).await
}

async fn version() -> Response {
    let content_type = HeaderValue::from_static("application/json;charset=utf-8");
    ([(CONTENT_TYPE, content_type)], format!("{{\"version\": \"{API_VERSION}\"}}\n")).into_response()
}

async fn show_metrics(State(served): Api) -> Response {
    blocking(served, |served| {
        let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        let text = metrics::render(served.metrics, &served.registry.traffic(), &served.links.counts());
        ([(CONTENT_TYPE, content_type)], text).into_response()
    })
    .await
}

fn not_found() -> Response {
    plain_text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned())
}

async fn on_registry<T: Serialize>(
    served: Arc<Served>,
    status: StatusCode,
    work: impl FnOnce(&Registry) -> Result<T, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let answer = move |served: &Served| work(&served.registry).map(|answer| json_response(status, &answer));
    Ok(blocking(served, move |served| answer(served).into_response()).await)
}

async fn without_answer(
    served: Arc<Served>,
    work: impl FnOnce(&Registry) -> Result<(), ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let answer = move |served: &Served| work(&served.registry).map(|()| StatusCode::NO_CONTENT);
    Ok(blocking(served, move |served| answer(served).into_response()).await)
}

/// Does the work on a thread that may wait. It goes on even if the client gives up.
pub(super) async fn blocking(
    served: Arc<Served>,
    work: impl FnOnce(&Served) -> Response + Send + 'static,
) -> Response {
    let done = tokio::task::spawn_blocking(move || work(&served)).await;
    done.unwrap_or_else(|error| ApiError::internal(format!("the request failed: {error}")).into_response())
}

pub(super) fn json_response(status: StatusCode, document: &impl Serialize) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    match serde_json::to_vec(document) {
        Ok(body) => (status, [(CONTENT_TYPE, content_type)], body).into_response(),
        Err(error) => ApiError::internal(error.to_string()).into_response(),
    }
}

/// Whatever its type is said to be.
pub(super) async fn body(request: Request) -> Result<Bytes, ApiError> {
    let read = tokio::time::timeout(READ_LIMIT, to_bytes(request.into_body(), MAX_BODY_BYTES)).await;
    let read =
        read.map_err(|_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))?;
    read.map_err(|_| {
        let text = format!("the body is cut off, or longer than {MAX_BODY_BYTES} bytes");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    })
}

/// A list of some thousand proxies.
const MAX_BODY_BYTES: usize = 1 << 20;

/// As Toxiproxy's.
const READ_LIMIT: Duration = Duration::from_secs(15);
