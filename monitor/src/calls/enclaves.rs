//! What the machine can say about an SGX enclave: `enclave_evidence`.
//!
//! An enclave says what it is by EREPORT, to whom TARGETINFO names. Here that is the monitor itself (`abi/src/enclave.rs`), which has every
//! key and checks the MAC: what the report then says is what the enclave's SECS said, and REPORTDATA is the enclave's own.

use adyton_abi::enclave::{QUESTION_SIZE, REPORT_SIZE, target};
use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_evidence::enclave::{Enclave, Separation, attribute};
use adyton_sgx::structures::{Report, Targetinfo};

use super::attest::{Buffer, serve};
use super::{Request, Results};
use crate::attestation::evidence::Question;
use crate::domain::name::{self, Refusal};
use crate::enclave;

/// The two tables of ATTRIBUTES' bits, of crates that do not know each other, are one.
const _: () = {
    use adyton_sgx::platform::attribute as sgx;
    assert!(attribute::INIT == sgx::INIT && attribute::DEBUG == sgx::DEBUG);
    assert!(attribute::MODE64BIT == sgx::MODE64BIT && attribute::KSS == sgx::KSS);
    assert!(attribute::PROVISIONKEY == sgx::PROVISIONKEY);
    assert!(attribute::EINITTOKEN_KEY == sgx::EINITTOKEN_KEY);
    assert!(attribute::AEXNOTIFY == sgx::AEXNOTIFY);
};

/// `enclave_evidence(address, size; token)` → offset, bytes.
#[inline(never)]
pub(super) fn evidence(request: &Request<'_>) -> Result<Results, Refusal> {
    let token = request.require_token()?;
    name::require(request.caller, Flags::MAY_ATTEST)?;
    let [address, size, ..] = request.arguments;
    let buffer = Buffer::new(request.caller, address, size)?;
    if !enclave::is_offered() {
        return Err(Error::Unsupported.into());
    }
    let read = |bytes: &[u8; QUESTION_SIZE]| Question::read_enclave(bytes, judge);
    serve(request, token, &buffer, read)
}

/// The enclave that made this report for the monitor, in this boot.
fn judge(report: &[u8; REPORT_SIZE]) -> Result<Enclave, Error> {
    let (report, target) = (Report(*report), Targetinfo(target()));
    if enclave::platform().is_genuine(&target, &report) {
        Ok(described(&report))
    } else {
        Err(Error::Forged)
    }
}

/// A report in evidence's words.
fn described(report: &Report) -> Enclave {
    let (words, _) = report.attributes().as_chunks();
    let word = |place: usize| words.get(place).map_or(0, |word| u64::from_le_bytes(*word));
    let flags = word(0);
    let separation = (flags & attribute::KSS != 0).then(|| Separation {
        configuration: *report.configid(),
        configuration_version: report.configsvn(),
        family: *report.isvfamilyid(),
        product: *report.isvextprodid(),
    });
    Enclave {
        measurement: *report.mrenclave(),
        signer: *report.mrsigner(),
        product: report.isvprodid(),
        version: report.isvsvn(),
        flags,
        xfrm: word(1),
        miscselect: report.miscselect(),
        cpusvn: *report.cpusvn(),
        data: *report.reportdata(),
        separation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each field comes from its own place in the report.
    #[test]
    fn a_report_is_told_field_by_field() {
        let mut report = Report::zeroed();
        for (byte, value) in report.0.iter_mut().zip((0..251).cycle()) {
            *byte = value;
        }
        let flags = attribute::INIT | attribute::KSS | 1 << 40;
        let mut attributes = [0; 16];
        attributes[..8].copy_from_slice(&flags.to_le_bytes());
        attributes[8..].copy_from_slice(&0xe7_u64.to_le_bytes());
        report.set_attributes(&attributes);
        let told = described(&report);
        assert_eq!((told.flags, told.xfrm), (flags, 0xe7));
        assert_eq!(told.measurement[..], report.0[64..96]);
        assert_eq!(told.signer[..], report.0[128..160]);
        assert_eq!(told.product.to_le_bytes(), report.0[256..258]);
        assert_eq!(told.version.to_le_bytes(), report.0[258..260]);
        assert_eq!(told.miscselect.to_le_bytes(), report.0[16..20]);
        assert_eq!(told.cpusvn[..], report.0[..16]);
        assert_eq!(told.data[..], report.0[320..384]);
        let separation = told.separation.expect("with KSS");
        assert_eq!(separation.configuration[..], report.0[192..256]);
        let version = separation.configuration_version;
        assert_eq!(version.to_le_bytes(), report.0[260..262]);
        assert_eq!(separation.family[..], report.0[304..320]);
        assert_eq!(separation.product[..], report.0[32..48]);
        report.set_attributes(&[1; 16]);
        assert_eq!(described(&report).separation, None);
    }
}
