//! Every key of a scenario file: one table that refuses unknown keys, suggests the nearest, and prints the JSON Schema.
//!
//! The reader (`read.rs`) asks it which keys a table may have; `loadgen schema` prints it for editors; a test holds
//! `docs/SCENARIOS.md` to it. What a value *means* is decided where it is read, so this table has shapes and words only.

use serde_json::{Map, Value, json};

use Shape::{Bool, Choice, Count, List, Named, Probability, Seed, TableOf, Text, Unit};

/// The keys of one table.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) keys: &'static [Key],
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// One line: meaning and default.
    pub(crate) help: &'static str,
}

/// What may stand behind a key. Alternatives are tried in no order: a value must fit one.
#[derive(Debug)]
pub(crate) enum Shape {
    Text,
    /// Text with a unit, and an example of it.
    Unit(&'static str),
    /// Whole number, or text such as `"10k"`.
    Count,
    /// Whole number only.
    Seed,
    /// 0 to 1, or text such as `"10%"`.
    Probability,
    /// Any number from 1.
    FromOne,
    Bool,
    Choice(&'static [&'static str]),
    TableOf(&'static Keys),
    /// A table whose keys the user chooses.
    Named(&'static Keys),
    List(&'static Shape),
    Either(&'static [Shape]),
    Anything,
}

const fn key(name: &'static str, shape: Shape, help: &'static str) -> Key {
    Key { name, shape, help }
}

const DURATION: Shape = Unit("50ms");
const SIZE: Shape = Unit("1200B");

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
        key("protocol", TableOf(&PROTOCOL), "the transport under test"),
        key("link", Named(&LINK), "networks, by name"),
        key("clients", List(&TableOf(&CLIENTS)), "groups of clients; at least one"),
        key("phase", List(&TableOf(&PHASE)), "spans of the run, in order; at least one with a duration"),
        key("workload", List(&TableOf(&WORKLOAD)), "who sends what, and when"),
        key("assert", List(&TableOf(&ASSERT)), "what must hold"),
        key("sweep", TableOf(&SWEEP), "values to try, each in its own cell"),
        key("measure", TableOf(&MEASURE), "what is recorded"),
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
        key("seed", Seed, "root of all chance; default 42"),
        key("repeats", Count, "independent runs of each cell; default 1"),
        key("time_limit", DURATION, "longer runs are stopped and INVALID; default 15m"),
    ],
};
pub(crate) const PROTOCOL: Keys = Keys {
    keys: &[
        key(
            "transport",
            Choice(&["udp", "tcp", "tls", "kernel-tcp", "quic"]),
            "what carries messages: ours on datagrams or streams, or a baseline; default udp",
        ),
        key(
            "profile",
            Choice(&["modern", "classic"]),
            "set of constants the other keys change; default modern",
        ),
        key(
            "congestion",
            Text,
            "cubic, reno, bbr, or fixed:32 for a window of 32 segments; default cubic, in classic reno",
        ),
        key("codec", Choice(&["json", "binary"]), "how frames are written; default json"),
        key(
            "encryption",
            Bool,
            "udp: sealed datagrams, real driver only; tls and quic are always encrypted; default false",
        ),
        key("mss", SIZE, "largest frame body; default 1185B, what fits a datagram of 1200B"),
        key("initial_cwnd", Count, "segments; default 10 (classic 1)"),
        key(
            "initial_ssthresh",
            Shape::Either(&[Count, Choice(&["unlimited"])]),
            "segments; default unlimited (classic 64)",
        ),
        key("initial_rto", DURATION, "before the first RTT sample; default 1s"),
        key("rto_min", DURATION, "default 200ms (classic 1s)"),
        key("rto_max", DURATION, "default 5s (classic 60s)"),
        key("packet_threshold", Count, "later acks that make a packet lost; default 3"),
        key("time_threshold", Bool, "also lose by time, and probe the tail; default true (classic false)"),
        key("max_ack_delay", DURATION, "default 5ms (classic 0s)"),
        key("max_attempts", Count, "transmissions before a message fails; default 30"),
        key("receive_window", SIZE, "default 1MiB"),
        key(
            "redundancy",
            Choice(&["off", "twice", "bundle"]),
            "what a thin flow sends more than once; default twice (classic off)",
        ),
        key("bundle-copies", Count, "bundle: copies of each segment, 1 to 3; default 3"),
        key("bundle-rate", SIZE, "bundle: bytes a second above which a flow is not thin; default 64kB"),
        key("bundle-solo-delay", DURATION, "bundle: a copy without company leaves after this; default 10ms"),
        key(
            "stream-link",
            Choice(&["frames", "packets"]),
            "tcp, tls: what links lose: frames of ours, or packets of the kernel's TCP below; default frames",
        ),
        key(
            "stream-hint",
            Choice(&["fifo", "datagram"]),
            "tcp, tls: what we rely on; datagram repairs what the stream repairs already; default fifo",
        ),
        key(
            "tcp-congestion",
            Choice(&["reno", "cubic", "bbr"]),
            "kernel-tcp and stream-link packets: the kernel's congestion control; default cubic",
        ),
        key("mtu", SIZE, "the same: largest IP packet on the link; default 1500B"),
        key("quic-congestion", Choice(&["reno", "cubic", "bbr"]), "quic: quinn's; default cubic"),
        key(
            "quic-streams",
            Choice(&["one", "message"]),
            "quic: all messages on one stream, or a stream each; default one",
        ),
    ],
};
pub(crate) const LINK: Keys = Keys {
    keys: &[
        key("both", TableOf(&DIRECTION), "both directions; up and down win over it, key by key"),
        key("up", TableOf(&DIRECTION), "client to server"),
        key("down", TableOf(&DIRECTION), "server to client"),
        key(
            "scope",
            Choice(&["per-client", "shared"]),
            "a link each, or one for all its clients; default per-client",
        ),
        key("event", List(&TableOf(&EVENT)), "what happens to the link during the run"),
    ],
};
pub(crate) const DIRECTION: Keys = Keys {
    keys: &[
        key(
            "loss",
            Shape::Either(&[Probability, TableOf(&LOSS)]),
            "lost packets; a bare probability is bernoulli; default none",
        ),
        key(
            "delay",
            Shape::Either(&[DURATION, TableOf(&DELAY)]),
            "one-way delay; a bare duration is constant; default 0s",
        ),
        key("rate", Unit("10Mbit/s"), "rate of the bottleneck; default unlimited"),
        key("queue", TableOf(&QUEUE), "what waits before the bottleneck; default droptail, 1000 packets"),
        key("duplicate", Probability, "packets carried twice; default 0%"),
        key("corrupt", Probability, "packets with a flipped bit; default 0%"),
        key("reorder", TableOf(&REORDER), "packets held back so that later ones overtake; default none"),
    ],
};
pub(crate) const LOSS: Keys = Keys {
    keys: &[
        key("model", Choice(&["bernoulli", "gilbert-elliott", "every-nth"]), "default bernoulli"),
        key("p", Probability, "bernoulli: chance to lose a packet"),
        key("p_gb", Probability, "gilbert-elliott: chance to turn bad, a packet"),
        key("p_bg", Probability, "gilbert-elliott: chance to turn good, a packet"),
        key("loss_bad", Probability, "gilbert-elliott: loss in the bad state; default 100%"),
        key("loss_good", Probability, "gilbert-elliott: loss in the good state; default 0%"),
        key("mean", Probability, "gilbert-elliott, with burst and instead of p_gb and p_bg: mean loss"),
        key("burst", Shape::FromOne, "gilbert-elliott, with mean: packets lost in a row, on average"),
        key("n", Count, "every-nth: each n-th packet is lost"),
    ],
};
pub(crate) const DELAY: Keys = Keys {
    keys: &[
        key("base", DURATION, "mean one-way delay; default 0s"),
        key("jitter", DURATION, "normal: standard deviation; uniform: half width; default 0s"),
        key("dist", Choice(&["normal", "uniform"]), "default normal"),
        key("keep_order", Bool, "false: jitter reorders packets; default true"),
    ],
};
pub(crate) const QUEUE: Keys = Keys {
    keys: &[
        key("kind", Choice(&["droptail", "infinite"]), "default droptail"),
        key("limit", Unit("100 packets"), "packets or bytes (64KiB) that may wait; default 1000 packets"),
    ],
};
pub(crate) const REORDER: Keys = Keys {
    keys: &[
        key("p", Probability, "chance that a packet is held back; required"),
        key("extra", DURATION, "by how much; required"),
    ],
};
pub(crate) const EVENT: Keys = Keys {
    keys: &[
        key("at", DURATION, "since the first phase began; default: every"),
        key("for", DURATION, "how long it lasts; required"),
        key("every", DURATION, "again after this long; default: once"),
        key("set", TableOf(&EVENT_SET), "what it changes; required"),
    ],
};
pub(crate) const EVENT_SET: Keys = Keys {
    keys: &[
        key("both", TableOf(&EVENT_DIRECTION), "both directions"),
        key("up", TableOf(&EVENT_DIRECTION), "client to server"),
        key("down", TableOf(&EVENT_DIRECTION), "server to client"),
    ],
};
pub(crate) const EVENT_DIRECTION: Keys =
    Keys { keys: &[key("blackhole", Bool, "true: nothing passes; required")] };
pub(crate) const CLIENTS: Keys = Keys {
    keys: &[
        key("name", Text, "unique; required"),
        key("count", Count, "at least 1; required"),
        key("link", Text, "name of a link; default: straight to the server"),
        key("rooms", TableOf(&ROOMS), "how clients share rooms"),
        key("ramp", DURATION, "connects are spread over this span; default 0s"),
    ],
};
pub(crate) const ROOMS: Keys = Keys { keys: &[key("size", Count, "members of a room; default 10")] };
pub(crate) const PHASE: Keys = Keys {
    keys: &[
        key("name", Text, "unique; required"),
        key("duration", DURATION, "workloads send for this long"),
        key(
            "drain",
            DURATION,
            "instead of duration, in the last phase: nothing new is sent, at most this long",
        ),
        key("record", Bool, "whether messages meant for this phase are counted; default true (drain: false)"),
    ],
};
pub(crate) const WORKLOAD: Keys = Keys {
    keys: &[
        key("name", Text, "unique; required"),
        key("kind", Choice(&["room", "group", "private", "broadcast"]), "who hears it; default room"),
        key("clients", List(&Text), "groups that send; default all"),
        key("loop", Choice(&["open", "closed"]), "by schedule, or as acks come; default open"),
        key("arrival", TableOf(&ARRIVAL), "the schedule of an open loop; required there"),
        key("in_flight", Count, "closed loop: unacknowledged messages a client keeps; default 1"),
        key("size", Shape::Either(&[SIZE, TableOf(&SIZES)]), "bytes of text; default 200B"),
        key("delivery", TableOf(&DELIVERY), "rooms: in which order, and how long a message is tried"),
    ],
};
pub(crate) const ARRIVAL: Keys = Keys {
    keys: &[
        key("process", Choice(&["poisson", "constant"]), "default poisson"),
        key("rate", Unit("2/s"), "messages a second; required"),
        key("per", Choice(&["client", "total"]), "whose rate it is; default client"),
    ],
};
pub(crate) const DELIVERY: Keys = Keys {
    keys: &[
        key("order", Choice(&["ordered", "unordered", "latest"]), "when it is passed on; default ordered"),
        key(
            "reliability",
            Shape::Either(&[Choice(&["reliable"]), TableOf(&RELIABILITY)]),
            "how long its sender tries; default reliable",
        ),
    ],
};
pub(crate) const RELIABILITY: Keys = Keys {
    keys: &[
        key("attempts", Count, "transmissions of each piece; at least 1"),
        key("deadline", DURATION, "nothing leaves later than this after the message was handed over"),
    ],
};
pub(crate) const SIZES: Keys = Keys {
    keys: &[
        key("dist", Choice(&["uniform", "lognormal"]), "required"),
        key("min", SIZE, "uniform: smallest"),
        key("max", SIZE, "uniform: largest"),
        key("median", SIZE, "lognormal: half are smaller"),
        key("p99", SIZE, "lognormal: one in a hundred is larger"),
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
    ],
};
pub(crate) const SWEEP: Keys = Keys {
    keys: &[
        key(
            "mode",
            Choice(&["grid", "zip", "list"]),
            "all combinations, side by side, or one axis at a time; default grid",
        ),
        key("axis", List(&TableOf(&AXIS)), "what varies"),
    ],
};
pub(crate) const AXIS: Keys = Keys {
    keys: &[
        key("path", Text, "as --set takes it, such as clients.chat.count; required"),
        key("values", List(&Shape::Anything), "at least one; required"),
    ],
};
pub(crate) const MEASURE: Keys = Keys { keys: &[key("traces", TableOf(&TRACES), "transport traces")] };
pub(crate) const TRACES: Keys = Keys {
    keys: &[
        key("clients", Seed, "traced connections, those of the first clients; default 1"),
        key("qlog", Bool, "write each end's trace as qlog, for qvis and others; default false"),
    ],
};

impl Keys {
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }
}

/// JSON Schema (2020-12) of a scenario file, for editors that complete and check TOML.
#[must_use]
pub fn schema_json() -> Value {
    let mut root = table_schema(&ROOT);
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "Squall scenario".into();
    root["required"] = json!(["schema"]);
    root["properties"]["schema"] = json!({ "const": 1, "description": ROOT.keys[0].help });
    root["properties"]["extends"] = json!({
        "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
        "description": ROOT.keys[1].help,
    });
    root
}

fn table_schema(keys: &Keys) -> Value {
    let properties: Map<String, Value> = keys
        .keys
        .iter()
        .map(|key| {
            let mut schema = shape_schema(&key.shape);
            schema["description"] = key.help.into();
            (key.name.to_owned(), schema)
        })
        .collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn shape_schema(shape: &Shape) -> Value {
    match shape {
        Text => json!({ "type": "string" }),
        Unit(example) => json!({ "type": "string", "examples": [example] }),
        Count => {
            json!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "examples": ["10k"] }] })
        }
        Seed => json!({ "type": "integer", "minimum": 0 }),
        Probability => json!({ "anyOf": [
            { "type": "number", "minimum": 0, "maximum": 1 },
            { "type": "string", "examples": ["10%"] },
        ] }),
        Shape::FromOne => json!({ "type": "number", "minimum": 1 }),
        Bool => json!({ "type": "boolean" }),
        Choice(words) => json!({ "enum": words }),
        TableOf(keys) => table_schema(keys),
        Named(keys) => json!({ "type": "object", "additionalProperties": table_schema(keys) }),
        List(item) => json!({ "type": "array", "items": shape_schema(item) }),
        Shape::Either(shapes) => json!({ "anyOf": shapes.iter().map(shape_schema).collect::<Vec<_>>() }),
        Shape::Anything => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_schema_knows_nested_keys() {
        let schema = schema_json();
        let link = &schema["properties"]["link"]["additionalProperties"]["properties"]["both"];
        assert_eq!(link["properties"]["rate"]["type"], "string");
        assert_eq!(link["additionalProperties"], false);
        assert_eq!(schema["properties"]["schema"]["const"], 1);
    }
}
