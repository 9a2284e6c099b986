//! The scenario that was run, written out: no inheritance, no `--set`, no silent default.
//!
//! The decided values are written as a scenario of their own and what was written is merged over them, so that sweep
//! paths, conditions and the author's own words (`"10%"`, `both`) survive, and only what was left out is added.
//! `scenario.toml` beside a result is this text; reading it back gives the same cells.

use std::fmt::Write;
use std::sync::Arc;

use chat_core::config::{CongestionControl, Profile};
use units::format_duration;

use super::error::ScenarioError;
use super::extends::merge;
use super::raw::{Node, Value, key_toml, quote, read};
use super::set::expand_shorthand;
use super::{
    Driver, Encryption, Scenario, assertion, baseline, group, measure, output, parse, phase, redundancy,
    regression, schema, search, server, stream, work,
};

/// `written`, completed with every default that `scenario` took.
pub(crate) fn complete(written: Node, scenario: &Scenario) -> Result<Node, ScenarioError> {
    let defaults = decided(scenario, &swept_paths(&written));
    let mut root = read(&Arc::from("defaults"), &defaults)?;
    merge(&mut root, written);
    expand_links(&mut root);
    Ok(root)
}

/// As a TOML file: the question as its first comment, then the sections in the order of the reference.
pub(crate) fn to_toml(root: &Node, question: &str) -> String {
    let mut out = String::new();
    if !question.is_empty() {
        let _ = writeln!(out, "# {question}");
    }
    for key in schema::ROOT.names() {
        let Some(node) = root.as_table().and_then(|table| table.get(key)) else { continue };
        match &node.value {
            Value::Table(links) if key == "link" => {
                links
                    .iter()
                    .for_each(|(name, link)| section(&mut out, &format!("[link.{}]", key_toml(name)), link));
            }
            Value::Table(_) => section(&mut out, &format!("[{key}]"), node),
            Value::Array(items) => {
                items.iter().for_each(|item| section(&mut out, &format!("[[{key}]]"), item))
            }
            _ => {
                let _ = writeln!(out, "{key} = {}", node.to_inline_toml());
            }
        }
    }
    out
}

fn section(out: &mut String, header: &str, node: &Node) {
    let Some(table) = node.as_table() else { return };
    let _ = writeln!(out, "\n{header}");
    for (key, node) in table.iter() {
        let _ = writeln!(out, "{} = {}", key_toml(key), node.to_inline_toml());
    }
}

/// The scenario without its links and conditions, as TOML.
fn decided(scenario: &Scenario, swept: &[String]) -> String {
    let mut out = head(scenario);
    out += &protocol(scenario, swept);
    scenario.clients.iter().for_each(|it| out += &group::decided(it));
    scenario.phases.iter().for_each(|it| out += &phase::decided(it));
    scenario.workloads.iter().for_each(|it| out += &work::decided(it, scenario));
    scenario.asserts.iter().for_each(|it| out += &assertion::decided(it));
    out += &scenario.search.as_ref().map(search::decided).unwrap_or_default();
    out += &scenario.baseline_gate.as_ref().map(regression::decided).unwrap_or_default();
    out += &measure::decided(&scenario.measure);
    out += &output::decided(&scenario.output);
    out
}

fn head(scenario: &Scenario) -> String {
    let run = &scenario.run;
    let driver = match run.driver {
        Driver::Real => "real",
        Driver::Virtual => "virtual",
    };
    let kind = word(parse::KINDS, &scenario.kind);
    let abort_on: Vec<String> = run.abort_on.iter().map(|on| quote(word(parse::ABORT_ON, on))).collect();
    let seed =
        if i64::try_from(run.seed).is_ok() { run.seed.to_string() } else { quote(&run.seed.to_string()) };
    let mut out = format!(
        "schema = 1\n[scenario]\nname = {}\ntitle = {}\nkind = \"{kind}\"\n",
        quote(&scenario.name),
        quote(&scenario.title)
    );
    let _ = writeln!(out, "[run]\ndriver = \"{driver}\"\nseed = {seed}\nrepeats = {}", run.repeats);
    let _ = writeln!(
        out,
        "order = \"{}\"\ncooldown = \"{}\"",
        word(parse::ORDERS, &run.order),
        format_duration(run.cooldown)
    );
    let _ = writeln!(
        out,
        "time_limit = \"{}\"\nabort_on = [{}]",
        format_duration(run.time_limit),
        abort_on.join(", ")
    );
    out += &server::decided(&scenario.server);
    out
}

/// What stands for a value.
fn word<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| word)
}

fn protocol(scenario: &Scenario, swept: &[String]) -> String {
    let config = &scenario.protocol;
    let transport = scenario.transport.name();
    let profile = match config.profile {
        Profile::Classic => "classic",
        Profile::Modern => "modern",
    };
    let mut out = format!("[protocol]\ntransport = \"{transport}\"\nprofile = \"{profile}\"\n");
    let _ = writeln!(out, "codec = \"{}\"", scenario.codec);
    // Off is what every transport without a choice has; a sweep over transports must be free to pass it.
    if scenario.encryption == Encryption::On {
        out += "encryption = true\n";
    }
    out += &stream::decided(scenario.stream);
    out += &baseline::decided(&scenario.baseline);
    // Where the profile itself varies, its constants must be free to follow.
    if swept.iter().any(|path| path == "protocol.profile") {
        return out;
    }
    let congestion = match config.congestion {
        CongestionControl::Reno => "reno".to_owned(),
        CongestionControl::Cubic => "cubic".to_owned(),
        CongestionControl::Bbr => "bbr".to_owned(),
        CongestionControl::Fixed { segments } => format!("fixed:{segments}"),
    };
    let ssthresh =
        config.initial_ssthresh.map_or("\"unlimited\"".to_owned(), |segments| segments.to_string());
    let _ = writeln!(out, "congestion = \"{congestion}\"\nmss = \"{}\"", config.mss);
    let _ = writeln!(out, "initial_cwnd = {}\ninitial_ssthresh = {ssthresh}", config.initial_cwnd);
    let spans = [
        ("initial_rto", config.initial_rto),
        ("rto_min", config.rto_min),
        ("rto_max", config.rto_max),
        ("max_ack_delay", config.max_ack_delay),
    ];
    for (key, span) in spans {
        let _ = writeln!(out, "{key} = \"{}\"", format_duration(span));
    }
    let _ = writeln!(out, "packet_threshold = {}", config.packet_threshold);
    let _ = writeln!(out, "time_threshold = {}", config.time_threshold);
    let _ = writeln!(out, "max_attempts = {}", config.max_attempts);
    let _ = writeln!(out, "receive_window = \"{}\"", config.receive_window);
    out += &redundancy::decided(config.redundancy);
    out
}

fn swept_paths(root: &Node) -> Vec<String> {
    let axes = root.as_table().and_then(|root| root.get("sweep")?.as_table()?.get("axis")?.as_array());
    let path = |axis: &Node| Some(axis.as_table()?.get("path")?.as_text()?.to_owned());
    axes.unwrap_or_default().iter().filter_map(path).collect()
}

/// Shorthands of links in their long form, so that every path that can be set is there to be read.
fn expand_links(root: &mut Node) {
    let links = root.as_table_mut().and_then(|root| root.get_mut("link")).and_then(Node::as_table_mut);
    for link in links.into_iter().flat_map(|links| links.nodes_mut()) {
        let Some(link) = link.as_table_mut() else { continue };
        for side in ["both", "up", "down"] {
            if let Some(node) = link.get_mut(side) {
                expand_shorthand(side, node);
            }
            let Some(side) = link.get_mut(side).and_then(Node::as_table_mut) else { continue };
            for key in ["loss", "delay"] {
                if let Some(node) = side.get_mut(key) {
                    expand_shorthand(key, node);
                }
            }
        }
    }
}
