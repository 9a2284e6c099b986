//! What every request passes before a route sees it: no browsers, a number, a time limit.
//!
//! There is no password, as in Toxiproxy: who reaches the port may change everything, so it listens on loopback unless
//! told otherwise. A web page that a developer happens to have open reaches loopback too; browsers name themselves, and are
//! refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::USER_AGENT;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use units::wall_clock;

use super::error::plain_text;

/// Numbers requests, unlike those of any other run.
#[derive(Debug)]
pub(super) struct RequestIds {
    run: u64,
    next: AtomicU64,
}

impl RequestIds {
    pub(super) fn new() -> Self {
        // Microseconds since 1970.
        Self { run: (wall_clock() * 1e6) as u64, next: AtomicU64::new(0) }
    }

    /// Twenty characters, like the originals.
    fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:014x}{:06x}", self.run & 0xff_ffff_ffff_ffff, number & 0xff_ffff)
    }
}

/// In front of every route, but not of what is no route.
pub(super) async fn guard(
    State(ids): State<std::sync::Arc<RequestIds>>,
    request: Request,
    next: Next,
) -> Response {
    let id = ids.next();
    let agent = request.headers().get(USER_AGENT);
    let is_browser = agent.is_some_and(|agent| agent.as_bytes().starts_with(b"Mozilla/"));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = if is_browser {
        plain_text(StatusCode::FORBIDDEN, "User agent not allowed\n".to_owned())
    } else {
        match tokio::time::timeout(HANDLER_LIMIT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    };
    tracing::debug!(id, %method, path, status = response.status().as_u16(), "request");
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-toxiproxy-request-id");

/// As Toxiproxy's. Nothing here takes as long, but the resolver of a broken system.
const HANDLER_LIMIT: Duration = Duration::from_secs(25);
