//! Byte rings in shared memory: one producer, one consumer, neither trusting the other.
//!
//! A [`Window`] is cut in halves: the lower one carries bytes from the domain to its owner, the upper one
//! the other way. Each half is a ring:
//!
//! | offset | what | who writes it |
//! | --- | --- | --- |
//! | 0 | bytes produced so far | producer |
//! | 8 | 1: no more will follow | producer |
//! | 64 | bytes consumed so far | consumer |
//! | 128 | the bytes | producer |
//!
//! Each side keeps its own count to itself and only shows it; of the other's count it takes the
//! difference, and where that cannot be true (more than fits) nothing is there.

use alloc::sync::Arc;
use core::any::Any;

use crate::environment::Environment;

const PRODUCED: u64 = 0;
const CLOSED: u64 = 8;
const CONSUMED: u64 = 64;
const DATA: u64 = 128;

/// Memory that a domain and its owner share.
pub struct Window<E: Environment> {
    place: E,
    address: u64,
    size: u64,
    /// What must outlive the window.
    _owner: Option<Arc<dyn Any + Send + Sync>>,
}

impl<E: Environment> Clone for Window<E> {
    fn clone(&self) -> Self {
        Self {
            place: self.place.clone(),
            _owner: self._owner.clone(),
            ..*self
        }
    }
}

impl<E: Environment> Window<E> {
    /// The `size` bytes from `address` on, in the caller's address space.
    #[must_use]
    pub fn new(
        place: E,
        address: u64,
        size: u64,
        owner: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Self {
        Self {
            place,
            address,
            size,
            _owner: owner,
        }
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Address of the first byte.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    fn within(&self, offset: u64, length: u64) -> u64 {
        let end = offset.checked_add(length);
        assert!(
            end.is_some_and(|end| end <= self.size),
            "access outside the window"
        );
        self.address + offset
    }

    /// Copies `bytes` to `offset`; panics outside the window.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        self.place
            .write(self.within(offset, bytes.len() as u64), bytes);
    }

    /// Copies from `offset` to `bytes`; panics outside the window.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        self.place
            .read(self.within(offset, bytes.len() as u64), bytes);
    }

    /// Loads the aligned word at `offset`; panics outside the window.
    #[must_use]
    pub fn load(&self, offset: u64) -> u64 {
        self.place.load(self.within(offset, 8))
    }

    /// Stores the aligned word at `offset`; panics outside the window.
    pub fn store(&self, offset: u64, word: u64) {
        self.place.store(self.within(offset, 8), word);
    }

    fn half(&self, upper: bool) -> Self {
        let size = self.size / 2;
        let address = self.address + if upper { size } else { 0 };
        Self {
            address,
            size,
            ..self.clone()
        }
    }

    /// The ends that the domain has: what it produces, what it consumes.
    #[must_use]
    pub fn inside(&self) -> (Producer<E>, Consumer<E>) {
        (
            Producer::new(self.half(false)),
            Consumer::new(self.half(true)),
        )
    }

    /// The ends that the owner has: what it produces, what it consumes.
    #[must_use]
    pub fn outside(&self) -> (Producer<E>, Consumer<E>) {
        (
            Producer::new(self.half(true)),
            Consumer::new(self.half(false)),
        )
    }
}

/// Bytes that a ring in `window` holds at most.
fn capacity<E: Environment>(window: &Window<E>) -> u64 {
    window.size.saturating_sub(DATA)
}

/// The pieces of `length` bytes from count `from` on: offset in the window, length. At most two.
fn pieces(from: u64, length: u64, capacity: u64) -> [(u64, u64); 2] {
    let start = from % capacity;
    let first = length.min(capacity - start);
    [(DATA + start, first), (DATA, length - first)]
}

/// The end of a ring that writes.
pub struct Producer<E: Environment> {
    window: Window<E>,
    produced: u64,
}

impl<E: Environment> Producer<E> {
    fn new(window: Window<E>) -> Self {
        Self {
            window,
            produced: 0,
        }
    }

    /// Writes as many of `bytes` as there is room for, and says how many.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        let capacity = capacity(&self.window);
        if capacity == 0 {
            return 0;
        }
        let unread = self.produced.wrapping_sub(self.window.load(CONSUMED));
        let room = capacity.saturating_sub(unread);
        let length = room.min(bytes.len() as u64);
        let [(start, first), (rest, _)] = pieces(self.produced, length, capacity);
        let (front, back) = bytes[..length as usize].split_at(first as usize);
        self.window.write(start, front);
        self.window.write(rest, back);
        self.produced = self.produced.wrapping_add(length);
        self.window.store(PRODUCED, self.produced);
        length as usize
    }

    /// Says that no more bytes follow.
    pub fn close(&mut self) {
        self.window.store(CLOSED, 1);
    }

    /// Whether the other end has taken everything.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.window.load(CONSUMED) == self.produced
    }
}

/// The end of a ring that reads.
pub struct Consumer<E: Environment> {
    window: Window<E>,
    consumed: u64,
}

impl<E: Environment> Consumer<E> {
    fn new(window: Window<E>) -> Self {
        Self {
            window,
            consumed: 0,
        }
    }

    /// Reads what is there, at most as much as `bytes` holds, and says how much.
    pub fn receive(&mut self, bytes: &mut [u8]) -> usize {
        let capacity = capacity(&self.window);
        let waiting = self.window.load(PRODUCED).wrapping_sub(self.consumed);
        if waiting > capacity || capacity == 0 {
            return 0;
        }
        let length = waiting.min(bytes.len() as u64);
        let [(start, first), (rest, _)] = pieces(self.consumed, length, capacity);
        let (front, back) = bytes[..length as usize].split_at_mut(first as usize);
        self.window.read(start, front);
        self.window.read(rest, back);
        self.consumed = self.consumed.wrapping_add(length);
        self.window.store(CONSUMED, self.consumed);
        length as usize
    }

    /// Whether the other end has said that no more follows, and all that it sent was read.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let closed = self.window.load(CLOSED) != 0;
        closed && self.window.load(PRODUCED) == self.consumed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;
    use alloc::vec::Vec;

    fn window() -> Window<Fake> {
        let fake = Fake::new(4096);
        let address = fake.base();
        fake.zero(address, 512);
        Window::new(fake, address, 512, None)
    }

    #[test]
    fn bytes_arrive_in_order_across_the_end_of_the_ring() {
        let window = window();
        let (mut send, _) = window.inside();
        let (_, mut receive) = window.outside();
        let message: Vec<u8> = (0..=255).collect();
        let mut got = Vec::new();
        let mut sent = 0;
        while got.len() < message.len() {
            sent += send.send(&message[sent..]);
            let mut buffer = [0; 50];
            let count = receive.receive(&mut buffer);
            got.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(got, message);
        assert!(!receive.is_finished());
        send.close();
        assert!(receive.is_finished() && send.is_drained());
    }

    #[test]
    fn impossible_counts_of_the_other_side_do_no_harm() {
        let window = window();
        let (mut send, mut receive) = window.inside();
        for count in [u64::MAX, 1 << 63, 129, 1000] {
            window.store(256 + PRODUCED, count);
            assert_eq!(receive.receive(&mut [0; 600]), 0);
        }
        window.store(CONSUMED, u64::MAX);
        assert!(send.send(&[1; 600]) <= 128);
        window.store(CONSUMED, 1000);
        assert_eq!(send.send(&[1; 600]), 0);
    }
}
