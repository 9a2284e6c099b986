//! A relay for TCP byte streams, and the toxics that can be put on it.
