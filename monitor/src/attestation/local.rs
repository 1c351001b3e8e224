//! Reports: statements about a domain that this monitor alone can check, for other domains of the machine.
//!
//! The key is made at boot beside the signing key, and leaves the monitor as little. The monitor's name for a domain counts what was made
//! since the boot, which is nobody's business; so it is hidden under a pad that depends on the report's salt.

use adyton_abi::error::Error;
use adyton_abi::report::{COVERED, DATA, Report};
use adyton_capability::domain::DomainFacts;
use adyton_capability::identity::DomainId;
use adyton_secrets::derivation::code;
use hmac::Mac;

use super::key;

/// What the codes of one kind are made for.
const NAME: &[u8] = b"ADYTON-LOCAL-NAME-1";
const CODE: &[u8] = b"ADYTON-LOCAL-CODE-1";

/// The name of a domain in a report with this salt, and back.
fn hidden(key: &[u8; 32], salt: &[u8; 16], name: [u8; 8]) -> [u8; 8] {
    let pad = code(key, &[NAME, salt]).finalize().into_bytes();
    let mut name = name;
    for (byte, pad) in name.iter_mut().zip(pad) {
        *byte ^= pad;
    }
    name
}

fn covered(report: &Report) -> [u8; COVERED] {
    let mut bytes = [0; COVERED];
    for (place, byte) in bytes.iter_mut().zip(report.to_bytes()) {
        *place = byte;
    }
    bytes
}

/// A report about the domain, with its own data.
///
/// # Errors
/// `Exhausted` where the monitor has no key.
pub fn report(facts: &DomainFacts, data: [u8; DATA], salt: [u8; 16]) -> Result<Report, Error> {
    let key = key::local().ok_or(Error::Exhausted)?;
    Ok(made(key, facts, data, salt))
}

fn made(key: &[u8; 32], facts: &DomainFacts, data: [u8; DATA], salt: [u8; 16]) -> Report {
    let mut report = Report {
        data,
        measurement: facts.measurement,
        flags: facts.policy.flags.word(),
        exceptions: facts.policy.exceptions.into(),
        vcpus: facts.vcpus.into(),
        epoch: facts.epoch.into(),
        salt,
        name: hidden(key, &salt, facts.id.word().to_le_bytes()),
        code: [0; 32],
    };
    report.code = code(key, &[CODE, &covered(&report)])
        .finalize()
        .into_bytes()
        .into();
    report
}

/// The domain that the report is about.
///
/// # Errors
/// `Forged`.
pub fn check(report: &Report) -> Result<DomainId, Error> {
    checked(key::local().ok_or(Error::Forged)?, report)
}

fn checked(key: &[u8; 32], report: &Report) -> Result<DomainId, Error> {
    let expected = code(key, &[CODE, &covered(report)]);
    let right = expected.verify_slice(&report.code);
    right.map_err(|_| Error::Forged)?;
    let name = hidden(key, &report.salt, report.name);
    Ok(DomainId::from_word(u64::from_le_bytes(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use adyton_abi::policy::Policy;
    use adyton_abi::record::DomainState;
    use adyton_abi::report::SIZE;
    use adyton_capability::account::Account;

    fn facts() -> DomainFacts {
        DomainFacts {
            id: DomainId::from_word(0x1234_5678_9abc),
            state: DomainState::Sealed,
            policy: Policy::default(),
            vcpus: 2,
            epoch: 3,
            regions: 4,
            account: Account::default(),
            measurement: [5; 32],
            control_base: 0,
            creator: None,
            pool_bytes: 0,
            claimed_bytes: 0,
            pool_regions: 0,
        }
    }

    #[test]
    fn a_report_is_its_monitors_and_whole() {
        let key = [7; 32];
        let report = made(&key, &facts(), [8; DATA], [9; 16]);
        assert_eq!(checked(&key, &report), Ok(facts().id));
        assert_eq!((report.vcpus, report.epoch), (2, 3));
        assert_eq!(checked(&[6; 32], &report), Err(Error::Forged));
        for place in 0..SIZE {
            let mut bytes = report.to_bytes();
            bytes[place] ^= 1;
            let spoilt = Report::from_bytes(&bytes);
            assert_eq!(checked(&key, &spoilt), Err(Error::Forged), "byte {place}");
        }
    }

    #[test]
    fn the_name_is_hidden() {
        let key = [7; 32];
        let [one, other] = [[1; 16], [2; 16]].map(|salt| made(&key, &facts(), [8; DATA], salt));
        assert_ne!(one.name, other.name);
        assert_ne!(one.name, facts().id.word().to_le_bytes());
    }
}
