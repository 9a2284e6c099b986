//! One question to a server, one answer, within a time.

use std::io;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use ureq::http::{Method, Request};
use ureq::{Agent, Error};

/// A server that can be asked.
#[derive(Debug)]
pub(super) struct Api {
    agent: Agent,
    /// Without a slash at its end.
    base: String,
}

impl Api {
    /// Speaks to nobody yet.
    pub(super) fn new(host: Option<String>) -> Self {
        let host = host.or_else(|| std::env::var("TOXIPROXY_URL").ok().filter(|host| !host.is_empty()));
        let host = host.unwrap_or_else(|| DEFAULT_HOST.to_owned());
        let base = if host.contains("://") { host } else { format!("http://{host}") };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A proxy from the environment has no business between us and 127.0.0.1.
            .proxy(None)
            .user_agent(USER_AGENT)
            .timeout_global(Some(LIMIT))
            .build();
        Self { agent: agent.into(), base: base.trim_end_matches('/').to_owned() }
    }

    pub(super) fn get(&self, path: &str) -> Result<Value> {
        self.ask(Method::GET, path, &Value::Null)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(Method::POST, path, body)
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(Method::PUT, path, body)
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(Method::PATCH, path, body)
    }

    pub(super) fn delete(&self, path: &str) -> Result<()> {
        self.ask(Method::DELETE, path, &Value::Null).map(|_| ())
    }

    /// An answer without a body is `null`.
    fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header("Content-Type", "application/json").body(body);
        let request = request.map_err(|error| anyhow!("--host: \"{}\" is no address: {error}", self.base))?;
        let mut answer = self.agent.run(request).map_err(|error| self.unreachable(&error))?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().map_err(|error| self.unreachable(&error))?;
        if status >= 300 {
            return Err(refusal(status, &text));
        }
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text)
            .with_context(|| format!("{} does not answer like a server of proxies", self.base))
    }

    fn unreachable(&self, error: &Error) -> anyhow::Error {
        let reason = match error {
            Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "connection refused".to_owned()
            }
            other => other.to_string(),
        };
        anyhow!(
            "no server answers on {} ({reason}); start one with netem-proxy serve, or name another with --host",
            self.base
        )
    }
}

/// `HTTP 404: proxy not found`, or what there is of it.
fn refusal(status: u16, text: &str) -> anyhow::Error {
    let message =
        serde_json::from_str(text).ok().and_then(|body: Value| body["error"].as_str().map(str::to_owned));
    anyhow!("HTTP {status}: {}", message.unwrap_or_else(|| text.trim().to_owned()))
}

/// A name as one segment of a path (RFC 3986 section 2.3).
pub(super) fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

const DEFAULT_HOST: &str = "http://localhost:8474";

const USER_AGENT: &str = concat!("netem-proxy-ctl/", env!("CARGO_PKG_VERSION"));

/// Longer than the server's own limit for a request, so that it is the server that says why.
const LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slash_stays_one_segment() {
        assert_eq!(segment("a/b c~1"), "a%2Fb%20c~1");
    }

    #[test]
    fn a_refusal_is_told_as_the_original_does() {
        assert_eq!(refusal(404, "{\"error\":\"proxy not found\"}").to_string(), "HTTP 404: proxy not found");
        assert_eq!(refusal(403, "User agent not allowed\n").to_string(), "HTTP 403: User agent not allowed");
    }
}
