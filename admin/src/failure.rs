//! Why a command did not do what was asked, and the exit code that says so to a script.

use std::io;

/// One line for a person, one number for a script.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No token, or the wrong one.
    #[error("{0}")]
    Refused(String),
    /// The server knows no such client.
    #[error("{0}")]
    NotFound(String),
    /// No server, or none that answers in time.
    #[error("{0}")]
    Unreachable(String),
    /// The answer is not what this version expects.
    #[error("{0}")]
    Answer(String),
    #[error("writing the output: {0}")]
    Output(io::Error),
    /// Nobody reads our output any more, which is no failure.
    #[error("the output was closed")]
    ClosedPipe,
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Answer(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            Self::NotFound(_) => 4,
            Self::Unreachable(_) => 5,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Output(error),
        }
    }
}
