//! The whole report at once, from synthetic records.

use std::fs;
use std::path::Path;

use resvg::tiny_skia::Pixmap;

use super::synthetic::{self, Loss, Shape};
use super::*;

fn rendered(saved: &Saved) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_records(dir.path(), saved).expect("writable");
    render(dir.path()).expect("a report");
    dir
}

fn text(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).expect(name)
}

/// How many pixels are not white.
fn ink(path: &Path) -> usize {
    let picture = Pixmap::load_png(path).expect("a PNG");
    assert_eq!((picture.width(), picture.height()), (3200, 1800));
    picture.pixels().iter().filter(|pixel| pixel.red() < 250 || pixel.green() < 250).count()
}

#[test]
fn every_file_is_written_and_every_picture_has_ink() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    write_records(dir.path(), &synthetic::small()).expect("writable");
    let rendered = render(dir.path()).expect("a report");
    let names: Vec<_> =
        rendered.files.iter().map(|path| path.file_name().expect("a name").to_string_lossy()).collect();
    let figures = ["latency_percentiles", "latency_over_time", "throughput_over_time", "transport_trace"];
    for figure in figures {
        assert!(names.contains(&format!("{figure}.svg").into()), "{names:?}");
        // Frame, ticks and title alone are some 40,000 pixels.
        assert!(ink(&dir.path().join(format!("{figure}.png"))) > 20_000, "{figure} is empty");
    }
    for file in ["report.html", "summary.md", "latency.hgrm", "junit.xml", "metrics.prom"] {
        assert!(names.contains(&file.into()), "{names:?}");
    }
    assert!(rendered.summary.starts_with("PASS  loss10"), "{}", rendered.summary);
}

#[test]
fn the_same_records_give_the_same_bytes_whoever_ran_them() {
    let first = synthetic::small();
    let mut second = first.clone();
    second.result.run.id = "another".to_owned();
    second.result.run.started_at = "2027-01-01T00:00:00Z".to_owned();
    second.result.run.duration_s = 77.0;
    second.result.run.command = "loadgen --out elsewhere".to_owned();
    second.result.run.machine.clear();
    let (a, b) = (rendered(&first), rendered(&second));
    for entry in fs::read_dir(a.path()).expect("folder").map(|entry| entry.expect("entry")) {
        let name = entry.file_name();
        if name != "result.json" && entry.path().is_file() {
            let bytes = |dir: &Path| fs::read(dir.join(&name)).expect("file");
            assert!(bytes(a.path()) == bytes(b.path()), "{name:?} differs");
        }
    }
}

#[test]
fn a_real_run_tells_its_circumstances() {
    let mut saved = synthetic::small();
    saved.result.run.driver = "real".to_owned();
    let dir = rendered(&saved);
    let html = text(dir.path(), "report.html");
    for fact in
        ["2026-01-02T03-04-05Z-4711", "loadgen --scenario scenarios/loss10.toml", "Example &lt;CPU&gt;"]
    {
        assert!(html.contains(fact), "{fact} is missing");
    }
}

#[test]
fn a_hostile_title_is_only_text() {
    let mut saved = synthetic::small();
    let title = "</title><script>alert(1)</script>\"' <img src=x onerror=alert(2)> | `";
    saved.result.scenario["scenario"]["title"] = title.into();
    saved.result.scenario["scenario"]["name"] = "\"><script>alert(3)</script>".into();
    saved.result.cells[0].asserts[0].reason = Some("<b>bold</b>".to_owned());
    let dir = rendered(&saved);
    for file in ["report.html", "summary.md", "latency_percentiles.svg"] {
        let text = text(dir.path(), file);
        assert!(!text.contains("<script>alert") && !text.contains("<img") && !text.contains("<b>"), "{file}");
    }
    assert!(text(dir.path(), "report.html").contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

#[test]
fn hostile_names_stay_inside_the_data() {
    let mut saved = synthetic::arms(&shape(), 2);
    let name = "</script><script>alert(1)</script>\"'<!--";
    for run in &mut saved.runs {
        run.workloads[0].name = name.to_owned();
        run.exemplars.iter_mut().for_each(|exemplar| exemplar.workload = name.to_owned());
        run.phases[0].name = name.to_owned();
        run.warnings.push(name.to_owned());
    }
    saved.result.arms[0] = name.to_owned();
    saved.comparison.as_mut().expect("two arms").a = name.to_owned();
    let dir = rendered(&saved);
    let html = text(dir.path(), "report.html");
    // Its data and its script, and nothing that a name opened or closed.
    assert_eq!((html.matches("<script").count(), html.matches("</script>").count()), (2, 2));
    assert!(!html.contains("<!--"));
    assert!(data(&html)["exemplars"][0]["w"] == name, "the data has the name as it is");
}

/// The data of the page, read back as a browser would.
fn data(html: &str) -> serde_json::Value {
    let (_, rest) = html.split_once("id=\"data\">").expect("data");
    serde_json::from_str(rest.split("</script>").next().expect("an end")).expect("JSON")
}

fn shape() -> Shape {
    Shape { clients: 20, steady_s: 8, ..Shape::default() }
}

#[test]
fn a_page_needs_no_network_and_is_whole_without_its_script() {
    let dir = rendered(&synthetic::chat(&shape(), 2));
    let html = text(dir.path(), "report.html");
    let policy =
        html.split("Content-Security-Policy\" content=\"").nth(1).and_then(|rest| rest.split('"').next());
    let policy = policy.expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    let (style, script) = (page::hash(page::STYLE), page::hash(&page::script()));
    assert!(policy.contains(&style) && policy.contains(&script), "{policy}");
    // Attributes that such a policy would not apply.
    assert!(!html.contains(" style=\"") && !html.contains(" onclick="));
    let (before, _) = html.split_once("<script").expect("a script at the end");
    for whole in ["Percentiles of delivery latency", "Slowest messages", "Link self-check", "<svg"] {
        assert!(before.contains(whole), "{whole} needs a script");
    }
    assert!(!html.contains(" src="));
    let html = html.replace("http://www.w3.org/2000/svg", "");
    assert!(!html.contains("http:") && !html.contains("https:"));
}

#[test]
fn a_large_sweep_stays_within_two_megabytes_and_says_what_it_left_out() {
    let shape = Shape { clients: 10, warmup_s: 2, steady_s: 30, ..Shape::default() };
    let losses: Vec<f64> = (0..12).map(|step| f64::from(step) * 0.02).collect();
    let axes = [synthetic::Vary::loss(&losses), synthetic::Vary::delay(&[5, 20, 50, 100, 200])];
    let saved = synthetic::grid(&shape, &axes, 5);
    let origin = Origin::of(&saved.result);
    let told = Told::of(&saved.result, &saved.runs);
    let formats = Formats::of(&saved.result.scenario);
    let page = Page { told: &told, origin: &origin, outcomes: &[], sequence: None, formats, records: &[] };
    let html = html::write(&page);
    assert!(html.len() <= 2_000_000, "{} bytes", html.len());
    let data = data(&html);
    let runs = data["runs"].as_array().expect("runs");
    assert_eq!(runs.iter().filter(|run| !run["r"].is_null()).count(), 300);
    assert!(
        runs.iter().filter(|run| run["r"] == 0).all(|run| !run["t"].is_null()),
        "first repeats come first"
    );
    assert!(html.contains("Curves of service latency: with more than 60 runs"));
}

#[test]
fn percentiles_among_lost_pairs_are_called_lost() {
    let dir = rendered(&synthetic::loss10(Loss::TwoPercent));
    let svg = text(dir.path(), "latency_percentiles.svg");
    assert!(svg.contains("p99 lost under 10 % loss each way"), "title");
    assert!(svg.contains("\nlost\n") || svg.contains(">\nlost"), "rail");
    assert!(text(dir.path(), "summary.md").contains("| lost |"));
}

#[test]
fn a_sweep_has_its_own_figures_and_table() {
    let dir = rendered(&synthetic::sweep());
    for figure in ["sweep_goodput", "sweep_latency", "sweep_wire", "latency_percentiles"] {
        assert!(ink(&dir.path().join(format!("{figure}.png"))) > 20_000, "{figure} is empty");
    }
    let html = text(dir.path(), "report.html");
    assert!(html.contains("<h2>Cells</h2>") && html.contains("loss.p = 20%"));
}

#[test]
fn a_folder_without_run_files_says_what_is_missing() {
    let saved = Saved { runs: Vec::new(), traces: Vec::new(), ..synthetic::small() };
    let dir = rendered(&saved);
    let summary = render(dir.path()).expect("a report").summary;
    assert!(summary.starts_with("note: There are no run files"), "{summary}");
    assert!(summary.contains("\nPASS  loss10"), "{summary}");
    let html = text(dir.path(), "report.html");
    assert!(
        html.contains("No <code>latency_percentiles</code>: no recorded message was expected anywhere."),
        "{html}"
    );
    assert!(html.contains("No <code>transport_trace</code>: no connection was traced"), "{html}");
    assert!(!dir.path().join("transport_trace.png").exists());
}

#[test]
fn every_link_of_the_page_leads_somewhere() {
    for saved in [synthetic::small(), synthetic::sweep()] {
        let dir = rendered(&saved);
        let page = text(dir.path(), "report.html");
        let html = page.split("<script").next().expect("a page");
        for link in html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            match link.strip_prefix('#') {
                Some(id) => assert!(html.contains(&format!(" id=\"{id}\"")), "no section {id}"),
                None => assert!(dir.path().join(link).exists(), "no file {link}"),
            }
        }
    }
}

#[test]
fn every_kind_of_report_can_be_drawn() {
    let samples = [
        synthetic::loss10(Loss::None),
        synthetic::loss10(Loss::TwoPercent),
        synthetic::sweep(),
        synthetic::sawtooth(),
        synthetic::outage(),
        synthetic::categories(),
    ];
    for saved in samples {
        let dir = rendered(&saved);
        assert!(dir.path().join("report.html").exists());
    }
}

#[test]
fn only_the_formats_that_are_asked_for_are_written() {
    let mut saved = synthetic::chat(&shape(), 1);
    saved.result.scenario["output"] = serde_json::json!({"formats": ["html", "hlog"]});
    let dir = rendered(&saved);
    for (name, written) in
        [("report.html", true), ("latency.hlog", true), ("latency.hgrm", false), ("junit.xml", false)]
    {
        assert_eq!(dir.path().join(name).exists(), written, "{name}");
    }
    let html = text(dir.path(), "report.html");
    assert!(!html.contains(".png\"") && html.contains("latency.hlog"));
}

#[test]
fn a_sweep_has_the_histograms_of_each_cell() {
    let saved = synthetic::grid(&shape(), &[synthetic::Vary::loss(&[0.0, 0.1])], 1);
    let dir = rendered(&saved);
    for name in ["hgrm/c000.hgrm", "hgrm/c001.hgrm", "hlog/c001.hlog"] {
        assert!(dir.path().join(name).exists(), "{name}");
    }
}

/// A figure small enough to read in a diff. Regenerate on purpose with `INSTA_UPDATE=always`.
#[test]
fn the_drawing_of_a_small_sweep_does_not_change_unnoticed() {
    let mut saved = synthetic::sweep();
    saved.result.cells.truncate(2);
    saved.runs.clear();
    saved.result.cells.iter_mut().for_each(|cell| cell.repeats.truncate(1));
    let dir = rendered(&saved);
    insta::assert_snapshot!("sweep_goodput.svg", text(dir.path(), "sweep_goodput.svg"));
}

#[test]
fn every_verdict_is_printed_in_all_three_forms() {
    use crate::result::Verdict;
    let words = [
        (Verdict::Pass, "PASS"),
        (Verdict::Fail, "FAIL"),
        (Verdict::Inconclusive, "INCONCLUSIVE"),
        (Verdict::Invalid, "INVALID"),
    ];
    let mut result = synthetic::small().result;
    result.reasons = vec!["a reason".to_owned()];
    for (verdict, word) in words {
        result.verdict = verdict;
        let origin = Origin::of(&result);
        let told = Told::of(&result, &[]);
        let formats = Formats::of(&result.scenario);
        let page =
            Page { told: &told, origin: &origin, outcomes: &[], sequence: None, formats, records: &[] };
        let html = html::write(&page);
        assert!(
            html.contains(&format!("<p class=\"word\">{word}</p>")) && html.contains("<li>a reason</li>")
        );
        let markdown = markdown::write(&told, &origin, &[]);
        assert!(markdown.starts_with(&format!("# {word} — loss10")) && markdown.contains("\n- a reason\n"));
        assert!(terminal_summary(&result).ends_with(&format!("\n{word}: a reason\n")));
    }
}
