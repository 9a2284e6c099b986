//! A capture of a link, read by tshark.

use std::process::Command;

use units::{ByteCount, Clock, Seed, Timestamp};

use super::*;
use crate::link::{Ecn, Link, Meta};
use crate::pacer::{Carrier, Direction, FlowOpened, LinkId, LinkOpened, Observer};

const ID: LinkId = LinkId::new(0);

/// Ten payloads through a link that loses every third and damages all others.
fn captured(carrier: Carrier, client: &str) -> (tempfile::TempDir, CaptureSummary) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = CaptureFile::create(&folder.path().join("run.pcapng"), Clock::start()).expect("a file");
    let mut capture = file.capture();
    let observer: &mut dyn Observer<Vec<u8>> = &mut capture;
    let profile = "loss=every(3) delay=50ms corrupt=100%".parse().expect("a valid spec");
    let (client, upstream) =
        (client.parse().expect("an address"), "10.9.8.7:4433".parse().expect("an address"));
    observer.on_flow(&FlowOpened { number: 0, carrier, client, upstream });
    let (direction, name, seed, origin) = (Direction::Up, "flow/0/up", Seed::root(1), Timestamp::ZERO);
    observer.on_open(&LinkOpened { id: ID, direction, name, seed, profile: &profile, origin });
    let mut link = Link::new(profile.clone(), seed).with_events(true);
    for number in 1..=10_u64 {
        let at = Timestamp::from_millis(number);
        let payload = vec![0_u8; 100];
        let meta = Meta { size: ByteCount(100), flow: 0, ecn: Ecn::Capable };
        observer.on_arrival(ID, at, number, &meta, &payload);
        link.handle(at, payload, meta);
        while let Some(event) = link.poll_event() {
            observer.on_drop(ID, &event);
        }
    }
    while let Some(due) = link.poll_timeout() {
        let delivery = link.poll_deliver(due).expect("due");
        observer.on_delivery(ID, &delivery, due + std::time::Duration::from_nanos(3_100));
    }
    observer.on_close(ID);
    drop(capture);
    let summary = file.finish();
    (folder, summary)
}

#[test]
fn drops_that_the_link_did_not_tell_are_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = CaptureFile::create(&folder.path().join("run.pcapng"), Clock::start()).expect("a file");
    let mut capture = file.capture();
    let observer: &mut dyn Observer<Vec<u8>> = &mut capture;
    let profile = "loss=100%".parse().expect("a valid spec");
    let (seed, origin) = (Seed::root(1), Timestamp::ZERO);
    observer.on_open(&LinkOpened {
        id: ID,
        direction: Direction::Up,
        name: "l",
        seed,
        profile: &profile,
        origin,
    });
    observer.on_missed_drops(ID, 17);
    drop(capture);
    let summary = file.finish();
    assert_eq!((summary.packets, summary.lost), (0, 17));
}

/// The named fields of each packet, tab-separated; `None` without tshark.
fn tshark(file: &std::path::Path, fields: &[&str]) -> Option<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args([
        "-o",
        "ip.check_checksum:TRUE",
        "-o",
        "udp.check_checksum:TRUE",
        "-T",
        "fields",
    ]);
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    match command.output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
        }
        Err(error) => {
            eprintln!("SKIPPED: this test needs tshark ({error})");
            None
        }
    }
}

#[test]
fn tshark_shows_sides_addresses_and_verdicts() {
    let (_folder, summary) = captured(Carrier::Datagrams, "192.0.2.1:5000");
    assert_eq!((summary.packets, summary.lost, summary.fault.clone()), (20, 0, None));
    let fields = [
        "frame.interface_name",
        "ip.src",
        "udp.dstport",
        "ip.dsfield.ecn",
        "udp.checksum.status",
        "frame.comment",
    ];
    let Some(lines) = tshark(&summary.path, &fields) else { return };
    assert_eq!(lines.len(), 20);
    assert_eq!(lines[0], "up in\t192.0.2.1\t4433\t2\t1\tflow/0/up packet 1");
    let dropped: Vec<&String> = lines.iter().filter(|line| line.starts_with("up dropped\t")).collect();
    assert_eq!(dropped.len(), 3);
    assert!(dropped[0].ends_with("flow/0/up packet 3 dropped: loss (entry)"), "{}", dropped[0]);
    let out = lines.iter().find(|line| line.starts_with("up out\t")).expect("a delivery");
    assert!(out.contains("packet 1 delivered: due +50.000000 ms, late 3.1 µs, corrupt bit "), "{out}");
}

#[test]
fn frames_are_tcp_with_sequence_numbers_and_ipv6_is_shown() {
    let (_folder, summary) = captured(Carrier::Frames, "[2001:db8::5]:5000");
    let fields = ["frame.interface_name", "ipv6.src", "tcp.seq_raw", "tcp.len"];
    let Some(lines) = tshark(&summary.path, &fields) else { return };
    assert_eq!(lines[0], "up in\t2001:db8::5\t1\t100");
    assert_eq!(lines[1], "up in\t2001:db8::5\t101\t100");
}
