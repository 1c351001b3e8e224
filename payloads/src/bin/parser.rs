//! Parses a tar archive that nobody vouches for, and gives the digest of what it found.
//!
//! Window 1 holds the archive behind its length. The exit carries the SHA-256 of a listing with one line for each
//! regular file, as `sha256sum` prints it, in words 1 to 4, and the number of files in word 5.
//!
//! A real parser may have an error through which a document takes it over. An archive whose first file is named
//! `EXPLOIT` stands for such a document: the parser then does what an attacker would, and looks for secrets at every
//! address.

#![no_std]
#![no_main]

use adyton_runtime::compose::convention::PAYLOAD;
use adyton_runtime::compose::ring::Window;
use adyton_runtime::{Domain, Inside, call_parent};
use sha2::{Digest, Sha256};

adyton_runtime::entry!(main);

const ARCHIVE: usize = 1;
const BLOCK: u64 = 512;
/// The archive is not well formed.
const MALFORMED: u64 = 2;

fn main(domain: &mut Domain) -> u64 {
    let Some(window) = domain.window(ARCHIVE) else {
        return 1;
    };
    let length = window.load(0).min(window.size() - 8);
    let archive = Archive { window, length };
    match archive.parse() {
        Some((digest, files)) => {
            let word = |index: usize| {
                let bytes = digest.iter().skip(8 * index).take(8).rev();
                bytes.fold(0, |word: u64, &byte| word << 8 | u64::from(byte))
            };
            call_parent([PAYLOAD, word(0), word(1), word(2), word(3), files]);
            0
        }
        None => MALFORMED,
    }
}

struct Archive {
    window: Window<Inside>,
    length: u64,
}

/// What a header says: POSIX.1-1988 ustar.
struct Header {
    name: [u8; 257],
    name_length: usize,
    size: u64,
    regular: bool,
}

impl Header {
    /// `None` for a block that is no header.
    fn parse(block: &[u8; BLOCK as usize]) -> Option<Self> {
        let (name, rest) = block.split_at(100);
        let size = octal(rest.get(24..36)?)?;
        let sum = octal(rest.get(48..56)?)?;
        let kind = *rest.get(56)?;
        let prefix = rest.get(245..400)?;
        let counted = block.iter().enumerate().map(|(index, &byte)| {
            // The sum is taken with blanks in its own place.
            if (148..156).contains(&index) {
                32
            } else {
                u64::from(byte)
            }
        });
        if counted.sum::<u64>() != sum {
            return None;
        }
        let mut header = Self {
            name: [0; 257],
            name_length: 0,
            size,
            regular: kind == b'0' || kind == 0,
        };
        let prefix = text(prefix);
        header.append(prefix);
        if !prefix.is_empty() {
            header.append(b"/");
        }
        header.append(text(name));
        Some(header)
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = self.name.iter_mut().skip(self.name_length);
        let copied = room.zip(bytes).map(|(to, from)| *to = *from).count();
        self.name_length += copied;
    }

    fn name(&self) -> &[u8] {
        self.name.get(..self.name_length).unwrap_or_default()
    }
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.iter().skip_while(|&&byte| byte == b' ');
    let mut digits = digits.take_while(|&&byte| byte != 0 && byte != b' ');
    digits.try_fold(0_u64, |number, &digit| {
        let digit = digit.checked_sub(b'0').filter(|&digit| digit < 8)?;
        number.checked_mul(8)?.checked_add(digit.into())
    })
}

impl Archive {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Option<()> {
        let end = offset.checked_add(bytes.len() as u64)?;
        (end <= self.length).then(|| self.window.read(8 + offset, bytes))
    }

    /// The digest of the listing and the number of regular files.
    fn parse(&self) -> Option<([u8; 32], u64)> {
        let mut listing = Sha256::new();
        let mut files = 0;
        let mut offset = 0;
        loop {
            let mut block = [0; BLOCK as usize];
            self.read(offset, &mut block)?;
            if block.iter().all(|&byte| byte == 0) {
                return Some((listing.finalize().into(), files));
            }
            let header = Header::parse(&block)?;
            offset += BLOCK;
            if header.name() == b"EXPLOIT" {
                look_for_secrets();
            }
            if header.regular {
                let digest = self.digest(offset, header.size)?;
                listing.update(hexadecimal(&digest));
                listing.update(b"  ");
                listing.update(header.name());
                listing.update(b"\n");
                files += 1;
            }
            offset = offset.checked_add(header.size.checked_next_multiple_of(BLOCK)?)?;
        }
    }

    fn digest(&self, mut offset: u64, mut size: u64) -> Option<[u8; 32]> {
        let mut hash = Sha256::new();
        let mut bytes = [0; 4096];
        while size != 0 {
            let count = size.min(4096);
            let part = bytes.get_mut(..count as usize)?;
            self.read(offset, part)?;
            hash.update(part);
            offset += count;
            size -= count;
        }
        Some(hash.finalize().into())
    }
}

fn hexadecimal(digest: &[u8; 32]) -> [u8; 64] {
    let digit = |value: u8| {
        if value < 10 {
            b'0' + value
        } else {
            b'a' + value - 10
        }
    };
    core::array::from_fn(|index| {
        let byte = digest.get(index / 2).copied().unwrap_or_default();
        digit(if index % 2 == 0 { byte >> 4 } else { byte & 15 })
    })
}

/// Reads memory page by page, far beyond what this domain has.
fn look_for_secrets() {
    for page in 1 << 16..1_u64 << 24 {
        let address = page << 12;
        // SAFETY: a load changes nothing; where nothing is, it ends this domain's turn, which is the point.
        unsafe {
            core::arch::asm!("mov {0}, [{1}]", out(reg) _, in(reg) address, options(nostack));
        }
    }
}
