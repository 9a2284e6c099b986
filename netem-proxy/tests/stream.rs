//! The stream relay between real sockets of the loopback.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use netem_proxy::stream::{
    Direction, Engine, EngineConfig, Share, StreamConfig, StreamProxy, Toxic, ToxicError, ToxicKind,
};
use units::{Clock, Seed};

/// No test waits longer than this for anything.
const PATIENCE: Duration = Duration::from_secs(20);

fn engine() -> (Clock, Engine) {
    let clock = Clock::start();
    let config = EngineConfig { threads: Some(2), ..EngineConfig::new(clock, Seed::root(42)) };
    (clock, Engine::start(config).expect("threads and descriptors"))
}

fn open(engine: &Engine, upstream: SocketAddr) -> StreamProxy {
    let config = StreamConfig::new("test", "127.0.0.1:0", &upstream.to_string(), engine.seed_for("test"));
    engine.open(config).expect("a free port")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the proxy listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// An upstream that serves one connection.
fn upstream<T: Send + 'static>(
    serve: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("somebody connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        serve(stream)
    });
    (address, thread)
}

/// Sends back what comes, then the end.
fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

fn toxic(text: &str) -> Toxic {
    text.parse().expect("a toxic")
}

fn read_all(mut stream: impl Read) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).map(|_| all)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 + n / 251) as u8).collect()
}

#[test]
fn the_end_of_one_direction_leaves_the_other_open() {
    let (_, engine) = engine();
    // Answers only after it has seen the end of the request.
    let (address, server) = upstream(|mut stream| {
        let request = read_all(&stream).expect("a request");
        stream.write_all(&request).expect("the client listens");
        request.len()
    });
    let proxy = open(&engine, address);
    let mut client = connect(proxy.local_addr());
    let request = pattern(3_000_000);
    client.write_all(&request).expect("the proxy reads");
    client.shutdown(Shutdown::Write).expect("open");
    assert!(read_all(&client).expect("an answer") == request);
    assert_eq!(server.join().expect("no panic"), request.len());
    let counters = proxy.close();
    let bytes = request.len() as u64;
    assert_eq!((counters.up.received, counters.up.sent), (bytes, bytes));
    assert_eq!((counters.down.received, counters.down.sent), (bytes, bytes));
    assert_eq!((counters.connections_total, counters.resets), (1, 0));
}

#[test]
fn a_refused_upstream_ends_the_client() {
    let (_, engine) = engine();
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let proxy = open(&engine, nobody);
    let client = connect(proxy.local_addr());
    assert_eq!(read_all(&client).expect("an end, not a reset"), b"");
    assert_eq!(proxy.counters().refused, 1);
}

#[test]
fn every_byte_passes_while_toxics_come_and_go() {
    let (_, engine) = engine();
    let (address, server) = upstream(echo);
    let proxy = open(&engine, address);
    let client = connect(proxy.local_addr());
    let sent = pattern(8_000_000);
    let (mut writer, bytes) = (client.try_clone().expect("a socket"), sent.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&bytes).expect("the proxy reads");
        writer.shutdown(Shutdown::Write).expect("open");
    });
    let reading = std::thread::spawn(move || read_all(&client).expect("an echo"));
    for round in 0..100 {
        proxy.add_toxic(toxic("latency:latency=3,jitter=3@up")).expect("added");
        proxy.add_toxic(toxic("slicer:average_size=500,size_variation=100@down")).expect("added");
        proxy.add_toxic(toxic("bandwidth:rate=100000@down")).expect("added");
        let slower = ToxicKind::Bandwidth { rate_kbps: 200_000, shared: round % 2 == 0 };
        proxy.update_toxic("bandwidth_downstream", slower, 1.0).expect("updated");
        for name in ["latency_upstream", "slicer_downstream", "bandwidth_downstream"] {
            proxy.remove_toxic(name).expect("removed");
        }
    }
    writing.join().expect("no panic");
    assert!(reading.join().expect("no panic") == sent);
    server.join().expect("no panic");
    let counters = proxy.close();
    assert_eq!(counters.up.sent, sent.len() as u64);
    assert_eq!(counters.down.sent, sent.len() as u64);
}

#[test]
fn a_latency_is_added_to_live_connections_and_taken_away() {
    let (clock, engine) = engine();
    let (address, _server) = upstream(echo);
    let proxy = open(&engine, address);
    let mut client = connect(proxy.local_addr());
    let mut round_trip = || {
        let sent = clock.now();
        let mut byte = [1];
        client.write_all(&byte).and_then(|()| client.read_exact(&mut byte)).expect("an echo");
        clock.now().since(sent)
    };
    round_trip();
    proxy.add_toxic(toxic("latency:latency=60@down")).expect("added");
    proxy.add_toxic(toxic("latency:latency=40@up")).expect("added");
    // Never early, however busy the machine; how late is for the bench to show.
    assert!(round_trip() >= Duration::from_millis(100));
    let names: Vec<_> = proxy.connections().into_iter().flat_map(|connection| connection.toxics).collect();
    assert_eq!(names, ["latency_upstream", "latency_downstream"]);
    proxy.clear_toxics().expect("cleared");
    let plain = (0..20).map(|_| round_trip()).min().expect("twenty");
    assert!(plain < Duration::from_millis(100), "{plain:?}");
    assert_eq!(engine.report().0.early(), 0);
}

#[test]
fn a_reset_reaches_live_connections_that_it_rolled_and_no_others() {
    for (toxicity, is_reset) in [("1", true), ("0", false)] {
        let (_, engine) = engine();
        let (address, _server) = upstream(echo);
        let proxy = open(&engine, address);
        let mut client = connect(proxy.local_addr());
        let mut byte = [1];
        client.write_all(&byte).and_then(|()| client.read_exact(&mut byte)).expect("an echo");
        proxy.add_toxic(toxic(&format!("reset_peer@down*{toxicity}"))).expect("added");
        client.write_all(&byte).expect("open");
        let answer = client.read(&mut byte);
        if is_reset {
            assert_eq!(answer.expect_err("a reset").kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(proxy.counters().resets, 1);
        } else {
            assert_eq!(answer.expect("an echo"), 1);
        }
    }
}

#[test]
fn a_limit_closes_both_sides_after_its_last_byte() {
    let (_, engine) = engine();
    let (address, server) = upstream(|stream| read_all(&stream).map(|bytes| bytes.len()));
    let proxy = open(&engine, address);
    proxy.add_toxic(toxic("limit_data:bytes=1000@up")).expect("added");
    let mut client = connect(proxy.local_addr());
    client.write_all(&pattern(1000)).expect("open");
    assert_eq!(server.join().expect("no panic").expect("an end"), 1000);
    assert_eq!(read_all(&client).expect("an end"), b"");
    assert_eq!(proxy.counters().cut, 1);
}

#[test]
fn a_timeout_that_is_removed_closes_the_connection() {
    let (_, engine) = engine();
    let (address, server) = upstream(|stream| read_all(&stream).map(|bytes| bytes.len()));
    let proxy = open(&engine, address);
    proxy.add_toxic(toxic("timeout@up")).expect("added");
    let mut client = connect(proxy.local_addr());
    client.write_all(b"nobody reads this").expect("open");
    while proxy.counters().up.received == 0 {
        std::thread::yield_now();
    }
    proxy.remove_toxic("timeout_upstream").expect("removed");
    assert_eq!(read_all(&client).expect("an end"), b"");
    assert_eq!(server.join().expect("no panic").expect("an end"), 0);
}

#[test]
fn a_reset_by_one_side_reaches_the_other_after_what_came_before_it() {
    let (_, engine) = engine();
    let (address, server) = upstream(|mut stream| {
        stream.write_all(b"last words").expect("open");
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket");
    });
    let proxy = open(&engine, address);
    proxy.add_toxic(toxic("latency:latency=50@down")).expect("added");
    let mut client = connect(proxy.local_addr());
    server.join().expect("no panic");
    let mut words = [0; 10];
    client.read_exact(&mut words).expect("what was sent before the reset");
    assert_eq!(&words, b"last words");
    assert_eq!(client.read(&mut words).expect_err("a reset").kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_full_relay_stops_reading() {
    let (_, engine) = engine();
    let (address, server) = upstream(|stream| (stream, ()));
    let proxy = open(&engine, address);
    proxy.add_toxic(toxic("bandwidth:rate=0@up")).expect("added");
    let mut client = connect(proxy.local_addr());
    client.set_nonblocking(true).expect("a socket");
    let buffer = pattern(64 * 1024);
    // The kernel's buffers and ours take some, and then no more.
    let mut taken = 0;
    while proxy.counters().back_pressure == 0 {
        match client.write(&buffer) {
            Ok(count) => taken += count,
            Err(_) => std::thread::yield_now(),
        }
        assert!(taken < 64 << 20, "no bound in sight");
    }
    let held: u64 = proxy.connections().iter().map(|connection| connection.held).sum();
    assert!(held <= 80 * 1024, "{held}");
    drop(server.join());
}

/// Until it is so, within [`PATIENCE`].
fn eventually(clock: Clock, what: &str, is_so: impl Fn() -> bool) {
    let deadline = clock.now() + PATIENCE;
    while !is_so() {
        assert!(clock.now() < deadline, "not so: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_connection_whose_ends_are_gone_goes_whatever_a_toxic_keeps() {
    // The longer ones are more than a chain has room for: there the end waits unread behind bytes in the kernel.
    for (text, length) in [
        ("timeout:timeout=0@down", 1),
        ("timeout:timeout=0@up", 1),
        ("bandwidth:rate=0@down", 100),
        ("bandwidth:rate=0@up", 100),
        ("bandwidth:rate=0@up", 100_000),
        ("bandwidth:rate=0@down", 100_000),
    ] {
        let (clock, engine) = engine();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let proxy = open(&engine, listener.local_addr().expect("bound"));
        proxy.add_toxic(toxic(text)).expect("added");
        let mut ends = Vec::new();
        for _ in 0..20 {
            let mut client = connect(proxy.local_addr());
            let (mut server, _) = listener.accept().expect("the relay connects");
            let sender = if text.ends_with("up") { &mut client } else { &mut server };
            sender.write_all(&pattern(length)).expect("taken");
            ends.push((client, server));
        }
        eventually(clock, text, || proxy.counters().connections_open == 20);
        ends.iter().for_each(|(client, _)| client.shutdown(Shutdown::Write).expect("open"));
        eventually(clock, text, || proxy.connections().len() == 20);
        // One end alone is a half-closed connection, which may wait for ever.
        assert_eq!(proxy.counters().connections_open, 20, "{text}");
        drop(ends);
        eventually(clock, text, || proxy.counters().connections_open == 0);
        assert_eq!((proxy.counters().cut, proxy.counters().resets), (20, 0), "{text}");
    }
}

#[test]
fn a_reset_ends_a_connection_whatever_a_toxic_keeps() {
    for text in ["timeout:timeout=0@down", "bandwidth:rate=0@down"] {
        let (clock, engine) = engine();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let proxy = open(&engine, listener.local_addr().expect("bound"));
        proxy.add_toxic(toxic(text)).expect("added");
        let client = connect(proxy.local_addr());
        let (mut server, _) = listener.accept().expect("the relay connects");
        server.write_all(b"kept").expect("taken");
        eventually(clock, text, || proxy.counters().down.received == 4);
        socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).expect("a socket");
        drop(server);
        eventually(clock, text, || proxy.counters().connections_open == 0);
        drop(client);
    }
}

#[test]
fn closing_drops_connections_and_frees_the_port_at_once() {
    let (_, engine) = engine();
    let (address, _server) = upstream(echo);
    let proxy = open(&engine, address);
    let port = proxy.local_addr();
    let mut client = connect(port);
    let mut byte = [1];
    client.write_all(&byte).and_then(|()| client.read_exact(&mut byte)).expect("an echo");
    proxy.close();
    assert!(!matches!(client.read(&mut byte), Ok(1..)));
    let again = StreamConfig::new("again", &port.to_string(), "127.0.0.1:1", Seed::root(1));
    assert_eq!(engine.open(again).expect("the port is free").local_addr(), port);
}

#[test]
fn wrong_changes_are_refused_and_change_nothing() {
    let (_, engine) = engine();
    let proxy = open(&engine, SocketAddr::from(([127, 0, 0, 1], 1)));
    proxy.add_toxic(toxic("latency:latency=1@up")).expect("added");
    let twice = Toxic { stream: Direction::Downstream, ..toxic("latency:latency=2@up") };
    assert_eq!(proxy.add_toxic(twice), Err(ToxicError::Exists));
    assert_eq!(proxy.remove_toxic("another"), Err(ToxicError::NotFound));
    assert_eq!(proxy.update_toxic("another", ToxicKind::Noop, 1.0), Err(ToxicError::NotFound));
    let changed = proxy.update_toxic("latency_upstream", ToxicKind::Noop, 1.0);
    assert_eq!(changed, Err(ToxicError::KindChanged { old: "latency", new: "noop" }));
    assert!(matches!(
        proxy.add_toxic(Toxic { toxicity: f32::NAN, ..toxic("noop") }),
        Err(ToxicError::Toxicity { .. })
    ));
    assert_eq!(proxy.toxics(), [toxic("latency:latency=1@up")]);
}

#[test]
fn a_shared_rate_is_one_for_all_connections() {
    let (clock, engine) = engine();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = std::thread::spawn(move || {
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (stream, _) = listener.accept().expect("somebody connects");
                std::thread::spawn(move || read_all(stream).expect("a stream").len())
            })
            .collect();
        readers.into_iter().map(|reader| reader.join().expect("no panic")).sum::<usize>()
    });
    let config = StreamConfig {
        profile_up: "rate=16Mbit/s".parse().expect("a profile"),
        share: Share::Rate,
        ..StreamConfig::new("test", "127.0.0.1:0", &address.to_string(), engine.seed_for("test"))
    };
    let proxy = engine.open(config).expect("a free port");
    let begun = clock.now();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let mut client = connect(proxy.local_addr());
            std::thread::spawn(move || client.write_all(&pattern(200_000)).expect("the proxy reads"))
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("no panic"));
    assert_eq!(server.join().expect("no panic"), 800_000);
    // 800 kB at 2 MB/s; alone, each would need 100 ms.
    assert!(clock.now().since(begun) >= Duration::from_millis(399));
}

#[test]
fn a_name_is_looked_up_and_ipv6_works() {
    let (_, engine) = engine();
    let (address, _server) = upstream(echo);
    let upstream = format!("localhost:{}", address.port());
    let listen = if TcpListener::bind("[::1]:0").is_ok() { "[::1]:0" } else { "127.0.0.1:0" };
    let proxy = engine
        .open(StreamConfig::new("test", listen, &upstream, engine.seed_for("test")))
        .expect("a free port");
    let mut client = connect(proxy.local_addr());
    let mut byte = [7];
    client.write_all(&byte).and_then(|()| client.read_exact(&mut byte)).expect("an echo");
    assert_eq!(byte, [7]);
}
