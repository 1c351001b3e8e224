//! What the monitor can prove about itself: how it was booted, and which key is its own.
//!
//! [`measure`] runs once, before domain 0: it extends what was loaded into PCR 12, makes the [`key`] and binds it there, and makes the
//! TPM's attestation key. From then on [`quote`] gets the TPM's statements, one at a time, for whoever asks. Formats: `docs/attestation.md`;
//! reasons: design note 005.
//!
//! What must hold: PCR 12 is extended here and nowhere else, never after [`measure`]; the secret half of the key is read by nothing but signing.

pub mod counters;
pub mod enrolment;
pub mod errand;
pub mod evidence;
pub mod key;
pub mod local;
pub mod measure;
pub mod platform_key;
pub mod quote;
pub mod secret;

use adyton_evidence::Hash;
use adyton_evidence::platform::Values;
use arrayvec::ArrayVec;

use crate::lock::Lock;
use crate::once::Once;
use crate::tpm::event_log::EventLog;
use quote::Desk;

/// What was extended into the TPM's registers since the reset: the firmware's events, then the monitor's.
pub static LOG: Lock<EventLog> = Lock::new(EventLog::new());

static PLATFORM: Once<Platform> = Once::new();

/// Raised where a weakness of the monitor was mended: relying parties ask for a least one.
pub const SECURITY_VERSION: u64 = 1;

/// Bytes of the longest public part of an attestation key.
const LONGEST_PUBLIC: usize = 128;

/// A boot that was measured.
pub struct Platform {
    /// The public part of the TPM's attestation key (`TPMT_PUBLIC`).
    pub public: ArrayVec<u8, LONGEST_PUBLIC>,
    /// The values of the [quoted registers](adyton_evidence::platform::QUOTED), which change no more.
    pub registers: Values,
    /// How often the TPM had been reset, and restarted, when the monitor started.
    pub resets: [u32; 2],
    /// SHA-256 of the log's claims set: the log changes no more either.
    pub log_digest: Hash,
    /// Where statements are asked for.
    pub desk: Lock<Desk>,
}

/// The platform; `None` if nobody measured this boot.
#[must_use]
pub fn platform() -> Option<&'static Platform> {
    PLATFORM.try_get()
}
