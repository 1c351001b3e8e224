//! A pool: its free ranges, its claims, and those whose owners are gone.

use std::fs::File;
use std::path::Path;

use adyton_abi::error::Error as Reason;
use adyton_compose::calls;
use adyton_compose::listing::{self, ClaimRecord};

use crate::device::{self, Device};
use crate::liveness::{Lock, is_held};
use crate::map::Linux;
use crate::note::Note;
use crate::{Claim, Error};

/// The granule of claims in domain 0.
const GRANULE: u64 = 2 << 20;

/// A dax device, mapped as a whole.
#[derive(Debug)]
pub struct Pool {
    device: Device,
    file: File,
    place: Linux,
}

/// A claim as a listing shows it.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// Distance of its first byte from the beginning of the device.
    pub offset: u64,
    /// What the monitor says.
    pub record: ClaimRecord,
    /// What its owner says.
    pub note: Option<Note>,
    /// Whether an owner lives, by the lock on its range.
    pub alive: bool,
}

impl Pool {
    /// Opens the pool of one device.
    ///
    /// # Errors
    /// No monitor, no device, no permission, or a device that the kernel uses as ordinary memory.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        crate::call::discover()?;
        let device = Device::at(path.as_ref())?;
        let file = device.open()?;
        let place = Linux::map(&file, device.size)?;
        Ok(Self {
            device,
            file,
            place,
        })
    }

    /// Opens the first device that this user may open, and has one made out of an idle region where the user is
    /// root.
    ///
    /// # Errors
    /// As [`Pool::open`].
    pub fn discover() -> Result<Self, Error> {
        crate::call::discover()?;
        let mut found = Device::all();
        if found.is_empty() {
            device::prepare()?;
            found = Device::all();
        }
        let mut outcome = Err(Error::NoDevice("/dev/dax0.0".into()));
        for device in found {
            outcome = Self::open(&device.path);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The place where calls about this pool are made.
    #[must_use]
    pub fn environment(&self) -> &Linux {
        &self.place
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.device.size
    }

    /// Claims at least `bytes` bytes, contiguous, from the smallest free range that holds them. Where none
    /// does, what dead programs left behind is collected first.
    ///
    /// # Errors
    /// [`Error::PoolFull`], or what the monitor refuses.
    pub fn claim(&self, bytes: u64) -> Result<Claim, Error> {
        let size = bytes.max(1).next_multiple_of(GRANULE);
        if let Some(claim) = self.claim_free(size)? {
            return Ok(claim);
        }
        self.collect()?;
        self.claim_free(size)?.ok_or(Error::PoolFull(size))
    }

    fn claim_free(&self, size: u64) -> Result<Option<Claim>, Error> {
        let mut gaps = self.gaps()?;
        gaps.sort_by_key(|&(start, end)| (end - start, start));
        for (start, end) in gaps {
            let mut offset = start;
            while offset + size <= end {
                if let Some(claim) = self.try_claim(offset, size)? {
                    return Ok(Some(claim));
                }
                offset += GRANULE;
            }
        }
        Ok(None)
    }

    /// Claims one range, and says `None` where somebody was faster.
    fn try_claim(&self, offset: u64, size: u64) -> Result<Option<Claim>, Error> {
        let Some(lock) = Lock::try_take(self.device.open()?, offset, size)? else {
            return Ok(None);
        };
        let address = self.place.base() + offset;
        match Claim::take(self.place.clone(), address, size, Some(Box::new(lock))) {
            Ok(claim) => {
                Note::own().write(&self.place, address);
                Ok(Some(claim))
            }
            Err(refusal) if refusal.is(Reason::Overlap) || refusal.is(Reason::NotContiguous) => {
                Ok(None)
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Free ranges of the device: (first offset, end).
    fn gaps(&self) -> Result<Vec<(u64, u64)>, Error> {
        let mut claims = self.records()?;
        claims.sort_by_key(|claim| claim.address);
        let mut gaps = Vec::new();
        let mut free = 0;
        for claim in claims {
            let offset = claim.address.wrapping_sub(self.place.base());
            if offset > free {
                gaps.push((free, offset.min(self.size())));
            }
            free = free.max(offset.saturating_add(claim.size));
        }
        if free < self.size() {
            gaps.push((free, self.size()));
        }
        Ok(gaps)
    }

    fn records(&self) -> Result<Vec<ClaimRecord>, Error> {
        self.place.populate();
        let mut records = listing::claims(&self.place, self.place.base())?;
        let end = self.place.base() + self.size();
        records.retain(|claim| (self.place.base()..end).contains(&claim.address));
        Ok(records)
    }

    /// Every claim in this pool.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn claims(&self) -> Result<Vec<Claimed>, Error> {
        self.records()?
            .into_iter()
            .map(|record| self.claimed(record))
            .collect()
    }

    fn claimed(&self, record: ClaimRecord) -> Result<Claimed, Error> {
        let offset = record.address - self.place.base();
        let alive = is_held(&self.file, offset, record.size)?;
        Ok(Claimed {
            offset,
            record,
            note: Note::read(record.address),
            alive,
        })
    }

    /// The claim that holds `offset`.
    ///
    /// # Errors
    /// [`Error::NoClaim`], or what the monitor refuses.
    pub fn claim_at(&self, offset: u64) -> Result<Claimed, Error> {
        let holds = |claim: &Claimed| offset.wrapping_sub(claim.offset) < claim.record.size;
        self.claims()?
            .into_iter()
            .find(holds)
            .ok_or(Error::NoClaim(offset))
    }

    /// Ends a claim of anybody, alive or not, with all that lives in it: the right to write the device
    /// suffices.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn release(&self, claim: &Claimed) -> Result<(), Error> {
        match calls::release(&self.place, claim.record.address) {
            // Its owner was faster.
            Err(refusal) if refusal.is(Reason::NotFound) => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    /// Releases the claims whose owners are gone, and says which.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn collect(&self) -> Result<Vec<Claimed>, Error> {
        let mut collected = Vec::new();
        for claim in self.claims()? {
            // Holding the lock meanwhile keeps others from taking the range half released.
            let lock = Lock::try_take(self.device.open()?, claim.offset, claim.record.size)?;
            if lock.is_some() {
                self.release(&claim)?;
                collected.push(claim);
            }
        }
        Ok(collected)
    }
}
