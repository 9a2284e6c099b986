//! The arrival log of a live run, and its replay.
