//! UDP: one socket for all peers. The driver sends on it directly, this task receives.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use udp::{Inbox, Port};

use super::driver::{Arrived, Input};

/// Receives for ever. Datagrams that came together go on together.
pub(crate) async fn receive(port: Arc<Port>, inputs: mpsc::Sender<Input>) {
    let mut inbox = Inbox::new();
    loop {
        if let Err(error) = port.receive(&mut inbox).await {
            // Errors here tell of earlier datagrams (a port that is closed); the socket is as good as before.
            tracing::debug!(%error, "receiving datagrams");
            tokio::time::sleep(ERROR_PAUSE).await;
            if inputs.send(Input::ReceiveFailed).await.is_err() {
                return;
            }
        }
        for message in inbox.messages() {
            let bytes = Bytes::copy_from_slice(message.bytes);
            let stride = message.stride;
            let arrived = Arrived { from: message.from, ecn: message.ecn, bytes, stride };
            if inputs.send(Input::Datagrams(arrived)).await.is_err() {
                return;
            }
        }
    }
}

/// Keeps a socket that fails at once, every time, from using a core up.
const ERROR_PAUSE: Duration = Duration::from_millis(1);
