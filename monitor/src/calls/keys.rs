//! Keys that a domain finds again after a reboot: `key`.
//!
//! They are made of the platform key, which this boot has or has not, and of what the caller is; nothing is kept. A signature is checked in
//! slices, in the caller's own context, so that nobody waits for another's.

use adyton_abi::error::Error;
use adyton_abi::key::Binding;
use adyton_capability::identity::DomainId;
use adyton_secrets::derivation::{self, class};
use adyton_secrets::signature::{Check, Identity, SIZE, Wrong};
use adyton_secrets::{Hash, words};

use super::attest::Page;
use super::{Request, Results};
use crate::attestation::platform_key;
use crate::domain::context::Context;
use crate::domain::engine;
use crate::domain::name::Refusal;
use crate::iommu;
use crate::vcpu::Owner;

/// `key(binding, version, signature, label × 4)` → four words.
pub(super) fn key(request: &Request<'_>) -> Result<Results, Refusal> {
    if request.caller.owner() == Owner::Domain0 {
        return Err(Error::Unsupported.into());
    }
    if !platform_key::is_there() {
        return Err(Error::Unmeasured.into());
    }
    let [binding, version, signature, a, b, c, d, _] = request.arguments;
    let context = request.caller.seat.context();
    let binding = match Binding::from_number(binding).ok_or(Error::Invalid)? {
        Binding::Measurement if version == 0 && signature == 0 => {
            derivation::Binding::Measurement(measurement(context.id)?)
        }
        Binding::Measurement => return Err(Error::Invalid.into()),
        Binding::Signer => signed(identity(request, context, signature)?, version)?,
    };
    let class = class(context.policy.flags, iommu::is_active());
    let label = [a, b, c, d].map(u64::to_le_bytes);
    let mut whole = Hash::default();
    whole.copy_from_slice(label.as_flattened());
    let key = platform_key::with(|platform| platform.sealing(class, binding, &whole));
    let key = key.ok_or(Error::Unmeasured)?;
    Ok(Results::of(&words(&key)))
}

/// A domain's measurement.
pub(super) fn measurement(domain: DomainId) -> Result<Hash, Error> {
    let facts = engine::lock().domain_facts(domain);
    Ok(facts.ok_or(Error::Dead)?.measurement)
}

/// The binding to this signer and product, at a version that is not newer.
fn signed(identity: Identity, version: u64) -> Result<derivation::Binding, Error> {
    if version > identity.version {
        return Err(Error::Newer);
    }
    Ok(derivation::Binding::Signer {
        signer: identity.signer,
        product: identity.product,
        version,
    })
}

/// Who has signed the caller: as it has shown before, or as the structure at `signature` says, after the slices that checking takes.
fn identity(request: &Request<'_>, context: &Context, signature: u64) -> Result<Identity, Refusal> {
    let mut checking = context.signature.lock();
    // Looked at under the lock: another vCPU may have shown one meanwhile.
    if let Some(identity) = context.signer.try_get() {
        return Ok(*identity);
    }
    let Some(check) = &mut *checking else {
        if signature == 0 {
            return Err(Error::Signature.into());
        }
        let bytes: [u8; SIZE] = Page::aligned(request, signature)?.read(0);
        let check = Check::begin(&bytes, &measurement(context.id)?);
        *checking = Some(check.map_err(|Wrong| Error::Signature)?);
        return Err(Refusal::Again);
    };
    let outcome = check.advance().ok_or(Refusal::Again)?;
    *checking = None;
    let identity = outcome.map_err(|Wrong| Error::Signature)?;
    Ok(*context.signer.set(identity))
}
