//! Whether anybody tells what the messages of a run waited for on their two hops.
//!
//! Both ends name a message as it is named on the wire, `c3-17`: the author, and its number in the author's session; the
//! recorder knows which message of the schedule that is. On sockets the server in this process is asked for its part a few
//! times a second; one that runs elsewhere is not ours to ask, and half of the story would be none.

/// Why nobody tells what messages waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTold {
    /// The transport is not ours.
    Baseline,
    /// The server is not part of the run.
    ServerElsewhere,
}

impl std::fmt::Display for NotTold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Baseline => "a baseline does not tell",
            Self::ServerElsewhere => "the server is not part of the run",
        })
    }
}
