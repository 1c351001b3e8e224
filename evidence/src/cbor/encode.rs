//! Writing CBOR into whatever takes bytes.
//!
//! What must hold: the caller writes as many items as it announced, and map keys in rising order of their encodings.

use sha2::{Digest, Sha256};

use super::major;

/// The sink has no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Takes bytes.
pub trait Sink {
    /// Takes all of `bytes`.
    ///
    /// # Errors
    /// [`Full`]; how much was taken is then open.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full>;
}

/// Writes into memory.
#[derive(Debug)]
pub struct Slice<'a> {
    memory: &'a mut [u8],
    used: usize,
}

impl<'a> Slice<'a> {
    /// An empty one.
    #[must_use]
    pub fn new(memory: &'a mut [u8]) -> Self {
        Self { memory, used: 0 }
    }

    /// What was written.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        self.memory.get(..self.used).unwrap_or_default()
    }
}

impl Sink for Slice<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = self.used.checked_add(bytes.len()).ok_or(Full)?;
        let place = self.memory.get_mut(self.used..end).ok_or(Full)?;
        place.copy_from_slice(bytes);
        self.used = end;
        Ok(())
    }
}

/// Counts bytes: how long an encoding will be, which a byte string's head says in front.
#[derive(Clone, Copy, Debug, Default)]
pub struct Length(pub u64);

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.0 += bytes.len() as u64;
        Ok(())
    }
}

impl Sink for Sha256 {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        Digest::update(self, bytes);
        Ok(())
    }
}

/// Both take the same bytes: written and hashed in one go.
#[derive(Debug, Default)]
pub struct Both<A, B>(pub A, pub B);

impl<A: Sink, B: Sink> Sink for Both<A, B> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.0.put(bytes)?;
        self.1.put(bytes)
    }
}

impl<S: Sink> Sink for &mut S {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        (**self).put(bytes)
    }
}

#[cfg(feature = "verify")]
impl Sink for alloc::vec::Vec<u8> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Writes items one after another.
#[derive(Debug)]
pub struct Encoder<S>(pub S);

impl<S: Sink> Encoder<S> {
    /// The first byte, and as few bytes of the argument as can say it (section 3).
    fn head(&mut self, major: u8, argument: u64) -> Result<(), Full> {
        let bytes = argument.to_be_bytes();
        let [.., a, b, c, d] = bytes;
        let major = major << 5;
        match argument {
            0..24 => self.0.put(&[major | d]),
            24..0x100 => self.0.put(&[major | 24, d]),
            0x100..0x1_0000 => self.0.put(&[major | 25, c, d]),
            0x1_0000..0x1_0000_0000 => self.0.put(&[major | 26, a, b, c, d]),
            _ => {
                self.0.put(&[major | 27])?;
                self.0.put(&bytes)
            }
        }
    }

    /// A number that is not negative.
    ///
    /// # Errors
    /// [`Full`].
    pub fn unsigned(&mut self, value: u64) -> Result<(), Full> {
        self.head(major::UNSIGNED, value)
    }

    /// A number.
    ///
    /// # Errors
    /// [`Full`].
    pub fn integer(&mut self, value: i64) -> Result<(), Full> {
        if value < 0 {
            self.head(major::NEGATIVE, value.unsigned_abs() - 1)
        } else {
            self.unsigned(value.unsigned_abs())
        }
    }

    /// A byte string.
    ///
    /// # Errors
    /// [`Full`].
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.begin_bytes(bytes.len() as u64)?;
        self.0.put(bytes)
    }

    /// The head of a byte string of `length` bytes, which the caller puts into the sink.
    ///
    /// # Errors
    /// [`Full`].
    pub fn begin_bytes(&mut self, length: u64) -> Result<(), Full> {
        self.head(major::BYTES, length)
    }

    /// A text.
    ///
    /// # Errors
    /// [`Full`].
    pub fn text(&mut self, text: &str) -> Result<(), Full> {
        self.head(major::TEXT, text.len() as u64)?;
        self.0.put(text.as_bytes())
    }

    /// The head of an array of `count` items.
    ///
    /// # Errors
    /// [`Full`].
    pub fn array(&mut self, count: u64) -> Result<(), Full> {
        self.head(major::ARRAY, count)
    }

    /// The head of a map of `count` pairs.
    ///
    /// # Errors
    /// [`Full`].
    pub fn map(&mut self, count: u64) -> Result<(), Full> {
        self.head(major::MAP, count)
    }

    /// A tag; the tagged item follows.
    ///
    /// # Errors
    /// [`Full`].
    pub fn tag(&mut self, tag: u64) -> Result<(), Full> {
        self.head(major::TAG, tag)
    }
}
