//! What a server elsewhere says at its admin port, asked once each interval.
//!
//! One request a connection, as a shell script would do it (HTTP/1.1 with `Connection: close`); statistics need no token. A
//! server that does not answer in time has no values in that interval, and the run goes on.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use chat_server::control::ServerStats;

/// What `GET /v1/stats` answers; `None` if it does not, or says something else.
pub(super) fn ask(admin: SocketAddr) -> Option<ServerStats> {
    let answer = exchange(admin).ok()?;
    serde_json::from_str(body(&answer)?).ok()
}

fn exchange(admin: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(
        format!("GET /v1/stats HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = String::new();
    stream.take(MOST_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}

/// What follows the head of an answer that says `200`.
fn body(answer: &str) -> Option<&str> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?;
    (status == "200").then_some(body)
}

/// On this machine an answer takes a millisecond; a server that is too busy for it is not waited for.
const PATIENCE: Duration = Duration::from_millis(100);
/// Statistics are some kilobytes.
const MOST_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use chat_server::ServerConfig;
    use chat_server::admin::AdminConfig;
    use units::Seed;

    use super::*;

    #[test]
    fn only_an_answer_of_two_hundred_has_a_body() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}"), Some("{}"));
        assert_eq!(body("HTTP/1.1 404 Not Found\r\n\r\n{}"), None);
        assert_eq!(body("HTTP/1.1 200 OK\r\n"), None);
    }

    #[test]
    fn a_server_of_ours_tells_its_sessions_and_nobody_tells_nothing() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
        // Nobody else's to read, as the server wants it; it keeps its token there.
        let owner_only = std::fs::Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().permissions(owner_only).tempdir().expect("a folder");
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let admin =
            AdminConfig { token_folder: Some(folder.path().to_owned()), ..AdminConfig::new(anywhere) };
        let config = ServerConfig { admin: Some(admin), ..ServerConfig::on_loopback(Seed::root(1)) };
        let server = runtime.block_on(chat_server::start(config)).expect("it starts");
        let address = server.admin_addr().expect("it has an admin port");
        assert_eq!(ask(address).map(|stats| (stats.clients, stats.outbox_max)), Some((0, 0)));
        runtime.block_on(server.shutdown(Duration::ZERO));
        drop((server, runtime));
        assert!(ask(address).is_none());
    }
}
