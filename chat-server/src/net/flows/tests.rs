//! Strangers, peers, floods, and how much either gets.

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::ZERO;

fn flows(policy: AddressValidation) -> Flows {
    Flows::new(Seed::root(1), policy)
}

fn with_peer(proven: bool) -> Flows {
    let mut flows = flows(AddressValidation::Never);
    let newcomer = Newcomer { address: address(4000), connection_id: 7, bytes: 100, proven };
    flows.insert(PeerId(1), newcomer);
    flows
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn datagram(connection_id: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    datagram::put_header(&mut out, connection_id);
    out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// The token that a stranger is given.
fn token(flows: &mut Flows, now: Timestamp, from: SocketAddr, id: u64) -> Vec<u8> {
    let hello = datagram(id, &[b'x'; 100]);
    let Lookup::Reply(reply) = flows.handle_datagram(now, from, &hello) else {
        panic!("a stranger gets a token");
    };
    assert!(reply.len() <= hello.len());
    forms::read_retry(&reply).unwrap().1.to_vec()
}

#[test]
fn a_stranger_gets_at_most_three_times_what_it_sent() {
    let mut flows = with_peer(false);
    assert_eq!(flows.permit(PeerId(1), 300), Permission::Send(address(4000)));
    assert_eq!(flows.permit(PeerId(1), 1), Permission::Withhold);
}

#[test]
fn an_answer_or_a_token_lifts_the_limit() {
    let mut answered = with_peer(false);
    answered.prove(PeerId(1), address(4000));
    assert_eq!(answered.unproven, 0);
    for flows in [&mut answered, &mut with_peer(true)] {
        assert_eq!(flows.permit(PeerId(1), 100_000), Permission::Send(address(4000)));
    }
}

#[test]
fn no_number_of_datagrams_and_no_other_address_lifts_it() {
    let mut flows = with_peer(false);
    assert_eq!(flows.permit(PeerId(1), 300), Permission::Send(address(4000)));
    let bytes = datagram(7, b"x");
    for _ in 0..10 {
        let known = Lookup::Known { peer: PeerId(1), inner: &bytes };
        assert_eq!(flows.handle_datagram(NOW, address(4000), &bytes), known);
    }
    flows.prove(PeerId(1), address(5000));
    assert_eq!(flows.permit(PeerId(1), 30 * bytes.len() + 1), Permission::Withhold);
    assert_eq!(flows.permit(PeerId(1), 30 * bytes.len()), Permission::Send(address(4000)));
}

#[test]
fn one_address_with_two_ids_is_two_peers() {
    let mut flows = with_peer(false);
    let bytes = datagram(8, b"x");
    let newcomer = Newcomer { address: address(4000), connection_id: 8, bytes: bytes.len(), proven: false };
    let lookup = flows.handle_datagram(NOW, address(4000), &bytes);
    assert_eq!(lookup, Lookup::Stranger { newcomer, inner: &bytes });
}

#[test]
fn noise_makes_no_peer_and_gets_no_answer() {
    let mut flows = flows(AddressValidation::Always);
    let mut cut = datagram(7, b"hello");
    cut.pop();
    let padding = datagram(7, b"");
    let bare = [forms::SEALED, 0, 0, 0, 0, 0, 0, 0, 7];
    let retry = forms::retry(7, b"token");
    for noise in [&b"GET / HTTP/1.1\r\n"[..], &padding[..11], &padding, &cut, &bare, &retry] {
        assert_eq!(flows.handle_datagram(NOW, address(4000), noise), Lookup::Foreign, "{noise:?}");
    }
}

#[test]
fn a_removed_peer_is_a_stranger_again() {
    let mut flows = with_peer(false);
    flows.remove(PeerId(1));
    let bytes = datagram(7, b"x");
    let lookup = flows.handle_datagram(NOW, address(4000), &bytes);
    assert!(matches!(lookup, Lookup::Stranger { .. }), "{lookup:?}");
    assert_eq!(flows.permit(PeerId(1), 1), Permission::Unknown);
    assert_eq!(flows.unproven, 0);
}

#[test]
fn a_stranger_becomes_a_peer_by_its_token_and_by_nothing_else() {
    let mut flows = flows(AddressValidation::Always);
    let (here, there) = (address(4000), address(4001));
    let token = token(&mut flows, NOW, here, 7);
    let hello = datagram(7, &[b'x'; 100]);
    let mut forged = token.clone();
    forged[5] ^= 1;
    let refused = [
        (here, forms::with_token(7, &forged, &hello)),
        (there, forms::with_token(7, &token, &hello)),
        (here, forms::with_token(8, &token, &datagram(8, &[b'x'; 100]))),
    ];
    for (from, bytes) in refused {
        let lookup = flows.handle_datagram(NOW, from, &bytes);
        assert!(matches!(lookup, Lookup::Reply(_)), "{lookup:?}");
    }
    let presented = forms::with_token(7, &token, &hello);
    let Lookup::Stranger { newcomer, inner } = flows.handle_datagram(NOW, here, &presented) else {
        panic!("a good token");
    };
    assert_eq!((newcomer.proven, inner), (true, &hello[..]));
    flows.insert(PeerId(1), newcomer);
    // A copy finds the peer and makes no second.
    let copy = flows.handle_datagram(NOW, here, &presented);
    assert_eq!(copy, Lookup::Known { peer: PeerId(1), inner: &hello });
    let counters = flows.counters();
    assert_eq!((counters.tokens_accepted, counters.tokens_refused, counters.retries_sent), (1, 3, 4));
}

#[test]
fn a_token_grows_old() {
    let mut flows = flows(AddressValidation::Always);
    let token = token(&mut flows, NOW, address(4000), 7);
    let presented = forms::with_token(7, &token, &datagram(7, b"x"));
    let lookup = flows.handle_datagram(Timestamp::from_secs(11), address(4000), &presented);
    assert!(matches!(lookup, Lookup::Reply(_)), "{lookup:?}");
}

#[test]
fn a_flood_of_strangers_costs_no_memory_and_gets_less_than_it_sends() {
    let mut flows = flows(AddressValidation::Always);
    let (mut bytes_in, mut bytes_out) = (0, 0);
    for n in 0..50_000u64 {
        let from = SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 1000 + (n >> 16) as u16));
        let hello = datagram(n, b"x");
        bytes_in += hello.len();
        match flows.handle_datagram(Timestamp::from_micros(n * 10), from, &hello) {
            Lookup::Reply(reply) => bytes_out += reply.len(),
            lookup => assert_eq!(lookup, Lookup::Ignored),
        }
    }
    assert!(
        (flows.flows.is_empty(), flows.by_address.is_empty(), flows.by_id.is_empty()) == (true, true, true)
    );
    assert!(bytes_out <= bytes_in, "{bytes_out} for {bytes_in}");
    // Datagrams of 16 bytes are shorter than a token.
    assert_eq!(flows.counters().retries_sent, 0);
    // Half a second of longer ones: what the limit gives.
    let hello = datagram(1, &[b'x'; 100]);
    for n in 0..50_000 {
        flows.handle_datagram(
            Timestamp::from_secs(100) + std::time::Duration::from_micros(n * 10),
            address(1),
            &hello,
        );
    }
    assert!((5_000..=7_600).contains(&flows.counters().retries_sent), "{:?}", flows.counters());
}

#[test]
fn a_loaded_server_asks_for_tokens() {
    let mut flows = flows(AddressValidation::Loaded);
    for n in 0..LOADED as u64 {
        let bytes = datagram(n, &[b'x'; 100]);
        let Lookup::Stranger { newcomer, .. } = flows.handle_datagram(NOW, address(4000), &bytes) else {
            panic!("not loaded yet");
        };
        flows.insert(PeerId(n), newcomer);
    }
    let bytes = datagram(1000, &[b'x'; 100]);
    assert!(matches!(flows.handle_datagram(NOW, address(4000), &bytes), Lookup::Reply(_)));
    flows.remove(PeerId(0));
    assert!(matches!(flows.handle_datagram(NOW, address(4000), &bytes), Lookup::Stranger { .. }));
}

#[test]
fn a_peer_that_moves_is_found_at_both_addresses_and_sent_to_one() {
    let mut flows = with_peer(true);
    let bytes = datagram(7, b"x");
    let known = Lookup::Known { peer: PeerId(1), inner: &bytes };
    assert_eq!(flows.handle_datagram(NOW, address(5000), &bytes), known);
    assert_eq!(flows.permit(PeerId(1), 1), Permission::Send(address(4000)), "not moved yet");
    assert_eq!(flows.migrate(PeerId(1), address(5000)), None);
    assert_eq!(flows.permit(PeerId(1), 1), Permission::Send(address(5000)));
    assert_eq!(flows.handle_datagram(NOW, address(5000), &bytes), known);
    assert_eq!(flows.handle_datagram(NOW, address(4000), &bytes), known, "a straggler");
    flows.remove(PeerId(1));
    assert!(flows.by_address.is_empty() && flows.by_id.is_empty());
}

#[test]
fn sealed_datagrams_find_their_peer_from_anywhere_and_make_none() {
    let mut sealed = vec![forms::SEALED];
    sealed.extend_from_slice(&7u64.to_be_bytes());
    sealed.resize(100, 0xa5);
    let mut flows = with_peer(true);
    let known = Lookup::Known { peer: PeerId(1), inner: &sealed };
    assert_eq!(flows.handle_datagram(NOW, address(5000), &sealed), known);
    let presented = forms::with_token(7, b"an old token", &sealed);
    assert_eq!(flows.handle_datagram(NOW, address(5000), &presented), known);
    flows.remove(PeerId(1));
    assert_eq!(flows.handle_datagram(NOW, address(5000), &sealed), Lookup::Ignored);
    // A server that has started anew says that it knows nobody, so that the client asks again.
    flows.policy = AddressValidation::Always;
    let token = token(&mut flows, NOW, address(5000), 7);
    assert!(matches!(flows.handle_datagram(NOW, address(5000), &sealed), Lookup::Reply(_)));
    let presented = forms::with_token(7, &token, &sealed);
    assert_eq!(flows.handle_datagram(NOW, address(5000), &presented), Lookup::Ignored);
}

#[test]
fn a_guessed_id_is_nobodys() {
    let mut flows = with_peer(true);
    let newcomer = Newcomer { address: address(5000), connection_id: 7, bytes: 100, proven: true };
    flows.insert(PeerId(2), newcomer);
    let bytes = datagram(7, b"x");
    assert!(matches!(flows.handle_datagram(NOW, address(6000), &bytes), Lookup::Stranger { .. }));
}

#[test]
fn who_moves_to_anothers_address_takes_its_place() {
    let mut flows = with_peer(true);
    let newcomer = Newcomer { address: address(5000), connection_id: 7, bytes: 100, proven: false };
    flows.insert(PeerId(2), newcomer);
    assert_eq!(flows.migrate(PeerId(1), address(5000)), Some(PeerId(2)));
    assert_eq!(flows.permit(PeerId(1), 1), Permission::Send(address(5000)), "as the engine has it");
    assert_eq!(flows.permit(PeerId(2), 1), Permission::Unknown);
    let bytes = datagram(7, b"x");
    for from in [address(5000), address(4000)] {
        let known = Lookup::Known { peer: PeerId(1), inner: &bytes };
        assert_eq!(flows.handle_datagram(NOW, from, &bytes), known);
    }
    assert_eq!(flows.migrate(PeerId(1), address(5000)), None, "it is there already");
    assert_eq!(flows.permit(PeerId(1), 1), Permission::Send(address(5000)));
    flows.remove(PeerId(1));
    assert!(flows.by_address.is_empty() && flows.by_id.is_empty() && flows.unproven == 0);
}

proptest! {
    #[test]
    fn no_bytes_make_a_peer_without_a_token(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), form in 0u8..6, id in any::<u64>(),
    ) {
        let mut flows = flows(AddressValidation::Always);
        let mut framed = match form {
            0 => b"SQ\x01".to_vec(),
            form => vec![0x7f + form],
        };
        framed.extend_from_slice(&id.to_be_bytes());
        framed.extend_from_slice(&bytes);
        for bytes in [&bytes, &framed] {
            match flows.handle_datagram(NOW, address(1), bytes) {
                Lookup::Reply(reply) => prop_assert!(reply.len() <= bytes.len()),
                Lookup::Ignored | Lookup::Foreign => {}
                lookup => prop_assert!(false, "{lookup:?}"),
            }
        }
        prop_assert!(flows.flows.is_empty());
    }
}
