//! Measuring what domain 0 is made of, and binding the monitor's key: once, before domain 0 runs.

use adyton_evidence::platform::{EVENTS, MONITOR_PCR, QUOTED, encode_log};
use adyton_evidence::{Hash, hash};
use sha2::{Digest, Sha256};

use super::counters::{self, SLOTS};
use super::quote::{Desk, QuoteInput};
use super::{LOG, LONGEST_PUBLIC, PLATFORM, Platform, key, platform_key, secret};
use crate::boot::handover::Handover;
use crate::instructions::time_stamp;
use crate::lock::Lock;
use crate::log;
use crate::memory::Range;
use crate::physical;
use crate::tpm::Exchange;
use crate::tpm::command::{self, AnswerError};
use crate::tpm::device::{Device, TpmError};
use crate::tpm::event_log::LogError;

/// Why a boot is not measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unmeasured {
    /// Nobody measured the monitor: it was not started by UEFI, or its firmware uses no TPM.
    NoFirmware,
    Tpm(TpmError),
    Log(LogError),
    /// Neither TPM nor CPU gives random numbers.
    NoKey,
}

impl From<TpmError> for Unmeasured {
    fn from(error: TpmError) -> Self {
        Self::Tpm(error)
    }
}

impl From<LogError> for Unmeasured {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// Measures, and makes the key. A boot that cannot be measured goes on, and says so in all evidence.
///
/// # Safety
/// Once, while the monitor boots: what was loaded is still where it was, and is not changed before domain 0 starts.
pub unsafe fn measure(handover: &Handover) {
    let begin = time_stamp();
    // SAFETY: as the caller warrants.
    match unsafe { try_to_measure(handover) } {
        Ok(platform) => {
            PLATFORM.set(platform);
            let ticks = time_stamp().saturating_sub(begin);
            log!("the boot is measured, in {ticks} ticks");
        }
        Err(reason) => {
            if key::public().is_none() && key::create(None).is_none() {
                log!("nothing gives random numbers: there is no key");
            }
            log!("the boot is not measured: {reason:x?}");
        }
    }
}

/// # Safety
/// As for [`measure`].
unsafe fn try_to_measure(handover: &Handover) -> Result<Platform, Unmeasured> {
    let uefi = handover.uefi.ok_or(Unmeasured::NoFirmware)?;
    if LOG.lock().bytes().is_empty() {
        return Err(Unmeasured::NoFirmware);
    }
    // SAFETY: once; the firmware's boot services have ended, and domain 0 will not reach it.
    let mut device = unsafe { Device::find()? };
    // SAFETY: a loaded file, see above.
    find_secret(&mut device, unsafe { bytes(uefi.approvals) });
    let [configuration, kernel, ram_disk, command_line, own_key] = EVENTS;
    for (label, range) in [
        (configuration, uefi.configuration),
        (kernel, handover.bundle.kernel),
        (ram_disk, handover.bundle.ram_disk),
    ] {
        // SAFETY: loaded files, see above.
        extend(&mut device, label, unsafe { bytes(range) })?;
    }
    extend(&mut device, command_line, &handover.command_line)?;
    let random = device.run(&command::get_random(32), command::random_bytes)?;
    let public = key::create(Some(&random)).ok_or(Unmeasured::NoKey)?;
    extend(&mut device, own_key, &public)?;
    Ok(platform(device)?)
}

/// Gets the platform secret. Before anything is measured: afterwards the TPM gives it to nobody.
fn find_secret(device: &mut Device, approvals: &[u8]) {
    let imprint = secret::imprint();
    match secret::obtain(device, &imprint, approvals) {
        Ok(obtained) => {
            platform_key::keep(&obtained.secret);
            let how = if obtained.is_new { "new" } else { "found" };
            log!("the platform secret is {how}, release {}", imprint.release);
        }
        Err(reason) => log!("no platform secret: {reason:x?}"),
    }
}

/// # Safety
/// The range is memory that is not written.
unsafe fn bytes(range: Range) -> &'static [u8] {
    if range.size() == 0 {
        return &[];
    }
    // SAFETY: as the caller warrants.
    unsafe { physical::bytes(range) }
}

fn extend(device: &mut Device, label: &str, contents: &[u8]) -> Result<(), Unmeasured> {
    let digest = hash(contents);
    device.run(&command::extend(MONITOR_PCR, &digest), command::done)?;
    Ok(LOG.lock().push(MONITOR_PCR, &digest, label)?)
}

/// SHA-256 of the log's claims set.
fn log_digest() -> Hash {
    let mut hash = Sha256::new();
    // A hash takes everything.
    let _infallible = encode_log(&mut hash, LOG.lock().bytes());
    hash.finalize().into()
}

/// Finds the domains' counters, if there is a secret that they hang on.
fn find_counters(device: &mut Device) -> Result<(), TpmError> {
    if let Some(found) = platform_key::with(|platform| counters::find(device, platform)) {
        *SLOTS.lock() = found?;
    }
    Ok(())
}

/// Makes the TPM's key, and finds what changes no more.
fn platform(mut device: Device) -> Result<Platform, TpmError> {
    find_counters(&mut device)?;
    let created = device.run(&command::create_attestation_key(), |answer| {
        let (handle, public) = command::created_key(answer)?;
        let mut kept = arrayvec::ArrayVec::<u8, LONGEST_PUBLIC>::new();
        kept.try_extend_from_slice(public)
            .map_err(|_| AnswerError::Malformed)?;
        Ok((handle, kept))
    })?;
    let (handle, public) = created;
    let registers = secret::registers(&mut device, QUOTED)?;
    let first = QuoteInput::of(&[]);
    let resets = device.run(&command::quote(handle, &first.0, &QUOTED), |answer| {
        command::reset_counts(command::quoted(answer)?.0)
    })?;
    Ok(Platform {
        public,
        registers,
        resets,
        log_digest: log_digest(),
        desk: Lock::new(Desk::new(device, handle)),
    })
}
