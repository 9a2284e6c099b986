//! Kernel network stacks behind a link: TUN devices and network namespaces.
