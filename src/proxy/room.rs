//! Room for request bodies: how many bytes of them the process holds at a time, whoever sent them.
//!
//! A share grows before the memory is taken and is given back when the body is. Who finds no room is refused at once: waiting
//! for it, many bodies of which each is half there would wait for each other. Must not know what a body is.

use std::sync::atomic::{AtomicUsize, Ordering};

/// All the room there is. Its size may change at any time: whoever asks brings it along.
#[derive(Debug, Default)]
pub(super) struct Room {
    taken: AtomicUsize,
}

/// What one body has of it.
#[derive(Debug)]
pub(super) struct Share<'r> {
    room: &'r Room,
    bytes_max: usize,
    bytes: usize,
}

/// There is no room left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Room {
    /// A share of nothing yet, in a room of `bytes_max`.
    pub(super) fn share(&self, bytes_max: usize) -> Share<'_> {
        Share { room: self, bytes_max, bytes: 0 }
    }
}

impl Share<'_> {
    /// Takes room for so many bytes more.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let fits = |taken: usize| taken.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        self.room.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).map_err(|_full| Full)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.room.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_much_and_again_when_it_is_given_back() {
        let room = Room::default();
        let (mut first, mut second) = (room.share(10), room.share(10));
        assert_eq!(first.grow(6), Ok(()));
        assert_eq!(second.grow(5), Err(Full));
        assert_eq!(second.grow(4), Ok(()));
        assert_eq!(first.grow(1), Err(Full));
        drop(second);
        assert_eq!(first.grow(4), Ok(()));
        assert_eq!(first.grow(usize::MAX), Err(Full));
        // A smaller room, after a reload: who is in it stays.
        assert_eq!(room.share(8).grow(1), Err(Full));
        drop(first);
        assert_eq!(room.share(8).grow(8), Ok(()));
    }
}
