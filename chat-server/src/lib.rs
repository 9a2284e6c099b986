//! The chat server.
pub mod hub;
