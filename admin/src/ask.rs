//! One question to the admin port, one answer or a [`Failure`] that says what to do.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use chat_server::admin::Token;
use chat_server::admin::token::token_file;
use chat_server::control::{
    AdminError, BroadcastReply, BroadcastRequest, ClientInfo, ServerStats, ShutdownReply, ShutdownRequest,
    SimulationRequest, SimulationStatus, plain_text,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{Method, Request};
use ureq::{Agent, Error};

use crate::cli::Target;
use crate::failure::Failure;

/// A server that can be asked.
#[derive(Debug)]
pub(crate) struct Server {
    agent: Agent,
    /// `host:port`, with brackets where they belong.
    authority: String,
    /// `Err`: why there is none, which matters only to those who need it.
    token: Result<Token, String>,
}

impl Server {
    /// Reads the token; speaks to nobody yet.
    pub(crate) fn new(target: &Target) -> Result<Self, Failure> {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            // A proxy from the environment has no business between an operator and 127.0.0.1.
            .proxy(None)
            .timeout_global(Some(target.timeout))
            .build();
        let Target { host, port, .. } = target;
        let is_ipv6 = host.parse().is_ok_and(|address: IpAddr| address.is_ipv6());
        let authority = if is_ipv6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Self { agent: agent.into(), authority, token: find_token(target)? })
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn stats(&self) -> Result<ServerStats, Failure> {
        self.read("/v1/stats")
    }

    pub(crate) fn clients(&self) -> Result<Vec<ClientInfo>, Failure> {
        self.read("/v1/clients")
    }

    pub(crate) fn kick(&self, who: &str, reason: &str) -> Result<ClientInfo, Failure> {
        let path = format!("/v1/clients/{}?reason={}", escape(who), escape(reason));
        self.change(Method::DELETE, &path, &())
    }

    pub(crate) fn broadcast(&self, text: String) -> Result<BroadcastReply, Failure> {
        self.change(Method::POST, "/v1/broadcast", &BroadcastRequest { text })
    }

    pub(crate) fn simulate(&self, request: &SimulationRequest) -> Result<Option<SimulationStatus>, Failure> {
        self.change(Method::PUT, "/v1/simulation", request)
    }

    pub(crate) fn stop_simulation(&self) -> Result<Option<SimulationStatus>, Failure> {
        self.change(Method::DELETE, "/v1/simulation", &())
    }

    pub(crate) fn shutdown(&self, request: ShutdownRequest) -> Result<ShutdownReply, Failure> {
        self.change(Method::POST, "/v1/shutdown", &request)
    }

    fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, String::new())
    }

    fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        if let Err(missing) = &self.token {
            // Without a server there is no token either; say that first.
            self.ask::<serde_json::Value>(Method::GET, "/v1/stats", String::new())?;
            return Err(Failure::Refused(missing.clone()));
        }
        let body = serde_json::to_string(body).map_err(|error| Failure::Answer(error.to_string()))?;
        self.ask(method, path, body)
    }

    fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, body: String) -> Result<T, Failure> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{path}", self.authority));
        if let Ok(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {}", token.secret()));
        }
        let request = request.body(body).map_err(|error| {
            Failure::Usage(format!("--host: \"{}\" is no host ({error})", plain_text(&self.authority)))
        })?;
        let mut response = self.agent.run(request).map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string().map_err(|error| self.unreachable(&error))?;
        if status >= 300 {
            return Err(refusal(status, &text));
        }
        serde_json::from_str(&text).map_err(|error| {
            let version = env!("CARGO_PKG_VERSION");
            Failure::Answer(format!(
                "{} does not answer like a chat server of version {version}: {error}",
                self.authority
            ))
        })
    }

    fn unreachable(&self, error: &Error) -> Failure {
        let reason = match error {
            Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "connection refused".to_owned()
            }
            other => plain_text(&other.to_string()),
        };
        Failure::Unreachable(format!(
            "no server answers on {} ({reason}); start one with chat-server, or name another with --host and --port",
            self.authority
        ))
    }
}

/// Where the token is: the file that was named, the environment, the file that a server on this port wrote.
fn find_token(target: &Target) -> Result<Result<Token, String>, Failure> {
    if let Some(path) = &target.token_file {
        return Token::read(path).map(Ok).map_err(|error| Failure::Usage(format!("--token-file: {error}")));
    }
    if let Ok(text) = std::env::var(TOKEN_VARIABLE) {
        return Token::parse(&text, TOKEN_VARIABLE)
            .map(Ok)
            .map_err(|error| Failure::Usage(error.to_string()));
    }
    let path = token_file(target.port);
    Ok(Token::read(&path).map_err(|_| missing_token(path)))
}

fn missing_token(path: PathBuf) -> String {
    format!(
        "this needs the admin token, and there is none in {} or in {TOKEN_VARIABLE}; \
         the server prints where its token is when it starts: name that with --token-file",
        path.display()
    )
}

fn refusal(status: u16, body: &str) -> Failure {
    let error = serde_json::from_str(body).map_or_else(|_| body.to_owned(), |AdminError { error }| error);
    let text = plain_text(&error);
    match status {
        400 | 413 => Failure::Usage(text),
        401 | 403 => Failure::Refused(text),
        404 => Failure::NotFound(text),
        503 => Failure::Unreachable(text),
        _ => Failure::Answer(format!("status {status}: {text}")),
    }
}

/// Percent-encodes everything but letters, digits and `-._~` (RFC 3986 section 2.3).
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

const TOKEN_VARIABLE: &str = "CHAT_ADMIN_TOKEN";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_script_fit_into_a_path() {
        assert_eq!(escape("zoë/?"), "zo%C3%AB%2F%3F");
    }

    #[test]
    fn each_status_has_its_exit_code() {
        for (status, code) in [(400, 2), (401, 3), (403, 3), (404, 4), (503, 5), (500, 1)] {
            assert_eq!(refusal(status, r#"{"error":"why"}"#).exit_code(), code);
        }
    }

    #[test]
    fn what_a_server_says_cannot_steer_the_terminal() {
        assert_eq!(refusal(404, "{\"error\":\"\\u001b[2Jgone\"}").to_string(), " [2Jgone");
    }
}
