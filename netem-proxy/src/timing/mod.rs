//! Waiting for a deadline or for input, to the microsecond.
