//! The HTTP API: what Toxiproxy clients speak, and our own.
