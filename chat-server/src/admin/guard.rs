//! Who may ask what, and for how long.
//!
//! Three checks come before every route. The `Host` header must name this machine while the port is local: a page in a
//! browser whose name was pointed at 127.0.0.1 (DNS rebinding) sends its own name there. A request that changes something
//! needs the token; on a port that others can reach, every request but `/healthz` does. And each must be over in time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::token::Token;
use crate::control::{AdminError, plain_text};

/// What the guard compares with.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    pub(crate) token: Token,
    /// Whether only this machine can reach the port.
    pub(crate) local_only: bool,
}

/// A refusal: a status and a sentence, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, error) = self;
        let mut response = (status, Json(AdminError { error })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// The middleware.
pub(crate) async fn guard(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    if let Err(refusal) = access.check(request.method(), request.uri().path(), request.headers()) {
        return refusal.into_response();
    }
    let wants_text = request.uri().path() == "/healthz";
    match tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await {
        Ok(response) if wants_text => response,
        Ok(response) => in_json(response).await,
        Err(_) => {
            Refusal(StatusCode::REQUEST_TIMEOUT, format!("not done within {REQUEST_LIMIT:?}")).into_response()
        }
    }
}

/// Refusals of the framework (a body too large, a path that is no UTF-8) are plain text; ours are JSON.
async fn in_json(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if is_json || status.is_success() {
        return response;
    }
    let text = axum::body::to_bytes(response.into_body(), REFUSAL_BYTES).await.unwrap_or_default();
    Refusal(status, plain_text(&String::from_utf8_lossy(&text))).into_response()
}

impl Access {
    fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.local_only && !names_this_machine(headers) {
            let text = "the Host header does not name this machine; ask 127.0.0.1 or localhost";
            return Err(Refusal(StatusCode::FORBIDDEN, text.to_owned()));
        }
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if path == "/healthz" || (reads && self.local_only) {
            return Ok(());
        }
        self.check_token(headers)
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            let text = "this needs the admin token: send it as \"Authorization: Bearer TOKEN\"";
            return Err(Refusal(StatusCode::UNAUTHORIZED, text.to_owned()));
        };
        let given = value.to_str().ok().and_then(|value| value.split_once(' '));
        let Some((_, given)) = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else {
            let text = "the Authorization header is not \"Bearer TOKEN\"";
            return Err(Refusal(StatusCode::UNAUTHORIZED, text.to_owned()));
        };
        if !self.token.matches(given.trim()) {
            let text = "wrong admin token; a server that was started again has a new one";
            return Err(Refusal(StatusCode::FORBIDDEN, text.to_owned()));
        }
        Ok(())
    }
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else {
        return false;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The framework's refusals are a sentence.
const REFUSAL_BYTES: usize = 4 << 10;
/// The slowest request is a list of 20,000 clients; anything near this is stuck.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_points_here_is_not_this_machine() {
        for (host, expected) in [
            ("localhost:8889", true),
            ("127.0.0.1:8889", true),
            ("127.9.9.9", true),
            ("[::1]:8889", true),
            ("LOCALHOST", true),
            ("evil.example:8889", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("192.168.0.1", false),
            ("", false),
        ] {
            assert_eq!(names_this_machine(&headers(&[("host", host)])), expected, "{host}");
        }
    }

    #[test]
    fn reading_is_free_here_and_needs_the_token_from_afar() {
        let local = [("host", "localhost")];
        assert_eq!(outcome(true, Method::GET, "/v1/stats", &local), Ok(()));
        assert_eq!(outcome(false, Method::GET, "/v1/stats", &local), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(outcome(false, Method::GET, "/healthz", &local), Ok(()));
    }

    #[test]
    fn changing_needs_the_right_token() {
        let with = |value| [("host", "localhost"), ("authorization", value)];
        let put =
            |headers: &[(&'static str, &'static str)]| outcome(true, Method::PUT, "/v1/simulation", headers);
        assert_eq!(put(&[("host", "localhost")]), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(put(&with("Basic dXNlcg==")), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(put(&with("Bearer 0000000000000000")), Err(StatusCode::FORBIDDEN));
        assert_eq!(put(&with("Bearer 0123456789abcdef")), Ok(()));
        assert_eq!(put(&with("bearer 0123456789abcdef")), Ok(()));
    }

    fn outcome(
        local_only: bool,
        method: Method,
        path: &str,
        pairs: &[(&'static str, &'static str)],
    ) -> Result<(), StatusCode> {
        let token = Token::parse("0123456789abcdef", "test").unwrap();
        Access { token, local_only }
            .check(&method, path, &headers(pairs))
            .map_err(|Refusal(status, _)| status)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|&(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }
}
