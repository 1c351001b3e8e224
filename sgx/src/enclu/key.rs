//! EGETKEY (SDM, EGETKEY).

use super::{Context, require};
use crate::error::ErrorCode;
use crate::fault::Access;
use crate::keys::{self, Dependencies, KeyName};
use crate::machine::Machine;
use crate::outcome::Stop;
use crate::platform::attribute;
use crate::processor::Register;
use crate::secrets::Secrets;
use crate::structures::{Keyrequest, Secs};
use crate::thread::Thread;

/// KEYPOLICY (SDM, chapter 35).
mod policy {
    pub const MRENCLAVE: u16 = 1 << 0;
    pub const MRSIGNER: u16 = 1 << 1;
    pub const NOISVPRODID: u16 = 1 << 2;
    pub const CONFIGID: u16 = 1 << 3;
    pub const ISVFAMILYID: u16 = 1 << 4;
    pub const ISVEXTPRODID: u16 = 1 << 5;
    /// Those that need KSS.
    pub const SEPARATION: u16 = NOISVPRODID | CONFIGID | ISVFAMILYID | ISVEXTPRODID;
    pub const KNOWN: u16 = MRENCLAVE | MRSIGNER | SEPARATION;
}

/// Attributes that every key depends on: INIT and DEBUG.
const REQUIRED: u8 = (attribute::INIT | attribute::DEBUG) as u8;

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn egetkey(&mut self, thread: &Thread) -> Result<(), Stop> {
        let request = self.enclave_operand(Register::Rbx, 512, thread)?;
        let request_page = self.accessible(thread.secs, request, Access::Read)?;
        let output = self.enclave_operand(Register::Rcx, 16, thread)?;
        let output = self.accessible(thread.secs, output, Access::Write)?;
        let mut request = Keyrequest::zeroed();
        self.read_enclave(request_page, &mut request.0);
        require(request.is_reserved_zero() && request.keypolicy() & !policy::KNOWN == 0)?;
        let secs = self.secs(thread.secs);
        let separated = request.keypolicy() & policy::SEPARATION != 0 || request.configsvn() != 0;
        require(secs.has(attribute::KSS) || !separated)?;
        let secrets = &self.platform.secrets();
        let name = KeyName::from_number(request.keyname()).ok_or(ErrorCode::InvalidKeyname)?;
        check(name, &request, &secs, secrets)?;
        let key = dependencies(name, &request, &secs, secrets).derive(secrets);
        self.write_enclave(output, &key);
        Ok(())
    }
}

/// Whether the enclave may have the key, and whether the versions exist.
fn check(
    name: KeyName,
    request: &Keyrequest,
    secs: &Secs,
    secrets: &Secrets,
) -> Result<(), ErrorCode> {
    let permitted = match name {
        KeyName::Provision | KeyName::ProvisionSeal => secs.has(attribute::PROVISIONKEY),
        KeyName::Einittoken => secs.has(attribute::EINITTOKEN_KEY),
        KeyName::Report => return Ok(()),
        KeyName::Seal => true,
    };
    if !permitted {
        return Err(ErrorCode::InvalidAttribute);
    }
    if keys::is_beyond(request.cpusvn(), &secrets.cpusvn) {
        return Err(ErrorCode::InvalidCpusvn);
    }
    let configured = matches!(name, KeyName::Seal | KeyName::ProvisionSeal);
    if request.isvsvn() > secs.isvsvn() || configured && request.configsvn() > secs.configsvn() {
        return Err(ErrorCode::InvalidIsvsvn);
    }
    Ok(())
}

/// The SDM's table of key derivation.
fn dependencies(
    name: KeyName,
    request: &Keyrequest,
    secs: &Secs,
    secrets: &Secrets,
) -> Dependencies {
    let mut key = Dependencies::of(name, secrets);
    if name == KeyName::Report {
        key.set_attributes(secs.attribute_bytes());
        key.set_mrenclave(secs.mrenclave());
        key.set_keyid(request.keyid());
        key.set_cpusvn(&secrets.cpusvn);
        key.set_miscselect(secs.miscselect());
        key.set_configid(secs.configid());
        key.set_configsvn(secs.configsvn());
        return key;
    }
    key.set_attributes(&masked_attributes(request, secs));
    key.set_miscselect(request.miscmask() & secs.miscselect());
    key.set_isvsvn(request.isvsvn());
    key.set_cpusvn(request.cpusvn());
    match name {
        KeyName::Einittoken => {
            key.set_isvprodid(secs.isvprodid());
            key.set_mrsigner(secs.mrsigner());
            key.set_keyid(request.keyid());
        }
        KeyName::Provision => {
            key.set_isvprodid(secs.isvprodid());
            key.set_mrsigner(secs.mrsigner());
            bind_masks(&mut key, request);
            key.set_ownerepoch(&[0; 16]);
            key.set_sealfuses(&[0; 16]);
        }
        KeyName::ProvisionSeal => {
            bind_policy(&mut key, request, secs);
            key.set_mrsigner(secs.mrsigner());
            key.set_ownerepoch(&[0; 16]);
        }
        KeyName::Seal => {
            bind_policy(&mut key, request, secs);
            let policies = request.keypolicy();
            if policies & policy::MRENCLAVE != 0 {
                key.set_mrenclave(secs.mrenclave());
            }
            if policies & policy::MRSIGNER != 0 {
                key.set_mrsigner(secs.mrsigner());
            }
            key.set_keyid(request.keyid());
        }
        KeyName::Report => {}
    }
    key
}

fn masked_attributes(request: &Keyrequest, secs: &Secs) -> [u8; 16] {
    let mut attributes = *secs.attribute_bytes();
    let mut mask = *request.attributemask();
    mask[0] |= REQUIRED;
    for (attribute, mask) in attributes.iter_mut().zip(mask) {
        *attribute &= mask;
    }
    attributes
}

fn bind_masks(key: &mut Dependencies, request: &Keyrequest) {
    key.set_attributesmask(request.attributemask());
    key.set_miscmask(!request.miscmask());
}

/// What KEYPOLICY chooses for both sealing keys.
fn bind_policy(key: &mut Dependencies, request: &Keyrequest, secs: &Secs) {
    let policies = request.keypolicy();
    bind_masks(key, request);
    key.set_keypolicy(policies);
    if policies & policy::NOISVPRODID == 0 {
        key.set_isvprodid(secs.isvprodid());
    }
    if policies & policy::CONFIGID != 0 {
        key.set_configid(secs.configid());
        key.set_configsvn(request.configsvn());
    }
    if policies & policy::ISVFAMILYID != 0 {
        key.set_isvfamilyid(secs.isvfamilyid());
    }
    if policies & policy::ISVEXTPRODID != 0 {
        key.set_isvextprodid(secs.isvextprodid());
    }
}
