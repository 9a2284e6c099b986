//! `docs/PROTOCOL.md` is what people implement, so its examples are held to what the code does.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use chat_core::connection::{AckContent, Nack, SkipContent};
use chat_core::message::{ErrorCode, ErrorContent, Hello, History, Joined, Line, RoomRequest, Welcome};
use chat_core::wire::{Origin, Packet, PacketForm, PacketWriter, datagram};
use chat_core::{Content, Frame, MsgType, Order, Priority};

const DOCUMENT: &str = include_str!("../../docs/PROTOCOL.md");

/// The bodies in blocks of the language `json`.
fn examples() -> Vec<&'static str> {
    let mut in_block = false;
    let mut bodies = Vec::new();
    for line in DOCUMENT.lines() {
        match line {
            "```json" => in_block = true,
            "```" => in_block = false,
            body if in_block => bodies.push(body),
            _ => {}
        }
    }
    bodies
}

fn decoded() -> Vec<Frame> {
    let decode =
        |body: &&str| Frame::decode(body.as_bytes()).unwrap_or_else(|error| panic!("{error}: {body}"));
    examples().iter().map(decode).collect()
}

#[test]
fn every_example_is_a_frame_with_its_checksum() {
    assert!(decoded().len() > 20, "the examples are found");
    for (frame, body) in decoded().iter().zip(examples()) {
        assert!(!matches!(frame.msg_type, MsgType::Unknown(_)), "{body}");
    }
}

#[test]
fn every_example_has_the_content_of_its_type() {
    for frame in decoded().iter().filter(|frame| frame.fragment.is_none()) {
        let (content, from_server) = (&frame.content, &*frame.sender == "server");
        let read = match frame.msg_type {
            MsgType::Hello => content.parse::<Hello>().map(drop),
            MsgType::Welcome => content.parse::<Welcome>().map(drop),
            MsgType::Ack => content.parse::<AckContent>().map(|ack| assert!(ack.ranges.is_valid())),
            MsgType::Nack => content.parse::<Nack>().map(drop),
            MsgType::Skip => content.parse::<SkipContent>().map(drop),
            MsgType::Join if from_server => content.parse::<Joined>().map(drop),
            MsgType::Join => content.parse::<RoomRequest>().map(drop),
            MsgType::History => content.parse::<History>().map(drop),
            MsgType::Error => content.parse::<ErrorContent>().map(drop),
            MsgType::Chat if &*frame.sender == "bob" => content.parse::<Line>().map(drop),
            _ => Ok(()),
        };
        read.unwrap_or_else(|error| panic!("{error}: {content:?}"));
    }
}

#[test]
fn the_worked_example_of_the_checksum_is_right() {
    let zeroed = DOCUMENT
        .lines()
        .find(|line| line.starts_with("{\"msg_id\":\"m1\"") && line.contains("\"checksum\":\"00000000\""))
        .expect("the example with zeros");
    assert_eq!(crc32c::crc32c(zeroed.as_bytes()), 0xab9a_8ede);
    assert!(DOCUMENT.contains(&format!("these {} bytes", zeroed.len())));
    assert!(examples().contains(&&*zeroed.replace("00000000", "ab9a8ede")));
}

#[test]
fn the_annotated_datagram_is_what_is_sent() {
    let body = examples().into_iter().find(|body| body.contains("ab9a8ede")).expect("the worked example");
    let mut bytes = Vec::new();
    datagram::put_header(&mut bytes, 0x0123_4567_89ab_cdef);
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(body.as_bytes());
    for row in bytes.chunks(16).take(2) {
        let mut hex = String::new();
        for byte in row {
            write!(hex, " {byte:02x}").unwrap();
        }
        assert!(DOCUMENT.contains(&hex), "{hex}");
    }
}

#[test]
fn the_transcript_counts_windows_as_the_code_does() {
    let transcript = DOCUMENT.split_once("## 15. A whole session").expect("the section").1;
    let mut used = 0;
    for body in transcript.lines().filter(|line| line.starts_with("{\"msg_id\"")) {
        let frame = Frame::decode(body.as_bytes()).unwrap();
        let from_server = matches!(&*frame.sender, "server" | "bob");
        if frame.msg_type == MsgType::Ack && from_server {
            let ack: AckContent = frame.content.parse().unwrap();
            assert_eq!(ack.window, Some((1 << 20) + used), "{body}");
        } else if frame.packet > 0 && !from_server {
            used += frame.content.len() as u64;
        }
    }
    assert!(used > 0);
}

#[test]
fn the_error_table_names_the_codes_of_the_code() {
    let table = DOCUMENT.split_once("## 13. Errors").expect("the section").1;
    let table = table.split_once("\n## ").expect("a next section").0;
    let names: Vec<&str> = table
        .lines()
        .filter_map(|row| row.strip_prefix("| `"))
        .filter_map(|row| row.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    let codes: BTreeSet<ErrorCode> = names
        .iter()
        .map(|name| serde_json::from_value(serde_json::json!(name)).unwrap())
        .filter(|code| *code != ErrorCode::Other)
        .collect();
    assert_eq!(codes.len(), names.len(), "a name that is no code: {names:?}");
    // ErrorCode derives its order from its declaration, so the last one counts them.
    assert_eq!(codes.len(), ErrorCode::Other as usize, "a code that is not in the table");
}

/// The worked example of section 20: an ack and two lines of alice.
fn binary_example() -> (AckContent, [Frame; 2]) {
    let ack = serde_json::json!({ "ranges": [[1, 2]], "window": 1_048_592, "delay_us": 1800 });
    let line = |number: u64, text: &str| Frame {
        msg_id: format!("alice-{number}").into(),
        msg_type: MsgType::Chat,
        sender: "alice".into(),
        content: Content::from_json(format!(r#"{{"room":"lobby","text":"{text}"}}"#)),
        timestamp_us: 1_795_258_600_000_000 + 20_000 * (number - 2),
        priority: Priority::Chat,
        sequence_number: number,
        packet: 300,
        channel: 0,
        order: Order::Ordered,
        fragment: None,
    };
    (serde_json::from_value(ack).unwrap(), [line(2, "hi bob"), line(3, "hey")])
}

fn example_datagram(form: PacketForm) -> Vec<u8> {
    let (ack, lines) = binary_example();
    let mut bytes = Vec::new();
    match form {
        PacketForm::BinaryDatagram => datagram::put_short_header(&mut bytes, 0x0123_4567_89ab_cdef),
        _ => datagram::put_header(&mut bytes, 0x0123_4567_89ab_cdef),
    }
    let origin = Origin { name: "alice".into(), ..Origin::default() };
    let mut writer = PacketWriter::new(&mut bytes, form, 1200).from(&origin);
    assert!(writer.put_ack(&ack, &origin.name, 1_795_258_600_000_000));
    assert!(lines.iter().all(|line| writer.put(line)));
    assert!(writer.finish() > 0);
    bytes
}

#[test]
fn the_binary_example_is_what_is_sent_and_what_is_read() {
    let section = DOCUMENT.split_once("## 20. Binary codec").expect("the section").1;
    let dump = section
        .lines()
        .filter(|line| line.len() > 54 && line.starts_with("00") && line.as_bytes()[4] == b' ');
    let written: Vec<u8> = dump
        .flat_map(|line| line[6..53].split_whitespace())
        .map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal"))
        .collect();
    let bytes = example_datagram(PacketForm::BinaryDatagram);
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(written, bytes, "{}", hex.join(" "));
    let (id, raw) = datagram::split(&written).unwrap();
    assert_eq!(id, 0x0123_4567_89ab_cdef);
    let mut packet = Packet::default();
    let origin = Origin { name: "alice".into(), ..Origin::default() };
    packet.decode_into(&raw.to_vec().into(), &origin).unwrap();
    let (ack, lines) = binary_example();
    assert_eq!((packet.acks, packet.frames), (vec![ack], lines.to_vec()));
    let json = example_datagram(PacketForm::JsonList).len();
    assert!(
        section.contains(&format!("{} bytes; the same three frames take {json} in JSON", bytes.len())),
        "{json}"
    );
}

#[test]
fn the_table_of_binary_types_is_that_of_the_code() {
    let section = DOCUMENT.split_once("Message types: ").expect("the list").1;
    let list = section.split_once(". A type").expect("its end").0;
    let mut listed = 0;
    for entry in list.split(',') {
        let (code, name) = entry.trim().split_once(' ').expect("a code and a name");
        let code = u8::from_str_radix(code.trim_start_matches("0x"), 16).expect("hexadecimal");
        let known = MsgType::from_code(code).expect("a code of the code");
        assert_eq!(known.as_str(), name.trim_matches('`'));
        listed += 1;
    }
    assert_eq!(listed, (0..=u8::MAX).filter(|&code| MsgType::from_code(code).is_some()).count());
}
