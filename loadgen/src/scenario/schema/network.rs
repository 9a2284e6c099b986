//! Keys of the transport and of the network between client and server.

use super::Shape::{Bool, Choice, Count, Either, FromOne, List, Number, Probability, TableOf, Text, Unit};
use super::{DURATION, Keys, SIZE, key};

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
            Either(&[Count, Choice(&["unlimited"])]),
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
        key(
            "extends",
            Text,
            "what the link begins as: builtin:NAME of `netem-proxy presets`, or another link; default nothing",
        ),
        key("both", DIRECTIONS, "both directions; up and down win over it, key by key"),
        key("up", DIRECTIONS, "client to server"),
        key("down", DIRECTIONS, "server to client"),
        key(
            "scope",
            Choice(&["per-client", "shared"]),
            "a link each, or one for all its clients; default per-client",
        ),
        key("event", List(&TableOf(&EVENT)), "what happens to the link during the run"),
    ],
};
const DIRECTIONS: super::Shape = Either(&[TableOf(&DIRECTION), Text]);
pub(crate) const DIRECTION: Keys = Keys { keys: &DIRECTION_KEYS };
const DIRECTION_KEYS: [super::Key; 13] = [
    key(
        "loss",
        Either(&[Probability, Text, TableOf(&LOSS)]),
        "lost packets; a bare probability is bernoulli, other text a SPEC's; default none",
    ),
    key("loss_at", Choice(&["entry", "wire"]), "before the queue, or behind the bottleneck; default entry"),
    key(
        "delay",
        Either(&[DURATION, TableOf(&DELAY)]),
        "one-way delay; a bare duration is constant; default 0s",
    ),
    key("rate", Unit("10Mbit/s"), "rate of the bottleneck, or a SPEC's; default unlimited"),
    key("trace", Text, "file of mahimahi's delivery opportunities, in the place of rate; default none"),
    key(
        "queue",
        Either(&[TableOf(&QUEUE), Text]),
        "what waits before the bottleneck; text is a SPEC's; default droptail, 1000 packets",
    ),
    key("duplicate", Probability, "packets carried twice; default 0%"),
    key("corrupt", Probability, "packets with a flipped bit; default 0%"),
    key("reorder", TableOf(&REORDER), "packets held back so that later ones overtake; default none"),
    key("mtu", SIZE, "larger packets are dropped; default none"),
    key("spec", Text, "a SPEC of netem-proxy, under the other keys; a bare text is short for it"),
    key("blackhole", Bool, "event: true: nothing passes"),
    key("hold", Bool, "event: true: what arrives waits for the end of it"),
];
pub(crate) const LOSS: Keys = Keys {
    keys: &[
        key(
            "model",
            Choice(&["bernoulli", "gilbert-elliott", "four-state", "every-nth", "list", "trace"]),
            "default bernoulli",
        ),
        key("p", Probability, "bernoulli: share of packets lost"),
        key("p_gb", Probability, "gilbert-elliott: chance to turn bad, a packet"),
        key("p_bg", Probability, "gilbert-elliott: chance to turn good, a packet"),
        key("loss_bad", Probability, "gilbert-elliott: loss in the bad state; default 100%"),
        key("loss_good", Probability, "gilbert-elliott: loss in the good state; default 0%"),
        key("mean", Probability, "gilbert-elliott, with burst and instead of p_gb and p_bg: mean loss"),
        key("burst", FromOne, "bernoulli and gilbert-elliott: packets lost in a row, on average"),
        key("p13", Probability, "four-state: received to lost in a burst; required there"),
        key("p31", Probability, "four-state: lost to received; default 1 - p13"),
        key("p32", Probability, "four-state: lost to received within a burst; default 0%"),
        key("p23", Probability, "four-state: received within a burst to lost; default 100%"),
        key("p14", Probability, "four-state: received to lost alone; default 0%"),
        key("n", Count, "every-nth: each n-th packet is lost"),
        key("numbers", List(&Count), "list: exactly these packets, counted from 1"),
        key("file", Text, "trace: fates of packets, one after the other"),
    ],
};
pub(crate) const DELAY: Keys = Keys {
    keys: &[
        key("base", DURATION, "mean one-way delay; default 0s"),
        key(
            "jitter",
            DURATION,
            "standard deviation; uniform: half width; exponential: mean addition; default 0s",
        ),
        key(
            "dist",
            Choice(&[
                "normal",
                "uniform",
                "lognormal",
                "exponential",
                "pareto",
                "paretonormal",
                "table",
                "trace",
            ]),
            "law of the jitter; table and trace are files; default normal",
        ),
        key("correlation", Probability, "of successive delays; default 0%"),
        key("keep_order", Bool, "false: jitter reorders packets; default true"),
        key(
            "file",
            Text,
            "table: quantiles as netem's .dist; trace: delay over time, instead of the other keys",
        ),
    ],
};
pub(crate) const QUEUE: Keys = Keys {
    keys: &[
        key(
            "kind",
            Choice(&["droptail", "drophead", "codel", "pie", "fq-codel", "red", "infinite"]),
            "default droptail",
        ),
        key(
            "limit",
            Unit("100 packets"),
            "packets, bytes (64KiB), time (100ms) or products of bandwidth and delay (1bdp) that may wait; default \
             1000 packets",
        ),
        key("ecn", Bool, "codel, pie, fq-codel, red: mark what can be marked; default false"),
        key("target", DURATION, "codel, fq-codel: default 5ms; pie: default 15ms"),
        key("interval", DURATION, "codel, fq-codel: default 100ms"),
        key("update", DURATION, "pie: default 15ms"),
        key("max_burst", DURATION, "pie: default 150ms"),
        key("flows", Count, "fq-codel: default 1024"),
        key("quantum", SIZE, "fq-codel: default 1514B"),
        key("min", SIZE, "red: mean queue that begins to lose; default 7500B"),
        key("max", SIZE, "red: mean queue that loses max_p; default 22500B"),
        key("max_p", Probability, "red: default 10%"),
        key("weight", Number, "red: share of a new sample in the mean; default 0.002"),
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
        key("phase", Text, "at counts from the beginning of this phase; default: the first"),
        key("for", DURATION, "how long it lasts; required, but for a change that stays and rebind alone"),
        key("every", DURATION, "again after this long; default: once"),
        key("jitter", DURATION, "each time is later by up to this, drawn by the seed; default 0s"),
        key("set", TableOf(&EVENT_SET), "what it changes; required without rebind"),
        key("rebind", Bool, "true: at its end clients have another address and port; default false"),
    ],
};
pub(crate) const EVENT_SET: Keys = Keys {
    keys: &[
        key("both", TableOf(&DIRECTION), "both directions"),
        key("up", TableOf(&DIRECTION), "client to server"),
        key("down", TableOf(&DIRECTION), "server to client"),
    ],
};
