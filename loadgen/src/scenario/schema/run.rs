//! Keys that say how a scenario is run, judged and reported.

use super::Shape::{
    Anything, Bool, Choice, Count, Either, List, Named, Probability, Seed, TableOf, Text, Unit,
};
use super::load::{CLIENTS, PHASE, WORKLOAD};
use super::network::{LINK, PROTOCOL};
use super::{DURATION, Keys, key};

pub(crate) const ROOT: Keys = Keys {
    keys: &[
        key("schema", Choice(&["1"]), "version of this format; required, 1"),
        key(
            "extends",
            List(&Text),
            "files to inherit from, relative to this one; later ones win, this file last",
        ),
        key("scenario", TableOf(&SCENARIO), "what this is"),
        key("run", TableOf(&RUN), "how it is run"),
        key("server", TableOf(&SERVER), "the server under test; default: part of the generator"),
        key("protocol", TableOf(&PROTOCOL), "the transport under test"),
        key("link", Named(&LINK), "networks, by name"),
        key("clients", List(&TableOf(&CLIENTS)), "groups of clients; at least one"),
        key("phase", List(&TableOf(&PHASE)), "spans of the run, in order; at least one with a duration"),
        key("workload", List(&TableOf(&WORKLOAD)), "who does what, and when"),
        key("assert", List(&TableOf(&ASSERT)), "what must hold"),
        key("sweep", TableOf(&SWEEP), "values to try, each in its own cell"),
        key("search", TableOf(&SEARCH), "the highest value with which every gate passes"),
        key("baseline", TableOf(&BASELINE), "an earlier result that must not be better by much"),
        key("measure", TableOf(&MEASURE), "what is recorded"),
        key("output", TableOf(&OUTPUT), "where results go, in which forms"),
    ],
};
pub(crate) const SCENARIO: Keys = Keys {
    keys: &[
        key("name", Text, "[a-z0-9_-]+, names the report folder; required"),
        key("title", Text, "printed on every figure; default: the name"),
        key(
            "kind",
            Choice(&["connectivity", "throughput", "concurrency", "loss", "resilience", "custom"]),
            "picks the figures; default custom",
        ),
        key("tags", List(&Text), "free words to select scenarios by; default none"),
    ],
};
pub(crate) const RUN: Keys = Keys {
    keys: &[
        key("driver", Choice(&["real", "virtual"]), "sockets and wall clock, or virtual time; default real"),
        key("seed", Either(&[Seed, Text]), "root of all chance, from 2^63 on in quotes; default 42"),
        key("repeats", Count, "independent runs of each cell; default 1"),
        key(
            "order",
            Choice(&["interleaved", "shuffled", "listed"]),
            "each repeat through all cells, the same in drawn order, or cell by cell; default interleaved",
        ),
        key("cooldown", DURATION, "rest between two real runs; default 0s"),
        key("time_limit", DURATION, "longer runs are stopped and INVALID; default 15m"),
        key(
            "abort_on",
            List(&Choice(&["server-exit", "assert"])),
            "what ends everything early, with a report; default server-exit",
        ),
        key("clients", Count, "how many the share of client groups is a share of; default none"),
    ],
};
pub(crate) const SERVER: Keys = Keys {
    keys: &[
        key(
            "mode",
            Choice(&["inprocess", "spawn", "target"]),
            "part of the generator, started for each run, or running already; default inprocess",
        ),
        key(
            "command",
            List(&Text),
            "spawn: program and arguments; {tmp} and {addr} are filled in; required there",
        ),
        key("addr", Unit("127.0.0.1:0"), "where it listens; required with target"),
        key("admin", Unit("127.0.0.1:8889"), "its admin port, asked once each interval; default none"),
        key("ready_timeout", DURATION, "spawn: how long it may take to answer; default 5s"),
        key("stop", Choice(&["graceful", "kill"]), "spawn: SIGTERM or SIGKILL; default graceful"),
        key(
            "config",
            Anything,
            "spawn: table of the server's own configuration, as {tmp}/server.toml; default empty",
        ),
    ],
};
pub(crate) const ASSERT: Keys = Keys {
    keys: &[
        key("id", Text, "unique; required"),
        key("expr", Text, "comparison of metrics, such as p99(delivery_latency) < 1500ms; required"),
        key("gate", Bool, "false: a remark that cannot fail the run; default true"),
        key(
            "when",
            Text,
            "only in cells where this holds, such as link.lossy.both.loss.p <= 10%; default: all",
        ),
        key(
            "on_missing",
            Choice(&["fail", "inconclusive", "pass"]),
            "verdict without any sample; default fail",
        ),
        key(
            "min_samples",
            Either(&[Count, Choice(&["auto"])]),
            "with fewer a percentile decides nothing; default auto, 10 / (1 - q)",
        ),
        key("abort", TableOf(&ABORT), "ends the run as soon as it fails; default: judged at the end"),
    ],
};
pub(crate) const ABORT: Keys = Keys {
    keys: &[key("after", DURATION, "looked at from this long after the first phase began; required")],
};
pub(crate) const SWEEP: Keys = Keys {
    keys: &[
        key(
            "mode",
            Choice(&["grid", "zip", "list"]),
            "all combinations, side by side, or one axis at a time; default grid",
        ),
        key("axis", List(&TableOf(&AXIS)), "what varies"),
        key("exclude", List(&Anything), "tables of path = value; cells where all of one hold are left out"),
    ],
};
pub(crate) const AXIS: Keys = Keys {
    keys: &[
        key("path", Text, "as --set takes it, such as clients.chat.count; required"),
        key("values", List(&Anything), "at least one; required"),
    ],
};
pub(crate) const SEARCH: Keys = Keys {
    keys: &[
        key("path", Text, "as --set takes it, such as clients.chat.count; required"),
        key("lo", Anything, "lowest value, as the key itself is written; required"),
        key("hi", Anything, "highest value; required"),
        key("method", Choice(&["bracket"]), "double until a probe fails, then bisect; default bracket"),
        key("tolerance", Probability, "ends when the interval is this share of its lower end; default 5%"),
        key("repeats", Count, "runs of each probe; default that of [run]"),
    ],
};
pub(crate) const BASELINE: Keys = Keys {
    keys: &[
        key("path", Text, "folder or result.json of the earlier run; required"),
        key(
            "regress",
            Either(&[TableOf(&REGRESS), List(&TableOf(&REGRESS))]),
            "what must not get worse; at least one",
        ),
    ],
};
pub(crate) const REGRESS: Keys = Keys {
    keys: &[
        key("metric", Text, "such as p99(delivery_latency); required"),
        key("worse_by", Probability, "smallest change that counts; default 10%"),
        key("alpha", Probability, "chance of a false alarm, after correction; default 5%"),
        key("correction", Choice(&["holm", "none"]), "for many comparisons at once; default holm"),
        key("confirm", Count, "0 or 1: whether another round of runs must show it again; default 1"),
    ],
};
pub(crate) const MEASURE: Keys = Keys {
    keys: &[
        key("interval", DURATION, "shortest step of time series; default 1s"),
        key("digits", Count, "significant digits of latencies; 3, nothing else"),
        key(
            "per_client",
            Unit("top:20"),
            "rows of single clients: none, top:N by p99, or all; default top:20",
        ),
        key("traces", TableOf(&TRACES), "transport traces"),
        key("exemplars", Count, "slowest deliveries of each workload kept with their story; default 5"),
        key(
            "deliveries",
            Either(&[Count, Choice(&["all", "none"])]),
            "rows of deliveries.csv a cell; default 200000",
        ),
        key("invalid_if", TableOf(&INVALID_IF), "when the generator was measured, and not the system"),
        key("warmup_check", Bool, "whether MSER-5 warns of a longer warm-up; default true"),
    ],
};
pub(crate) const TRACES: Keys = Keys {
    keys: &[
        key("clients", Seed, "traced connections, those of the first clients; default 1"),
        key("qlog", Bool, "write each end's trace as qlog, for qvis and others; default false"),
    ],
};
pub(crate) const INVALID_IF: Keys = Keys {
    keys: &[
        key("schedule_lag_p99", DURATION, "messages handed over later than this; default 5ms"),
        key("hiccup_max", DURATION, "a pause of the machine longer than this; default 100ms"),
        key("harness_drops", Count, "more packets than this lost by the harness; default 0"),
        key(
            "achieved_rate_below",
            Probability,
            "less than this share of the schedule was offered; default 98%",
        ),
    ],
};
pub(crate) const OUTPUT: Keys = Keys {
    keys: &[
        key("dir", Text, "folder; {name} and {run_id} are filled in; default reports/{name}"),
        key(
            "formats",
            List(&Choice(&["json", "csv", "html", "png", "svg", "hgrm", "hlog", "junit", "prom"])),
            "what is written beside result.json and the run files; default all",
        ),
        key(
            "figures",
            Either(&[Choice(&["auto"]), List(&Text)]),
            "F1 to F16, or those with data; default auto",
        ),
    ],
};
