//! The socket.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use chat_core::path::Ecn;
use quinn_udp::{Transmit, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::inbox::{Inbox, codepoint_of};
use super::outbox::{Leaving, Outbox, Sent, run_len};

/// A UDP socket in a tokio runtime.
#[derive(Debug)]
pub struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Port {
    /// A socket for many peers, with large buffers.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::open(address, None)
    }

    /// A socket for one peer, on a free port; it reads from nobody else, and hears when nobody listens there.
    pub fn connect(peer: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = match peer {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        Self::open(any, Some(peer))
    }

    fn open(address: SocketAddr, peer: Option<SocketAddr>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        // The kernel caps what it gives; less than asked for is no reason to stop.
        for outcome in [socket.set_recv_buffer_size(BUFFER_BYTES), socket.set_send_buffer_size(BUFFER_BYTES)]
        {
            if let Err(error) = outcome {
                tracing::debug!(%error, "buffer size of the UDP socket");
            }
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        if let Some(peer) = peer {
            socket.connect(&peer.into())?;
        }
        let state = UdpSocketState::new((&socket).into())?;
        linux::without_stamps(&socket);
        Ok(Self { socket: UdpSocket::from_std(socket.into())?, state })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Whether this system may cut long datagrams into fragments; then a search for the path MTU would find its own
    /// upper bound and nothing else.
    #[must_use]
    pub fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }

    /// Waits for datagrams and puts what is there into `inbox`. An error tells of an earlier datagram (a port that is
    /// closed); the socket is as good as before.
    pub async fn receive(&self, inbox: &mut Inbox) -> io::Result<()> {
        loop {
            self.socket.readable().await?;
            if self.try_receive(inbox)? {
                return Ok(());
            }
        }
    }

    /// Waits until there is something to read: datagrams, or an error of an earlier one.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Puts what is there into `inbox`, without waiting; whether there was anything. For drivers of thousands of sockets,
    /// which share one inbox of 2 MiB.
    pub fn try_receive(&self, inbox: &mut Inbox) -> io::Result<bool> {
        let mut is_filled = false;
        let read = || {
            inbox.fill(|places, meta| self.state.recv((&self.socket).into(), places, meta))?;
            is_filled = true;
            // The kernel had no more than that. Saying so to the runtime, which hears of the next one by its edge, saves a
            // call that finds nothing for each one that found something.
            if IS_EDGE_TOLD && !inbox.is_full() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        };
        match self.socket.try_io(Interest::READABLE, read) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(is_filled),
            Err(error) => Err(error),
        }
    }

    /// Sends everything, or as much as the kernel takes now. What it does not take is lost.
    pub fn try_send(&self, outbox: &mut Outbox) -> Sent {
        let waiting = outbox.take();
        let mut sent = Sent::default();
        let mut rest = waiting.as_slice();
        while !rest.is_empty() {
            let (run, later) = rest.split_at(run_len(rest, |length| self.run_limit(length)));
            rest = later;
            self.send_run(run, &mut outbox.scratch, &mut sent);
        }
        outbox.give_back(waiting);
        sent
    }

    /// Like [`Self::try_send`], on a socket that was just made: the runtime learns first that it can be written.
    pub async fn send(&self, outbox: &mut Outbox) -> io::Result<Sent> {
        self.socket.writable().await?;
        Ok(self.try_send(outbox))
    }

    fn send_run(&self, run: &[Leaving], scratch: &mut Vec<u8>, sent: &mut Sent) {
        let [first, rest @ ..] = run else { return };
        if !rest.is_empty() {
            scratch.clear();
            run.iter().for_each(|leaving| scratch.extend_from_slice(&leaving.bytes));
            match self.send_bytes(first.to, first.ecn, scratch, Some(first.bytes.len())) {
                Ok(()) => return sent.note(run.len(), scratch.len()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    sent.errors += run.len() as u64;
                    return;
                }
                // No offload for this path, or one of them is too long for it: each on its own, and its own error.
                Err(_) => {}
            }
        }
        for leaving in run {
            match self.send_bytes(leaving.to, leaving.ecn, &leaving.bytes, None) {
                Ok(()) => sent.note(1, leaving.bytes.len()),
                Err(error) => {
                    sent.errors += 1;
                    tracing::debug!(to = %leaving.to, %error, "sending a datagram");
                }
            }
        }
    }

    fn send_bytes(
        &self,
        to: SocketAddr,
        ecn: Ecn,
        contents: &[u8],
        segment: Option<usize>,
    ) -> io::Result<()> {
        let ecn = codepoint_of(ecn);
        let transmit = Transmit { destination: to, ecn, contents, segment_size: segment, src_ip: None };
        let send = || self.state.try_send((&self.socket).into(), &transmit);
        match self.socket.try_io(Interest::WRITABLE, send) {
            // An earlier datagram found nobody; this one has not been tried.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                self.socket.try_io(Interest::WRITABLE, send)
            }
            result => result,
        }
    }

    /// Datagrams of `length` bytes that may leave in one call.
    fn run_limit(&self, length: usize) -> usize {
        let is_short = (1..=MAX_SEGMENT).contains(&length);
        if is_short { self.state.max_gso_segments().min(MAX_RUN / length) } else { 1 }
    }

    /// Datagrams that the kernel dropped because this socket's buffer was full, since it was made; 0 where the system
    /// does not tell.
    #[must_use]
    pub fn kernel_drops(&self) -> u64 {
        linux::drops(&self.socket)
    }
}

impl Sent {
    fn note(&mut self, datagrams: usize, bytes: usize) {
        self.datagrams += datagrams as u64;
        self.bytes += bytes as u64;
        self.calls += 1;
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use nix::sys::socket::sockopt::ReceiveTimestampns;
    use nix::sys::socket::{getsockopt, setsockopt};
    use nix::{getsockopt_impl, libc, sockopt_impl};
    use socket2::Socket;
    use tokio::net::UdpSocket;

    sockopt_impl!(MemInfo, GetOnly, libc::SOL_SOCKET, libc::SO_MEMINFO, [u32; 9]);

    pub(super) fn drops(socket: &UdpSocket) -> u64 {
        // The index of `SK_MEMINFO_DROPS` in linux/sock_diag.h.
        const DROPS: usize = 8;
        getsockopt(socket, MemInfo).map_or(0, |info| info[DROPS].into())
    }

    /// quinn-udp 0.6.3 asks for kernel stamps, and has 96 bytes for all control messages: with a stamp, the addresses
    /// and the length of the pieces there is no room left for the ECN bits of datagrams that came together, and the
    /// kernel drops them in silence. Nobody here reads the stamps.
    pub(super) fn without_stamps(socket: &Socket) {
        if let Err(error) = setsockopt(socket, ReceiveTimestampns, &false) {
            tracing::debug!(%error, "kernel stamps stay on; ECN bits of joined datagrams are lost");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod linux {
    pub(super) fn drops(_socket: &tokio::net::UdpSocket) -> u64 {
        0
    }

    pub(super) fn without_stamps(_socket: &socket2::Socket) {}
}

/// Whether the runtime is told of each arrival, and not of the state of the socket alone: `EPOLLET`, as in epoll(7), which
/// allows to stop at a read that was shorter than it could have been.
const IS_EDGE_TOLD: bool = cfg!(target_os = "linux");
/// Asked of the kernel for each direction: bursts of a few thousand datagrams while the machine is busy.
const BUFFER_BYTES: usize = 4 << 20;
/// Longest datagram in a run: what fits an Ethernet frame under either IP. The kernel does not fragment runs.
const MAX_SEGMENT: usize = 1452;
/// Bytes of one run: an IPv4 packet holds 65,507 of payload.
const MAX_RUN: usize = 65_000;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    /// Loopback delivers within the send, so a read finds all of it, if not in one call.
    async fn read(port: &Port, count: usize) -> Vec<(Vec<u8>, Ecn)> {
        let mut inbox = Inbox::new();
        let mut read = Vec::new();
        while read.len() < count {
            port.receive(&mut inbox).await.expect("a socket that works");
            for message in inbox.messages() {
                read.extend(message.datagrams().map(|bytes| (bytes.to_vec(), message.ecn)));
            }
        }
        read
    }

    #[tokio::test]
    async fn a_run_leaves_in_one_call_and_arrives_as_it_was() {
        let receiver = Port::bind(loopback()).unwrap();
        let to = receiver.local_addr().unwrap();
        let sender = Port::connect(to).unwrap();
        let mut outbox = Outbox::new();
        for number in 0..10 {
            outbox.push(to, Ecn::Ect0, Bytes::from(vec![number; if number == 9 { 300 } else { 1200 }]));
        }
        let sent = sender.send(&mut outbox).await.unwrap();
        assert_eq!((sent.datagrams, sent.bytes, sent.errors), (10, 9 * 1200 + 300, 0));
        if sender.run_limit(1200) >= 10 {
            assert_eq!(sent.calls, 1);
        }
        let read = read(&receiver, 10).await;
        for (number, (bytes, ecn)) in read.iter().enumerate() {
            assert_eq!((bytes[0] as usize, *ecn), (number, Ecn::Ect0));
            assert_eq!(bytes.len(), if number == 9 { 300 } else { 1200 });
        }
        assert!(outbox.is_empty());
    }

    #[tokio::test]
    async fn a_datagram_too_long_for_the_path_is_an_error_and_the_next_one_leaves() {
        let receiver = Port::bind(loopback()).unwrap();
        let to = receiver.local_addr().unwrap();
        let sender = Port::bind(loopback()).unwrap();
        let mut outbox = Outbox::new();
        outbox.push(to, Ecn::NotEct, Bytes::from(vec![0; 65_530]));
        outbox.push(to, Ecn::NotEct, Bytes::from_static(b"short"));
        let sent = sender.send(&mut outbox).await.unwrap();
        assert_eq!((sent.datagrams, sent.errors), (1, 1));
        assert_eq!(read(&receiver, 1).await[0].0, b"short");
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_costs_no_other_datagram() {
        let gone = Port::bind(loopback()).unwrap();
        let to = gone.local_addr().unwrap();
        drop(gone);
        let sender = Port::connect(to).unwrap();
        let mut outbox = Outbox::new();
        outbox.push(to, Ecn::NotEct, Bytes::from_static(b"refused"));
        sender.send(&mut outbox).await.unwrap();
        outbox.push(to, Ecn::NotEct, Bytes::from_static(b"again"));
        let sent = sender.send(&mut outbox).await.unwrap();
        assert_eq!((sent.datagrams, sent.errors), (1, 0), "the refusal of the first is not the second's");
    }
}
