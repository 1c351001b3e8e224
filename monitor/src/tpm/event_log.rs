//! The log of what was extended into the TPM's registers: the firmware's events, and the monitor's behind them. Pure.
//!
//! Format: TCG PC Client Platform Firmware Profile 1.05, section 10 ("crypto-agile"). The first event is of the old format and says which
//! hashes the others have; all numbers are little-endian. The log proves nothing by itself: whoever checks a quote replays it.

use adyton_evidence::cbor::encode::Slice;
use adyton_evidence::log::{kind, record};
use arrayvec::ArrayVec;

/// The longest log that is kept.
pub const CAPACITY: usize = 64 << 10;

/// `TPM_ALG_SHA256`.
const SHA256: u16 = 0x000b;
/// Register, type, one SHA-1 digest, size.
const OLD_HEADER: usize = 32;
/// Signature, class, versions, size of a word; then the number of hashes.
const HASHES: usize = OLD_HEADER + 24;
const MOST_HASHES: usize = 8;

/// What is wrong with the firmware's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogError {
    /// It does not begin as one.
    NoHeader,
    /// An event says that it is longer than the log, or has a hash that the header does not name.
    BadEvent,
    /// It is longer than [`CAPACITY`].
    TooLong,
}

/// The log.
#[derive(Debug)]
pub struct EventLog {
    bytes: [u8; CAPACITY],
    length: usize,
    hashes: ArrayVec<(u16, usize), MOST_HASHES>,
}

impl EventLog {
    /// A log without even a header.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; CAPACITY],
            length: 0,
            hashes: ArrayVec::new_const(),
        }
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }

    /// Takes over the firmware's log, which begins where `bytes` does and whose last event stands at `last`.
    ///
    /// # Errors
    /// If it is none, or too long; then this one is empty.
    pub fn begin(&mut self, bytes: &[u8], last: usize) -> Result<(), LogError> {
        self.length = 0;
        self.hashes = header(bytes).ok_or(LogError::NoHeader)?;
        let mut end =
            OLD_HEADER + double(bytes, OLD_HEADER - 4).ok_or(LogError::NoHeader)? as usize;
        let mut start = 0;
        while start < last {
            start = end;
            end += self.length_of(bytes, start).ok_or(LogError::BadEvent)?;
        }
        self.append(bytes.get(..end).ok_or(LogError::BadEvent)?)
    }

    /// Appends the events of the final-events table but the first `skipped`, which the log has already.
    ///
    /// # Errors
    /// If it is malformed or too long; then nothing is appended.
    pub fn append_final(&mut self, table: &[u8], skipped: u64) -> Result<(), LogError> {
        const EVENTS: usize = 16;
        let count = final_events(table).ok_or(LogError::BadEvent)?;
        let (mut start, mut end) = (EVENTS, EVENTS);
        for index in 0..count {
            end += self.length_of(table, end).ok_or(LogError::BadEvent)?;
            if index < skipped {
                start = end;
            }
        }
        self.append(table.get(start..end).ok_or(LogError::BadEvent)?)
    }

    /// Appends an event of the monitor's own.
    ///
    /// # Errors
    /// If there is no room.
    pub fn push(&mut self, register: u32, digest: &[u8; 32], label: &str) -> Result<(), LogError> {
        let mut rest = Slice::new(self.bytes.get_mut(self.length..).unwrap_or_default());
        let event = [register, kind::IPL];
        record(&mut rest, event, &[(SHA256, digest)], label.as_bytes())
            .map_err(|_| LogError::TooLong)?;
        self.length += rest.written().len();
        Ok(())
    }

    fn append(&mut self, events: &[u8]) -> Result<(), LogError> {
        let end = self.length + events.len();
        let place = self.bytes.get_mut(self.length..end);
        place.ok_or(LogError::TooLong)?.copy_from_slice(events);
        self.length = end;
        Ok(())
    }

    /// Bytes of the event that stands at `start`.
    fn length_of(&self, bytes: &[u8], start: usize) -> Option<usize> {
        const DIGESTS: usize = 12;
        let mut place = start + DIGESTS;
        for _ in 0..double(bytes, place - 4)? {
            let hash = u16::from_le_bytes(*bytes.get(place..)?.first_chunk()?);
            let (_, size) = self.hashes.iter().find(|(known, _)| *known == hash)?;
            place += 2 + size;
        }
        let end = place + 4 + double(bytes, place)? as usize;
        (end <= bytes.len()).then_some(end - start)
    }
}

impl Default for EventLog {
    fn default() -> Self {
        Self::new()
    }
}

/// How many events the final-events table has (TCG EFI protocol specification, section 7): version 1, then their number.
#[must_use]
pub fn final_events(table: &[u8]) -> Option<u64> {
    let word = |place: usize| Some(u64::from_le_bytes(*table.get(place..)?.first_chunk()?));
    (word(0)? == 1).then(|| word(8)).flatten()
}

/// The hashes that the first event names, with the sizes of their digests.
fn header(bytes: &[u8]) -> Option<ArrayVec<(u16, usize), MOST_HASHES>> {
    const SIGNATURE: &[u8] = b"Spec ID Event03\0";
    if !bytes.get(OLD_HEADER..)?.starts_with(SIGNATURE) {
        return None;
    }
    let count = double(bytes, HASHES)? as usize;
    let list = bytes.get(HASHES + 4..)?.as_chunks::<4>().0.get(..count)?;
    let mut hashes = ArrayVec::new();
    for [h0, h1, s0, s1] in list {
        let pair = (
            u16::from_le_bytes([*h0, *h1]),
            u16::from_le_bytes([*s0, *s1]).into(),
        );
        hashes.try_push(pair).ok()?;
    }
    Some(hashes)
}

fn double(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(place..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> Vec<u8> {
        let mut event = vec![0; OLD_HEADER];
        event[4] = 3;
        event.extend(b"Spec ID Event03\0");
        event.extend([0, 0, 0, 0, 0, 2, 0, 2]);
        event.extend([2, 0, 0, 0, 4, 0, 20, 0, 0xb, 0, 32, 0]);
        event.push(0);
        let size = (event.len() - OLD_HEADER) as u8;
        event[OLD_HEADER - 4] = size;
        event
    }

    fn event(register: u8, text: &[u8]) -> Vec<u8> {
        let mut event = vec![register, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0];
        event.extend([4, 0]);
        event.extend([1; 20]);
        event.extend([0xb, 0]);
        event.extend([2; 32]);
        event.extend((text.len() as u32).to_le_bytes());
        event.extend(text);
        event
    }

    #[test]
    fn events_of_all_sources_stand_in_order() {
        let log = [first(), event(0, b"a"), event(4, b"monitor")].concat();
        let last = first().len() + event(0, b"a").len();
        let memory = [log.clone(), vec![0xff; 100]].concat();
        let mut kept = EventLog::new();
        kept.begin(&memory, last).unwrap();
        assert_eq!(kept.bytes(), log);

        let mut table = vec![1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        [event(1, b""), event(5, b"x"), event(5, b"y")]
            .iter()
            .for_each(|event| table.extend(event));
        kept.append_final(&table, 1).unwrap();
        kept.push(12, &[7; 32], "adyton:kernel").unwrap();
        let behind = [event(5, b"x"), event(5, b"y")].concat();
        let (firmware, own) = kept.bytes()[log.len()..].split_at(behind.len());
        assert_eq!(firmware, behind);
        assert_eq!(kept.length_of(own, 0), Some(own.len()));
        assert!(own.ends_with(b"adyton:kernel"));
    }

    #[test]
    fn a_log_of_the_header_alone() {
        let mut kept = EventLog::new();
        kept.begin(&first(), 0).unwrap();
        assert_eq!(kept.bytes(), first());
    }

    #[test]
    fn malformed_logs_are_refused() {
        let mut kept = EventLog::new();
        assert_eq!(kept.begin(&[], 0), Err(LogError::NoHeader));
        assert_eq!(kept.begin(&[0; 100], 0), Err(LogError::NoHeader));
        let log = [first(), event(0, b"abc")].concat();
        let last = first().len();
        for cut in last..log.len() {
            assert_eq!(
                kept.begin(&log[..cut], last),
                Err(LogError::BadEvent),
                "{cut}"
            );
        }
        let mut other = log.clone();
        other[last + 12] = 9;
        assert_eq!(kept.begin(&other, last), Err(LogError::BadEvent));
        kept.begin(&log, last).unwrap();
        assert_eq!(kept.append_final(&[2; 16], 0), Err(LogError::BadEvent));
        assert_eq!(kept.append_final(&[], 0), Err(LogError::BadEvent));
        let many = [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(kept.append_final(&many, 0), Err(LogError::BadEvent));
        assert_eq!(kept.bytes(), log);
        while kept.push(12, &[0; 32], "x").is_ok() {}
        assert_eq!(kept.push(12, &[0; 32], "x"), Err(LogError::TooLong));
        assert!(kept.bytes().len() > CAPACITY - 100);
    }
}
