//! `netem-proxy import` and `presets`, as a user calls them.

use assert_cmd::cargo::cargo_bin_cmd;

#[test]
fn a_netem_string_becomes_a_spec_with_notes_beside_it() {
    let output = cargo_bin_cmd!("netem-proxy").args(["import", "delay 100ms 10ms 25% loss 1%"]).output();
    let output = output.expect("the binary runs");
    assert_eq!(output.status.code(), Some(0));
    let spec = String::from_utf8_lossy(&output.stdout);
    assert_eq!(spec, "loss=1% delay=100ms jitter=10ms correlation=25% order=allow\n");
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(
        notes.lines().all(|line| line.starts_with("note: ")) && notes.contains("jitter reorders"),
        "{notes}"
    );
}

#[test]
fn words_need_no_quotes_and_the_kernels_way_warns_of_itself() {
    let output = cargo_bin_cmd!("netem-proxy").args(["import", "--compat", "loss", "10%", "25%"]).output();
    let output = output.expect("the binary runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "loss=10% compat=netem(loss-corr=25%)\n");
    let notes = String::from_utf8_lossy(&output.stderr);
    assert_eq!(notes, "note: loss 10% with correlation 25%: netem really loses 1.75%\n");
}

#[test]
fn what_cannot_be_imported_is_one_line_and_exit_2() {
    for (args, message) in [
        (
            ["import", "delay 1ms sometimes"].as_slice(),
            "error: netem: word 3: \"sometimes\" is not a netem keyword",
        ),
        (&["import", "--from", "mahimahi", "/nowhere"], "error: /nowhere: No such file"),
        (&["import", "--from", "toxiproxy", "--compat", "x"], "error: --compat: it is for netem"),
        (&["presets", "satelite"], "error: \"satelite\" is no preset; did you mean \"satellite\"?"),
    ] {
        let output = cargo_bin_cmd!("netem-proxy").args(args).output().expect("the binary runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.starts_with(message) && error.lines().count() == 1, "{error}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn a_mahimahi_trace_is_checked_and_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.up");
    std::fs::write(&path, "0\n1\n1\n2\n").expect("written");
    let path = path.to_str().expect("a path of text");
    let output = cargo_bin_cmd!("netem-proxy").args(["import", "--from", "mahimahi", path, path]).output();
    let output = output.expect("the binary runs");
    let expected =
        format!("--up 'rate=trace({path}) queue=infinite'\n--down 'rate=trace({path}) queue=infinite'\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    assert!(String::from_utf8_lossy(&output.stderr).contains("24.064 Mbit/s in the mean"));
}

#[test]
fn presets_are_listed_shown_and_given_as_json() {
    let text = |args: &[&str]| {
        let output =
            cargo_bin_cmd!("netem-proxy").arg("presets").args(args).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).expect("text")
    };
    let list = text(&[]);
    assert!(list.lines().count() > 60 && list.contains("source: WebPageTest's profile Cable"), "{list}");
    assert!(
        text(&["geo"])
            .starts_with("satellite (or satellite-geo, geo): A geostationary satellite\nup:     loss=")
    );
    let document: serde_json::Value = serde_json::from_str(&text(&["--json"])).expect("JSON");
    assert_eq!(document["presets"][0]["name"], "lan");
    let one: serde_json::Value = serde_json::from_str(&text(&["lte", "--json"])).expect("JSON");
    assert_eq!(one["down"], "delay=35ms rate=12Mbit/s queue=768KiB");
}
