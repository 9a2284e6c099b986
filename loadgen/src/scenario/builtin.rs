//! The built-in scenarios of `loadgen --test connectivity|throughput|concurrency|loss`.
//!
//! They ask a server that is already running, so there is no link: the network is the real one, or whatever stands in
//! front of the server. Each is the text of a scenario file, so that what ran can be printed, kept and changed. The
//! loss test has the emulated link of `loss10` on the way to the server, because without loss it would ask nothing.

use std::str::FromStr;
use std::time::Duration;

use units::format_duration;

use super::error::suggest;

/// One of the four families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    Connectivity,
    Throughput,
    Concurrency,
    Loss,
}

impl Builtin {
    /// Every built-in scenario, with the word that `--test` takes.
    pub const ALL: [(&'static str, Self); 4] = [
        ("connectivity", Self::Connectivity),
        ("throughput", Self::Throughput),
        ("concurrency", Self::Concurrency),
        ("loss", Self::Loss),
    ];

    /// The word that `--test` takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, test)| *test == self).map_or("", |(name, _)| name)
    }

    /// The scenario as TOML for [`super::load_str`]. `duration` is the measured time, warm-up and drain come on top;
    /// `clients` is at least 2.
    #[must_use]
    pub fn toml(self, duration: Duration, clients: u32) -> String {
        let (name, clients) = (self.name(), clients.max(2));
        let measured = format_duration(duration.max(SHORTEST));
        let (question, title, body) = match self {
            Self::Connectivity => (
                "Can clients join a running server, talk and be heard?",
                "Connectivity: join, talk, be heard",
                CONNECTIVITY.to_owned(),
            ),
            Self::Throughput => (
                "How many messages a second does a running server carry?",
                "Throughput: every client sends as fast as acks come",
                THROUGHPUT.to_owned(),
            ),
            Self::Concurrency => (
                "How long does a message take while everybody talks?",
                "Concurrency: one message a second from each client",
                CONCURRENCY.to_owned(),
            ),
            Self::Loss => (
                "What do 10 % loss and 50 ms delay cost, and does every message arrive once?",
                "Loss: 10 % loss and 50 ms each way",
                LOSS.to_owned(),
            ),
        };
        let link = if self == Self::Loss { "link = \"lossy\"\n" } else { "" };
        format!(
            "# {question}\nschema = 1\n\n[scenario]\nname = \"test-{name}\"\ntitle = \"{title}\"\nkind = \"{name}\"\n\n\
             [run]\ndriver = \"real\"\ntime_limit = \"24h\"\n\n\
             [[clients]]\nname = \"chat\"\ncount = {clients}\n{link}rooms = {{ size = 10 }}\nramp = \"1s\"\n\n\
             [[phase]]\nname = \"warmup\"\nduration = \"1s\"\nrecord = false\n\n\
             [[phase]]\nname = \"steady\"\nduration = \"{measured}\"\n\n\
             [[phase]]\nname = \"drain\"\ndrain = \"15s\"\n\n{body}\n\
             [[assert]]\nid = \"exactly-once\"\nexpr = \"lost + duplicated + reordered + corrupted == 0\"\n"
        )
    }
}

impl FromStr for Builtin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|&(_, test)| test).ok_or_else(|| {
            format!("\"{text}\" is no test; {}", suggest(text, Self::ALL.iter().map(|(name, _)| *name)))
        })
    }
}

const CONNECTIVITY: &str = r#"[[workload]]
name = "hello"
arrival = { process = "constant", rate = "1/s" }
size = "100B"

[[assert]]
id = "joined"
expr = "count(connect_latency) > 0"
"#;

const THROUGHPUT: &str = r#"[[workload]]
name = "bulk"
loop = "closed"
in_flight = 16
size = "200B"
"#;

const CONCURRENCY: &str = r#"[[workload]]
name = "room-chat"
arrival = { process = "poisson", rate = "1/s" }
size = { dist = "lognormal", median = "120B", p99 = "900B" }
"#;

const LOSS: &str = r#"[link.lossy.both]
loss = "10%"
delay = "50ms"

[[workload]]
name = "room-chat"
arrival = { process = "poisson", rate = "2/s" }
size = "200B"
"#;

/// A shorter measurement says nothing, and a duration of zero is not a phase.
const SHORTEST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::super::load_str;
    use super::*;

    #[test]
    fn every_builtin_scenario_loads_with_its_clients_and_duration() {
        for (name, test) in Builtin::ALL {
            assert_eq!(name.parse(), Ok(test));
            let loaded = load_str(name, &test.toml(Duration::from_secs(7), 20), &[]);
            let scenario = loaded.unwrap_or_else(|error| panic!("{error}")).scenario;
            assert_eq!((scenario.client_count(), scenario.phases[1].duration), (20, Duration::from_secs(7)));
        }
        assert!("los".parse::<Builtin>().unwrap_err().contains("did you mean \"loss\"?"));
    }
}
