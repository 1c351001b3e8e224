//! What the machine can say about its boot and about domains: `quote`, `event_log`, `evidence`, `report`, `check`.
//!
//! They answer in the caller's memory. It is found anew at each repetition, and written while no other core can take it away: whoever
//! revokes memory waits for cores that are in the monitor.

use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicU8, Ordering};

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_abi::evidence::QUESTION_SIZE;
use adyton_abi::policy::Flags;
use adyton_abi::quote::{LONGEST_NONCE, QuotePage};
use adyton_abi::report::{self, Report};
use arrayvec::ArrayVec;

use super::{Request, Results, naming};
use crate::attestation::evidence::{Client, DESK, Output, Question};
use crate::attestation::quote::{Asker, QuoteInput};
use crate::attestation::{self, LOG, Platform, key, local};
use crate::domain::engine;
use crate::domain::memory::CallerMemory;
use crate::domain::name::{self, Refusal};
use crate::random;
use crate::tpm::command::{self, Message};
use crate::vcpu::{Owner, Vcpu};

/// A page of a guest's, which it may change at any time.
pub(super) struct Page(&'static [AtomicU8; PAGE_SIZE as usize]);

impl Page {
    /// The page that argument 0 names.
    fn of(request: &Request<'_>) -> Result<Self, Refusal> {
        name::require(request.caller, Flags::MAY_ATTEST)?;
        Self::aligned(request, request.arguments[0])
    }

    /// The page at this address of the caller's, which is aligned.
    pub(super) fn aligned(request: &Request<'_>, address: u64) -> Result<Self, Refusal> {
        if !address.is_multiple_of(PAGE_SIZE) {
            return Err(Error::Alignment.into());
        }
        Self::of_caller(request.caller, address)
    }

    /// The page at `address`, which the caller may write, by its own tables and by its nested rights.
    fn of_caller(caller: &Vcpu, address: u64) -> Result<Self, Refusal> {
        let place = name::walk(caller, address)?.place;
        let base = CallerMemory::new(caller).writable(place.page());
        let base = base.ok_or(Error::NotPool)?;
        // SAFETY: a page of RAM that the caller reaches, mapped one to one; it may change at any time, hence atomic bytes. Whoever
        // takes it away waits for this core to leave the monitor.
        Ok(Self(unsafe { &*(base.value() as *const _) }))
    }

    pub(super) fn read<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut bytes = [0; N];
        for (byte, place) in bytes.iter_mut().zip(self.0.iter().skip(offset)) {
            *byte = place.load(Ordering::Relaxed);
        }
        bytes
    }

    pub(super) fn write(&self, offset: usize, bytes: &[u8]) {
        for (place, byte) in self.0.iter().skip(offset).zip(bytes) {
            place.store(*byte, Ordering::Relaxed);
        }
    }

    /// As many of the `N` bytes at `offset` as the number at `size` says.
    ///
    /// # Errors
    /// `Invalid` if that is more.
    pub(super) fn sized<const N: usize>(
        &self,
        size: usize,
        offset: usize,
    ) -> Result<ArrayVec<u8, N>, Error> {
        let size = usize::try_from(u64::from_le_bytes(self.read(size)));
        let mut bytes = ArrayVec::from(self.read(offset));
        let size = size.ok().filter(|size| *size <= N);
        bytes.truncate(size.ok_or(Error::Invalid)?);
        Ok(bytes)
    }

    pub(super) fn write_number(&self, offset: usize, value: u64) {
        self.write(offset, &value.to_le_bytes());
    }
}

/// `quote(page; token)`.
pub(super) fn quote(request: &Request<'_>) -> Result<Results, Refusal> {
    let token = request.require_token()?;
    let page = Page::of(request)?;
    let platform = attestation::platform().ok_or(Error::Unmeasured)?;
    let nonce: ArrayVec<u8, LONGEST_NONCE> = page.sized(
        offset_of!(QuotePage, nonce_size),
        offset_of!(QuotePage, nonce),
    )?;
    if nonce.is_empty() {
        return Err(Error::Invalid.into());
    }
    let asker = Asker {
        domain: naming::caller(request),
        token,
        input: QuoteInput::of(&nonce),
    };
    let answer = platform.desk.lock().ask(asker)?;
    write(&page, platform, &answer.ok_or(Refusal::Again)?)?;
    Ok(Results::default())
}

fn write(page: &Page, platform: &Platform, answer: &Message) -> Result<(), Error> {
    let (statement, signature) = command::quoted(answer).map_err(|_| Error::Tpm)?;
    let fits = statement.len() <= size_of_field(|page| &page.statement)
        && signature.len() <= size_of_field(|page| &page.signature)
        && platform.public.len() <= size_of_field(|page| &page.public);
    if !fits {
        return Err(Error::Tpm);
    }
    page.write_number(
        offset_of!(QuotePage, statement_size),
        statement.len() as u64,
    );
    page.write_number(
        offset_of!(QuotePage, signature_size),
        signature.len() as u64,
    );
    page.write_number(
        offset_of!(QuotePage, public_size),
        platform.public.len() as u64,
    );
    let resets = offset_of!(QuotePage, resets);
    for (index, count) in platform.resets.into_iter().enumerate() {
        page.write_number(resets + index * size_of::<u64>(), count.into());
    }
    page.write(
        offset_of!(QuotePage, monitor_key),
        &key::public().unwrap_or_default(),
    );
    page.write(
        offset_of!(QuotePage, registers),
        platform.registers.as_flattened(),
    );
    page.write(offset_of!(QuotePage, statement), statement);
    page.write(offset_of!(QuotePage, signature), signature);
    page.write(offset_of!(QuotePage, public), &platform.public);
    Ok(())
}

/// Bytes of a field that is an array.
const fn size_of_field<const N: usize>(_: fn(&QuotePage) -> &[u8; N]) -> usize {
    N
}

/// `event_log(page, offset)` → size, bytes copied.
pub(super) fn event_log(request: &Request<'_>) -> Result<Results, Refusal> {
    let page = Page::of(request)?;
    attestation::platform().ok_or(Error::Unmeasured)?;
    let offset = usize::try_from(request.arguments[1]).map_err(|_| Error::Invalid)?;
    let log = LOG.lock();
    let rest = log.bytes().get(offset..).ok_or(Error::Invalid)?;
    let part = rest.get(..PAGE_SIZE as usize).unwrap_or(rest);
    page.write(0, part);
    Ok(Results::of(&[log.bytes().len() as u64, part.len() as u64]))
}

/// Whole pages of a guest's, by their virtual address.
pub(super) struct Buffer<'a> {
    caller: &'a Vcpu,
    address: u64,
    size: u64,
}

impl<'a> Buffer<'a> {
    /// `size` bytes at `address` of the caller's.
    ///
    /// # Errors
    /// `Alignment`, `Invalid`.
    pub(super) fn new(caller: &'a Vcpu, address: u64, size: u64) -> Result<Self, Error> {
        if !address.is_multiple_of(PAGE_SIZE) || !size.is_multiple_of(PAGE_SIZE) {
            return Err(Error::Alignment);
        }
        if size == 0 || address.checked_add(size).is_none() {
            return Err(Error::Invalid);
        }
        Ok(Self {
            caller,
            address,
            size,
        })
    }

    /// Each page of `length` bytes at `offset`, with the part of them that lies in it: where it begins among them, and in the page.
    fn pages(
        &self,
        offset: u64,
        length: u64,
        mut visit: impl FnMut(&Page, usize, usize) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut done = 0;
        while done < length {
            let at = offset + done;
            let page = Page::of_caller(self.caller, self.address + at / PAGE_SIZE * PAGE_SIZE)?;
            visit(&page, done as usize, (at % PAGE_SIZE) as usize)?;
            done += PAGE_SIZE - at % PAGE_SIZE;
        }
        Ok(())
    }
}

impl Output for Buffer<'_> {
    fn prepare(&self, offset: u64, length: u64) -> Result<(), Refusal> {
        let length = length.min(self.size.saturating_sub(offset));
        self.pages(offset, length, |_, _, _| Ok(()))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let length = bytes.len() as u64;
        let end = offset.checked_add(length);
        if end.is_none_or(|end| end > self.size) {
            return Err(Error::TooLarge.into());
        }
        self.pages(offset, length, |page, from, place| {
            page.write(place, bytes.get(from..).unwrap_or(&[]));
            Ok(())
        })
    }
}

/// `evidence(control or 0, key or 0, address, size; token)` → offset, bytes.
#[inline(never)]
pub(super) fn evidence(request: &Request<'_>) -> Result<Results, Refusal> {
    let token = request.require_token()?;
    name::require(request.caller, Flags::MAY_ATTEST)?;
    let [name, low, high, address, size, ..] = request.arguments;
    let buffer = Buffer::new(request.caller, address, size)?;
    let own = name == 0;
    let subject = if !own {
        let place = naming::page(request)?;
        let engine = engine::lock();
        let (_, context) = naming::domain(&engine, request, place)?;
        if !engine.is_sealed(context.id) {
            return Err(Error::WrongState.into());
        }
        context.id
    } else if request.caller.owner() == Owner::Domain && [low, high] == [0; 2] {
        naming::caller(request)
    } else {
        // Domain 0 has nothing to say about itself.
        return Err(Error::Invalid.into());
    };
    let read = |bytes: &[u8; QUESTION_SIZE]| Question::read(subject, !own, bytes);
    serve(request, token, &buffer, read)
}

/// Goes on with the evidence that the question asks for which the buffer begins with.
pub(super) fn serve<const SIZE: usize>(
    request: &Request<'_>,
    token: u64,
    buffer: &Buffer,
    read: impl FnOnce(&[u8; SIZE]) -> Result<Question, Error>,
) -> Result<Results, Refusal> {
    let client = Client {
        domain: naming::caller(request),
        call: request.call,
        arguments: request.arguments,
        token,
    };
    let question = || {
        let bytes = Page::aligned(request, buffer.address)?.read(0);
        Ok(read(&bytes)?)
    };
    let extent = DESK.lock().serve(client, question, buffer)?;
    Ok(Results::of(&extent))
}

/// `report(page)`.
pub(super) fn report(request: &Request<'_>) -> Result<Results, Refusal> {
    let page = Page::of(request)?;
    if request.caller.owner() == Owner::Domain0 {
        // Domain 0 has nothing to say about itself.
        return Err(Error::Unsupported.into());
    }
    let words = [random::word(), random::word()].map(|word| word.ok_or(Error::Exhausted));
    let [first, second] = words;
    let mut salt = [0; 16];
    for (place, word) in salt.as_chunks_mut().0.iter_mut().zip([first?, second?]) {
        *place = word.to_le_bytes();
    }
    let facts = engine::lock().domain_facts(naming::caller(request));
    let report = local::report(&facts.ok_or(Error::Dead)?, page.read(0), salt)?;
    page.write(0, &report.to_bytes());
    Ok(Results::default())
}

/// `check(page)` → epoch now.
pub(super) fn check(request: &Request<'_>) -> Result<Results, Refusal> {
    let page = Page::aligned(request, request.arguments[0])?;
    let report = Report::from_bytes(&page.read::<{ report::SIZE }>(0));
    let domain = local::check(&report)?;
    let engine = engine::lock();
    let facts = engine
        .domain_facts(domain)
        .filter(|_| engine.is_sealed(domain));
    Ok(Results::of(&[facts.ok_or(Error::Dead)?.epoch.into()]))
}
