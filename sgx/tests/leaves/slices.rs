//! What happens between the slices of an eviction or a reload.

use adyton_sgx::epcm::PageType;
use adyton_sgx::leaf::Encls;
use adyton_sgx::{ErrorCode, Outcome};

use crate::support::enclave::{DATA, OK_SILENT, PLAIN};
use crate::support::world::{OK, World, code, epc};

/// Whoever works on the page between two slices makes the eviction begin anew, with what the page holds now.
#[test]
fn between_slices_a_page_can_change() {
    let mut world = World::new();
    let debugged = PLAIN | adyton_sgx::platform::attribute::DEBUG;
    let enclave = world.enclave(debugged);
    let slot = epc(world.versions());
    let page = enclave.page(DATA);
    world.block(&enclave, page);
    let out = world.room();
    let operands = [out.info, epc(page), slot];
    assert_eq!(world.encls_slice(Encls::Ewb, operands), Outcome::Again);
    let value = u64::from_le_bytes(*b"changed!");
    assert_eq!(world.encls(Encls::Edbgwr, [value, epc(page), 0]), OK);
    assert_eq!(world.encls(Encls::Ewb, operands), OK);
    let operands = world.back(out, page, epc(enclave.secs), slot);
    assert_eq!(world.encls_slice(Encls::Eldu, operands), Outcome::Again);
    assert!(!world.entry(page).attributes().valid);
    // Another page is loaded into the same place in between, and removed.
    let kind = [PageType::Va as u64, epc(page), 0];
    assert_eq!(world.silent(Encls::Epa, kind), OK_SILENT);
    assert_eq!(world.encls(Encls::Eremove, [0, epc(page), 0]), OK);
    assert_eq!(world.encls(Encls::Eldu, operands), OK);
    assert_eq!(world.inside(&enclave, DATA, 8), b"changed!");
}

/// A version array that goes out while slots of it change would come back with the versions of before.
#[test]
fn a_version_array_goes_out_with_its_last_versions() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let (versions, upper) = (world.versions(), world.versions());
    let page = enclave.page(DATA);
    world.block(&enclave, page);
    let old = world.write_out(page, epc(versions));
    let operands = world.back(old, page, epc(enclave.secs), epc(versions));
    let array = world.room();
    let evict = [array.info, epc(versions), epc(upper)];
    assert_eq!(world.encls_slice(Encls::Ewb, evict), Outcome::Again);
    // The page comes back, which clears its slot.
    let mut other = adyton_sgx::Progress::new();
    std::mem::swap(&mut world.progress, &mut other);
    assert_eq!(world.encls(Encls::Eldu, operands), OK);
    std::mem::swap(&mut world.progress, &mut other);
    assert_eq!(world.encls(Encls::Ewb, evict), OK);
    let back = world.back(array, versions, 0, epc(upper));
    assert_eq!(world.encls(Encls::Eldu, back), OK);
    let twin = world.free_page();
    let operands = [operands[0], epc(twin), operands[2]];
    world.refuses(Encls::Eldu, operands, code(ErrorCode::MacCompareFail));
}

/// A page whose version was written while its array went out comes back with that version.
#[test]
fn a_version_that_is_written_meanwhile_is_not_lost() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let (versions, upper) = (world.versions(), world.versions());
    let page = enclave.page(DATA);
    world.block(&enclave, page);
    let array = world.room();
    let evict = [array.info, epc(versions), epc(upper)];
    assert_eq!(world.encls_slice(Encls::Ewb, evict), Outcome::Again);
    let mut other = adyton_sgx::Progress::new();
    std::mem::swap(&mut world.progress, &mut other);
    let out = world.write_out(page, epc(versions));
    std::mem::swap(&mut world.progress, &mut other);
    assert_eq!(world.encls(Encls::Ewb, evict), OK);
    let back = world.back(array, versions, 0, epc(upper));
    assert_eq!(world.encls(Encls::Eldu, back), OK);
    let operands = world.back(out, page, epc(enclave.secs), epc(versions));
    assert_eq!(world.encls(Encls::Eldu, operands), OK);
}
