//! Keys of clients, phases and workloads.

use super::Shape::{Bool, Choice, Count, Either, FromOne, List, Number, Probability, TableOf, Text, Unit};
use super::{DURATION, Keys, SIZE, key};

pub(crate) const CLIENTS: Keys = Keys {
    keys: &[
        key("name", Text, "unique; required"),
        key("count", Count, "at least 1; this or share"),
        key("share", Probability, "of run.clients, in the place of count; all shares together are 1"),
        key("link", Text, "name of a link; default: straight to the server"),
        key("rooms", TableOf(&ROOMS), "how clients share rooms"),
        key(
            "ramp",
            Either(&[DURATION, TableOf(&RAMP)]),
            "how they join; a bare duration is linear; default 0s, all at once",
        ),
        key("reader", TableOf(&READER), "how fast they read; default at once"),
    ],
};
pub(crate) const ROOMS: Keys = Keys {
    keys: &[
        key("size", Count, "members of a room; default 10"),
        key("count", Count, "in the place of size: rooms, shared by all groups that count them"),
        key("per_client", Count, "rooms that each client is in; default 1"),
        key(
            "popularity",
            Unit("zipf(1.1)"),
            "uniform: dealt evenly; zipf(s): drawn, the room of rank r by 1/r^s; default uniform",
        ),
    ],
};
pub(crate) const RAMP: Keys = Keys {
    keys: &[
        key("over", DURATION, "until the last client begins; required"),
        key("shape", Choice(&["linear", "step", "exp", "poisson"]), "default linear"),
        key("steps", Count, "step: batches of one size; default 10"),
    ],
};
pub(crate) const READER: Keys =
    Keys { keys: &[key("stall", DURATION, "after each message nothing is read for so long; default 0s")] };
pub(crate) const PHASE: Keys = Keys {
    keys: &[
        key("name", Text, "unique; required"),
        key("duration", DURATION, "workloads send for this long"),
        key(
            "drain",
            Unit("max(10s, 4*rto)"),
            "instead of duration, in the last phase: nothing new is sent, at most this long",
        ),
        key("record", Bool, "whether messages meant for this phase are counted; default true (drain: false)"),
        key(
            "clients",
            Either(&[Count, Probability]),
            "how many of each group are active: a share (1.0, 50%) or a whole number; default 100%",
        ),
        key("rate", Number, "multiplies the rates of open loops; default 1"),
        key("ramp", Either(&[DURATION, TableOf(&RAMP)]), "how added clients become active; default at once"),
    ],
};
pub(crate) const WORKLOAD: Keys = Keys {
    keys: &[
        key("name", Text, "unique; required"),
        key(
            "kind",
            Choice(&["room", "group", "private", "broadcast", "file", "churn", "presence", "ping", "idle"]),
            "who hears it, or what else is done; group is room; default room",
        ),
        key("clients", List(&Text), "groups that do it; default all"),
        key(
            "weight",
            Number,
            "clients of workloads with a weight do one of these, dealt in proportion; default none",
        ),
        key("phases", List(&Text), "when; default: every phase with a duration"),
        key("loop", Choice(&["open", "closed"]), "by schedule, or as acks come; default open"),
        key("arrival", TableOf(&ARRIVAL), "the schedule of an open loop; required there"),
        key(
            "max_in_flight",
            Count,
            "open loop: messages a client has under way, more are throttled; default no bound",
        ),
        key("in_flight", Count, "closed loop: unacknowledged messages a client keeps; default 1"),
        key(
            "think",
            Either(&[DURATION, TableOf(&SPAN)]),
            "closed loop: from an ack to the next message; default 0s",
        ),
        key("timeout", DURATION, "not heard by then is lost; default 60s, or the drain if longer"),
        key(
            "size",
            Either(&[SIZE, TableOf(&SIZES)]),
            "bytes of text, or of a file; default 200B, file 64KiB",
        ),
        key("delivery", TableOf(&DELIVERY), "rooms: in which order, and how long a message is tried"),
        key("session", Either(&[DURATION, TableOf(&SPAN)]), "churn: from welcome to leaving; required there"),
        key("off", Either(&[DURATION, TableOf(&SPAN)]), "churn: from leaving to connecting; default 1s"),
        key("abrupt", Probability, "churn: departures without a word; default 0%"),
    ],
};
pub(crate) const ARRIVAL: Keys = Keys {
    keys: &[
        key(
            "process",
            Choice(&["poisson", "constant", "gamma", "mmpp", "burst", "trace"]),
            "default poisson",
        ),
        key("rate", Unit("2/s"), "messages a second, on average; required but for burst and trace"),
        key("per", Choice(&["client", "total"]), "whose rate it is; default client"),
        key("cv", Number, "gamma: coefficient of variation of the gaps, 1 is poisson; required there"),
        key("factor", FromOne, "mmpp: rate in busy against that in calm; default 10"),
        key("calm", DURATION, "mmpp: mean time in calm; default 9s"),
        key("busy", DURATION, "mmpp: mean time in busy; default 1s"),
        key("n", Count, "burst: messages at once; required there"),
        key("every", DURATION, "burst: from one to the next; required there"),
        key(
            "file",
            Text,
            "trace: one time a line, such as 1.5s, ascending; the last is the period; required there",
        ),
    ],
};
pub(crate) const DELIVERY: Keys = Keys {
    keys: &[
        key("order", Choice(&["ordered", "unordered", "latest"]), "when it is passed on; default ordered"),
        key(
            "reliability",
            Either(&[Choice(&["reliable"]), TableOf(&RELIABILITY)]),
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
        key("dist", Choice(&["uniform", "lognormal", "pareto", "trace"]), "required"),
        key("min", SIZE, "uniform, pareto: smallest"),
        key("max", SIZE, "uniform: largest"),
        key("median", SIZE, "lognormal: half are smaller"),
        key("p99", SIZE, "lognormal: one in a hundred is larger"),
        key("alpha", Number, "pareto: exponent of the tail, such as 1.3"),
        key("cap", SIZE, "pareto: largest"),
        key("file", Text, "trace: one size a line, such as 1200B; begins again at its end"),
    ],
};
pub(crate) const SPAN: Keys = Keys {
    keys: &[
        key("dist", Choice(&["exp", "uniform", "lognormal", "pareto"]), "required"),
        key("mean", DURATION, "exp: mean"),
        key("min", DURATION, "uniform, pareto: shortest"),
        key("max", DURATION, "uniform: longest"),
        key("median", DURATION, "lognormal: half are shorter"),
        key("p99", DURATION, "lognormal: one in a hundred is longer"),
        key("alpha", Number, "pareto: exponent of the tail"),
        key("cap", DURATION, "pareto: longest"),
    ],
};
