//! Where a report comes from, and how much of that may be printed.
//!
//! Two virtual runs with one seed must leave the same bytes behind, whoever ran them, where and when. So what
//! `result.run` says of a run's circumstances (id, start, duration, command, machine) is printed for the real driver
//! only; for the virtual one the seed and the hash of the scenario say everything that matters.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::result::{Cell, LinkFacts, RunResult};

use super::format;

/// Name, title and provenance of a run.
#[derive(Clone, Debug)]
pub(super) struct Origin<'a> {
    result: &'a RunResult,
    pub(super) name: String,
    /// Empty if the scenario has none.
    pub(super) title: String,
    /// First eight hex digits of the SHA-256 of the effective scenario as compact JSON.
    pub(super) scenario_hash: String,
}

impl<'a> Origin<'a> {
    pub(super) fn of(result: &'a RunResult) -> Self {
        let digest = Sha256::digest(result.scenario.to_string().as_bytes());
        let scenario_hash = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let name = text_at(&result.scenario, "name").unwrap_or_else(|| "unnamed".to_owned());
        let title = text_at(&result.scenario, "title").unwrap_or_default();
        Self { result, name, title, scenario_hash }
    }

    /// Whether the circumstances of the run may be printed.
    pub(super) fn is_real(&self) -> bool {
        self.result.run.driver != "virtual"
    }

    /// `loss10: Chat under 10 % loss`.
    pub(super) fn heading(&self) -> String {
        if self.title.is_empty() { self.name.clone() } else { format!("{}: {}", self.name, self.title) }
    }

    /// `loss10 · seed 42 · virtual · scenario 1a2b3c4d`; a real run adds its id, so that a pasted picture is traceable.
    pub(super) fn caption(&self) -> String {
        let run = &self.result.run;
        let hash = &self.scenario_hash;
        let mut caption = format!("{} · seed {} · {} · scenario {hash}", self.name, run.seed, run.driver);
        if self.is_real() {
            caption.push_str(&format!(" · run {}", run.id));
        }
        caption
    }
}

/// Text of `key` in the scenario's `[scenario]` table, or at its top.
fn text_at(scenario: &Value, key: &str) -> Option<String> {
    let value = scenario.get("scenario").and_then(|table| table.get(key)).or_else(|| scenario.get(key))?;
    value.as_str().map(str::to_owned)
}

/// What a cell is called: `loss.p = 10%, count = 50`; `all` without a sweep. Transports that are compared go by what
/// they are: `kernel-tcp bbr`, `udp`.
pub(super) fn cell_name(cell: &Cell) -> String {
    if cell.axes.is_empty() {
        return "all".to_owned();
    }
    let transport = cell.axes.get(TRANSPORT).and_then(Value::as_str);
    let mut parts: Vec<String> = transport.map(|name| transport_name(name, cell)).into_iter().collect();
    parts.extend(
        cell.axes
            .iter()
            .filter(|(path, _)| transport.is_none() || !path.starts_with(PROTOCOL))
            .map(|(path, value)| axis_name(path, value)),
    );
    parts.join(", ")
}

/// `loss.p = 10%`, `chat.count = 50`; a word says by itself what it is about: `reno`, `unordered`.
pub(super) fn axis_name(path: &str, value: &Value) -> String {
    let is_word = |text: &str| text.starts_with(|first: char| first.is_ascii_alphabetic());
    match value.as_str() {
        Some(text) if is_word(text) => text.to_owned(),
        _ => format!("{} = {}", short_path(path), format::json(value)),
    }
}

/// The transport and what was set of it; keys of other transports are in the cell only because the sweep sets them all.
fn transport_name(transport: &str, cell: &Cell) -> String {
    let concerns = |key: &str| match transport {
        "kernel-tcp" => matches!(key, "tcp-congestion" | "mtu"),
        "quic" => key.starts_with("quic-"),
        _ => !matches!(key, "tcp-congestion" | "mtu") && !key.starts_with("quic-"),
    };
    let keys = cell.axes.iter().filter_map(|(path, value)| Some((path.strip_prefix(PROTOCOL)?, value)));
    let set =
        keys.filter(|(key, _)| *key != "transport" && concerns(key)).map(|(_, value)| format::json(value));
    [transport.to_owned()].into_iter().chain(set).collect::<Vec<_>>().join(" ")
}

/// The last two parts of a path: `link.lossy.both.loss.p` is `loss.p`.
pub(super) fn short_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    parts[parts.len().saturating_sub(2)..].join(".")
}

/// The weather in words, if one link tells it: `under 10 % loss each way`.
pub(super) fn weather(links: &[LinkFacts]) -> String {
    let [link] = links else { return String::new() };
    let (up, down) = (&link.up, &link.down);
    if up.loss == down.loss && up.loss > 0.0 {
        return format!(" under {} loss each way", format::percent(up.loss));
    }
    if up.loss > 0.0 || down.loss > 0.0 {
        let (up, down) = (format::percent(up.loss), format::percent(down.loss));
        return format!(" under {up} loss up and {down} down");
    }
    if up.delay_us + down.delay_us > 0 {
        return format!(" over a path of {}", format::micros((up.delay_us + down.delay_us) as f64));
    }
    String::new()
}

const PROTOCOL: &str = "protocol.";
const TRANSPORT: &str = "protocol.transport";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn a_virtual_caption_tells_nothing_of_the_run() {
        let mut saved = synthetic::small();
        let before = Origin::of(&saved.result).caption();
        saved.result.run.id = "another".to_owned();
        assert_eq!(Origin::of(&saved.result).caption(), before);
        assert!(before.starts_with("loss10 · seed 42 · virtual · scenario "), "{before}");
        saved.result.run.driver = "real".to_owned();
        assert!(Origin::of(&saved.result).caption().ends_with(" · run another"));
    }

    #[test]
    fn transports_go_by_what_they_are() {
        let mut cell = synthetic::small().result.cells[0].clone();
        let mut name = |transport: &str| {
            let axes = [
                ("protocol.transport", transport),
                ("protocol.tcp-congestion", "bbr"),
                ("protocol.quic-congestion", "reno"),
                ("protocol.congestion", "fixed:8"),
                ("link.lossy.both.loss.p", "1%"),
            ];
            cell.axes = axes.map(|(path, value)| (path.to_owned(), value.into())).into();
            cell_name(&cell)
        };
        assert_eq!(name("udp"), "udp fixed:8, loss.p = 1%");
        assert_eq!(name("kernel-tcp"), "kernel-tcp bbr, loss.p = 1%");
        assert_eq!(name("quic"), "quic reno, loss.p = 1%");
    }

    #[test]
    fn words_need_no_key_and_numbers_do() {
        let name = |path: &str, value: Value| axis_name(path, &value);
        assert_eq!(name("protocol.congestion", "fixed:64".into()), "fixed:64");
        assert_eq!(name("workload.chat.delivery.order", "unordered".into()), "unordered");
        assert_eq!(name("link.lossy.both.loss.p", "10%".into()), "loss.p = 10%");
        assert_eq!(name("protocol.time_threshold", true.into()), "protocol.time_threshold = true");
    }

    #[test]
    fn paths_are_shortened_to_what_tells_cells_apart() {
        assert_eq!(short_path("link.lossy.both.loss.p"), "loss.p");
        assert_eq!(short_path("count"), "count");
    }
}
