//! What the API answers when it cannot do what was asked.
//!
//! The texts and statuses are Toxiproxy's: its clients compare them.

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::json::DecodeError;
use crate::stream::{OpenError, ToxicError};

/// A refusal: one sentence and an HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn missing(field: &str) -> Self {
        Self::bad_request(format!("missing required field: {field}"))
    }

    pub(super) fn proxy_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "proxy not found")
    }

    pub(super) fn proxy_exists() -> Self {
        Self::new(StatusCode::CONFLICT, "proxy already exists")
    }

    pub(super) fn toxic_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "toxic not found")
    }

    pub(super) fn toxic_exists() -> Self {
        Self::new(StatusCode::CONFLICT, "toxic already exists")
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// What an error becomes in a document.
    pub(super) fn document(&self) -> serde_json::Value {
        json!({"error": self.message, "status": self.status.as_u16()})
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        Self::bad_request(format!("bad request body: {error}"))
    }
}

impl From<ToxicError> for ApiError {
    fn from(error: ToxicError) -> Self {
        match error {
            ToxicError::Exists => Self::toxic_exists(),
            ToxicError::NotFound => Self::toxic_not_found(),
            ToxicError::TooMany { .. } => Self::new(StatusCode::CONFLICT, error.to_string()),
            ToxicError::Closed | ToxicError::Unconfirmed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            other => Self::bad_request(other.to_string()),
        }
    }
}

/// A port that is taken is the server's trouble there, not the client's.
impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Toxic(error) => error.into(),
            OpenError::Profile(error) => Self::bad_request(error.to_string()),
            other => Self::internal(other.to_string()),
        }
    }
}

/// As Go's `http.Error` sends it: JSON that calls itself plain text. Clients that look at the type know this one.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        plain_text(self.status, format!("{}\n", self.document()))
    }
}

/// A text that no browser is to take for something else.
pub(super) fn plain_text(status: StatusCode, text: String) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 2] = [
        (CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (status, HEADERS, text).into_response()
}
