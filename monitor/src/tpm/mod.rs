//! The TPM, which is the monitor's alone: design note 005.

pub mod event_log;

use crate::lock::Lock;
use event_log::EventLog;

/// What was extended into the TPM's registers since the reset.
pub static LOG: Lock<EventLog> = Lock::new(EventLog::new());
