//! Watches one driver and turns what it sees into packets of the file.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use bytes::Bytes;
use units::{Clock, Timestamp};

use super::file::{Counts, Message, unix_nanos};
use super::headers::{Addresses, Transport, wrap};
use super::pcapng::{Encoder, Packet, SNAP_LENGTH, Side, interface};
use crate::journal::cause_name;
use crate::link::{Delivery, Ecn, LinkEvent, Meta, flip_bit};
use crate::pacer::{Carrier, Direction, FlowOpened, LinkId, LinkOpened, Observer};
use crate::proxy::corrupted;

/// A packet whose bytes can be had: a payload if its driver tells of flows, else a whole IP packet.
pub trait Captured {
    fn bytes(&self) -> Cow<'_, [u8]>;

    /// As it leaves with "congestion experienced" set, where that is in these bytes and not in headers made for them.
    fn marked_bytes(&self) -> Cow<'_, [u8]> {
        self.bytes()
    }
}

impl<P: AsRef<[u8]>> Captured for P {
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.as_ref())
    }
}

#[cfg(target_os = "linux")]
impl Captured for crate::tun::gather::Unit {
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Owned(ip_packet(self, false))
    }

    fn marked_bytes(&self) -> Cow<'_, [u8]> {
        Cow::Owned(ip_packet(self, true))
    }
}

#[cfg(target_os = "linux")]
fn ip_packet(unit: &crate::tun::gather::Unit, mark: bool) -> Vec<u8> {
    let mut packet = Vec::new();
    unit.frame.materialize(unit.number, mark, None, &mut packet);
    packet.drain(..crate::tun::vnet::VNET_LEN.min(packet.len()));
    packet
}

/// Captures the links of one driver; see [`CaptureFile::capture`](super::CaptureFile::capture).
#[derive(Debug)]
pub struct Capture {
    clock: Clock,
    chunks: SyncSender<Message>,
    chunk: Vec<u8>,
    in_chunk: Counts,
    begun: Option<Timestamp>,
    lost: Counts,
    flows: BTreeMap<u64, FlowOpened>,
    links: BTreeMap<LinkId, Watched>,
    comment: String,
    packet: Vec<u8>,
}

#[derive(Debug)]
struct Watched {
    name: String,
    direction: Direction,
    /// Bytes of frames so far, as a sequence number.
    sequence: u32,
    /// What a delivery does not tell of its packet, newest last.
    recent: VecDeque<Arrived>,
}

#[derive(Clone, Copy, Debug)]
struct Arrived {
    number: u64,
    flow: u64,
    ecn: Ecn,
    sequence: u32,
}

/// Arrivals remembered for each link. A packet that is overtaken by more is shown with the newest one's flow.
const REMEMBERED: usize = 1024;

/// A chunk is handed over when it has so many bytes.
const CHUNK: usize = 256 << 10;

/// Or when it is so old, as long as packets come.
const MAX_CHUNK_AGE: Duration = Duration::from_secs(1);

impl Capture {
    pub(super) fn new(clock: Clock, chunks: SyncSender<Message>) -> Self {
        Self {
            clock,
            chunks,
            chunk: Vec::new(),
            in_chunk: Counts::default(),
            begun: None,
            lost: Counts::default(),
            flows: BTreeMap::new(),
            links: BTreeMap::new(),
            comment: String::new(),
            packet: Vec::new(),
        }
    }

    /// Writes one packet with the comment that stands in `self.comment`.
    fn write(&mut self, id: LinkId, side: Side, at: Timestamp, arrived: Arrived, payload: &[u8], ecn: Ecn) {
        let Some(link) = self.links.get(&id) else { return };
        let direction = link.direction;
        self.packet.clear();
        let original_len = match self.flows.get(&arrived.flow) {
            Some(flow) => {
                let transport = match flow.carrier {
                    Carrier::Datagrams => Transport::Udp,
                    Carrier::Frames => Transport::Tcp { sequence: arrived.sequence },
                };
                let kept = wrap(addresses(flow, direction), transport, ecn, payload, &mut self.packet);
                if kept < payload.len() {
                    let _ = write!(self.comment, "; {kept} of {} bytes shown", payload.len());
                }
                self.packet.len() + payload.len() - kept
            }
            None => {
                self.packet.extend(&payload[..payload.len().min(SNAP_LENGTH as usize)]);
                payload.len()
            }
        };
        let packet = Packet {
            direction,
            side,
            unix_nanos: unix_nanos(&self.clock, at),
            bytes: &self.packet,
            original_len,
            comment: &self.comment,
        };
        Encoder.packet(&packet, &mut self.chunk);
        self.in_chunk[interface(direction, side) as usize] += 1;
        let begun = *self.begun.get_or_insert(at);
        if self.chunk.len() >= CHUNK || at.since(begun) >= MAX_CHUNK_AGE {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let (bytes, packets) = (std::mem::take(&mut self.chunk), std::mem::take(&mut self.in_chunk));
        self.begun = None;
        if bytes.is_empty() {
            return;
        }
        match self.chunks.try_send(Message::Chunk { bytes, packets }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lost.iter_mut().zip(packets).for_each(|(sum, more)| *sum += more);
            }
        }
    }

    /// Begins the comment: `flow/0/up packet 17`.
    fn begin_comment(&mut self, id: LinkId, number: u64, copy: bool) {
        self.comment.clear();
        let name = self.links.get(&id).map_or("", |link| &link.name);
        let _ = write!(self.comment, "{name} packet {number}{}", if copy { " (copy)" } else { "" });
    }

    fn arrived(&self, id: LinkId, number: u64) -> Arrived {
        let unknown = Arrived { number, flow: 0, ecn: Ecn::NotCapable, sequence: 0 };
        let Some(link) = self.links.get(&id) else { return unknown };
        let place = link.recent.binary_search_by_key(&number, |arrived| arrived.number);
        let newest = link.recent.back().copied().unwrap_or(unknown);
        place.map_or(newest, |place| link.recent[place])
    }

    /// What leaves the link: the bytes, with the damage.
    fn leaving<'a>(&self, arrived: Arrived, bytes: &'a [u8], corrupt: Option<u64>) -> Cow<'a, [u8]> {
        let Some(bit) = corrupt else { return Cow::Borrowed(bytes) };
        match self.flows.get(&arrived.flow).map(|flow| flow.carrier) {
            // The length of a frame is never damaged.
            Some(Carrier::Frames) => {
                Cow::Owned(corrupted(&Bytes::copy_from_slice(bytes), FRAME_LENGTH, bit).to_vec())
            }
            _ => {
                let mut bytes = bytes.to_vec();
                flip_bit(&mut bytes, bit);
                Cow::Owned(bytes)
            }
        }
    }
}

/// The length in front of a frame.
const FRAME_LENGTH: usize = 4;

fn addresses(flow: &FlowOpened, direction: Direction) -> Addresses {
    let (client, upstream) = (known(flow.client), known(flow.upstream));
    match direction {
        Direction::Up => Addresses { from: client, to: upstream },
        Direction::Down => Addresses { from: upstream, to: client },
    }
}

/// A mapped address as the IPv4 address it is.
fn known(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        ip => SocketAddr::new(ip, address.port()),
    }
}

impl<P: Captured> Observer<P> for Capture {
    fn on_flow(&mut self, flow: &FlowOpened) {
        self.flows.insert(flow.number, *flow);
        if self.flows.len() > MAX_FLOWS {
            self.flows.pop_first();
        }
    }

    fn on_open(&mut self, link: &LinkOpened<'_>) {
        let (name, direction) = (link.name.to_owned(), link.direction);
        self.links.insert(link.id, Watched { name, direction, sequence: 1, recent: VecDeque::new() });
    }

    fn on_arrival(&mut self, id: LinkId, at: Timestamp, number: u64, meta: &Meta, packet: &P) {
        let bytes = packet.bytes();
        let Some(link) = self.links.get_mut(&id) else { return };
        let arrived = Arrived { number, flow: meta.flow, ecn: meta.ecn, sequence: link.sequence };
        link.sequence = link.sequence.wrapping_add(bytes.len() as u32);
        link.recent.push_back(arrived);
        if link.recent.len() > REMEMBERED {
            link.recent.pop_front();
        }
        self.begin_comment(id, number, false);
        self.write(id, Side::In, at, arrived, &bytes, meta.ecn);
    }

    fn on_drop(&mut self, id: LinkId, event: &LinkEvent<P>) {
        self.begin_comment(id, event.number, event.copy);
        let _ = write!(self.comment, " dropped: {}", cause_name(event.cause));
        let arrived = self.arrived(id, event.number);
        self.write(id, Side::Dropped, event.at, arrived, &event.packet.bytes(), event.meta.ecn);
    }

    fn on_missed_drops(&mut self, id: LinkId, count: u64) {
        let Some(link) = self.links.get(&id) else { return };
        self.lost[interface(link.direction, Side::Dropped) as usize] += count;
    }

    fn on_delivery(&mut self, id: LinkId, delivery: &Delivery<P>, released: Timestamp) {
        self.begin_comment(id, delivery.number, delivery.copy);
        let delay = delivery.due.since(delivery.arrived).as_nanos() as f64 / 1e6;
        let late = released.since(delivery.due).as_nanos() as f64 / 1e3;
        let _ = write!(self.comment, " delivered: due +{delay:.6} ms, late {late:.1} µs");
        if let Some(bit) = delivery.corrupt {
            let _ = write!(self.comment, ", corrupt bit {bit}");
        }
        if delivery.mark {
            self.comment.push_str(", marked");
        }
        let arrived = self.arrived(id, delivery.number);
        let ecn = if delivery.mark { Ecn::Experienced } else { arrived.ecn };
        let packet = &delivery.packet;
        let bytes = if delivery.mark { packet.marked_bytes() } else { packet.bytes() };
        let bytes = self.leaving(arrived, &bytes, delivery.corrupt);
        self.write(id, Side::Out, released, arrived, &bytes, ecn);
    }

    fn on_close(&mut self, id: LinkId) {
        self.links.remove(&id);
    }

    fn on_end(&mut self, _at: Timestamp) {
        self.flush();
    }
}

/// Flows whose addresses are remembered; the oldest is forgotten first. Twice what a relay serves at a time.
const MAX_FLOWS: usize = 20_000;

impl Drop for Capture {
    /// Hands over the rest. This waits for room in the queue: a driver that ends has the time.
    fn drop(&mut self) {
        let (bytes, packets) = (std::mem::take(&mut self.chunk), self.in_chunk);
        if !bytes.is_empty() {
            let _ = self.chunks.send(Message::Chunk { bytes, packets });
        }
        if self.lost.iter().any(|&lost| lost > 0) {
            let _ = self.chunks.send(Message::Lost(self.lost));
        }
    }
}
