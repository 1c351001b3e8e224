//! The machine's one engine, behind its one lock.

use adyton_abi::region::Attributes;
use adyton_capability::Engine;
use adyton_capability::account::Costs;
use adyton_capability::device;
use adyton_capability::effect::Budget;
use adyton_capability::node::Resource;

use super::context::{Context, Origin};
use super::directory::{DIRECTORY, Directory};
use super::memory;
use super::platform::{DOMAIN_FRAMES, VCPU_FRAMES};
use super::store::{FrameStore, FrameWords, WORDS};
use crate::cores::Core;
use crate::devices;
use crate::frames::FRAMES;
use crate::lock::{Guard, Lock};
use crate::machine;
use crate::memory::{Kind, Layout};
use crate::nested::NestedTables;
use crate::once::Once;

static ENGINE: Once<Lock<Engine<FrameStore>>> = Once::new();

/// Work of one slice, in units of about one instruction: with what every slice does besides, well below the bound of
/// 100,000 instructions with interrupts off.
pub const SLICE: u64 = 50_000;

/// Frames that the accounts do not cover: what the monitor itself still needs after the engine was made.
const UNCOVERED: u64 = 64;

/// Takes the engine's lock.
pub fn lock() -> Guard<'static, Engine<FrameStore>> {
    ENGINE.get().lock()
}

/// A budget of one slice.
#[must_use]
pub const fn slice() -> Budget {
    Budget::new(SLICE)
}

/// Makes the engine, with domain 0 as the holder of all memory and all cores, and domain 0's context.
///
/// # Panics
/// If the reserve is too small.
pub fn create(layout: &Layout, cores: &'static [Core], tables: NestedTables) -> &'static Context {
    WORDS.set(FrameWords::new(layout.reserve).expect("the reserve is too small for its own words"));
    DIRECTORY.set(
        Directory::new(layout.pool).expect("the reserve is too small for the pool's directory"),
    );
    memory::set_ordinary(layout);
    let costs = Costs {
        domain: DOMAIN_FRAMES,
        vcpu: VCPU_FRAMES,
    };
    let for_devices = if devices::window().is_some() {
        devices::TABLES
    } else {
        0
    };
    let limit = FRAMES.free_pages().saturating_sub(UNCOVERED + for_devices);
    let mut engine =
        Engine::new(FrameStore, limit, costs).expect("the reserve is too small for the engine");
    let everything = Attributes::RIGHTS;
    for entry in layout
        .domain0
        .iter()
        .filter(|entry| matches!(entry.kind, Kind::Ram | Kind::SoftReserved))
    {
        let pool = if entry.kind == Kind::SoftReserved {
            Attributes::POOL
        } else {
            Attributes::NONE
        };
        // Whole pages: what the firmware leaves at the edges belongs to nobody.
        let start = entry.range.start.next_multiple_of(4096);
        let size = (entry.range.end / 4096 * 4096).saturating_sub(start);
        if size > 0 {
            engine
                .add_root(Resource::Memory, start, size, everything | pool)
                .expect("the firmware's memory map overlaps, or the reserve is too small");
        }
    }
    engine
        .add_root(Resource::Core, 0, cores.len() as u64, everything)
        .expect("the reserve is too small for the cores");
    for (index, core) in cores.iter().enumerate() {
        let first = |core: &Core| u64::from(core.apic_id) & !(machine::get().threads - 1);
        let known = cores
            .iter()
            .take(index)
            .any(|other| first(other) == first(core));
        if !known {
            let (first, none) = (first(core), Attributes::NONE);
            engine
                .add_root(Resource::WholeCore, first, machine::get().threads, none)
                .expect("the reserve is too small for the cores");
        }
    }
    if devices::window().is_some() {
        let registers = Attributes::READ | Attributes::WRITE;
        let size = device::COUNT * device::SPAN;
        engine
            .add_root(Resource::Device, device::FIRST, size, registers)
            .expect("the reserve is too small for the devices");
    }
    let id = engine.first_domain();
    let page = FRAMES
        .allocate()
        .expect("the reserve is too small for domain 0");
    let origin = Origin {
        key: [0; 2],
        id,
        owner: id,
        policy: adyton_abi::policy::Policy::default(),
        tables,
        control_page: None,
    };
    // SAFETY: just allocated.
    let context = unsafe { Context::create(page, origin) };
    WORDS.get().set_context(id.page_number(), context);
    ENGINE.set(Lock::new(engine));
    context
}
