//! What passed a link, as pcapng.
