//! What every figure must be, whatever its data: inside its sheet, readable, finite, and not one text on another.

use plotters::prelude::{IntoDrawingArea, SVGBackend};

use super::canvas::{Anchor, Canvas, HEIGHT, Look, WIDTH};
use super::*;
use crate::report::synthetic::{self, Shape, Vary};

/// A record and what is awkward about it.
type Sample = (&'static str, Saved);

fn samples() -> Vec<Sample> {
    let small = Shape { clients: 30, steady_s: 10, ..Shape::default() };
    let tiny = Shape { clients: 10, steady_s: 4, ..Shape::default() };
    let long = "a-scenario-with-a-name-that-somebody-must-have-found-in-a-generator-of-names";
    let losses = [0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3];
    let bulk = Vary { apply: bulk_of_loss, ..Vary::loss(&losses[1..]) };
    let names = ["a-rather-long-name-of-a-congestion-controller", "reno", "cubic", "bbr", "fixed:8"];
    let grid = || synthetic::grid(&tiny, &[Vary::loss(&[0.0, 0.01, 0.1]), Vary::delay(&[5, 50])], 2);
    vec![
        ("chat", synthetic::chat(&Shape::default(), 5)),
        ("real", synthetic::chat(&Shape { driver: "real", ..small.clone() }, 5)),
        ("busy", synthetic::chat(&Shape { driver: "real", busy: true, ..small.clone() }, 2)),
        ("once", synthetic::chat(&small, 1)),
        ("few", synthetic::chat(&Shape { clients: 3, steady_s: 3, rate: 0.5, ..small.clone() }, 1)),
        ("lossless", synthetic::chat(&Shape { loss: 0.0, ..small.clone() }, 3)),
        ("lossy", synthetic::chat(&Shape { given_up: 0.02, ..small.clone() }, 5)),
        ("all-lost", synthetic::chat(&Shape { given_up: 1.1, ..tiny.clone() }, 2)),
        ("no-delay", synthetic::chat(&Shape { delay_ms: 0.0, loss: 0.0, ..tiny.clone() }, 2)),
        (
            "outages",
            synthetic::chat(
                &Shape {
                    kind: "resilience",
                    outages: vec![(7.0, 8.0), (11.0, 12.5), (16.0, 17.0)],
                    given_up: 0.002,
                    ..Shape { steady_s: 15, ..small.clone() }
                },
                3,
            ),
        ),
        (
            "long-names",
            synthetic::chat(&Shape { name: long.to_owned(), title: long.repeat(3), ..tiny.clone() }, 2),
        ),
        ("arms", synthetic::arms(&small, 5)),
        ("losses", synthetic::grid(&small, &[Vary::loss(&losses)], 5)),
        (
            "losses-given-up",
            synthetic::grid(&Shape { given_up: 0.005, ..tiny.clone() }, &[Vary::loss(&losses)], 1),
        ),
        ("bulk", synthetic::grid(&Shape { kind: "throughput", ..tiny.clone() }, &[bulk], 5)),
        ("bursts", synthetic::grid(&small, &[Vary::loss(&losses), Vary::burst(&[1.0, 5.0])], 3)),
        (
            "clients",
            synthetic::grid(
                &Shape { kind: "concurrency", ..tiny.clone() },
                &[Vary::clients(&[10, 30, 100, 300, 1000, 3000])],
                3,
            ),
        ),
        ("controllers", synthetic::grid(&tiny, &[Vary::names("protocol.congestion", &names)], 4)),
        (
            "arms-of-a-sweep",
            synthetic::with_arm_b(grid(), |run| Shape {
                slowness: 1.0 + f64::from(run.cell % 4) * 0.12 - 0.15,
                loss: run.links[0].up.loss,
                delay_ms: run.links[0].up.delay_us as f64 / 1e3,
                ..tiny.clone()
            }),
        ),
        (
            "sixty-cells",
            synthetic::grid(
                &tiny,
                &[
                    Vary::loss(&[0.0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3]),
                    Vary::delay(&[1, 5, 20, 50, 100, 300]),
                ],
                2,
            ),
        ),
        ("some-invalid", {
            let mut saved = grid();
            for cell in saved.result.cells.iter_mut().skip(4) {
                cell.verdict = crate::result::Verdict::Invalid;
            }
            saved
        }),
        ("rows", synthetic::loss10(synthetic::Loss::TwoPercent)),
        ("rows-of-a-sweep", synthetic::sweep()),
        ("sawtooth", synthetic::sawtooth()),
    ]
}

/// Each receiver hears what a Reno sender would get.
fn bulk_of_loss(shape: &mut Shape, value: &Value) {
    shape.loss = value.as_f64().unwrap_or(0.0);
    let path = crate::report::theory::Path { segment_bytes: 1200.0, rtt_s: 0.1, timeout_s: 0.21 };
    shape.goodput = Some(path.pftk(shape.loss).min(9.5e6) / 8.0 * 0.9);
}

/// All figures of a record, whatever its kind.
fn all(mut saved: Saved) -> Vec<Outcome> {
    let numbers: Vec<&str> = CATALOGUE.iter().map(|entry| entry.number).collect();
    saved.result.scenario["output"] = serde_json::json!({ "figures": numbers });
    draw_all(&saved, &Origin::of(&saved.result)).expect("every figure can be drawn")
}

/// One text of a figure: its box on the sheet.
#[derive(Clone, Debug)]
struct Text {
    text: String,
    size: f64,
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

fn texts(svg: &str) -> Vec<Text> {
    let mut scratch = String::new();
    let root = SVGBackend::with_string(&mut scratch, (WIDTH as u32, HEIGHT as u32)).into_drawing_area();
    let canvas = Canvas { root };
    let attribute = |tag: &str, name: &str| {
        let value = tag.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split('"').next());
        value.map(str::to_owned)
    };
    let parse = |piece: &str| {
        let (tag, rest) = piece.split_once('>')?;
        let text = rest
            .split('<')
            .next()?
            .trim()
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&apos;", "'")
            .replace("&quot;", "\"")
            .replace("&amp;", "&");
        let number = |name: &str| attribute(tag, name).and_then(|value| value.parse::<f64>().ok());
        let (x, y, size) = (number("x")? as i32, number("y")? as i32, number("font-size")?);
        let is_bold = attribute(tag, "font-weight").is_some_and(|weight| weight == "bold");
        let look = Look::new(size, Anchor::Left);
        let look = if is_bold { look.bold() } else { look };
        let width = canvas.text_width(&text, look).ok()?;
        let before = match attribute(tag, "text-anchor").as_deref() {
            Some("end") => width,
            Some("middle") => width / 2,
            _ => 0,
        };
        let half = (size * 0.4) as i32;
        // Upright texts read from below: what was to the left is below.
        let upright = attribute(tag, "transform").is_some_and(|transform| transform.contains("rotate(270"));
        let (left, right, top, bottom) = match upright {
            true => (x - half, x + half, y - width + before, y + before),
            false => (x - before, x - before + width, y - half, y + half),
        };
        Some(Text { text, size, left, right, top, bottom })
    };
    svg.split("<text").skip(1).filter_map(parse).collect()
}

fn overlap(a: &Text, b: &Text) -> bool {
    let across = a.right.min(b.right) - a.left.max(b.left);
    let down = a.bottom.min(b.bottom) - a.top.max(b.top);
    across > 4 && down > 4
}

#[test]
fn texts_lie_on_the_sheet_can_be_read_and_never_lie_on_each_other() {
    let mut problems = Vec::new();
    for (name, saved) in samples() {
        for figure in all(saved).iter().filter_map(Outcome::figure) {
            assert!(!figure.svg.contains("NaN") && !figure.svg.contains("inf"), "{name}/{}", figure.id);
            let texts = texts(&figure.svg);
            for (index, text) in texts.iter().enumerate() {
                let place = format!("{name}/{}: {:?}", figure.id, text.text);
                if text.left < 0 || text.right > WIDTH || text.top < 0 || text.bottom > HEIGHT {
                    problems.push(format!("{place} leaves the sheet: {text:?}"));
                }
                if text.size < 28.0 {
                    problems.push(format!("{place} is smaller than 14 pixels"));
                }
                let other = texts[index + 1..].iter().find(|other| overlap(text, other));
                problems.extend(other.map(|other| format!("{place} lies on {:?}", other.text)));
            }
        }
    }
    assert!(problems.is_empty(), "{}:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn the_marks_of_the_staircase_stand_at_one_minus_p_to_the_k() {
    let figures = all(synthetic::chat(&Shape { clients: 30, ..Shape::default() }, 1));
    let figure = figures.iter().filter_map(Outcome::figure).find(|figure| figure.id == "latency_percentiles");
    let texts = texts(&figure.expect("drawn").svg);
    let middle = |wanted: &str| {
        let text = texts.iter().find(|text| text.text == wanted).unwrap_or_else(|| panic!("no {wanted:?}"));
        (text.left + text.right) / 2
    };
    // With 10 % loss a hop is done by the k-th try in 90, 99 and 99.9 % of the cases.
    for (mark, tick) in [("1 − p", "90 %"), ("1 − p²", "99 %"), ("1 − p³", "99.9 %")] {
        assert!((middle(mark) - middle(tick)).abs() <= 2, "{mark} is not at {tick}");
    }
}

#[test]
fn the_scenario_chooses_its_figures() {
    let shape = Shape { clients: 10, steady_s: 3, kind: "resilience", ..Shape::default() };
    let ids = |saved: &Saved| -> Vec<&'static str> {
        let outcomes = draw_all(saved, &Origin::of(&saved.result)).expect("drawable");
        let id = |outcome: &Outcome| match outcome {
            Outcome::Drawn(figure) => figure.id,
            Outcome::Absent { id, .. } => id,
        };
        outcomes.iter().map(id).collect()
    };
    let mut saved = synthetic::chat(&shape, 1);
    assert!(ids(&saved).contains(&"recovery") && !ids(&saved).contains(&"fairness"));
    assert!(!ids(&saved).iter().any(|id| id.starts_with("sweep_")), "there is no sweep");
    for (figures, expected) in [
        (serde_json::json!([]), vec![]),
        (serde_json::json!(["F12", "F2"]), vec!["latency_ecdf", "fairness"]),
    ] {
        saved.result.scenario["output"] = serde_json::json!({ "figures": figures });
        assert_eq!(ids(&saved), expected);
    }
}

/// For people: `cargo test -p loadgen gallery -- --ignored` writes every figure of every sample as PNG into
/// `squall-figures` in the temporary folder.
#[test]
#[ignore = "draws some three hundred pictures for people to look at"]
fn gallery() {
    let dir = std::env::temp_dir().join("squall-figures");
    std::fs::create_dir_all(&dir).expect("a folder");
    for (name, saved) in samples() {
        let outcomes = all(saved);
        let figures: Vec<&Figure> = outcomes.iter().filter_map(Outcome::figure).collect();
        for (figure, png) in figures.iter().zip(pngs(&figures).expect("pictures")) {
            std::fs::write(dir.join(format!("{name}-{}.png", figure.id)), png).expect("writable");
        }
    }
}
