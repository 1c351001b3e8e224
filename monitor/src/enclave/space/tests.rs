//! Spaces over a small memory, with operating-system tables that change under them.

use super::region::JUDGEMENTS;
use super::*;
use crate::guest::walk::Kind;
use crate::memory::Range;

mod settled;

const PAGE: u64 = 4096;

/// Frames, and the operating system's tables: three upper entries and a last table.
struct World {
    frames: FrameAllocator,
    upper: Vec<AtomicU64>,
    last: Box<Table>,
    _memory: Vec<u8>,
}

impl World {
    fn new(pages: u64) -> Self {
        let memory = vec![0; ((pages + 1) * PAGE) as usize];
        let start = (memory.as_ptr() as u64).next_multiple_of(PAGE);
        let frames = FrameAllocator::new();
        let end = start + pages * PAGE;
        // SAFETY: the memory lives as long as the world.
        unsafe { frames.initialize(Range { start, end }) };
        Self {
            frames,
            upper: (0..3).map(|level| AtomicU64::new(0x100 + level)).collect(),
            last: Box::new([const { AtomicU64::new(0) }; ENTRIES]),
            _memory: memory,
        }
    }

    fn step(entry: &AtomicU64) -> Step {
        let word = entry.load(Ordering::Relaxed);
        Step { entry, word }
    }

    fn translation(&self, address: u64, place: u64) -> Translation {
        Translation {
            address,
            word: place | Entry::PRESENT | Entry::USER,
            upper: core::array::from_fn(|level| Self::step(&self.upper[level])),
            last: Some(Self::step(&self.last[index(address, 0)])),
        }
    }

    fn load(&self, space: &mut Space, address: u64, place: u64) {
        space
            .load(&self.frames, &self.translation(address, place))
            .unwrap();
    }
}

#[test]
fn what_is_loaded_translates_until_its_entry_changes() {
    let world = World::new(64);
    let mut space = Space::new(&world.frames).unwrap();
    let start = 0x7f00_1234_5000;
    for page in 0..8 {
        world.load(&mut space, start + page * PAGE, 0x10_0000 + page * PAGE);
    }
    assert_eq!(space.pages(), 8);
    assert_eq!(space.translate(start + 0x3123), Some(0x10_3123));
    assert_eq!(space.translate(start + 8 * PAGE), None);
    space.judge();
    assert_eq!(space.pages(), 8);
    // One that is used, and one that is not.
    world.last[index(start + 2 * PAGE, 0)].store(5, Ordering::Relaxed);
    world.last[index(start + 9 * PAGE, 0)].store(5, Ordering::Relaxed);
    space.judge();
    assert_eq!(space.pages(), 7);
    assert_eq!(space.translate(start + 2 * PAGE), None);
    assert_eq!(space.translate(start + 3 * PAGE), Some(0x10_3000));
}

#[test]
fn an_upper_entry_that_changes_takes_all_with_it() {
    for level in 0..3 {
        let world = World::new(64);
        let mut space = Space::new(&world.frames).unwrap();
        world.load(&mut space, 0x40_0000, 0x10_0000);
        world.load(&mut space, 0x40_1000, 0x10_1000);
        world.upper[level].store(7, Ordering::Relaxed);
        space.judge();
        assert_eq!(space.pages(), 0);
        assert_eq!(space.translate(0x40_0000), None);
    }
}

#[test]
fn a_load_by_another_way_drops_what_the_old_way_gave() {
    let world = World::new(64);
    let mut space = Space::new(&world.frames).unwrap();
    world.load(&mut space, 0x40_0000, 0x10_0000);
    world.upper[2].store(9, Ordering::Relaxed);
    world.load(&mut space, 0x40_1000, 0x10_1000);
    assert_eq!(space.pages(), 1);
    assert_eq!(space.translate(0x40_0000), None);
    assert_eq!(space.translate(0x40_1000), Some(0x10_1000));
}

#[test]
fn who_retains_is_asked_about_every_page() {
    let world = World::new(64);
    let mut space = Space::new(&world.frames).unwrap();
    for address in [0x40_0000, 0x40_3000, 0x8000_0000] {
        world.load(&mut space, address, 0x20_0000 + address);
    }
    let mut asked = Vec::new();
    space.retain(|address, word| {
        asked.push((address, word & Entry::ADDRESS));
        address != 0x40_3000
    });
    asked.sort_unstable();
    let expected =
        [0x40_0000, 0x40_3000, 0x8000_0000].map(|address| (address, address + 0x20_0000));
    assert_eq!(asked, expected);
    assert_eq!(space.pages(), 2);
    assert_eq!(space.translate(0x40_3000), None);
}

#[test]
fn every_frame_comes_back() {
    let world = World::new(256);
    let mut space = Space::new(&world.frames).unwrap();
    let free = world.frames.free_pages();
    for region in 0..40 {
        // Far apart and close together.
        world.load(&mut space, region << 21, 0x10_0000);
        world.load(&mut space, region << 39, 0x10_0000);
    }
    assert!(world.frames.free_pages() < free);
    space.clear(&world.frames);
    assert_eq!(world.frames.free_pages(), free);
    assert_eq!((space.pages(), space.translate(0)), (0, None));
}

#[test]
fn a_short_memory_is_refused_and_none_is_lost() {
    let world = World::new(12);
    let mut space = Space::new(&world.frames).unwrap();
    let free = world.frames.free_pages();
    let refused = (0..12).find(|region: &u64| {
        let new = world.translation(region << 39, 0x10_0000);
        space.load(&world.frames, &new).is_err()
    });
    assert!(refused.is_some());
    space.clear(&world.frames);
    assert_eq!(world.frames.free_pages(), free);
    world.load(&mut space, 0, 0x10_0000);
}

#[test]
fn a_large_page_is_judged_by_its_way_alone() {
    let world = World::new(64);
    let mut space = Space::new(&world.frames).unwrap();
    let mut new = world.translation(0x40_0000, 0x10_0000);
    new.last = None;
    space.load(&world.frames, &new).unwrap();
    world.last[0].store(1, Ordering::Relaxed);
    space.judge();
    assert_eq!(space.pages(), 1);
    world.upper[2].store(1, Ordering::Relaxed);
    space.judge();
    assert_eq!(space.pages(), 0);
}

#[test]
fn pages_of_one_table_are_dropped_one_by_one() {
    let world = World::new(64);
    let mut space = Space::new(&world.frames).unwrap();
    let start = 0x7f00_1220_0000;
    // Of one word of the bitmap, and of others.
    let pages = [0, 1, 63, 64, 511].map(|number| start + number * PAGE);
    for round in 1..=2 {
        for page in pages {
            world.load(&mut space, page, 0x10_0000);
        }
        assert_eq!(space.pages(), pages.len());
        for (page, left) in pages.iter().zip((0..pages.len()).rev()) {
            world.last[index(*page, 0)].store(round, Ordering::Relaxed);
            space.judge();
            assert_eq!((space.pages(), space.translate(*page)), (left, None));
        }
    }
}

/// Like the processor, for as long as the thread is inside.
fn touch(space: &Space, address: u64) {
    let mut place = space.root;
    for level in (1..=ROOT_LEVEL).rev() {
        let word = table(place)[index(address, level)].load(Ordering::Relaxed);
        place = HostPhysical(word & Entry::ADDRESS);
    }
    table(place)[index(address, 0)].fetch_or(Entry::ACCESSED, Ordering::Relaxed);
}

#[test]
fn what_is_detached_is_judged_before_it_translates_again() {
    let world = World::new(64);
    let mut space = Space::new(&world.frames).unwrap();
    let [first, second] = [0x40_0000, 0x80_0000];
    space.renew(1, |_, _| panic!("nothing there"));
    for page in 0..4 {
        world.load(&mut space, first + page * PAGE, 0x10_0000 + page * PAGE);
    }
    world.load(&mut space, second, 0x20_0000);
    space.renew(1, |_, _| panic!("loaded since"));
    let mut asked = 0;
    space.detach(2);
    assert_eq!(space.translate(first), None);
    assert!(!space.permits(first, Kind::Read));
    // The system takes one away, the EPCM another.
    world.last[index(first + PAGE, 0)].store(5, Ordering::Relaxed);
    let keep = |address, _| {
        asked += 1;
        address != first + 2 * PAGE
    };
    assert!(space.attach(first + 8, 2, keep));
    assert_eq!(asked, 3);
    assert_eq!(space.translate(first), Some(0x10_0000));
    assert_eq!(space.translate(first + PAGE), None);
    assert_eq!(space.translate(first + 2 * PAGE), None);
    assert_eq!(space.translate(second), None);
    assert_eq!(space.pages(), 3);
    // Attached already, and never there.
    assert!(!space.attach(first, 2, |_, _| panic!("not again")));
    assert!(!space.attach(0xc0_0000, 2, |_, _| panic!("nothing there")));
    // A whole judgement brings everything back that was detached.
    space.detach(2);
    space.renew(2, |address, _| address == second);
    assert_eq!(space.translate(first), Some(0x10_0000));
    assert_eq!(space.translate(second), Some(0x20_0000));
}

#[test]
fn what_is_loaded_into_a_detached_part_leaves_nothing_unjudged_in_reach() {
    let world = World::new(64);
    let mut space = Space::new(&world.frames).unwrap();
    world.load(&mut space, 0x40_0000, 0x10_0000);
    space.detach(1);
    world.load(&mut space, 0x40_1000, 0x10_1000);
    assert_eq!(space.translate(0x40_0000), None);
    assert_eq!(space.translate(0x40_1000), Some(0x10_1000));
    assert_eq!(space.pages(), 1);
}

#[test]
fn an_access_is_permitted_by_what_stands_there() {
    let world = World::new(64);
    let mut space = Space::new(&world.frames).unwrap();
    let mut load = |address, rights| {
        let mut new = world.translation(address, 0x10_0000);
        new.word |= rights;
        space.load(&world.frames, &new).unwrap();
    };
    load(0x40_0000, Entry::NO_EXECUTE);
    load(0x40_1000, Entry::WRITABLE);
    let mut permitted = |address| {
        let kinds = [Kind::Read, Kind::Write, Kind::Execute];
        kinds.map(|kind| space.permits(address, kind))
    };
    let [first, second, third] = [0x40_0000, 0x40_1000, 0x40_2000].map(&mut permitted);
    assert_eq!(first, [true, false, false]);
    assert_eq!(second, [true, true, true]);
    assert_eq!(third, [false; 3]);
}

#[test]
fn what_was_not_touched_for_long_is_dropped() {
    let world = World::new(64);
    let mut space = Space::new(&world.frames).unwrap();
    for address in [0x40_0000, 0x40_1000] {
        world.load(&mut space, address, 0x10_0000 + address);
        touch(&space, address);
    }
    for _ in 0..JUDGEMENTS {
        space.judge();
    }
    // Both were touched since they were loaded.
    assert_eq!(space.pages(), 2);
    for _ in 0..JUDGEMENTS {
        touch(&space, 0x40_1000);
        space.judge();
    }
    assert_eq!(space.pages(), 1);
    assert_eq!(space.translate(0x40_1000), Some(0x50_1000));
}

#[test]
fn of_many_together_the_one_that_changed_is_dropped() {
    let world = World::new(64);
    let mut space = Space::new(&world.frames).unwrap();
    for page in 0..ENTRIES as u64 {
        world.load(&mut space, 0x40_0000 + page * PAGE, page * PAGE);
    }
    space.judge();
    assert_eq!(space.pages(), ENTRIES);
    for changed in [0, 63, 64, 300, 511] {
        world.last[changed].fetch_xor(1 << 63, Ordering::Relaxed);
        space.judge();
        let address = 0x40_0000 + changed as u64 * PAGE;
        assert_eq!(space.translate(address), None);
    }
    assert_eq!(space.pages(), ENTRIES - 5);
}
