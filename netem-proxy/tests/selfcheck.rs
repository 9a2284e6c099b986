//! The table of `netem-proxy selfcheck`, as a user meets it.

use assert_cmd::cargo::cargo_bin_cmd;

#[test]
fn the_table_is_printed_and_every_line_is_ok() {
    let found = cargo_bin_cmd!("netem-proxy")
        .args(["selfcheck", "--packets", "50000", "--seeds", "2"])
        .assert()
        .success();
    let text = String::from_utf8_lossy(&found.get_output().stdout).into_owned();
    assert!(text.contains("published SHA-256") && text.trim_end().ends_with("lines ok"), "{text}");
}

#[test]
fn one_document_with_json() {
    let arguments = ["selfcheck", "--packets", "10000", "--seeds", "1", "--json"];
    let found = cargo_bin_cmd!("netem-proxy").args(arguments).assert().success();
    let document: serde_json::Value =
        serde_json::from_slice(&found.get_output().stdout).expect("one document");
    assert_eq!(document["pass"], true);
    assert!(document["findings"].as_array().is_some_and(|lines| lines.len() > 50));
}
