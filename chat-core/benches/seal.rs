//! What encryption costs: one sealed packet with a chat line in it, and one handshake.

use std::sync::Arc;

use chat_core::secure::{
    Channel, Fingerprint, Handshake, Seal, SealLimits, Trust, client_config, server_config,
};
use chat_core::wire::datagram;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::time_provider::DefaultTimeProvider;
use rustls::{ClientConfig, ServerConfig};
use units::Timestamp;

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sealed packet of 300 B");
    group.throughput(Throughput::Elements(1));
    let mut plain = Vec::new();
    datagram::put_header(&mut plain, CONNECTION);
    plain.extend_from_slice(&[0; 300]);
    group.bench_function("seal", |bencher| {
        let (mut one, mut other) = seals();
        let mut number = 0_u64;
        bencher.iter(|| {
            number += 1;
            // Without an answer the keys could not change, and would be used up after 2^23 packets.
            if number.is_multiple_of(1024) {
                let sealed = one.seal(&plain).expect("keys change in time");
                other.open(&sealed).expect("it was just sealed");
                let answer = other.seal(&plain).expect("keys change in time");
                one.open(&answer).expect("it was just sealed");
            }
            one.seal(&plain).expect("keys change in time")
        });
    });
    group.bench_function("seal, open", |bencher| {
        let (mut one, mut other) = seals();
        // Answers now and then let the keys change, as they do in use.
        let mut number = 0_u64;
        bencher.iter(|| {
            number += 1;
            if number.is_multiple_of(1024) {
                let answer = other.seal(&plain).expect("keys change in time");
                one.open(&answer).expect("it was just sealed");
            }
            let sealed = one.seal(&plain).expect("keys change in time");
            other.open(&sealed).expect("it was just sealed")
        });
    });
    group.finish();
}

fn handshakes(criterion: &mut Criterion) {
    let (client, server) = configs();
    criterion.bench_function("handshake, both ends", |bencher| {
        bencher.iter_batched(
            || Channel::client(NOW, client.clone(), name(), CONNECTION).expect("sound settings"),
            |mut one| {
                let hello = one.poll_transmit(NOW).expect("a first datagram");
                let mut other = Channel::server(NOW, server.clone(), &hello).expect("a beginning");
                while !(one.is_open() && other.is_open()) {
                    while let Some(datagram) = other.poll_transmit(NOW) {
                        one.handle_datagram(NOW, &datagram);
                    }
                    while let Some(datagram) = one.poll_transmit(NOW) {
                        other.handle_datagram(NOW, &datagram);
                    }
                }
                (one, other)
            },
            BatchSize::SmallInput,
        );
    });
}

/// The keys of both ends of one connection.
fn seals() -> (Seal, Seal) {
    let (client, server) = configs();
    let limits = SealLimits::default();
    let mut one = Handshake::client(NOW, client, name(), CONNECTION, limits).expect("sound settings");
    let hello = one.poll_transmit(NOW).expect("a first datagram");
    let mut other = Handshake::server(NOW, server, &hello, limits).expect("a beginning");
    loop {
        while let Some(datagram) = other.poll_transmit(NOW) {
            one.handle(NOW, &datagram);
        }
        while let Some(datagram) = one.poll_transmit(NOW) {
            other.handle(NOW, &datagram);
        }
        if let Some(seal) = other.take_seal() {
            return (one.take_seal().expect("the client is done before the server"), seal);
        }
    }
}

fn configs() -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let pair = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([NAME.to_owned()]).expect("a name");
    let certificate: CertificateDer<'static> = params.self_signed(&pair).expect("a certificate").into();
    let trust = Trust::Fingerprint(Fingerprint::of(&certificate));
    let key = PrivateKeyDer::try_from(pair.serialize_der()).expect("a key");
    let time = Arc::new(DefaultTimeProvider);
    let server = server_config(vec![certificate], key, time.clone()).expect("sound settings");
    (client_config(trust, time).expect("sound settings"), server)
}

fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a name")
}

const NAME: &str = "chat.example";
const CONNECTION: u64 = 0x0123_4567_89ab_cdef;
const NOW: Timestamp = Timestamp::ZERO;

criterion_group!(benches, packets, handshakes);
criterion_main!(benches);
