//! What domains find again after a reboot: sealing keys and counters.

use adyton::abi::call::Call;
use adyton::abi::counter::{Operation, Place};
use adyton::abi::error::{Error as Reason, SUCCESS};
use adyton::abi::key::Binding;
use adyton::{Flags, Request, calls};
use adyton_secrets::signature::{SIGNED, SIZE, Statement};
use anyhow::{Context, Result, bail, ensure};
use ed25519_dalek::{Signer, SigningKey};

use crate::fixture::{Running, agent_with, longest_call};

/// What the agent does when asked: store a word, make a call.
const STORE: u64 = 2;
pub(crate) const CALL: u64 = 5;

/// A domain that asks for keys.
pub(crate) struct Asker(Running);

impl Asker {
    /// `name` makes its measurement.
    fn new(flags: Flags, name: &'static str) -> Result<Self> {
        let running = agent_with(flags, |program| {
            program.pool = 2 << 20;
            program.arguments.push(name);
        })?;
        Ok(Self(running))
    }

    pub(crate) fn confidential(name: &'static str) -> Result<Self> {
        Self::new(Flags::CONFIDENTIAL, name)
    }

    fn measurement(&self) -> Result<[u8; 32]> {
        crate::evidence::measured(&self.0)
    }

    /// The status, and the first word of the key.
    fn ask(&mut self, binding: Binding, version: u64, page: u64, label: u64) -> Result<[u64; 2]> {
        let call = Call::Key as u64;
        self.0
            .ask([CALL, call, binding as u64, version, page, label])
    }

    fn by_measurement(&mut self, label: u64) -> Result<u64> {
        key(self.ask(Binding::Measurement, 0, 0, label)?)
    }

    /// Presents a signature.
    pub(crate) fn by_signer(&mut self, version: u64, signature: &[u8; SIZE]) -> Result<[u64; 2]> {
        let page = self.0.loaded.plan.pool.base;
        for (word, place) in signature.as_chunks::<8>().0.iter().zip((page..).step_by(8)) {
            let word = u64::from_le_bytes(*word);
            self.0.ask([STORE, place, word, 0, 0, 0])?;
        }
        self.ask(Binding::Signer, version, page, 0)
    }

    pub(crate) fn signed(&self, signer: u8, product: u64, version: u64) -> Result<[u8; SIZE]> {
        let key = SigningKey::from_bytes(&[signer; 32]);
        let statement = Statement {
            measurement: self.measurement()?,
            product,
            version,
            signer: key.verifying_key().to_bytes(),
        };
        let mut bytes = [0; SIZE];
        let (signed, signature) = bytes.split_at_mut(SIGNED);
        signed.copy_from_slice(&statement.encode());
        signature.copy_from_slice(&key.sign(signed).to_bytes());
        Ok(bytes)
    }
}

pub(crate) fn key([status, word]: [u64; 2]) -> Result<u64> {
    ensure!(status == SUCCESS, "no key: {:?}", Reason::from_code(status));
    ensure!(word != 0, "the key is nothing");
    Ok(word)
}

pub(crate) fn refused([status, _]: [u64; 2], reason: Reason) -> Result<()> {
    let found = Reason::from_code(status);
    ensure!(found == Some(reason), "{found:?} instead of {reason:?}");
    Ok(())
}

/// Each domain gets its key and nobody else's. Prints two of them, to be compared after a reboot.
///
/// # Errors
/// What is wrong.
pub fn keys() -> Result<()> {
    let mut one = Asker::confidential("one")?;
    let first = one.by_measurement(1)?;
    println!("ADYTON-KEPT measurement {first:016x}");
    let mut twin = Asker::confidential("one")?;
    ensure!(twin.by_measurement(1)? == first, "a twin has another key");
    let mut others = vec![first, one.by_measurement(2)?];
    others.push(Asker::confidential("two")?.by_measurement(1)?);
    for flags in [
        Flags::NONE,
        Flags::DEBUG,
        Flags::CONFIDENTIAL | Flags::DEBUG,
    ] {
        others.push(Asker::new(flags, "one")?.by_measurement(1)?);
    }
    let count = others.len();
    others.sort_unstable();
    others.dedup();
    ensure!(others.len() == count, "two have the same key");
    refused(one.ask(Binding::Measurement, 1, 0, 0)?, Reason::Invalid)?;
    let place = adyton::Linux::without_memory()?;
    let request = Request::new(Call::Key, [0]);
    crate::fixture::refused(calls::once(&place, request), Reason::Unsupported)
}

/// A newer version has the keys of older ones, and no older one those of a newer. Prints one, to be compared after a reboot.
///
/// # Errors
/// What is wrong.
pub fn signers() -> Result<()> {
    let mut old = Asker::confidential("old")?;
    let mut new = Asker::confidential("new")?;
    let (signed_old, signed_new) = (old.signed(1, 7, 1)?, new.signed(1, 7, 2)?);

    refused(old.ask(Binding::Signer, 1, 0, 0)?, Reason::Signature)?;
    refused(old.by_signer(1, &signed_new)?, Reason::Signature)?;
    for byte in [0, 8, 48, 56, 64, 96, 159] {
        let mut bad = signed_old;
        bad[byte] ^= 1;
        refused(old.by_signer(1, &bad)?, Reason::Signature)?;
    }
    let first = key(old.by_signer(1, &signed_old)?)?;
    println!("ADYTON-KEPT signer {first:016x}");
    refused(old.ask(Binding::Signer, 2, 0, 0)?, Reason::Newer)?;
    let second = key(new.by_signer(2, &signed_new)?)?;
    ensure!(second != first, "versions share a key");
    ensure!(
        key(new.ask(Binding::Signer, 1, 0, 0)?)? == first,
        "the newer version does not get the older one's key"
    );
    let mut others = vec![first, second];
    for (flags, signer, product) in [
        (Flags::CONFIDENTIAL, 2, 7),
        (Flags::CONFIDENTIAL, 1, 8),
        (Flags::CONFIDENTIAL | Flags::DEBUG, 1, 7),
    ] {
        let mut other = Asker::new(flags, "old")?;
        let signature = other.signed(signer, product, 1)?;
        others.push(key(other.by_signer(1, &signature)?)?);
    }
    others.push(old.by_measurement(0)?);
    let count = others.len();
    others.sort_unstable();
    others.dedup();
    ensure!(others.len() == count, "two have the same key");
    Ok(())
}

/// This boot has no secret, and so no key: there is no other to take its place.
///
/// # Errors
/// If there is.
pub fn none() -> Result<()> {
    let mut one = Asker::confidential("one")?;
    refused(one.ask(Binding::Measurement, 0, 0, 1)?, Reason::Unmeasured)?;
    let signature = one.signed(1, 7, 1)?;
    refused(one.by_signer(1, &signature)?, Reason::Unmeasured)?;
    refused(one.count(Operation::Read)?, Reason::Unmeasured)?;
    crate::fixture::refused(one.give(), Reason::Unmeasured)
}

/// The counter of a domain, where it has one: what it says.
fn value([status, value]: [u64; 2]) -> Result<Option<u64>> {
    match Reason::from_code(status) {
        None => Ok(Some(value)),
        Some(Reason::NoCounter) => Ok(None),
        Some(reason) => bail!("the counter is refused: {reason:?}"),
    }
}

impl Asker {
    fn count(&mut self, operation: Operation) -> Result<[u64; 2]> {
        let call = Call::Counter as u64;
        self.0.ask([CALL, call, 0, 0, 0, operation as u64])
    }

    /// Domain 0 gives it a counter.
    fn give(&self) -> Result<u64, adyton::Refusal> {
        let place = self.0.pool.environment();
        let domain = self.0.domain().name();
        let binding = Binding::Measurement as u64;
        calls::counter(place, Some(domain), Operation::Create, binding).map(|results| results[0])
    }
}

/// A domain counts, when domain 0 has given it a counter, and nobody else counts for it. Prints what it found and what it left, to be compared
/// after a reboot.
///
/// # Errors
/// What is wrong.
pub fn counters() -> Result<()> {
    let mut one = Asker::confidential("one")?;
    let mut other = Asker::confidential("two")?;
    let place = adyton::Linux::without_memory()?;
    let domain_0 = |operation, selector| calls::counter(&place, None, operation, selector);
    refused(other.count(Operation::Increment)?, Reason::NoCounter)?;
    let found = value(one.count(Operation::Read)?)?;
    let places = |what: Place| -> Result<Vec<u64>> {
        let mut all = Vec::new();
        for place in 0..16 {
            if domain_0(Operation::Look, place)?[0] == what as u64 {
                all.push(place);
            }
        }
        Ok(all)
    };
    // Counters of a secret that is gone: only when they are deleted, new ones begin above them.
    for place in places(Place::Foreign)? {
        crate::fixture::refused(one.give(), Reason::WrongState)?;
        domain_0(Operation::Destroy, place)?;
    }
    let first = match found {
        Some(value) => value,
        None => one.give()?,
    };
    crate::fixture::refused(one.give(), Reason::Occupied)?;
    for step in 1..3 {
        let counted = value(one.count(Operation::Increment)?)?;
        ensure!(counted == Some(first + step), "{counted:?} after {first}");
    }
    let mut twin = Asker::confidential("one")?;
    let read = value(twin.count(Operation::Read)?)?;
    ensure!(read == Some(first + 2), "a twin reads {read:?}");
    println!("ADYTON-COUNT {} {}", found.unwrap_or(0), first + 2);

    for operation in [Operation::Create, Operation::Destroy, Operation::Look] {
        refused(one.count(operation)?, Reason::Policy)?;
    }
    for operation in [Operation::Read, Operation::Increment] {
        crate::fixture::refused(domain_0(operation, 0), Reason::Policy)?;
    }
    for place in [16, u64::MAX] {
        crate::fixture::refused(domain_0(Operation::Look, place), Reason::Invalid)?;
        crate::fixture::refused(domain_0(Operation::Destroy, place), Reason::Invalid)?;
    }
    refused(other.count(Operation::Read)?, Reason::NoCounter)?;
    let second = other.give()?;
    let last = *places(Place::Held)?.last().context("no counter")?;
    domain_0(Operation::Destroy, last)?;
    ensure!(places(Place::Free)?.contains(&last), "it is still there");
    crate::fixture::refused(domain_0(Operation::Destroy, last), Reason::NotFound)?;
    refused(other.count(Operation::Read)?, Reason::NoCounter)?;
    let third = other.give()?;
    ensure!(third > second, "a counter goes back to {third}");
    domain_0(Operation::Destroy, last)?;
    Ok(())
}

/// Measures the longest time that a slice of these calls holds a core.
///
/// # Errors
/// If there is no key.
pub fn slices() -> Result<()> {
    let mut one = Asker::confidential("one")?;
    println!("the longest call before: {}", longest_call()?);
    let signature = one.signed(1, 7, 1)?;
    key(one.by_signer(1, &signature)?)?;
    one.give()?;
    value(one.count(Operation::Increment)?)?;
    let longest = longest_call()?;
    println!("ADYTON-BENCH key-slice {longest} instructions");
    Ok(())
}
