//! Memory for packets, bounded and used again.
//!
//! A superpacket is read into a buffer of 64 KiB and stays there until it is written; the buffer then returns to the
//! pool. A small packet is copied into memory of its own size at once: thousands of them under way would otherwise
//! hold 64 KiB each.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

/// Where buffers come from and return to; owned by one thread.
#[derive(Clone, Debug, Default)]
pub struct Pool(Rc<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    spare: RefCell<Vec<Vec<u8>>>,
    /// Bytes in the hands of packets under way.
    held: Cell<usize>,
}

/// Bytes that were read; its memory goes back to the pool.
#[derive(Debug)]
pub struct Buffer {
    memory: Vec<u8>,
    length: usize,
    home: Rc<Shelf>,
}

impl Pool {
    /// Lets `read` fill a buffer of [`READ_SIZE`] bytes and keeps as many as it says.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn read(&self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Buffer> {
        let mut memory = self.0.spare.borrow_mut().pop().unwrap_or_else(|| vec![0; READ_SIZE]);
        let length = match read(&mut memory) {
            Ok(length) => length.min(memory.len()),
            Err(error) => {
                self.0.put_back(memory);
                return Err(error);
            }
        };
        if length > COPY_UP_TO {
            return Ok(self.0.lend(memory, length));
        }
        let small = memory[..length].to_vec();
        self.0.put_back(memory);
        Ok(self.0.lend(small, length))
    }

    /// Whether packets under way hold as much memory as they may.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.0.held.get() >= MAX_HELD
    }
}

impl Shelf {
    fn lend(self: &Rc<Self>, memory: Vec<u8>, length: usize) -> Buffer {
        self.held.set(self.held.get() + memory.len() + OVERHEAD);
        Buffer { memory, length, home: self.clone() }
    }

    fn put_back(&self, memory: Vec<u8>) {
        let mut spare = self.spare.borrow_mut();
        if memory.len() == READ_SIZE && spare.len() < MAX_SPARE {
            spare.push(memory);
        }
    }
}

impl Buffer {
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        self.home.held.set(self.home.held.get() - memory.len() - OVERHEAD);
        self.home.put_back(memory);
    }
}

/// The largest IP packet and the header before it, rounded up.
pub const READ_SIZE: usize = 65_536 + 64;

/// Above this, copying costs more than the memory that it saves.
const COPY_UP_TO: usize = 8 * 1024;

/// What a packet costs besides its bytes, roughly: bookkeeping here and in the link.
const OVERHEAD: usize = 128;

/// Bytes of one direction under way: 1 Gbit/s for two seconds. Beyond it nothing is read, and the kernel's queue,
/// whose drops are counted, has to wait.
const MAX_HELD: usize = 256 << 20;

/// 4 MiB of spare buffers, a millisecond at 30 Gbit/s.
const MAX_SPARE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_while_held_and_used_again_after() {
        let pool = Pool::default();
        let read = |length| pool.read(|_| Ok(length)).expect("no error");
        let (small, large) = (read(100), read(20_000));
        assert_eq!((small.bytes().len(), large.bytes().len()), (100, 20_000));
        assert_eq!(pool.0.held.get(), 100 + READ_SIZE + 2 * OVERHEAD);
        let address = large.bytes().as_ptr();
        drop((small, large));
        assert_eq!(pool.0.held.get(), 0);
        // The spare taken last is the one that was returned last.
        assert_eq!(read(30_000).bytes().as_ptr(), address);
    }

    #[test]
    fn a_failed_read_loses_no_buffer() {
        let pool = Pool::default();
        assert!(pool.read(|_| Err(io::ErrorKind::WouldBlock.into())).is_err());
        assert_eq!((pool.0.spare.borrow().len(), pool.0.held.get()), (1, 0));
    }
}
