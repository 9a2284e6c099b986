//! Where clients come in: addresses as people write them, and errors as Go prints them.
//!
//! Toxiproxy's clients show its error texts, and their tests compare them, so a failure here reads as
//! `listen tcp 127.0.0.1:3310: bind: address already in use` would there.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Why a proxy could not be opened. `Display` is Go's text.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The text is no `host:port`, or the host has no address.
    #[error("listen tcp: {text}")]
    Address { text: String },
    /// The system does not let us listen there.
    #[error("listen tcp {address}: {}: {}", call.name(), go_text(source))]
    Listen { address: SocketAddr, call: Call, source: io::Error },
    /// Two toxics of one name, too many of them, or a toxicity that is no chance.
    #[error(transparent)]
    Toxic(#[from] super::ToxicError),
    #[error(transparent)]
    Profile(#[from] super::StreamProfileError),
    /// The engine was stopped, or the thread that was to listen has ended.
    #[error("the stream engine is stopped")]
    Stopped,
}

/// The system call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Socket,
    Bind,
    Listen,
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Bind => "bind",
            Self::Listen => "listen",
        }
    }
}

/// Listens at `text`: `host:port`, `:port` for every address of the machine, or nothing for a free port of the loopback.
pub(super) fn listen(text: &str) -> Result<TcpListener, OpenError> {
    let address = resolve(text)?;
    let socket = open(address);
    let socket = match socket {
        // A machine without IPv6, and nobody asked for it by number.
        Err(_) if text.starts_with(':') => open(SocketAddr::from(([0, 0, 0, 0], address.port()))),
        other => other,
    };
    socket.map_err(|(call, source)| OpenError::Listen { address, call, source })
}

fn open(address: SocketAddr) -> Result<TcpListener, (Call, io::Error)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP));
    let socket = socket.map_err(|error| (Call::Socket, error))?;
    let prepare = || -> io::Result<()> {
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // As Go: `[::]` takes IPv4 as well, an address written out does not.
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        Ok(())
    };
    prepare().map_err(|error| (Call::Socket, error))?;
    socket.bind(&SockAddr::from(address)).map_err(|error| (Call::Bind, error))?;
    socket.listen(BACKLOG).map_err(|error| (Call::Listen, error))?;
    Ok(socket.into())
}

/// Where [`listen`] would: the first address, IPv4 before IPv6 as in Go.
pub(crate) fn resolve(text: &str) -> Result<SocketAddr, OpenError> {
    if text.is_empty() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], 0)));
    }
    let (host, port) = split_host_port(text)?;
    if host.is_empty() {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    let no_host = || OpenError::Address { text: format!("lookup {host}: no such host") };
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(|_| no_host())?.collect();
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied().ok_or_else(no_host)
}

/// Checks and splits `host:port`; the host may be empty, or an IPv6 address in brackets.
pub(super) fn split_host_port(text: &str) -> Result<(&str, u16), OpenError> {
    let wrong = |what: &str| OpenError::Address { text: format!("address {text}: {what}") };
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(|| wrong("missing ']' in address"))?;
            (host, rest.strip_prefix(':').ok_or_else(|| wrong("missing port in address"))?)
        }
        None => {
            let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("missing port in address"))?;
            if host.contains(':') {
                return Err(wrong("too many colons in address"));
            }
            (host, port)
        }
    };
    match port.parse::<u32>() {
        Ok(number) => match u16::try_from(number) {
            Ok(port) => Ok((host, port)),
            Err(_) => Err(OpenError::Address { text: format!("address {port}: invalid port") }),
        },
        Err(_) if port.is_empty() => Ok((host, 0)),
        Err(_) => Err(OpenError::Address { text: format!("lookup tcp/{port}: unknown port") }),
    }
}

/// The text Go gives a system error: in lower case, without Rust's number.
fn go_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Connections that wait to be accepted; the kernel cuts it to `net.core.somaxconn` (4096 by default).
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_in_go() {
        for (text, message) in [
            ("local373", "listen tcp: address local373: missing port in address"),
            ("a:b:1", "listen tcp: address a:b:1: too many colons in address"),
            ("[::1", "listen tcp: address [::1: missing ']' in address"),
            ("127.0.0.1:99999", "listen tcp: address 99999: invalid port"),
            ("127.0.0.1:what", "listen tcp: lookup tcp/what: unknown port"),
        ] {
            assert_eq!(listen(text).expect_err("wrong").to_string(), message);
        }
    }

    #[test]
    fn a_port_that_is_taken_says_so_as_go_does() {
        let first = listen("127.0.0.1:0").expect("a free port");
        let address = first.local_addr().expect("bound");
        let message = listen(&address.to_string()).expect_err("taken").to_string();
        assert_eq!(message, format!("listen tcp {address}: bind: address already in use"));
    }

    #[test]
    fn nothing_means_the_loopback_and_a_name_its_first_ipv4_address() {
        for text in ["", "localhost:0"] {
            let address = listen(text).expect("a free port").local_addr().expect("bound");
            assert_eq!(address.ip(), std::net::Ipv4Addr::LOCALHOST);
        }
    }
}
