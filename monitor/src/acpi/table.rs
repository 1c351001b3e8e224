//! The root pointer, the list of tables, and one checked table with bounded reads.

use super::{AcpiError, PhysicalMemory, Signature};

/// Bytes in the header that every table starts with (ACPI 6.5, table 5.4).
pub(super) const HEADER_SIZE: u32 = 36;

/// Far above any real table; keeps the time for a checksum bounded.
const LONGEST: u32 = 16 << 20;

/// A table whose header, length and checksum were found good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    address: u64,
    length: u32,
    signature: Signature,
}

impl Table {
    pub(super) fn open(
        address: u64,
        signature: Signature,
        memory: &impl PhysicalMemory,
    ) -> Result<Self, AcpiError> {
        let mut header = [0; HEADER_SIZE as usize];
        read(memory, address, &mut header)?;
        let [s0, s1, s2, s3, l0, l1, l2, l3, ..] = header;
        if [s0, s1, s2, s3] != signature {
            return Err(AcpiError::BadSignature(signature));
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        if !(HEADER_SIZE..=LONGEST).contains(&length) {
            return Err(AcpiError::BadLength(signature));
        }
        if checksum(memory, address, length)? != 0 {
            return Err(AcpiError::BadChecksum(signature));
        }
        Ok(Self {
            address,
            length,
            signature,
        })
    }

    pub(super) fn address(&self) -> u64 {
        self.address
    }

    pub(super) fn length(&self) -> u32 {
        self.length
    }

    pub(super) fn signature(&self) -> Signature {
        self.signature
    }

    /// The `N` bytes at `offset`, or `None` if the table ends before them (an older revision, mostly).
    pub(super) fn bytes<const N: usize>(
        &self,
        memory: &impl PhysicalMemory,
        offset: u32,
    ) -> Option<[u8; N]> {
        let end = offset.checked_add(u32::try_from(N).ok()?)?;
        if end > self.length {
            return None;
        }
        let mut bytes = [0; N];
        memory
            .read(self.address.checked_add(offset.into())?, &mut bytes)
            .then_some(bytes)
    }

    pub(super) fn byte(&self, memory: &impl PhysicalMemory, offset: u32) -> Option<u8> {
        self.bytes(memory, offset).map(u8::from_le_bytes)
    }

    pub(super) fn double(&self, memory: &impl PhysicalMemory, offset: u32) -> Option<u32> {
        self.bytes(memory, offset).map(u32::from_le_bytes)
    }

    pub(super) fn quad(&self, memory: &impl PhysicalMemory, offset: u32) -> Option<u64> {
        self.bytes(memory, offset).map(u64::from_le_bytes)
    }
}

/// The list of all tables: RSDT (32-bit pointers) or XSDT (64-bit pointers).
pub(super) struct Root {
    list: Table,
    pointer_size: u32,
}

impl Root {
    pub(super) fn find(rsdp: u64, memory: &impl PhysicalMemory) -> Result<Self, AcpiError> {
        let bad = AcpiError::BadRoot(rsdp);
        let mut first = [0; 20];
        read(memory, rsdp, &mut first)?;
        if !first.starts_with(b"RSD PTR ") || sum(&first) != 0 {
            return Err(bad);
        }
        let [.., revision, r0, r1, r2, r3] = first;
        if revision >= 2
            && let Some(list) = extended(rsdp, memory)?
        {
            return Ok(Self {
                list: Table::open(list, *b"XSDT", memory)?,
                pointer_size: 8,
            });
        }
        let list = u32::from_le_bytes([r0, r1, r2, r3]);
        Ok(Self {
            list: Table::open(list.into(), *b"RSDT", memory)?,
            pointer_size: 4,
        })
    }

    /// Calls `visit` with the address and the name of each table, until it fails.
    pub(super) fn for_each(
        &self,
        memory: &impl PhysicalMemory,
        mut visit: impl FnMut(u64, Signature) -> Result<(), AcpiError>,
    ) -> Result<(), AcpiError> {
        let mut offset = HEADER_SIZE;
        while offset < self.list.length() {
            let address = self
                .pointer(memory, offset)
                .ok_or(AcpiError::BadLength(self.list.signature()))?;
            // Firmware leaves pointers to tables that it dropped at zero.
            if address != 0 {
                let mut signature = Signature::default();
                read(memory, address, &mut signature)?;
                visit(address, signature)?;
            }
            offset += self.pointer_size;
        }
        Ok(())
    }

    fn pointer(&self, memory: &impl PhysicalMemory, offset: u32) -> Option<u64> {
        if self.pointer_size == 8 {
            self.list.quad(memory, offset)
        } else {
            self.list.double(memory, offset).map(u64::from)
        }
    }
}

/// The XSDT's address out of a root pointer of revision 2 or later (ACPI 6.5, table 5.3), if it has one.
fn extended(rsdp: u64, memory: &impl PhysicalMemory) -> Result<Option<u64>, AcpiError> {
    let mut whole = [0; 36];
    read(memory, rsdp, &mut whole)?;
    let (_, extension) = whole.split_at(20);
    let [l0, l1, l2, l3, a0, a1, a2, a3, a4, a5, a6, a7, ..] = *extension else {
        return Err(AcpiError::BadRoot(rsdp));
    };
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    if !(36..=4096).contains(&length) || checksum(memory, rsdp, length)? != 0 {
        return Err(AcpiError::BadRoot(rsdp));
    }
    let list = u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
    Ok((list != 0).then_some(list))
}

fn read(memory: &impl PhysicalMemory, address: u64, buffer: &mut [u8]) -> Result<(), AcpiError> {
    if memory.read(address, buffer) {
        Ok(())
    } else {
        Err(AcpiError::Unreadable(address))
    }
}

fn checksum(memory: &impl PhysicalMemory, address: u64, length: u32) -> Result<u8, AcpiError> {
    let mut total = 0u8;
    let mut done = 0;
    let mut chunk = [0; 256];
    while done < length {
        let (part, _) = chunk.split_at_mut((length - done).min(256) as usize);
        let place = address
            .checked_add(done.into())
            .ok_or(AcpiError::Unreadable(address))?;
        read(memory, place, part)?;
        total = total.wrapping_add(sum(part));
        done += part.len() as u32;
    }
    Ok(total)
}

fn sum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |total, byte| total.wrapping_add(*byte))
}
