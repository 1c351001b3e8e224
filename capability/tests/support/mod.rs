//! What the engine's tests share: a store over a vector, and a machine that records what effects do to it.
#![allow(dead_code, reason = "each test uses a part")]

pub mod machine;
pub mod pages;
pub mod scene;

use adyton_abi::PAGE_SIZE;
use adyton_abi::region::Attributes;
use adyton_capability::Engine;
use adyton_capability::account::Costs;
use adyton_capability::device;
use adyton_capability::node::Resource;

use pages::Pages;

/// What the platform's part costs in these tests.
pub const COSTS: Costs = Costs { domain: 3, vcpu: 2 };

/// Pages in one pool region of the small machine.
pub const POOL_PAGES: u64 = 48;

/// Where the two pool regions begin; the second crosses a 2 MiB boundary of its tables.
pub const POOLS: [u64; 2] = [0x20_0000, 0x3f_0000];

/// Memory that is no pool.
pub const PLAIN: u64 = 0x10_0000;

/// Cores of the small machine.
pub const CORES: u64 = 4;

/// Devices of the small machine.
pub const DEVICES: u64 = 3;

/// Pages of a device's registers that tests look at.
pub const DEVICE_PAGES: u64 = 3;

/// Read, write, execute.
pub fn all_rights() -> Attributes {
    Attributes::READ | Attributes::WRITE | Attributes::EXECUTE
}

/// An engine over a small machine: two pool regions, some plain memory, four cores, three devices.
pub fn small_engine(limit: u64) -> Engine<Pages> {
    let mut engine = Engine::new(Pages::new(), limit, COSTS).unwrap();
    let mut add = |resource, base, size, attributes| {
        engine.add_root(resource, base, size, attributes).unwrap();
    };
    add(Resource::Memory, PLAIN, 16 * PAGE_SIZE, all_rights());
    for pool in POOLS {
        let attributes = all_rights() | Attributes::POOL;
        add(Resource::Memory, pool, POOL_PAGES * PAGE_SIZE, attributes);
    }
    add(Resource::Core, 0, CORES, Attributes::NONE);
    let registers = Attributes::READ | Attributes::WRITE;
    add(
        Resource::Device,
        device::number(0),
        DEVICES * device::SPAN,
        registers,
    );
    engine
}
