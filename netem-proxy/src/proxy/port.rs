//! A UDP socket: batches in, runs out.
//!
//! In: up to [`BATCH_SIZE`] messages a system call, each with its kernel stamp and ECN bits, and several datagrams in one
//! message where the kernel kept them together (GRO). Out: a run of equally long datagrams for one peer in one system
//! call (GSO). Relaying 300,000 datagrams a second is mostly system calls, so this is where its speed comes from.

use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use nix::sys::socket::sockopt::{Ipv6DontFrag, RcvBufForce};
use nix::sys::socket::{getsockopt, setsockopt};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
use rustix::net::SendFlags;
use socket2::{Domain, SockRef, Socket, Type};

#[derive(Debug)]
pub(super) struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
    peer: Option<SocketAddr>,
}

/// One or more datagrams as they are to leave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) destination: SocketAddr,
    pub(super) contents: &'a [u8],
    /// The length of each datagram in `contents` but the last, which may be shorter; `None` for a single one.
    pub(super) segment: Option<usize>,
    pub(super) ecn: Option<EcnCodepoint>,
    /// The address to answer from, for a socket that is bound to all of them.
    pub(super) source: Option<IpAddr>,
}

impl Port {
    /// A non-blocking socket with large buffers: what the kernel drops while this process is not scheduled would look
    /// like loss on the link. Connected, if there is a `peer`.
    pub(super) fn bind(addr: SocketAddr, peer: Option<SocketAddr>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, None)?;
        enlarge_buffers(&socket);
        if addr.is_ipv6() && peer.is_none() {
            // `[::]` then stands for both families, whatever the system's default is.
            let _ = socket.set_only_v6(!addr.ip().is_unspecified());
        }
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        if let Some(peer) = peer {
            socket.connect(&peer.into())?;
        }
        let socket = UdpSocket::from(socket);
        let state = UdpSocketState::new((&socket).into())?;
        allow_fragments(&socket, addr);
        if peer.is_some() || !addr.ip().is_unspecified() {
            without_addresses(&socket, addr);
        }
        Ok(Self { socket, state, peer })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// How many messages were read into the inbox.
    pub(super) fn receive(&self, inbox: &mut Inbox) -> io::Result<usize> {
        let Inbox { storage, meta } = inbox;
        let mut chunks = storage.chunks_exact_mut(PLACE);
        let mut places: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| {
            IoSliceMut::new(&mut chunks.next().expect("as many places as messages")[..MAX_MESSAGE])
        });
        self.state.recv((&self.socket).into(), &mut places, meta)
    }

    /// Sends; a refusal that an earlier datagram provoked is told by `on_refused`, and the send made again.
    pub(super) fn send(&self, out: &Outgoing<'_>, on_refused: impl FnOnce()) -> io::Result<()> {
        match self.send_once(out) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                on_refused();
                self.send_once(out)
            }
            result => result,
        }
    }

    fn send_once(&self, out: &Outgoing<'_>) -> io::Result<()> {
        let is_plain = out.segment.is_none() && out.ecn.is_none();
        if is_plain && self.peer == Some(out.destination) {
            // A connected socket knows its route; naming the peer would have it looked up again.
            rustix::net::send(&self.socket, out.contents, SendFlags::empty())?;
            return Ok(());
        }
        let transmit = Transmit {
            destination: out.destination,
            ecn: out.ecn,
            contents: out.contents,
            segment_size: out.segment,
            src_ip: out.source,
        };
        self.state.try_send((&self.socket).into(), &transmit)
    }

    /// Datagrams of `len` bytes that may leave in one call.
    pub(super) fn run_limit(&self, len: usize) -> usize {
        if len == 0 || len > MAX_SEGMENT {
            1
        } else {
            self.state.max_gso_segments().min(MAX_RUN / len).max(1)
        }
    }

    /// Datagrams the kernel dropped because this socket's buffer was full, since it was made (modulo 2^32).
    pub(super) fn kernel_drops(&self) -> u64 {
        // The index of `SK_MEMINFO_DROPS` in linux/sock_diag.h.
        const DROPS: usize = 8;
        getsockopt(&self.socket, MemInfo).map_or(0, |info| info[DROPS].into())
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Room for one batch.
#[derive(Debug)]
pub(super) struct Inbox {
    storage: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { storage: vec![0; PLACE * BATCH_SIZE], meta: [RecvMeta::default(); BATCH_SIZE] }
    }

    /// The message at `index` of the last batch, and what the kernel says of it.
    pub(super) fn message(&self, index: usize) -> (&[u8], &RecvMeta) {
        let (start, meta) = (index * PLACE, &self.meta[index]);
        (&self.storage[start..start + meta.len], meta)
    }
}

/// The kernel cuts these to its own limit, unless we may force it; less than wished for is no error.
fn enlarge_buffers(socket: &Socket) {
    if setsockopt(socket, RcvBufForce, &SOCKET_BUFFER).is_err() {
        let _ = SockRef::from(socket).set_recv_buffer_size(SOCKET_BUFFER);
    }
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
}

/// The socket was set up for a protocol that finds the path MTU itself. A relay has to let large datagrams be
/// fragmented, as they would be without it.
fn allow_fragments(socket: &UdpSocket, addr: SocketAddr) {
    let _ = setsockopt(socket, MtuDiscover, &libc::IP_PMTUDISC_WANT);
    if addr.is_ipv6() {
        let _ = setsockopt(socket, MtuDiscover6, &libc::IPV6_PMTUDISC_WANT);
        let _ = setsockopt(socket, Ipv6DontFrag, &false);
    }
}

/// quinn-udp 0.6 has 96 bytes for what the kernel says of a message. The stamp, the address it was sent to and the length of
/// joined datagrams fill them, and the kernel drops what comes last, the ECN bits. A socket that is bound to one address
/// need not be told it.
fn without_addresses(socket: &UdpSocket, addr: SocketAddr) {
    let _ = setsockopt(socket, PacketInfo, &0);
    if addr.is_ipv6() {
        let _ = setsockopt(socket, PacketInfo6, &0);
    }
}

sockopt_impl!(PacketInfo, SetOnly, libc::IPPROTO_IP, libc::IP_PKTINFO, i32);
sockopt_impl!(PacketInfo6, SetOnly, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, i32);
sockopt_impl!(MtuDiscover, SetOnly, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, i32);
sockopt_impl!(MtuDiscover6, SetOnly, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, i32);
sockopt_impl!(MemInfo, GetOnly, libc::SOL_SOCKET, libc::SO_MEMINFO, [u32; 9]);

/// The longest message there is: a UDP payload, or several kept together.
const MAX_MESSAGE: usize = 65_535;

/// From one message to the next. Not a power of two: 32 of them 64 KiB apart would share the same lines of the cache.
const PLACE: usize = (64 << 10) + 4160;

/// Longest datagram in a run: what fits an Ethernet frame under either IP. A longer one would have to be fragmented,
/// which the kernel does not do to runs.
const MAX_SEGMENT: usize = 1452;

/// Bytes of one run: an IPv4 packet holds 65,507 of payload.
const MAX_RUN: usize = 65_000;

/// Half a second of 64 Mbit/s, or 15,000 small datagrams: a wait for the processor of 50 ms at 300,000 a second.
const SOCKET_BUFFER: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Port, Port) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let receiver = Port::bind(any, None).expect("a port");
        let peer = receiver.local_addr().expect("bound");
        (Port::bind(any, Some(peer)).expect("a port"), receiver)
    }

    fn out<'a>(port: &Port, contents: &'a [u8]) -> Outgoing<'a> {
        let destination = port.peer.expect("connected");
        Outgoing { destination, contents, segment: None, ecn: None, source: None }
    }

    /// Loopback delivers within the send, so there is nothing to wait for.
    fn receive(port: &Port) -> Vec<(Vec<u8>, RecvMeta)> {
        let mut inbox = Inbox::new();
        let count = port.receive(&mut inbox).unwrap_or(0);
        (0..count).map(|index| inbox.message(index)).map(|(bytes, meta)| (bytes.to_vec(), *meta)).collect()
    }

    #[test]
    fn a_run_arrives_as_one_message_of_several_datagrams() {
        let (sender, receiver) = pair();
        let bytes: Vec<u8> = (0..250).collect();
        assert!(sender.run_limit(100) > 1, "this kernel has no UDP GSO");
        sender.send(&Outgoing { segment: Some(100), ..out(&sender, &bytes) }, || {}).expect("sent");
        let messages = receive(&receiver);
        let whole: Vec<u8> = messages.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        assert_eq!(whole, bytes);
        assert!(messages.iter().all(|(_, meta)| meta.stride == 100 || meta.len < 100));
    }

    #[test]
    fn ecn_and_the_kernels_stamp_come_with_a_datagram() {
        let (sender, receiver) = pair();
        for ecn in [None, Some(EcnCodepoint::Ect0), Some(EcnCodepoint::Ce)] {
            sender.send(&Outgoing { ecn, ..out(&sender, b"x") }, || {}).expect("sent");
            let messages = receive(&receiver);
            assert_eq!(messages.len(), 1);
            assert_eq!(messages[0].1.ecn, ecn);
            assert!(messages[0].1.timestamp.is_some());
        }
    }

    #[test]
    fn joined_datagrams_keep_their_marks_and_their_stamp() {
        let (sender, receiver) = pair();
        for ecn in [EcnCodepoint::Ect0, EcnCodepoint::Ce] {
            let out = Outgoing { segment: Some(100), ecn: Some(ecn), ..out(&sender, &[0; 1000]) };
            sender.send(&out, || {}).expect("sent");
            let messages = receive(&receiver);
            assert!(messages.iter().any(|(_, meta)| meta.len > meta.stride), "nothing was joined");
            for (_, meta) in messages {
                assert_eq!(meta.ecn, Some(ecn), "a message of {} bytes by {}", meta.len, meta.stride);
                assert!(meta.timestamp.is_some());
            }
        }
    }

    #[test]
    fn what_a_full_buffer_drops_is_counted_by_the_kernel() {
        let (sender, receiver) = pair();
        SockRef::from(&receiver.socket).set_recv_buffer_size(4096).expect("set");
        assert_eq!(receiver.kernel_drops(), 0);
        for _ in 0..100 {
            sender.send(&out(&sender, &[0; 1000]), || {}).expect("sent");
        }
        let arrived: usize =
            std::iter::from_fn(|| Some(receive(&receiver).len()).filter(|len| *len > 0)).sum();
        assert!(arrived < 100);
        assert_eq!(receiver.kernel_drops() as usize + arrived, 100);
    }

    #[test]
    fn long_datagrams_never_go_in_runs() {
        let (sender, _) = pair();
        assert_eq!((sender.run_limit(0), sender.run_limit(MAX_SEGMENT + 1)), (1, 1));
    }
}
