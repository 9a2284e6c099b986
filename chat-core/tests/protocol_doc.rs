//! `docs/PROTOCOL.md` is what people implement, so its examples are held to what the code does.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use chat_core::connection::{AckContent, Nack, SkipContent};
use chat_core::message::{ErrorCode, ErrorContent, Hello, History, Joined, Line, RoomRequest, Welcome};
use chat_core::wire::datagram;
use chat_core::{Frame, MsgType};

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
