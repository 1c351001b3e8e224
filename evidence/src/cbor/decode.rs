//! Reading CBOR, strictly.
//!
//! The reader asks for what must come, so nothing nests deeper than evidence does; what is skipped has a depth limit. Lengths are compared
//! with the bytes that are left before anything is allocated for them.

use super::major;

/// Why bytes are not the CBOR that evidence is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end within an item.
    Truncated,
    /// There are bytes behind the last item.
    Trailing,
    /// Another type of item than must stand here.
    Type,
    /// Not the shortest form, or map keys that do not rise, or one twice.
    NotDeterministic,
    /// An indefinite length.
    Indefinite,
    /// A text that is not UTF-8.
    Text,
    /// Deeper than evidence can be.
    Depth,
    /// A number, length or count that cannot stand here.
    Range,
    /// A key that is not known and may not be ignored.
    UnknownKey(i64),
    /// A key that must be there is not.
    MissingKey(i64),
}

/// Nesting of what is skipped.
const DEEPEST: u32 = 8;

/// The bytes that are not read yet.
#[derive(Clone, Copy, Debug)]
pub struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    /// Reads `bytes` from the beginning.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Reads one item, behind which nothing may follow.
    ///
    /// # Errors
    /// What `read` says, or [`Malformed::Trailing`].
    pub fn whole<T>(
        bytes: &'a [u8],
        read: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        let mut decoder = Self(bytes);
        let value = read(&mut decoder)?;
        if decoder.0.is_empty() {
            Ok(value)
        } else {
            Err(Malformed::Trailing)
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn argument(&mut self, width: usize) -> Result<u64, Malformed> {
        let bytes = self.take(width)?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Major type and argument of the next item (RFC 8949 section 3).
    fn head(&mut self) -> Result<(u8, u64), Malformed> {
        let first = self.argument(1)? as u8;
        let (major, short) = (first >> 5, first & 31);
        let (argument, least) = match short {
            0..24 => (u64::from(short), 0),
            24 => (self.argument(1)?, 24),
            25 => (self.argument(2)?, 0x100),
            26 => (self.argument(4)?, 0x1_0000),
            27 => (self.argument(8)?, 0x1_0000_0000),
            31 => return Err(Malformed::Indefinite),
            _ => return Err(Malformed::Type),
        };
        if argument < least {
            return Err(Malformed::NotDeterministic);
        }
        Ok((major, argument))
    }

    fn expect(&mut self, wanted: u8) -> Result<u64, Malformed> {
        match self.head()? {
            (major, argument) if major == wanted => Ok(argument),
            _ => Err(Malformed::Type),
        }
    }

    /// A number that is not negative.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn unsigned(&mut self) -> Result<u64, Malformed> {
        self.expect(major::UNSIGNED)
    }

    /// A number.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn integer(&mut self) -> Result<i64, Malformed> {
        let (major, argument) = self.head()?;
        let value = i64::try_from(argument).map_err(|_| Malformed::Range)?;
        match major {
            major::UNSIGNED => Ok(value),
            major::NEGATIVE => Ok(-1 - value),
            _ => Err(Malformed::Type),
        }
    }

    /// A byte string.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.expect(major::BYTES)?;
        self.take(usize::try_from(length).map_err(|_| Malformed::Truncated)?)
    }

    /// A byte string of exactly `N` bytes.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn array_of_bytes<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes()?.try_into().map_err(|_| Malformed::Range)
    }

    /// A text.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.expect(major::TEXT)?;
        let bytes = self.take(usize::try_from(length).map_err(|_| Malformed::Truncated)?)?;
        core::str::from_utf8(bytes).map_err(|_| Malformed::Text)
    }

    fn count(&mut self, wanted: u8) -> Result<usize, Malformed> {
        let count = self.expect(wanted)?;
        // Every item takes a byte at least, so a count that passes costs no more memory than the input did.
        let left = self.0.len() as u64;
        usize::try_from(count)
            .ok()
            .filter(|_| count <= left)
            .ok_or(Malformed::Truncated)
    }

    /// The number of items of an array, which follow.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn array(&mut self) -> Result<usize, Malformed> {
        self.count(major::ARRAY)
    }

    /// An array of exactly `count` items, which follow.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn array_of(&mut self, count: usize) -> Result<(), Malformed> {
        if self.array()? == count {
            Ok(())
        } else {
            Err(Malformed::Range)
        }
    }

    /// A map; its pairs follow, as [`Map`] gives them.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn map(&mut self) -> Result<Map<'a>, Malformed> {
        Ok(Map {
            left: self.count(major::MAP)?,
            last: None,
        })
    }

    /// The tag `wanted`; the tagged item follows.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn tag(&mut self, wanted: u64) -> Result<(), Malformed> {
        if self.expect(major::TAG)? == wanted {
            Ok(())
        } else {
            Err(Malformed::Type)
        }
    }

    /// Skips an item of any kind.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn skip(&mut self) -> Result<(), Malformed> {
        self.skip_below(DEEPEST)
    }

    fn skip_below(&mut self, depth: u32) -> Result<(), Malformed> {
        let mut ahead = *self;
        match ahead.head()?.0 {
            major::BYTES => self.bytes().map(drop),
            major::TEXT => self.text().map(drop),
            major::ARRAY => {
                let below = depth.checked_sub(1).ok_or(Malformed::Depth)?;
                (0..self.array()?).try_for_each(|_| self.skip_below(below))
            }
            major::MAP => {
                let below = depth.checked_sub(1).ok_or(Malformed::Depth)?;
                let mut map = self.map()?;
                while map
                    .key(self, |decoder| decoder.skip_below(below))?
                    .is_some()
                {
                    self.skip_below(below)?;
                }
                Ok(())
            }
            major::UNSIGNED | major::NEGATIVE => self.head().map(drop),
            _ => Err(Malformed::Type),
        }
    }
}

/// A map that is being read: keys rise, so none comes twice.
#[derive(Debug)]
pub struct Map<'a> {
    left: usize,
    last: Option<&'a [u8]>,
}

impl<'a> Map<'a> {
    /// The next key, as `read` reads it; its value follows. `None` behind the last pair.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn key<T>(
        &mut self,
        decoder: &mut Decoder<'a>,
        read: impl FnOnce(&mut Decoder<'a>) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let before = decoder.0;
        let key = read(decoder)?;
        let length = before.len() - decoder.0.len();
        let encoding = before.get(..length).unwrap_or_default();
        if self.last.is_some_and(|last| last >= encoding) {
            return Err(Malformed::NotDeterministic);
        }
        self.last = Some(encoding);
        Ok(Some(key))
    }

    /// The next key, a number.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn number(&mut self, decoder: &mut Decoder<'a>) -> Result<Option<i64>, Malformed> {
        self.key(decoder, Decoder::integer)
    }

    /// The next key, a text.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn name(&mut self, decoder: &mut Decoder<'a>) -> Result<Option<&'a str>, Malformed> {
        self.key(decoder, Decoder::text)
    }
}
