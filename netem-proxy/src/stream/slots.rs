//! Numbered places for what a driver owns.
//!
//! A key names a place and which of its tenants is meant, so that a late event for one that has gone meets nobody
//! instead of its successor.

/// Names a tenant; never that of another one, until a place has been let two thousand million times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    index: u32,
    tenancy: u32,
}

impl Key {
    /// For the waiter: the key, and which of the tenant's sockets (0 or 1).
    pub(super) fn token(self, side: usize) -> u64 {
        u64::from(self.tenancy) << 32 | u64::from(self.index) << 1 | (side as u64 & 1)
    }

    pub(super) fn from_token(token: u64) -> (Key, usize) {
        let (tenancy, low) = ((token >> 32) as u32, token as u32);
        (Key { index: low >> 1, tenancy }, (low & 1) as usize)
    }
}

#[derive(Debug)]
pub(super) struct Slots<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    tenancy: u32,
    value: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(super) fn insert(&mut self, value: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { tenancy: 0, value: None });
            u32::try_from(self.places.len() - 1).expect("descriptors run out long before")
        });
        let place = &mut self.places[index as usize];
        place.value = Some(value);
        Key { index, tenancy: place.tenancy }
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        self.places.get(key.index as usize).filter(|place| place.tenancy == key.tenancy)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.place(key)?.value.as_mut()
    }

    /// Takes the tenant out for a moment; [`put`](Self::put) brings it, or its successor under the same key, back.
    pub(super) fn take(&mut self, key: Key) -> Option<T> {
        self.place(key)?.value.take()
    }

    pub(super) fn put(&mut self, key: Key, value: T) {
        if let Some(place) = self.place(key) {
            place.value = Some(value);
        }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.place(key)?;
        // One bit less, so that no token is the waiter's own.
        place.tenancy = (place.tenancy + 1) & (u32::MAX >> 1);
        let value = place.value.take();
        self.free.push(key.index);
        value
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let key = Key { index: index as u32, tenancy: place.tenancy };
            place.value.as_ref().map(|value| (key, value))
        })
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.places.iter_mut().enumerate().filter_map(|(index, place)| {
            let key = Key { index: index as u32, tenancy: place.tenancy };
            place.value.as_mut().map(|value| (key, value))
        })
    }

    fn place(&mut self, key: Key) -> Option<&mut Place<T>> {
        self.places.get_mut(key.index as usize).filter(|place| place.tenancy == key.tenancy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_one_that_has_gone_meets_nobody() {
        let mut slots = Slots::default();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get_mut(second), Some(&mut "second"));
    }

    #[test]
    fn a_token_says_who_and_which_side() {
        let mut slots = Slots::default();
        slots.insert(());
        let key = slots.insert(());
        for side in [0, 1] {
            assert_eq!(Key::from_token(key.token(side)), (key, side));
        }
    }
}
