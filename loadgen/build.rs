//! Puts the revision of the source into the binary, so that every report can say what it measured.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=../.git/HEAD");
    println!("cargo:rerun-if-changed=../.git/index");
    let described = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=10"]).output();
    let revision = described
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    println!("cargo:rustc-env=SQUALL_REVISION={revision}");
}
