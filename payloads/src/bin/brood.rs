//! Builds and seals as many children as its argument says, each with a vCPU and a few pages, out of its own pool, and reports
//! how many it has: a branch of the tree that its owner takes back at once.

#![no_std]
#![no_main]

use adyton_runtime::abi::policy::Flags;
use adyton_runtime::compose::calls::{self, Entry, Name, Placement};
use adyton_runtime::compose::claim::Failure;
use adyton_runtime::compose::convention::PAYLOAD;
use adyton_runtime::compose::domain::READ_WRITE;
use adyton_runtime::compose::environment::Refusal;
use adyton_runtime::compose::program::policy;
use adyton_runtime::{Domain, Inside, call_parent, println};

adyton_runtime::entry!(main);

const PAGE: u64 = 4096;
/// Pages of the pool for each child: control page, exit page, memory.
const STRIDE: u64 = 16 * PAGE;
/// Regions of each child.
const REGIONS: u64 = 10;
/// Pages of monitor memory for each child: record, context, tables, vCPU.
const QUOTA: u64 = 8;

fn main(domain: &mut Domain) -> u64 {
    let wanted = domain.number(0).unwrap_or(0);
    match breed(domain, wanted) {
        Ok(()) => {
            call_parent([PAYLOAD, wanted, 0, 0, 0, 0]);
            0
        }
        Err(failure) => {
            println!("{failure}");
            1
        }
    }
}

fn breed(domain: &mut Domain, wanted: u64) -> Result<(), Failure> {
    let claim = domain.claim_pool()?;
    for number in 0..wanted {
        // The first page names the claim.
        child(Name {
            address: claim.address() + PAGE + number * STRIDE,
            ..claim.name()
        })?;
    }
    // The owner ends this domain while the claim lives.
    core::mem::forget(claim);
    Ok(())
}

fn child(name: Name) -> Result<(), Refusal> {
    calls::create(&Inside, name, policy(Flags::CONFIDENTIAL), QUOTA)?;
    calls::vcpu(&Inside, name, name.address + PAGE, Entry::default())?;
    calls::cores(&Inside, name, 0, 0)?;
    for region in 0..REGIONS {
        let what = Placement {
            from: name.address + (2 + region) * PAGE,
            size: PAGE,
            place: region * PAGE,
            attributes: READ_WRITE,
        };
        if region % 2 == 0 {
            calls::carve(&Inside, name, what)?;
        } else {
            calls::share(&Inside, name, what)?;
        }
    }
    calls::seal(&Inside, name)
}
