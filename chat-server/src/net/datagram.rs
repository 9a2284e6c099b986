//! UDP: one socket for all peers. The driver sends on it directly, this task receives.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::driver::Input;

/// Binds the socket with large buffers. Must run inside a tokio runtime.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // The kernel caps what it gives; less than asked for is no reason to stop.
    for outcome in [socket.set_recv_buffer_size(BUFFER_BYTES), socket.set_send_buffer_size(BUFFER_BYTES)] {
        if let Err(error) = outcome {
            tracing::debug!(%error, "buffer size of the UDP socket");
        }
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Receives for ever.
pub(crate) async fn receive(socket: Arc<UdpSocket>, inputs: mpsc::Sender<Input>) {
    let mut buffer = vec![0; MAX_UDP_PAYLOAD_BYTES];
    loop {
        let input = match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => Input::Datagram { from, bytes: Bytes::copy_from_slice(&buffer[..length]) },
            Err(error) => {
                // Errors here tell of earlier datagrams (a port that is closed); the socket is as good as before.
                tracing::debug!(%error, "receiving datagrams");
                tokio::time::sleep(ERROR_PAUSE).await;
                Input::ReceiveFailed
            }
        };
        if inputs.send(input).await.is_err() {
            return;
        }
    }
}

/// Asked of the kernel for each direction: bursts of a few thousand datagrams while the engine is busy.
const BUFFER_BYTES: usize = 4 << 20;
/// Largest payload of a UDP datagram over IPv4 (65,535 less the headers is 65,507; this is a round number above).
const MAX_UDP_PAYLOAD_BYTES: usize = 64 << 10;
/// Keeps a socket that fails at once, every time, from using a core up.
const ERROR_PAUSE: Duration = Duration::from_millis(1);
