//! What makes `report.html` answer questions: its data, its script, its style.
//!
//! The page is complete without any of it. With a script allowed, [`data`] lets [`script`] draw plots that can be
//! pointed at, zoomed and compared. The script is plain and small; it reads the data, draws, and talks to nobody: the
//! content policy of the page admits this one script by its hash, and no connection at all.

mod data;
mod detail;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

pub(super) use data::{Data, Embedded, latency};

pub(super) const STYLE: &str = include_str!("page.css");

/// The whole script, in the order in which its parts need each other.
pub(super) fn script() -> String {
    [
        include_str!("base.js"),
        include_str!("plot.js"),
        include_str!("time.js"),
        include_str!("percentiles.js"),
        include_str!("sweep.js"),
        include_str!("slowest.js"),
        include_str!("sequence.js"),
        include_str!("tables.js"),
        include_str!("main.js"),
    ]
    .concat()
}

/// As a content policy names an inline script or style: `'sha256-…'`.
pub(super) fn hash(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())))
}
