//! What a report says in tables, in the order in which it says it. Terminal, Markdown and HTML print the same ones.

use crate::result::{
    CauseMeans, Cell, DelayCauses, DirectionFacts, LatencySummary, LinkDirection, Repeat, RunResult,
    SelfCheck, Verdict,
};

use crate::stats::wilson;

use super::format::{
    asserted, bit_rate, byte_rate, count, json, micros, optional_micros, percent, percentile, share,
    significant, window,
};
use super::measured;
use super::origin::{Origin, cell_name};
use super::runs::Told;
use super::table::{Table, numbers, words};

pub(super) fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE",
        Verdict::Invalid => "INVALID",
    }
}

/// One sentence for those who meet the word for the first time.
pub(super) fn verdict_sentence(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "Every assertion that gates holds.",
        Verdict::Fail => "At least one assertion does not hold.",
        Verdict::Inconclusive => "There are too few samples to decide every assertion.",
        Verdict::Invalid => {
            "The generator or the machine was at fault; the numbers say nothing about the system under test."
        }
    }
}

/// Why the verdict is what it is, and what cut the run short.
pub(super) fn reasons(result: &RunResult) -> Vec<String> {
    let interrupted = result.run.interrupted.iter().map(|why| format!("partial: {why}"));
    interrupted.chain(result.reasons.iter().cloned()).collect()
}

/// Every assertion of every cell, those that do not hold first.
pub(super) fn assertions(result: &RunResult) -> Option<Table> {
    let swept = result.cells.len() > 1;
    let explained = result.cells.iter().flat_map(|cell| &cell.asserts).any(|assert| assert.reason.is_some());
    let mut columns = vec![words("verdict"), words("id"), words("expression"), numbers("measured")];
    if swept {
        columns.insert(1, words("cell"));
    }
    if explained {
        columns.push(words("why"));
    }
    let mut table = Table::new("Assertions", columns);
    for cell in &result.cells {
        for assert in &cell.asserts {
            let mut row = vec![
                verdict_word(assert.verdict).to_owned(),
                assert.id.clone(),
                assert.expr.clone(),
                asserted(&assert.expr, assert.value),
            ];
            if swept {
                row.insert(1, cell_name(cell));
            }
            if explained {
                row.push(assert.reason.clone().unwrap_or_default());
            }
            table.row(row);
        }
    }
    let holds = verdict_word(Verdict::Pass);
    table.rows.sort_by_key(|row| row[0] == holds);
    (!table.rows.is_empty()).then_some(table)
}

/// Latency, counts, rates and causes of delay of the only cell; a sweep has [`cells`], and the causes of its tails.
pub(super) fn key_numbers(result: &RunResult) -> Vec<Table> {
    match result.cells.as_slice() {
        [cell] => [latency(cell), counts(cell), rates(cell)].into_iter().chain(causes(cell)).collect(),
        _ => causes_of_cells(result).into_iter().collect(),
    }
}

fn latency(cell: &Cell) -> Table {
    let columns = ["n", "min", "mean", "p50", "p90", "p99", "p99.9", "max"];
    let columns = [words("latency")].into_iter().chain(columns.map(numbers)).collect();
    let mut table = Table::new("Latency", columns);
    let latency = &cell.metrics.latency;
    let rows = [
        ("delivery (intended to delivered)", &latency.delivery),
        ("service (submitted to delivered)", &latency.service),
        ("ack RTT (submitted to acknowledged)", &latency.ack_rtt),
        ("connect (to welcome)", &latency.connect),
    ];
    for (name, summary) in rows {
        table.row([name.to_owned(), count(summary.count)].into_iter().chain(quantiles(summary)));
    }
    table
}

fn quantiles(summary: &LatencySummary) -> [String; 7] {
    let text = |value| percentile(summary, value);
    let mean = summary.mean_us.map_or_else(|| "–".to_owned(), micros);
    [
        text(summary.min_us),
        mean,
        text(summary.p50_us),
        text(summary.p90_us),
        text(summary.p99_us),
        text(summary.p99_9_us),
        text(summary.max_us),
    ]
}

fn counts(cell: &Cell) -> Table {
    let messages = &cell.metrics.messages;
    let mut table = Table::new("Messages", vec![words("what"), numbers("count"), numbers("share")]);
    let of_intended = [
        ("messages intended", messages.intended),
        ("sent", messages.sent),
        ("acknowledged", messages.acked),
        ("failed", messages.failed),
        ("throttled", messages.throttled),
    ];
    let of_expected = [
        ("deliveries expected", messages.expected_deliveries),
        ("delivered", messages.delivered),
        ("lost", messages.lost),
        ("duplicated", messages.duplicated),
        ("out of order", messages.reordered),
        ("given up as allowed", messages.expired),
        ("overtaken by newer ones, as allowed", messages.superseded),
        ("corrupted", messages.corrupted),
        ("excused: the recipient had left", messages.excused),
        ("late: arrived after it counted as lost", messages.late),
    ];
    for (name, value) in of_intended {
        table.row([name.to_owned(), count(value), share(value, messages.intended)]);
    }
    for (name, value) in of_expected {
        table.row([name.to_owned(), count(value), share(value, messages.expected_deliveries)]);
    }
    table
}

fn rates(cell: &Cell) -> Table {
    let (throughput, transport) = (&cell.metrics.throughput, &cell.metrics.transport);
    let mut table = Table::new("Throughput and transport", vec![words("what"), numbers("value")]);
    let segments = transport.segments_sent;
    let rows = [
        ("messages sent", format!("{}/s", significant(throughput.sent_per_s))),
        ("deliveries", format!("{}/s", significant(throughput.delivered_per_s))),
        ("goodput", byte_rate(throughput.goodput_bytes_per_s)),
        ("segments sent", count(segments)),
        ("retransmits", with_share(transport.retransmits, segments)),
        ("fast retransmits", with_share(transport.fast_retransmits, segments)),
        ("timeouts", with_share(transport.timeouts, segments)),
        ("probe timeouts", with_share(transport.probe_timeouts, segments)),
        ("spurious retransmits", with_share(transport.spurious, segments)),
        ("duplicate acks", count(transport.dup_acks)),
        ("copies sent ahead of loss", with_share(transport.redundant_segments, segments)),
        ("bytes of these copies", window(transport.redundant_bytes)),
        ("SRTT (median of clients, at the end)", optional_micros(transport.srtt_us)),
        ("RTO (median of clients, at the end)", optional_micros(transport.rto_us)),
        ("largest cwnd", window(transport.cwnd_max_bytes)),
        ("bytes on the wire a message, up", optional_bytes(cell.metrics.wire.up_bytes_per_message)),
        ("bytes on the wire a message, down", optional_bytes(cell.metrics.wire.down_bytes_per_message)),
    ];
    for (name, value) in rows {
        table.row([name.to_owned(), value]);
    }
    table
}

/// Where the time went, or why nobody told; nothing if there is nothing to tell.
fn causes(cell: &Cell) -> Option<Table> {
    let causes = &cell.metrics.delay_causes;
    if let Some(why) = &causes.not_available {
        let mut table = Table::new("Where the time went", vec![words("not available")]);
        table.row([why.clone()]);
        return Some(table);
    }
    if causes.count == 0 {
        return None;
    }
    let columns = vec![words("waiting for"), numbers("all"), numbers("slowest 1 %")];
    let mut table = Table::new("Where the time went (mean a delivery)", columns);
    for (name, value) in CAUSES {
        let shown = |means| optional_micros(value(means).map(|us| us.round() as u64));
        table.row([name.to_owned(), shown(&causes.all), shown(&causes.slowest)]);
    }
    Some(table)
}

/// The same for the slowest deliveries of each cell of a sweep.
fn causes_of_cells(result: &RunResult) -> Option<Table> {
    let columns = std::iter::once(words("cell")).chain(CAUSES.map(|(name, _)| numbers(name)));
    let mut table = Table::new("Where the time of the slowest 1 % went (mean a delivery)", columns.collect());
    let told = |causes: &DelayCauses| causes.count > 0 || causes.not_available.is_some();
    for cell in result.cells.iter().filter(|cell| told(&cell.metrics.delay_causes)) {
        let DelayCauses { slowest, not_available, .. } = &cell.metrics.delay_causes;
        let mut parts = CAUSES.map(|(_, value)| optional_micros(value(slowest).map(|us| us.round() as u64)));
        if not_available.is_some() {
            parts[0] = "not available".to_owned();
        }
        table.row(std::iter::once(cell_name(cell)).chain(parts));
    }
    (!table.rows.is_empty()).then_some(table)
}

type Cause = (&'static str, fn(&CauseMeans) -> Option<f64>);

/// Parts of a latency, and their sum.
const CAUSES: [Cause; 8] = [
    ("the empty path", |means| means.base_us),
    ("congestion window", |means| means.window_us),
    ("pacing", |means| means.pacing_us),
    ("receive window", |means| means.flow_us),
    ("repair of loss", |means| means.loss_us),
    ("earlier messages", |means| means.order_us),
    ("queues, jitter, carrier", |means| means.path_us),
    ("together", |means| means.latency_us),
];

/// To a whole byte.
fn optional_bytes(bytes: Option<f64>) -> String {
    bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{bytes:.0} B"))
}

fn with_share(part: u64, whole: u64) -> String {
    format!("{} ({})", count(part), share(part, whole))
}

/// One row for each cell of a sweep; of A, where there are two arms.
pub(super) fn cells(told: &Told<'_>) -> Option<Table> {
    let result = told.result;
    if result.cells.len() < 2 {
        return None;
    }
    let columns = [
        "messages",
        "deliveries",
        "p50",
        "p99",
        "95 % of p99",
        "p99.9",
        "p99 of repeats",
        "lost",
        "deliveries/s",
        "goodput",
        "retransmits",
        "up/message",
        "down/message",
    ];
    let columns = [words("verdict"), words("cell")].into_iter().chain(columns.map(numbers)).collect();
    let mut table = Table::new("Cells", columns);
    for (index, cell) in result.cells.iter().enumerate() {
        let metrics = &cell.metrics;
        let delivery = &metrics.latency.delivery;
        table.row([
            verdict_word(cell.verdict).to_owned(),
            cell_name(cell),
            count(metrics.messages.intended),
            count(delivery.count),
            percentile(delivery, delivery.p50_us),
            percentile(delivery, delivery.p99_us),
            measured::p99_interval(told.pooled_of(index, 0)),
            percentile(delivery, delivery.p99_9_us),
            spread_of_p99(cell),
            share(metrics.messages.lost, metrics.messages.expected_deliveries),
            significant(metrics.throughput.delivered_per_s),
            byte_rate(metrics.throughput.goodput_bytes_per_s),
            share(metrics.transport.retransmits, metrics.transport.segments_sent),
            optional_bytes(metrics.wire.up_bytes_per_message),
            optional_bytes(metrics.wire.down_bytes_per_message),
        ]);
    }
    Some(table)
}

/// Smallest and largest p99 of the repeats: the unit of replication is the run.
fn spread_of_p99(cell: &Cell) -> String {
    let of = |repeat: &Repeat| {
        let delivery = &repeat.metrics.latency.delivery;
        // A p99 among the lost is above every other.
        (delivery.p99_us.unwrap_or(u64::MAX), percentile(delivery, delivery.p99_us))
    };
    let mut all: Vec<(u64, String)> = cell.repeats.iter().map(of).collect();
    all.sort();
    match all.as_slice() {
        [] | [_] => "–".to_owned(),
        [(_, least), .., (_, most)] => format!("{least} – {most}"),
    }
}

/// Configured against observed, for each direction of each cell that has a link.
pub(super) fn links(result: &RunResult) -> Option<Table> {
    let swept = result.cells.len() > 1;
    let mut columns = vec![
        words("direction"),
        words("configured"),
        numbers("packets"),
        numbers("loss set"),
        numbers("loss seen (95 %)"),
        numbers("delay set"),
        numbers("delay p50"),
        numbers("delay p99"),
        numbers("queue drops"),
        numbers("rate limit"),
        words("self-check"),
    ];
    if swept {
        columns.insert(0, words("cell"));
    }
    let mut table = Table::new("Link self-check", columns);
    for cell in result.cells.iter().filter(|cell| !cell.links.is_empty()) {
        let link = &cell.metrics.link;
        let check = match link.self_check {
            SelfCheck::Pass => "pass",
            SelfCheck::Fail => "fail",
            SelfCheck::None => "not made",
        };
        let up: Vec<&DirectionFacts> = cell.links.iter().map(|link| &link.up).collect();
        let down: Vec<&DirectionFacts> = cell.links.iter().map(|link| &link.down).collect();
        for (name, facts, seen) in [("up", up, &link.up), ("down", down, &link.down)] {
            let mut row = direction(name, &facts, seen);
            row.push(check.to_owned());
            if swept {
                row.insert(0, cell_name(cell));
            }
            table.row(row);
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

/// Observations add up all links of a cell, so several links are named together.
fn direction(name: &str, facts: &[&DirectionFacts], seen: &LinkDirection) -> Vec<String> {
    let set = |text: fn(&DirectionFacts) -> String| {
        let mut texts: Vec<String> = facts.iter().map(|facts| text(facts)).collect();
        texts.dedup();
        texts.join("; ")
    };
    vec![
        name.to_owned(),
        set(|facts| facts.spec.clone()),
        count(seen.offered),
        set(|facts| percent(facts.loss)),
        loss_seen(seen),
        set(|facts| micros(facts.delay_us as f64)),
        optional_micros(seen.delay_p50_us),
        optional_micros(seen.delay_p99_us),
        count(seen.dropped_queue),
        set(|facts| bit_rate(facts.rate_bps)),
    ]
}

/// Share of packets that the link lost, with Wilson's interval.
fn loss_seen(seen: &LinkDirection) -> String {
    if seen.offered == 0 {
        return "–".to_owned();
    }
    let (low, high) = wilson(seen.dropped_loss, seen.offered);
    let bound = |fraction: f64| significant(fraction * 100.0);
    format!("{} ({} – {})", share(seen.dropped_loss, seen.offered), bound(low), bound(high))
}

/// Sentences of the checks that failed.
pub(super) fn link_problems(result: &RunResult) -> Vec<String> {
    let swept = result.cells.len() > 1;
    let of = |cell: &Cell| if swept { format!("{}: ", cell_name(cell)) } else { String::new() };
    let all = result.cells.iter().flat_map(|cell| {
        cell.metrics.link.self_check_reasons.iter().map(move |reason| format!("{}{reason}", of(cell)))
    });
    all.collect()
}

/// Whether the generator itself kept up, and whether warm-up was long enough.
pub(super) fn health(told: &Told<'_>) -> Table {
    let warmed = told.runs.iter().any(|run| run.health.warmup_needed_us.is_some());
    let mut columns = vec![words("cell")];
    columns.extend(["schedule lag p50", "schedule lag p99", "longest hiccup", "harness drops"].map(numbers));
    if warmed {
        columns.push(numbers("warm-up declared"));
        columns.push(numbers("warm-up needed (MSER-5)"));
    }
    let mut table = Table::new("Health of the generator", columns);
    for (index, cell) in told.result.cells.iter().enumerate() {
        let health = &cell.metrics.health;
        let mut row = vec![
            cell_name(cell),
            optional_micros(health.schedule_lag_p50_us),
            optional_micros(health.schedule_lag_p99_us),
            optional_micros(health.hiccup_max_us),
            count(health.harness_drops),
        ];
        if warmed {
            let of_cell = || told.runs.iter().filter(|run| run.cell as usize == index);
            let declared = of_cell().map(|run| run.health.warmup_declared_us).max();
            let needed = of_cell().filter_map(|run| run.health.warmup_needed_us).max();
            row.extend([optional_micros(declared), optional_micros(needed)]);
        }
        table.row(row);
    }
    table
}

/// What was run. A virtual run names only what two runs of one seed have in common.
pub(super) fn environment(result: &RunResult, origin: &Origin<'_>) -> Table {
    let run = &result.run;
    let mut table = Table::new("Environment", vec![words("what"), words("value")]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    row("scenario", origin.name.clone());
    row("scenario hash", origin.scenario_hash.clone());
    row("seed", run.seed.to_string());
    row("driver", run.driver.clone());
    row("revision", run.revision.clone());
    for (arm, file) in result.arms.iter().zip(["scenario.toml", "scenario-b.toml"]) {
        row(if file == "scenario.toml" { "A" } else { "B" }, format!("{arm} ({file})"));
    }
    // Overrides stand on the scenario as it was written, which is not here; each arm has its own.
    let again = if result.arms.is_empty() {
        format!("loadgen --scenario scenario.toml --driver {} --seed {}", run.driver, run.seed)
    } else {
        "loadgen --scenario scenario.toml; the same with scenario-b.toml; loadgen diff A B".to_owned()
    };
    row("to run it again", again);
    if origin.is_real() {
        row("run", run.id.clone());
        row("command", run.command.clone());
        row("started", run.started_at.clone());
        row("duration", format!("{} s", significant(run.duration_s)));
        for (name, value) in &run.machine {
            row(name, json(value));
        }
    }
    table
}
