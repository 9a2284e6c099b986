//! What shells count besides their links: everything that a socket can do to a packet.

/// [`super::ProxySnapshot`] says what each means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) flows: u64,
    pub(super) flows_closed: u64,
    pub(super) io_overrun: u64,
    /// Of sockets that are gone; those of open ones are asked when a snapshot is made.
    pub(super) kernel_drops: u64,
    pub(super) malformed: u64,
    pub(super) refused: u64,
    pub(super) undeliverable: u64,
    pub(super) back_pressure: u64,
    pub(super) rebinds: u64,
}
