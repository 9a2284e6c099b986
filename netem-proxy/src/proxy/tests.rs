//! The shells on loopback: real sockets, deadlines instead of sleeps, links whose verdicts are exact.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;
use units::{Clock, Seed, Timestamp};

use super::{Parcel, ProxyConfig, ProxyHandle, Scope, datagrams, frames};
use crate::link::Meta;
use crate::pacer::{FlowOpened, LinkId, Observer};

const LIMIT: Duration = Duration::from_secs(10);

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

fn config(upstream: SocketAddr, up: &str, down: &str) -> ProxyConfig {
    ProxyConfig {
        up: up.parse().expect("a valid spec"),
        down: down.parse().expect("a valid spec"),
        scope: Scope::PerFlow,
        seed: Seed::root(1),
        ..ProxyConfig::between(SocketAddr::new(upstream.ip(), 0), upstream)
    }
}

/// An upstream that sends back every byte, and passes on the end of the stream.
async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    addr
}

async fn echo_datagrams(addr: SocketAddr) -> SocketAddr {
    let socket = UdpSocket::bind(addr).await.expect("a port");
    let addr = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((len, peer)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(&buffer[..len], peer).await;
        }
    });
    addr
}

async fn relay_frames(up: &str, down: &str) -> (ProxyHandle, TcpStream) {
    let proxy = frames::start(config(echo_server().await, up, down)).await.expect("a proxy");
    let client = TcpStream::connect(proxy.local_addr()).await.expect("a connection");
    (proxy, client)
}

async fn relay_datagrams(up: &str, down: &str) -> (ProxyHandle, UdpSocket) {
    let proxy = datagrams::start(config(echo_datagrams(loopback()).await, up, down)).await.expect("a proxy");
    let client = UdpSocket::bind(loopback()).await.expect("a port");
    client.connect(proxy.local_addr()).await.expect("an address");
    (proxy, client)
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).expect("short").to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

async fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let read = async {
        let len = stream.read_u32().await?;
        let mut body = vec![0; len as usize];
        stream.read_exact(&mut body).await?;
        Ok(body)
    };
    timeout(LIMIT, read).await.expect("a frame in time")
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2048];
    let len = timeout(LIMIT, socket.recv(&mut buffer)).await.expect("an answer in time").expect("a datagram");
    buffer.truncate(len);
    buffer
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = [0; 1];
    matches!(timeout(LIMIT, stream.read(&mut rest)).await.expect("an end in time"), Ok(0) | Err(_))
}

#[tokio::test]
async fn frames_pass_whole_in_order_and_not_before_their_time() {
    let (proxy, mut client) = relay_frames("delay=3ms", "delay=4ms jitter=1ms").await;
    let clock = Clock::start();
    let begun = clock.now();
    let bodies: Vec<Vec<u8>> = (0..100_u8).map(|n| vec![n; usize::from(n) * 30]).collect();
    for body in &bodies {
        client.write_all(&frame(body)).await.expect("sent");
    }
    for body in &bodies {
        assert_eq!(read_frame(&mut client).await.expect("a frame"), *body);
    }
    assert!(clock.now().since(begun) >= Duration::from_millis(6));
    let counts = proxy.stop();
    assert_eq!((counts.flows, counts.up.delivered, counts.down.delivered), (1, 100, 100));
    assert_eq!((counts.io_overrun, counts.malformed, counts.undeliverable), (0, 0, 0));
}

#[tokio::test]
async fn lost_frames_are_missing_and_the_rest_is_whole() {
    let (proxy, mut client) = relay_frames("loss=every(3)", "none").await;
    for n in 1..=9 {
        client.write_all(&frame(&[n])).await.expect("sent");
    }
    for n in [1, 2, 4, 5, 7, 8] {
        assert_eq!(read_frame(&mut client).await.expect("a frame"), [n]);
    }
    assert_eq!(proxy.snapshot().up.dropped_loss, 3);
}

#[tokio::test]
async fn the_same_seed_loses_the_same_frames() {
    let mut survivors = Vec::new();
    for _ in 0..2 {
        let (proxy, mut client) = relay_frames("loss=50%", "none").await;
        for n in 0..50 {
            client.write_all(&frame(&[n])).await.expect("sent");
        }
        client.shutdown().await.expect("half closed");
        let mut seen = Vec::new();
        while let Ok(body) = read_frame(&mut client).await {
            seen.push(body);
        }
        assert_eq!(proxy.snapshot().up.dropped_loss, 50 - seen.len() as u64);
        survivors.push(seen);
    }
    assert_eq!(survivors[0], survivors[1]);
    assert!((10..=40).contains(&survivors[0].len()));
}

#[tokio::test]
async fn corruption_spares_the_length_and_flips_one_bit() {
    let (_proxy, mut client) = relay_frames("corrupt=100%", "none").await;
    for _ in 0..20 {
        client.write_all(&frame(&[0; 8])).await.expect("sent");
        let body = read_frame(&mut client).await.expect("a frame");
        assert_eq!(body.len(), 8);
        assert_eq!(body.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
    }
}

#[tokio::test]
async fn the_end_of_the_stream_follows_the_last_frame() {
    let (_proxy, mut client) = relay_frames("delay=20ms", "delay=20ms").await;
    client.write_all(&frame(b"last words")).await.expect("sent");
    client.shutdown().await.expect("half closed");
    assert_eq!(read_frame(&mut client).await.expect("a frame"), b"last words");
    assert!(is_closed(&mut client).await);
}

#[tokio::test]
async fn what_is_not_frames_is_closed_and_counted() {
    for garbage in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[0xFF; 64], &0x0010_0001_u32.to_be_bytes()] {
        let (proxy, mut client) = relay_frames("none", "none").await;
        client.write_all(garbage).await.expect("sent");
        assert!(is_closed(&mut client).await);
        assert_eq!(proxy.snapshot().malformed, 1);
    }
}

#[tokio::test]
async fn a_frame_cut_off_by_the_end_is_counted() {
    let (proxy, mut client) = relay_frames("none", "none").await;
    client.write_all(&frame(b"cut off")[..6]).await.expect("sent");
    client.shutdown().await.expect("half closed");
    assert!(is_closed(&mut client).await);
    assert_eq!(proxy.snapshot().malformed, 1);
}

#[tokio::test]
async fn an_upstream_that_refuses_closes_the_client_and_is_counted() {
    let nobody = {
        let listener = TcpListener::bind(loopback()).await.expect("a port");
        listener.local_addr().expect("bound")
    };
    let proxy = frames::start(config(nobody, "none", "none")).await.expect("a proxy");
    let mut client = TcpStream::connect(proxy.local_addr()).await.expect("a connection");
    assert!(is_closed(&mut client).await);
    assert_eq!(proxy.snapshot().refused, 1);
}

#[tokio::test]
async fn a_sender_that_is_never_read_meets_back_pressure_not_memory() {
    let (proxy, client) = relay_frames("delay=1h", "none").await;
    let (_read, mut write) = client.into_split();
    let big = frame(&vec![0; 1 << 20]);
    tokio::spawn(async move { while write.write_all(&big).await.is_ok() {} });
    let pressed = async {
        while proxy.snapshot().back_pressure == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, pressed).await.expect("back-pressure in time");
    assert_eq!(
        proxy.snapshot().up.queued(),
        3,
        "four frames of 1 MiB and their bookkeeping are above the credit"
    );
}

#[tokio::test]
async fn datagrams_keep_their_boundaries_and_each_client_its_answers() {
    let (proxy, first) = relay_datagrams("delay=2ms", "delay=2ms").await;
    let second = UdpSocket::bind(loopback()).await.expect("a port");
    second.connect(proxy.local_addr()).await.expect("an address");
    for n in 0..20_u8 {
        first.send(&vec![n; 1 + usize::from(n) * 50]).await.expect("sent");
        second.send(&[n, n]).await.expect("sent");
    }
    for n in 0..20_u8 {
        assert_eq!(receive(&first).await, vec![n; 1 + usize::from(n) * 50]);
        assert_eq!(receive(&second).await, [n, n]);
    }
    let counts = proxy.stop();
    assert_eq!((counts.flows, counts.up.delivered, counts.down.delivered), (2, 40, 40));
    assert_eq!(counts.io_overrun, 0);
}

#[tokio::test]
async fn datagrams_can_be_lost_and_doubled() {
    let (proxy, client) = relay_datagrams("loss=every(2)", "duplicate=100%").await;
    for n in 1..=6 {
        client.send(&[n]).await.expect("sent");
    }
    for n in [1, 1, 3, 3, 5, 5] {
        assert_eq!(receive(&client).await, [n]);
    }
    let counts = proxy.stop();
    assert_eq!((counts.up.dropped_loss, counts.down.duplicated), (3, 3));
    assert!(counts.up.balance_holds() && counts.down.balance_holds());
}

#[tokio::test]
async fn an_upstream_port_where_nobody_listens_is_counted_and_not_fatal() {
    let nobody = UdpSocket::bind(loopback()).await.expect("a port").local_addr().expect("bound");
    let proxy = datagrams::start(config(nobody, "none", "none")).await.expect("a proxy");
    let client = UdpSocket::bind(loopback()).await.expect("a port");
    client.connect(proxy.local_addr()).await.expect("an address");
    let refused = async {
        while proxy.snapshot().refused == 0 {
            client.send(b"anybody?").await.expect("the proxy itself listens");
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, refused).await.expect("a refusal in time");
}

#[tokio::test]
async fn datagrams_pass_over_ipv6() {
    let Ok(addr) = "[::1]:0".parse::<SocketAddr>() else { unreachable!("an address") };
    if UdpSocket::bind(addr).await.is_err() {
        return; // No IPv6 on this machine.
    }
    let proxy = datagrams::start(config(echo_datagrams(addr).await, "none", "none")).await.expect("a proxy");
    let client = UdpSocket::bind(addr).await.expect("a port");
    client.connect(proxy.local_addr()).await.expect("an address");
    client.send(b"six").await.expect("sent");
    assert_eq!(receive(&client).await, b"six");
}

#[tokio::test]
async fn flows_of_a_shared_link_share_its_chain_of_chance() {
    let upstream = echo_datagrams(loopback()).await;
    let shared = ProxyConfig { scope: Scope::Shared, ..config(upstream, "loss=every(2)", "none") };
    let proxy = datagrams::start(shared).await.expect("a proxy");
    let clients = [UdpSocket::bind(loopback()).await, UdpSocket::bind(loopback()).await];
    let [first, second] = clients.map(|client| client.expect("a port"));
    for client in [&first, &second, &first] {
        client.send_to(b"x", proxy.local_addr()).await.expect("sent");
    }
    let three = async {
        while proxy.snapshot().up.offered < 3 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, three).await.expect("three datagrams in time");
    let counts = proxy.stop();
    assert_eq!((counts.flows, counts.up.dropped_loss), (2, 1), "the second of three, whoever sent it");
}

#[tokio::test]
async fn a_change_reaches_open_flows_and_new_ones() {
    let (proxy, mut client) = relay_frames("none", "none").await;
    client.write_all(&frame(b"before")).await.expect("sent");
    assert_eq!(read_frame(&mut client).await.expect("a frame"), b"before");
    proxy.configure(Some("loss=100%".parse().expect("a valid spec")), None);
    client.write_all(&frame(b"lost")).await.expect("sent");
    let mut late = TcpStream::connect(proxy.local_addr()).await.expect("a connection");
    late.write_all(&frame(b"lost too")).await.expect("sent");
    let both = async {
        while proxy.snapshot().up.dropped_loss < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, both).await.expect("two losses in time");
}

#[tokio::test]
async fn frames_pass_over_ipv6() {
    let Ok(listener) = TcpListener::bind("[::1]:0").await else {
        eprintln!("SKIPPED: this machine has no IPv6");
        return;
    };
    let upstream = listener.local_addr().expect("bound");
    let proxy = frames::start(config(upstream, "none", "none")).await.expect("a proxy");
    let mut client = TcpStream::connect(proxy.local_addr()).await.expect("a connection");
    client.write_all(&frame(b"six")).await.expect("sent");
    let (mut server, _) = listener.accept().await.expect("a connection");
    assert_eq!(read_frame(&mut server).await.expect("a frame"), b"six");
}

#[tokio::test]
async fn a_half_closed_connection_still_carries_the_other_direction() {
    let listener = TcpListener::bind(loopback()).await.expect("a port");
    let upstream = listener.local_addr().expect("bound");
    let proxy = frames::start(config(upstream, "delay=2ms", "delay=2ms")).await.expect("a proxy");
    let mut client = TcpStream::connect(proxy.local_addr()).await.expect("a connection");
    client.write_all(&frame(b"question")).await.expect("sent");
    client.shutdown().await.expect("half closed");
    let (mut server, _) = listener.accept().await.expect("a connection");
    assert_eq!(read_frame(&mut server).await.expect("a frame"), b"question");
    assert!(is_closed(&mut server).await, "the client's end has been passed on");
    for n in 0..10 {
        server.write_all(&frame(&[n])).await.expect("sent");
        assert_eq!(read_frame(&mut client).await.expect("a frame"), [n]);
    }
    drop(server);
    assert!(is_closed(&mut client).await);
    let counts = proxy.stop();
    assert_eq!((counts.flows_open, counts.down.delivered, counts.early), (0, 10, 0));
}

#[tokio::test]
async fn a_connection_that_has_ended_both_ways_costs_nothing_while_its_last_frames_are_under_way() {
    let (proxy, mut client) = relay_frames("delay=300ms", "none").await;
    client.write_all(&frame(b"late")).await.expect("sent");
    client.shutdown().await.expect("half closed");
    assert_eq!(read_frame(&mut client).await.expect("the echo"), b"late");
    assert!(is_closed(&mut client).await);
    assert!(
        proxy.stop().timing.sleeps < 1000,
        "the thread slept, instead of being told the same again and again"
    );
}

/// Sends datagrams of 100 bytes as one message of the kernel's.
fn send_together(client: UdpSocket, destination: SocketAddr, contents: &[u8]) -> UdpSocket {
    let client = client.into_std().expect("a socket");
    let state = quinn_udp::UdpSocketState::new((&client).into()).expect("options");
    let segment_size = Some(100);
    let transmit = quinn_udp::Transmit { destination, ecn: None, contents, segment_size, src_ip: None };
    state.try_send((&client).into(), &transmit).expect("sent");
    UdpSocket::from_std(client).expect("a socket")
}

/// Whether each packet that arrives has memory of its own.
#[derive(Debug)]
struct Owners(std::sync::mpsc::Sender<bool>);

impl Observer<Parcel> for Owners {
    fn on_arrival(&mut self, _: LinkId, _: Timestamp, _: u64, _: &Meta, packet: &Parcel) {
        self.0.send(packet.bytes().is_unique()).expect("the test reads");
    }
}

#[tokio::test]
async fn datagrams_that_the_kernel_keeps_together_do_not_share_memory() {
    let (sender, owners) = std::sync::mpsc::channel();
    let config = config(echo_datagrams(loopback()).await, "none", "loss=100%");
    let proxy = datagrams::start_observed(config, Some(Box::new(Owners(sender)))).expect("a proxy");
    let client = UdpSocket::bind(loopback()).await.expect("a port");
    let _client = send_together(client, proxy.local_addr(), &[7; 1000]);
    let first = (0..10).map(|_| owners.recv_timeout(LIMIT).expect("an arrival")).collect::<Vec<_>>();
    assert_eq!(first, [true; 10]);
    drop(proxy.stop());
}

#[tokio::test]
async fn datagrams_that_the_kernel_keeps_together_are_packets_of_their_own() {
    let (proxy, client) = relay_datagrams("loss=every(2)", "none").await;
    let run: Vec<u8> = (0..10).flat_map(|n| [n; 100]).chain([10; 50]).collect();
    let client = send_together(client, proxy.local_addr(), &run);
    // Every second is lost: 1, 3, 5, 7, 9 of 0 to 10.
    let mut bytes = Vec::new();
    while bytes.len() < 550 {
        bytes.extend(receive(&client).await);
    }
    let expected: Vec<u8> = [0, 2, 4, 6, 8].iter().flat_map(|n| [*n; 100]).chain([10; 50]).collect();
    assert_eq!(bytes, expected);
    let counts = proxy.stop();
    assert_eq!((counts.up.offered, counts.up.dropped_loss, counts.up.offered_bytes), (11, 5, 1050));
    assert_eq!((counts.kernel_drops, counts.io_overrun, counts.early), (0, 0, 0));
}

#[tokio::test]
async fn ecn_bits_pass_through() {
    use quinn_udp::{EcnCodepoint, RecvMeta, Transmit, UdpSocketState};
    let server = std::net::UdpSocket::bind(loopback()).expect("a port");
    let receiving = UdpSocketState::new((&server).into()).expect("options");
    let server = UdpSocket::from_std(server).expect("a socket");
    let upstream = server.local_addr().expect("bound");
    let proxy = datagrams::start(config(upstream, "none", "none")).await.expect("a proxy");
    let client = std::net::UdpSocket::bind(loopback()).expect("a port");
    let sending = UdpSocketState::new((&client).into()).expect("options");
    for ecn in [None, Some(EcnCodepoint::Ect0), Some(EcnCodepoint::Ect1), Some(EcnCodepoint::Ce)] {
        let (destination, contents) = (proxy.local_addr(), b"x".as_slice());
        let transmit = Transmit { destination, ecn, contents, segment_size: None, src_ip: None };
        sending.try_send((&client).into(), &transmit).expect("sent");
        let (mut buffer, mut meta) = ([0; 100], [RecvMeta::default()]);
        let read = server.async_io(tokio::io::Interest::READABLE, || {
            receiving.recv((&server).into(), &mut [io::IoSliceMut::new(&mut buffer)], &mut meta)
        });
        timeout(LIMIT, read).await.expect("in time").expect("a datagram");
        assert_eq!(meta[0].ecn, ecn);
    }
}

#[tokio::test]
async fn a_silent_flow_is_forgotten_and_the_next_datagram_begins_another() {
    let upstream = echo_datagrams(loopback()).await;
    let idle_timeout = Duration::from_millis(40);
    let config = ProxyConfig { idle_timeout, ..config(upstream, "none", "none") };
    let proxy = datagrams::start(config).await.expect("a proxy");
    let client = UdpSocket::bind(loopback()).await.expect("a port");
    client.connect(proxy.local_addr()).await.expect("an address");
    for flows in 1..=2 {
        client.send(b"x").await.expect("sent");
        assert_eq!(receive(&client).await, b"x");
        assert_eq!(proxy.snapshot().flows, flows);
        let forgotten = async {
            while proxy.snapshot().flows_open > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, forgotten).await.expect("forgotten in time");
    }
    assert_eq!(proxy.stop().up.delivered, 2, "what closed flows did stays in the sums");
}

#[tokio::test]
async fn a_rebound_flow_comes_from_another_port_and_still_hears_answers_to_the_old_one() {
    let server = UdpSocket::bind(loopback()).await.expect("a port");
    let upstream = server.local_addr().expect("bound");
    let proxy = datagrams::start(config(upstream, "none", "none")).await.expect("a proxy");
    let client = UdpSocket::bind(loopback()).await.expect("a port");
    client.connect(proxy.local_addr()).await.expect("an address");
    let mut ports = Vec::new();
    for n in 0..3 {
        client.send(&[n]).await.expect("sent");
        let mut buffer = [0; 10];
        let (_, from) =
            timeout(LIMIT, server.recv_from(&mut buffer)).await.expect("in time").expect("a datagram");
        assert!(!ports.contains(&from));
        ports.push(from);
        proxy.rebind();
    }
    for port in &ports {
        server.send_to(b"answer", port).await.expect("sent");
        assert_eq!(receive(&client).await, b"answer");
    }
    let counts = proxy.stop();
    assert_eq!((counts.flows, counts.rebinds, counts.down.delivered), (1, 3, 3));
}

#[tokio::test]
async fn a_links_rebind_gives_its_flow_another_port() {
    let server = UdpSocket::bind(loopback()).await.expect("a port");
    let upstream = server.local_addr().expect("bound");
    let proxy = datagrams::start(config(upstream, "rebind=20ms/20ms", "none")).await.expect("a proxy");
    let client = UdpSocket::bind(loopback()).await.expect("a port");
    client.connect(proxy.local_addr()).await.expect("an address");
    let mut ports = std::collections::BTreeSet::new();
    let three = async {
        while ports.len() < 3 {
            client.send(b"x").await.expect("sent");
            let (_, from) = server.recv_from(&mut [0; 10]).await.expect("a datagram");
            ports.insert(from);
        }
    };
    timeout(LIMIT, three).await.expect("three ports in time");
    let counts = proxy.stop();
    assert!(counts.rebinds >= 2 && counts.flows == 1);
}

#[derive(Debug, Default)]
struct Watcher {
    seen: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Observer<Parcel> for Watcher {
    fn on_flow(&mut self, flow: &FlowOpened) {
        self.seen.lock().expect("one thread").push(format!("flow {} {:?}", flow.number, flow.carrier));
    }
    fn on_arrival(&mut self, _: LinkId, _: Timestamp, number: u64, meta: &Meta, packet: &Parcel) {
        let text = String::from_utf8_lossy(packet.bytes()).into_owned();
        self.seen.lock().expect("one thread").push(format!("arrival {number} of {} {text}", meta.flow));
    }
    fn on_end(&mut self, _: Timestamp) {
        self.seen.lock().expect("one thread").push("end".to_owned());
    }
}

#[tokio::test]
async fn an_observer_sees_flows_and_packets_until_the_end() {
    let watcher = Watcher::default();
    let seen = std::sync::Arc::clone(&watcher.seen);
    let config = config(echo_datagrams(loopback()).await, "none", "none");
    let proxy = datagrams::start_observed(config, Some(Box::new(watcher))).expect("a proxy");
    let client = UdpSocket::bind(loopback()).await.expect("a port");
    client.connect(proxy.local_addr()).await.expect("an address");
    client.send(b"one").await.expect("sent");
    assert_eq!(receive(&client).await, b"one");
    drop(proxy.stop());
    let expected = ["flow 0 Datagrams", "arrival 1 of 0 one", "arrival 1 of 0 one", "end"];
    assert_eq!(*seen.lock().expect("the thread has ended"), expected);
}
