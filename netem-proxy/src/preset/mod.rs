//! Built-in links, with their source.
