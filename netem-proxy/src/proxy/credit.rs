//! How much may be under way.
//!
//! Each packet holds a piece of its sender's credit until it is gone, wherever that is: written, lost in the link, or
//! given up with a closed socket; a copy holds its own. So memory is bounded by the credits, and a sender out of
//! credit knows it at once. One thread only: counting costs no atomic operation.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The credit of one sender.
#[derive(Debug)]
pub(super) struct Pool {
    limit: usize,
    used: Cell<usize>,
    /// Whom to tell when credit comes back; set while somebody waits.
    waiting: Cell<Option<u64>>,
    returned: Returned,
}

/// Who has got credit back since it was last taken out.
pub(super) type Returned = Rc<RefCell<Vec<u64>>>;

impl Pool {
    pub(super) fn new(limit: usize, returned: &Returned) -> Rc<Self> {
        let (used, waiting) = (Cell::new(0), Cell::new(None));
        Rc::new(Self { limit, used, waiting, returned: Rc::clone(returned) })
    }

    /// Credit for a packet of `len` bytes, unless that is more than there is.
    pub(super) fn take(self: &Rc<Self>, len: usize) -> Option<Credit> {
        let cost = len + BOOKKEEPING;
        (self.used.get() + cost <= self.limit).then(|| Credit::new(self, cost))
    }

    /// Asks for `token` to be among the [`Returned`] as soon as anything comes back.
    pub(super) fn wait(&self, token: u64) {
        self.waiting.set(Some(token));
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.used.get() == 0
    }
}

/// Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Credit {
    pool: Rc<Pool>,
    cost: usize,
}

impl Credit {
    fn new(pool: &Rc<Pool>, cost: usize) -> Self {
        pool.used.set(pool.used.get() + cost);
        Self { pool: Rc::clone(pool), cost }
    }
}

impl Clone for Credit {
    /// A copy is made by the link and cannot be refused; it counts, and delays what comes next.
    fn clone(&self) -> Self {
        Self::new(&self.pool, self.cost)
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.pool.used.set(self.pool.used.get() - self.cost);
        if let Some(token) = self.pool.waiting.take() {
            self.pool.returned.borrow_mut().push(token);
        }
    }
}

/// What a packet costs besides its bytes, so that empty ones are not free.
const BOOKKEEPING: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_comes_back_and_copies_count() {
        let returned = Returned::default();
        let pool = Pool::new(3 * (100 + BOOKKEEPING), &returned);
        let first = pool.take(100).expect("room");
        let copy = first.clone();
        let third = pool.take(100).expect("room");
        assert!(pool.take(0).is_none());
        pool.wait(7);
        drop((first, copy));
        assert_eq!(*returned.borrow(), [7], "told once");
        assert!(!pool.is_idle() && pool.take(100).is_some());
        drop(third);
        assert!(pool.is_idle());
    }
}
