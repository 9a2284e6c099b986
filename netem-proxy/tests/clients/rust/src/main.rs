//! Drives a server with `toxiproxy_rust`: `rust-client HOST:PORT`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use toxiproxy_rust::client::Client;
use toxiproxy_rust::proxy::ProxyPack;

fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut reader = stream.try_clone().expect("a second handle");
                let mut writer = stream;
                let _ = std::io::copy(&mut reader, &mut writer);
            });
        }
    });
    address
}

fn round_trip(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    stream.write_all(b"ping").expect("sent");
    let mut back = [0; 4];
    stream.read_exact(&mut back).expect("an answer");
    assert_eq!(&back, b"ping");
    began.elapsed()
}

fn median(count: usize, stream: &mut TcpStream) -> Duration {
    let mut all: Vec<Duration> = (0..count).map(|_| round_trip(stream)).collect();
    all.sort();
    all[count / 2]
}

fn main() {
    let address = std::env::args().nth(1).expect("the address of a server");
    let client = Client::new(address.as_str());
    assert!(client.is_running());
    assert!(client.version().expect("a version").contains("2.12.0"));

    let upstream = echo();
    let plan = || vec![ProxyPack::new("socket".into(), "localhost:0".into(), upstream.clone())];
    let made = client.populate(plan()).expect("populated");
    assert_eq!((made.len(), made[0].proxy_pack.name.as_str()), (1, "socket"));
    assert!(client.find_proxy("missing").is_err());
    let proxy = client.find_proxy("socket").expect("found");
    assert!(proxy.proxy_pack.enabled);

    let mut stream = TcpStream::connect(&proxy.proxy_pack.listen).expect("it listens");
    stream.set_nodelay(true).expect("an option");
    let direct = median(20, &mut stream);
    proxy
        .with_latency("downstream".into(), 100, 0, 1.0)
        .apply(|| {
            let all = client.all().expect("listed");
            assert_eq!(all["socket"].toxics().expect("listed").len(), 1);
            let added = median(5, &mut stream) - direct;
            println!("     latency of 100 ms measured as {:.1} ms", added.as_secs_f64() * 1e3);
            assert!(added.abs_diff(Duration::from_millis(100)) <= Duration::from_millis(10));
        })
        .expect("applied");
    assert!(proxy.toxics().expect("listed").is_empty());

    proxy
        .with_down(|| {
            assert!(!client.find_proxy("socket").expect("found").proxy_pack.enabled);
            assert!(TcpStream::connect(&proxy.proxy_pack.listen).is_err());
        })
        .expect("down and up");
    assert!(client.find_and_reset_proxy("socket").expect("reset").proxy_pack.enabled);

    proxy
        .with_bandwidth("upstream".into(), 500, 0.5)
        .with_slow_close("downstream".into(), 5, 1.0)
        .with_timeout("downstream".into(), 5, 1.0)
        .with_slicer("downstream".into(), 64, 32, 5, 1.0)
        .with_limit_data("upstream".into(), 5, 1.0);
    assert_eq!(proxy.toxics().expect("listed").len(), 5);
    client.reset().expect("reset");
    assert!(proxy.toxics().expect("listed").is_empty());
    proxy.delete().expect("deleted");
    assert!(!client.all().expect("listed").contains_key("socket"));
}
