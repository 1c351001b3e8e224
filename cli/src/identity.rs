//! `adyton identity` and `adyton activate`: the machine's side of its enrolment.

use std::fs;
use std::path::Path;

use adyton::abi::PAGE_SIZE;
use adyton::abi::enrolment::{EnrolmentPage, MOST_CREDENTIAL, MOST_SECRET, Step};
use adyton::abi::quote::{QuotePage, REGISTERS};
use adyton::{Claim, Environment, Linux, calls};
use adyton_enrolment::files::{self, AnswerFile, ChallengeFile, Digits, IdentityFile};

use crate::Arguments;
use crate::failure::Failure;
use core::mem::offset_of;

/// A claim is 2 MiB at least in domain 0.
const ROOM: u64 = 2 << 20;

/// A page of the pool that the monitor reads and writes.
struct Page {
    claim: Claim,
    base: u64,
}

impl Page {
    fn claim(arguments: &Arguments) -> Result<Self, Failure> {
        let claim = arguments.pool()?.claim(ROOM)?;
        let pages = claim.pages(PAGE_SIZE)?;
        let base = pages.address();
        // The claim ends with this process.
        std::mem::forget(pages);
        Ok(Self { claim, base })
    }

    fn place(&self) -> &Linux {
        self.claim.environment()
    }

    fn number(&self, offset: usize) -> u64 {
        self.place().load(self.base + offset as u64)
    }

    fn bytes(&self, offset: usize, size: u64) -> Vec<u8> {
        let mut bytes = vec![0; size as usize];
        self.place().read(self.base + offset as u64, &mut bytes);
        bytes
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        self.place().write(self.base + offset as u64, bytes);
    }

    fn quote(&self, nonce: &[u8]) -> Result<(), Failure> {
        let size = (nonce.len() as u64).to_le_bytes();
        self.write(offset_of!(QuotePage, nonce_size), &size);
        self.write(offset_of!(QuotePage, nonce), nonce);
        Ok(calls::quote(self.place(), self.base)?)
    }

    fn certificate(&self) -> Result<Vec<u8>, Failure> {
        let mut whole = Vec::new();
        loop {
            let offset = whole.len() as u64;
            calls::enrol(self.place(), self.base, Step::Certificate, offset)?;
            let size = self.number(offset_of!(EnrolmentPage, answer_size));
            whole.extend(self.bytes(offset_of!(EnrolmentPage, answer), size));
            let is_whole = whole.len() as u64 >= self.number(offset_of!(EnrolmentPage, whole_size));
            if is_whole || size == 0 {
                return Ok(whole);
            }
        }
    }
}

/// Prints what identifies this machine.
pub fn print(arguments: &Arguments) -> Result<(), Failure> {
    let page = Page::claim(arguments)?;
    let certificate = page.certificate()?;
    page.quote(b"identity")?;
    let size = page.number(offset_of!(QuotePage, public_size));
    let file = IdentityFile {
        attestation_key: Digits(page.bytes(offset_of!(QuotePage, public), size)),
        certificate: Digits(certificate),
    };
    say!("{}", files::write(&file));
    Ok(())
}

/// Answers a challenge.
pub fn activate(arguments: &Arguments, path: &Path) -> Result<(), Failure> {
    let text = read(path)?;
    let challenge: ChallengeFile =
        files::read("the challenge", &text).map_err(|error| Failure::unusable(path, error))?;
    let page = Page::claim(arguments)?;
    for (sizes, place, part, room) in [
        (
            offset_of!(EnrolmentPage, credential_size),
            offset_of!(EnrolmentPage, credential),
            &challenge.credential.0,
            MOST_CREDENTIAL,
        ),
        (
            offset_of!(EnrolmentPage, secret_size),
            offset_of!(EnrolmentPage, secret),
            &challenge.secret.0,
            MOST_SECRET,
        ),
    ] {
        if part.len() > room {
            return Err(Failure::unusable(path, "it is too long"));
        }
        page.write(sizes, &(part.len() as u64).to_le_bytes());
        page.write(place, part);
    }
    calls::enrol(page.place(), page.base, Step::Activate, 0)?;
    let size = page.number(offset_of!(EnrolmentPage, answer_size));
    let content = page.bytes(offset_of!(EnrolmentPage, answer), size);
    page.quote(&content)?;
    let part = |size: usize, place: usize| Digits(page.bytes(place, page.number(size)));
    let file = AnswerFile {
        content: Digits(content),
        monitor_key: Digits(page.bytes(offset_of!(QuotePage, monitor_key), 32)),
        statement: part(
            offset_of!(QuotePage, statement_size),
            offset_of!(QuotePage, statement),
        ),
        signature: part(
            offset_of!(QuotePage, signature_size),
            offset_of!(QuotePage, signature),
        ),
        values: Digits(page.bytes(
            offset_of!(QuotePage, registers),
            32 * REGISTERS.len() as u64,
        )),
    };
    say!("{}", files::write(&file));
    Ok(())
}

/// A file's text.
pub fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(Failure::file(path))
}
