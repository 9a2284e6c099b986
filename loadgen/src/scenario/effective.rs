//! The scenario that was run, written out: no inheritance, no `--set`, no silent default.
//!
//! The decided values are written as a scenario of their own and what was written is merged over them, so that sweep
//! paths, conditions and the author's own words (`"10%"`, `both`) survive, and only what was left out is added.
//! `scenario.toml` beside a result is this text; reading it back gives the same cells.

use std::fmt::Write;
use std::sync::Arc;

use chat_core::config::{CongestionControl, Profile};
use chat_core::connection::{Delivery, Reliability};
use chat_core::wire::Order;
use units::{ByteCount, format_duration};

use super::error::ScenarioError;
use super::extends::merge;
use super::raw::{Node, Value, key_toml, quote, read};
use super::set::expand_shorthand;
use super::{
    Activity, Arrival, ClientGroup, Driver, Encryption, Kind, OnMissing, Pace, Per, Phase, Scenario, Seats,
    Size, Workload, baseline, redundancy, schema, stream,
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
    scenario.clients.iter().for_each(|group| out += &client_group(group));
    scenario.phases.iter().for_each(|it| out += &phase(it));
    scenario.workloads.iter().for_each(|it| out += &workload(it, scenario));
    for assertion in &scenario.asserts {
        let missing = match assertion.on_missing {
            OnMissing::Fail => "fail",
            OnMissing::Inconclusive => "inconclusive",
            OnMissing::Pass => "pass",
        };
        let (id, expr) = (quote(&assertion.id), quote(&assertion.expr));
        let _ = writeln!(out, "[[assert]]\nid = {id}\nexpr = {expr}");
        let _ = writeln!(out, "gate = {}\non_missing = \"{missing}\"", assertion.gate);
    }
    out
}

fn head(scenario: &Scenario) -> String {
    let kind = match scenario.kind {
        Kind::Connectivity => "connectivity",
        Kind::Throughput => "throughput",
        Kind::Concurrency => "concurrency",
        Kind::Loss => "loss",
        Kind::Resilience => "resilience",
        Kind::Custom => "custom",
    };
    let driver = match scenario.run.driver {
        Driver::Real => "real",
        Driver::Virtual => "virtual",
    };
    let (name, title, run) = (quote(&scenario.name), quote(&scenario.title), &scenario.run);
    format!(
        "schema = 1\n[scenario]\nname = {name}\ntitle = {title}\nkind = \"{kind}\"\n\
         [run]\ndriver = \"{driver}\"\nseed = {}\nrepeats = {}\ntime_limit = \"{}\"\n\
         [measure]\ntraces = {{ clients = {}, qlog = {} }}\n",
        if i64::try_from(run.seed).is_ok() { run.seed.to_string() } else { quote(&run.seed.to_string()) },
        run.repeats,
        format_duration(run.time_limit),
        scenario.measure.trace_clients,
        scenario.measure.qlog
    )
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

fn client_group(group: &ClientGroup) -> String {
    let ClientGroup { name, count, rooms, ramp, .. } = group;
    let seats = match rooms.seats {
        Seats::Size(size) => format!("size = {size}"),
        Seats::Count(count) => format!("count = {count}"),
    };
    let ramp = format_duration(ramp.over);
    format!("[[clients]]\nname = \"{name}\"\ncount = {count}\nrooms = {{ {seats} }}\nramp = \"{ramp}\"\n")
}

fn phase(phase: &Phase) -> String {
    let (name, span) = (&phase.name, format_duration(phase.duration));
    match phase.activity {
        Activity::Load => {
            format!("[[phase]]\nname = \"{name}\"\nduration = \"{span}\"\nrecord = {}\n", phase.record)
        }
        Activity::Drain => format!("[[phase]]\nname = \"{name}\"\ndrain = \"{span}\"\n"),
    }
}

fn workload(workload: &Workload, scenario: &Scenario) -> String {
    let kind = workload.kind.name();
    let groups: Vec<String> =
        workload.groups.iter().map(|&group| quote(&scenario.clients[group].name)).collect();
    let pace = match &workload.pace {
        Pace::Open { arrival, per_second, per } => {
            let process = if *arrival == Arrival::Poisson { "poisson" } else { "constant" };
            let per = if *per == Per::Client { "client" } else { "total" };
            format!(
                "loop = \"open\"\narrival = {{ process = \"{process}\", rate = \"{per_second}/s\", per = \"{per}\" }}"
            )
        }
        Pace::Closed { in_flight, .. } => format!("loop = \"closed\"\nin_flight = {in_flight}"),
        Pace::Still => String::new(),
    };
    let (name, clients) = (&workload.name, groups.join(", "));
    let (size, delivery) = (size(&workload.size), delivery(workload.delivery));
    format!(
        "[[workload]]\nname = \"{name}\"\nkind = \"{kind}\"\nclients = [{clients}]\n{pace}\nsize = {size}\n\
         delivery = {delivery}\n"
    )
}

fn delivery(delivery: Delivery) -> String {
    let order = match delivery.order {
        Order::Ordered => "ordered",
        Order::Unordered => "unordered",
        Order::Latest => "latest",
    };
    let reliability = match delivery.reliability {
        Reliability::Reliable => "\"reliable\"".to_owned(),
        Reliability::Attempts(attempts) => format!("{{ attempts = {attempts} }}"),
        Reliability::Deadline(span) => format!("{{ deadline = \"{}\" }}", format_duration(span)),
    };
    format!("{{ order = \"{order}\", reliability = {reliability} }}")
}

fn size(size: &Size) -> String {
    let bytes = |size: u32| quote(&ByteCount(size.into()).to_string());
    match *size {
        Size::Fixed(size) => bytes(size),
        Size::Uniform { min, max } => {
            format!("{{ dist = \"uniform\", min = {}, max = {} }}", bytes(min), bytes(max))
        }
        Size::LogNormal { median, p99 } => {
            format!("{{ dist = \"lognormal\", median = {}, p99 = {} }}", bytes(median), bytes(p99))
        }
        Size::Pareto { min, alpha, cap } => {
            format!("{{ dist = \"pareto\", min = {}, alpha = {alpha:?}, cap = {} }}", bytes(min), bytes(cap))
        }
        Size::Trace(ref trace) => format!("{{ dist = \"trace\", file = {} }}", quote(&trace.name)),
    }
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
            let Some(side) = link.get_mut(side).and_then(Node::as_table_mut) else { continue };
            for key in ["loss", "delay"] {
                if let Some(node) = side.get_mut(key) {
                    expand_shorthand(key, node);
                }
            }
        }
    }
}
