//! The measurement that a program's domain will have.

use adyton_compose::blueprint::{Blueprint, Part};
use adyton_compose::calls::Entry;
use adyton_evidence::measure::{Region, Vcpu, measure};

use crate::{Failure, Program};

/// The measurement of the domain that `program` builds, without building it.
///
/// # Errors
/// [`Failure::Arguments`].
pub fn measurement(program: &Program<'_>) -> Result<[u8; 32], Failure> {
    let Blueprint {
        policy,
        entries,
        parts,
    } = program.blueprint()?;
    let vcpus: Vec<_> = entries.iter().map(vcpu).collect();
    let regions: Vec<_> = parts.iter().map(region).collect();
    Ok(measure(policy, &vcpus, &regions))
}

fn vcpu(entry: &Entry) -> Vcpu {
    Vcpu {
        rip: entry.rip,
        rsp: entry.rsp,
        cr3: entry.cr3,
        argument: entry.argument,
    }
}

fn region(part: &Part) -> Region<'_> {
    Region {
        place: part.range.base,
        size: part.range.size,
        attributes: part.attributes,
        shared: part.shared,
        device: part.device,
        contents: &part.contents,
    }
}
