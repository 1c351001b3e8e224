//! Building enclaves: ECREATE, EADD, EEXTEND.

use adyton_sgx::epcm::PageType;

use crate::support::enclave::PLAIN;
use crate::support::world::World;

#[test]
fn an_enclave_is_built_and_initialized() {
    let mut world = World::new();
    let enclave = world.enclave(PLAIN);
    let entry = world.entry(enclave.secs);
    assert!(entry.attributes().is(PageType::Secs));
    assert_eq!(entry.children(), 6);
}
