//! The counters as Prometheus reads them: its text format, written by hand
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Names beginning with `toxiproxy_` are Toxiproxy's, labels in alphabetical order as its library sorts them; those with
//! `netem_` are ours.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde_json::Value;

use super::link::Counts;
use super::traffic::{Flow, ProxyTraffic};
use crate::link::LinkCounters;

/// Which families were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MetricsConfig {
    /// Traffic of proxies and links.
    pub proxies: bool,
    /// `go_info` and `go_goroutines`, for dashboards that look for them.
    pub runtime: bool,
}

impl MetricsConfig {
    pub(super) fn is_any(self) -> bool {
        self.proxies || self.runtime
    }
}

pub(super) fn render(config: MetricsConfig, proxies: &[ProxyTraffic], links: &[(String, Counts)]) -> String {
    let mut page = Page(String::new());
    if config.runtime {
        page.runtime();
    }
    if config.proxies {
        page.proxies(proxies);
        page.links(links);
    }
    page.0
}

struct Page(String);

impl Page {
    fn runtime(&mut self) {
        self.family(
            "go_goroutines",
            "gauge",
            "Number of goroutines that currently exist: none, this is not Go.",
        );
        self.line("go_goroutines", &[], "0");
        self.family("go_info", "gauge", "Information about the Go environment: what runs instead.");
        self.line("go_info", &[("version", concat!("netem-proxy ", env!("CARGO_PKG_VERSION")))], "1");
    }

    fn proxies(&mut self, proxies: &[ProxyTraffic]) {
        type Column = (&'static str, &'static str, fn(&Flow) -> u64);
        const COLUMNS: [Column; 2] = [
            ("toxiproxy_proxy_received_bytes_total", "Bytes read from the sender.", |flow| flow.received),
            ("toxiproxy_proxy_sent_bytes_total", "Bytes written to the receiver.", |flow| flow.sent),
        ];
        for (name, help, value) in COLUMNS {
            self.family(name, "counter", help);
            for ProxyTraffic { view, traffic } in proxies {
                for (direction, flow) in
                    [("downstream", &traffic.downstream), ("upstream", &traffic.upstream)]
                {
                    let labels = [
                        ("direction", direction),
                        ("listener", &view.listen),
                        ("proxy", &view.name),
                        ("upstream", &view.upstream),
                    ];
                    self.line(name, &labels, &value(flow).to_string());
                }
            }
        }
        self.family("netem_proxy_enabled", "gauge", "Whether the proxy listens.");
        for ProxyTraffic { view, .. } in proxies {
            self.line("netem_proxy_enabled", &[("proxy", &view.name)], if view.enabled { "1" } else { "0" });
        }
    }

    fn links(&mut self, links: &[(String, Counts)]) {
        self.flows(links);
        self.packets(links);
        self.harness(links);
        self.quantiles(links);
        self.stream_bytes(links);
    }

    fn flows(&mut self, links: &[(String, Counts)]) {
        let flows = |counts: &Counts| match counts {
            Counts::Packets(counts) => (counts.flows_open, counts.flows),
            Counts::Stream(counts) => (counts.connections_open, counts.connections_total),
        };
        self.family("netem_link_flows", "gauge", "Flows open now.");
        for (link, counts) in links {
            self.line("netem_link_flows", &[("link", link)], &flows(counts).0.to_string());
        }
        self.family("netem_link_flows_total", "counter", "Flows since the link was started.");
        for (link, counts) in links {
            self.line("netem_link_flows_total", &[("link", link)], &flows(counts).1.to_string());
        }
    }

    /// Every counter of a link by its name; drops are one family with their cause as a label.
    fn packets(&mut self, links: &[(String, Counts)]) {
        self.family(
            "netem_link_dropped_total",
            "counter",
            "Packets dropped, by the stage that dropped them.",
        );
        for (link, direction, counters) in sides(links) {
            for (name, value) in numbers(counters) {
                if let Some(cause) = name.strip_prefix("dropped_") {
                    let labels = [("cause", cause), ("direction", direction), ("link", link)];
                    self.line("netem_link_dropped_total", &labels, &value.to_string());
                }
            }
        }
        self.family("netem_link_packets_total", "counter", "Packets and bytes, by what happened to them.");
        for (link, direction, counters) in sides(links) {
            for (name, value) in numbers(counters) {
                if name != "queued" && !name.starts_with("dropped_") {
                    let labels = [("direction", direction), ("event", name.as_str()), ("link", link)];
                    self.line("netem_link_packets_total", &labels, &value.to_string());
                }
            }
        }
        self.family("netem_link_queued", "gauge", "Packets under way now.");
        for (link, direction, counters) in sides(links) {
            let labels = [("direction", direction), ("link", link)];
            self.line("netem_link_queued", &labels, &counters.queued().to_string());
        }
    }

    fn harness(&mut self, links: &[(String, Counts)]) {
        const NAME: &str = "netem_link_harness_total";
        self.family(
            NAME,
            "counter",
            "What the proxy's own sockets did; io_overrun or kernel_drops above 0 spoil a loss experiment.",
        );
        for (link, counts) in links {
            let Counts::Packets(counts) = counts else { continue };
            for (event, value) in [
                ("back_pressure", counts.back_pressure),
                ("early", counts.early),
                ("io_overrun", counts.io_overrun),
                ("kernel_drops", counts.kernel_drops),
                ("malformed", counts.malformed),
                ("rebinds", counts.rebinds),
                ("refused", counts.refused),
                ("undeliverable", counts.undeliverable),
            ] {
                self.line(NAME, &[("event", event), ("link", link)], &value.to_string());
            }
        }
    }

    fn quantiles(&mut self, links: &[(String, Counts)]) {
        const LATENESS: &str = "netem_link_lateness_seconds";
        self.family(LATENESS, "summary", "Release minus due time of every delivery.");
        for (link, counts) in links {
            if let Counts::Packets(counts) = counts {
                self.summary(LATENESS, &[("link", link)], &counts.lateness, 1e9);
            }
        }
        const DELAY: &str = "netem_link_delay_seconds";
        self.family(DELAY, "summary", "Model time of a packet in the link.");
        for (link, counts) in links {
            if let Counts::Packets(counts) = counts {
                self.summary(DELAY, &[("direction", "up"), ("link", link)], &counts.up_delays, 1e6);
                self.summary(DELAY, &[("direction", "down"), ("link", link)], &counts.down_delays, 1e6);
            }
        }
    }

    fn stream_bytes(&mut self, links: &[(String, Counts)]) {
        const NAME: &str = "netem_link_stream_bytes_total";
        self.family(NAME, "counter", "Bytes of a stream link.");
        for (link, counts) in links {
            let Counts::Stream(counts) = counts else { continue };
            for (direction, bytes) in [("down", counts.down), ("up", counts.up)] {
                for (event, value) in [("received", bytes.received), ("sent", bytes.sent)] {
                    let labels = [("direction", direction), ("event", event), ("link", link)];
                    self.line(NAME, &labels, &value.to_string());
                }
            }
        }
    }

    fn summary(&mut self, name: &str, labels: &[(&str, &str)], values: &Histogram<u64>, per_second: f64) {
        for quantile in [0.5, 0.99, 0.999, 1.0] {
            let text = quantile.to_string();
            let labels = [labels, &[("quantile", text.as_str())]].concat();
            let value = values.value_at_quantile(quantile) as f64 / per_second;
            let value = if values.is_empty() { "NaN".to_owned() } else { value.to_string() };
            self.line(name, &labels, &value);
        }
        self.line(&format!("{name}_count"), labels, &values.len().to_string());
        let sum = values.mean() * values.len() as f64 / per_second;
        self.line(&format!("{name}_sum"), labels, &sum.to_string());
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: &str) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

fn sides(links: &[(String, Counts)]) -> impl Iterator<Item = (&str, &'static str, &LinkCounters)> {
    links.iter().flat_map(|(link, counts)| {
        let both = match counts {
            Counts::Packets(counts) => Some([("down", &counts.down), ("up", &counts.up)]),
            Counts::Stream(_) => None,
        };
        both.into_iter().flatten().map(move |(direction, counters)| (link.as_str(), direction, counters))
    })
}

/// The counters under the names they are documented by, whichever there are.
fn numbers(counters: &LinkCounters) -> Vec<(String, u64)> {
    match serde_json::to_value(counters) {
        Ok(Value::Object(all)) => {
            all.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?))).collect()
        }
        _ => Vec::new(),
    }
}

/// Label values may hold anything but these three as they are.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_labels_in_order_and_escaped() {
        let mut page = Page(String::new());
        page.line("n", &[("a", "x\"y\\z\n"), ("b", "")], "1");
        assert_eq!(page.0, "n{a=\"x\\\"y\\\\z\\n\",b=\"\"} 1\n");
    }

    #[test]
    fn nothing_is_shown_that_was_not_asked_for() {
        let page = |proxies, runtime| render(MetricsConfig { proxies, runtime }, &[], &[]);
        assert!(page(false, true).contains("go_goroutines 0\n") && !page(false, true).contains("toxiproxy_"));
        assert!(page(true, false).contains("# TYPE toxiproxy_proxy_sent_bytes_total counter"));
        assert!(!page(true, false).contains("go_info"));
    }
}
