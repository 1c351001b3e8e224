//! What domains find again after a reboot: sealing keys.

use adyton::abi::call::{Call, Information};
use adyton::abi::error::{Error as Reason, SUCCESS};
use adyton::abi::key::Binding;
use adyton::{Flags, Request, calls};
use adyton_secrets::signature::{SIGNED, SIZE, Statement};
use anyhow::{Context, Result, ensure};
use ed25519_dalek::{Signer, SigningKey};

use crate::fixture::{Running, agent_with};

/// What the agent does when asked: store a word, make a call.
const STORE: u64 = 2;
const CALL: u64 = 5;

/// A domain that asks for keys.
struct Asker(Running);

impl Asker {
    /// `name` makes its measurement.
    fn new(flags: Flags, name: &'static str) -> Result<Self> {
        let running = agent_with(flags, |program| {
            program.pool = 2 << 20;
            program.arguments.push(name);
        })?;
        Ok(Self(running))
    }

    fn confidential(name: &'static str) -> Result<Self> {
        Self::new(Flags::CONFIDENTIAL, name)
    }

    fn measurement(&self) -> Result<[u8; 32]> {
        let place = self.0.pool.environment();
        let found =
            adyton::listing::measurement(place, self.0.claim.address(), self.0.domain().id())?;
        found.context("a measurement")
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
    fn by_signer(&mut self, version: u64, signature: &[u8; SIZE]) -> Result<[u64; 2]> {
        let page = self.0.loaded.plan.pool.base;
        for (word, place) in signature.as_chunks::<8>().0.iter().zip((page..).step_by(8)) {
            let word = u64::from_le_bytes(*word);
            self.0.ask([STORE, place, word, 0, 0, 0])?;
        }
        self.ask(Binding::Signer, version, page, 0)
    }

    fn signed(&self, signer: u8, product: u64, version: u64) -> Result<[u8; SIZE]> {
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

fn key([status, word]: [u64; 2]) -> Result<u64> {
    ensure!(status == SUCCESS, "no key: {:?}", Reason::from_code(status));
    ensure!(word != 0, "the key is nothing");
    Ok(word)
}

fn refused([status, _]: [u64; 2], reason: Reason) -> Result<()> {
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
    refused(one.by_signer(1, &signature)?, Reason::Unmeasured)
}

/// Measures the longest time that a slice of these calls holds a core.
///
/// # Errors
/// If there is no key.
pub fn slices() -> Result<()> {
    const LONGEST_SLICE: u64 = 9;
    let place = adyton::Linux::without_memory()?;
    let topic = Information::Counter as u64;
    let longest = || {
        calls::once(
            &place,
            Request::new(Call::Information, [topic, LONGEST_SLICE]),
        )
    };
    let mut one = Asker::confidential("one")?;
    println!("the longest call before: {}", longest()?[0]);
    let signature = one.signed(1, 7, 1)?;
    key(one.by_signer(1, &signature)?)?;
    println!("ADYTON-BENCH key-slice {} instructions", longest()?[0]);
    Ok(())
}
