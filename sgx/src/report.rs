//! REPORT: the key of its MAC, and whether one was made here.

use crate::keys::{self, Dependencies, Key, KeyName};
use crate::platform::attribute;
use crate::secrets::Secrets;
use crate::structures::{Report, Targetinfo};

/// The key that only the target can have.
pub(crate) fn key(secrets: &Secrets, target: &Targetinfo) -> Key {
    let mut dependencies = Dependencies::of(KeyName::Report, secrets);
    dependencies.set_attributes(target.attributes());
    dependencies.set_mrenclave(target.measurement());
    dependencies.set_keyid(&secrets.report_key_id);
    dependencies.set_cpusvn(&secrets.cpusvn);
    dependencies.set_miscselect(target.miscselect());
    dependencies.set_configid(target.configid());
    dependencies.set_configsvn(target.configsvn());
    dependencies.derive(secrets)
}

/// The MAC of a report for that target.
pub(crate) fn mac(secrets: &Secrets, target: &Targetinfo, report: &Report) -> Key {
    keys::mac(&key(secrets, target), &[report.body()])
}

/// Whether EREPORT made this for the target, on this machine since it was booted.
///
/// The target must be one that no enclave is, or an enclave could have made the MAC itself: EGETKEY gives an enclave the key for its
/// own attributes, and INIT is among them as long as it runs. So nothing is genuine for a target that has INIT.
#[must_use]
pub fn is_genuine(secrets: &Secrets, target: &Targetinfo, report: &Report) -> bool {
    let [first, ..] = target.attributes();
    let is_nobody = u64::from(*first) & attribute::INIT == 0;
    // KEYID is not under the MAC. Keys of earlier boots differ by it alone.
    let is_of_this_boot = report.keyid() == &secrets.report_key_id;
    let has_mac = keys::is_equal(&mac(secrets, target, report), report.mac());
    is_nobody && is_of_this_boot && has_mac
}
