//! Our own routes: links of packets, which Toxiproxy does not have.
//!
//! Errors are JSON and say so. A link has a revision, sent as `ETag`; a change with `If-Match` is made only to the revision
//! it names (RFC 9110 section 13.1.1).

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_MATCH, LOCATION};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use serde_json::json;

use super::Served;
use super::error::ApiError;
use super::links::{IfMatch, LinkView, Put};
use super::routes::{blocking, body, json_response};
use crate::preset::{self, Preset};

type Api = State<Arc<Served>>;

pub(super) fn routes() -> Router<Arc<Served>> {
    Router::new()
        .route("/v1/links", get(list).post(create))
        .route("/v1/links/{name}", get(show).put(put).patch(patch).delete(delete))
        .route("/v1/links/{name}/actions", post(act))
        .route("/v1/presets", get(presets))
        .route("/v1/proxies/{proxy}/connections", get(connections))
        .route("/healthz", get(health))
}

/// Fails when a thread of the relay has ended: some proxies carry nothing any more, and only a restart helps.
async fn health(State(served): Api) -> Response {
    match served.registry.engine().failure() {
        None => "ok\n".into_response(),
        Some(failure) => {
            let text = format!("{failure}; restart the server");
            refusal(&ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text))
        }
    }
}

async fn list(State(served): Api) -> Response {
    blocking(served, |served| json_response(StatusCode::OK, &served.links.list())).await
}

/// Which connections a proxy has, and which toxics rolled them.
async fn connections(State(served): Api, Path(name): Path<String>) -> Response {
    blocking(served, move |served| {
        let found = served.registry.with(&name, |proxy| Ok(proxy.connections()));
        answer(found.map(|(counters, connections)| {
            json_response(StatusCode::OK, &json!({"counters": counters, "connections": connections}))
        }))
    })
    .await
}

async fn presets() -> Response {
    let document = |preset: &Preset| {
        let Preset { name, aliases, about, up, down, source } = preset;
        json!({"name": name, "aliases": aliases, "about": about, "up": up, "down": down, "source": source})
    };
    let all: Vec<_> = preset::all().iter().map(document).collect();
    json_response(StatusCode::OK, &json!({"presets": all}))
}

async fn create(State(served): Api, request: Request) -> Response {
    change(served, request, |served, _, body| {
        let view = served.links.create(body)?;
        let location = view.document["name"].as_str().map(|name| format!("/v1/links/{name}"));
        let mut response = shown(StatusCode::CREATED, &view);
        if let Some(location) = location.and_then(|text| HeaderValue::from_str(&text).ok()) {
            response.headers_mut().insert(LOCATION, location);
        }
        Ok(response)
    })
    .await
}

async fn show(State(served): Api, Path(name): Path<String>) -> Response {
    blocking(served, move |served| answer(served.links.show(&name).map(|view| shown(StatusCode::OK, &view))))
        .await
}

async fn put(State(served): Api, Path(name): Path<String>, request: Request) -> Response {
    change(served, request, move |served, if_match, body| {
        let (put, view) = served.links.put(&name, body, if_match)?;
        Ok(shown(if put == Put::Created { StatusCode::CREATED } else { StatusCode::OK }, &view))
    })
    .await
}

async fn patch(State(served): Api, Path(name): Path<String>, request: Request) -> Response {
    change(served, request, move |served, if_match, body| {
        Ok(shown(StatusCode::OK, &served.links.patch(&name, body, if_match)?))
    })
    .await
}

async fn act(State(served): Api, Path(name): Path<String>, request: Request) -> Response {
    change(served, request, move |served, _, body| Ok(shown(StatusCode::OK, &served.links.act(&name, body)?)))
        .await
}

async fn delete(State(served): Api, Path(name): Path<String>, request: Request) -> Response {
    change(served, request, move |served, if_match, _| {
        served.links.delete(&name, if_match)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// Reads what a change needs and makes it.
async fn change(
    served: Arc<Served>,
    request: Request,
    work: impl FnOnce(&Served, IfMatch, &[u8]) -> Result<Response, ApiError> + Send + 'static,
) -> Response {
    let if_match = if_match(request.headers());
    match body(request).await {
        Ok(body) => blocking(served, move |served| answer(work(served, if_match, &body))).await,
        Err(error) => refusal(&error),
    }
}

fn if_match(headers: &HeaderMap) -> IfMatch {
    // What is no text is no revision.
    IfMatch::parse(headers.get(IF_MATCH).map(|header| header.to_str().unwrap_or_default()))
}

fn shown(status: StatusCode, view: &LinkView) -> Response {
    let mut response = json_response(status, &view.document);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", view.revision)) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn answer(result: Result<Response, ApiError>) -> Response {
    result.unwrap_or_else(|error| refusal(&error))
}

fn refusal(error: &ApiError) -> Response {
    let content_type = HeaderValue::from_static("application/json");
    (error.status, [(CONTENT_TYPE, content_type)], format!("{}\n", error.document())).into_response()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::serve::{MetricsConfig, ServeConfig, Server};
    use crate::timing::Timing;

    #[tokio::test]
    async fn health_fails_with_the_reason_when_a_driver_has_ended() {
        let config = ServeConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            seed: 1,
            timing: Timing::default(),
            metrics: MetricsConfig::default(),
        };
        let server = Server::bind(config).await.expect("a free port");
        assert_eq!(health(State(Arc::clone(&server.served))).await.status(), StatusCode::OK);
        server.served.registry.engine().break_driver();
        let answer = health(State(Arc::clone(&server.served))).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = axum::body::to_bytes(answer.into_body(), 4096).await.expect("a body");
        let body = String::from_utf8_lossy(&body);
        assert!(
            body.contains("stream driver 0 has ended: it panicked: asked to; restart the server"),
            "{body}"
        );
    }
}
