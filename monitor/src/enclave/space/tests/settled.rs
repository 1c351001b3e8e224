//! A settled space against one that is judged: whatever `judge` would drop must be noticed.

use super::*;

const START: u64 = 0x7f00_1234_5000;

/// A settled space with five translations, a walk besides, and what it was made of.
fn settled() -> (World, Space, Box<AtomicU64>) {
    let world = World::new(64);
    let mut space = Space::new(&world.frames).unwrap();
    for page in 0..5 {
        world.load(&mut space, START + page * PAGE, 0x10_0000);
    }
    let other = Box::new(AtomicU64::new(0x77));
    let upper: [Step; 3] = core::array::from_fn(|level| World::step(&world.upper[level]));
    let walk = Walk([upper[0], upper[1], upper[2], World::step(&other)]);
    assert!(!space.is_as_settled());
    assert!(space.settle(&world.frames, &[walk]));
    assert!(space.is_as_settled() && space.is_settled());
    (world, space, other)
}

#[test]
fn every_entry_that_it_depends_on_is_looked_at() {
    let (world, mut space, other) = settled();
    let last = (0..5).map(|page| &world.last[index(START + page * PAGE, 0)]);
    for entry in world.upper.iter().chain(last).chain([&*other]) {
        let word = entry.load(Ordering::Relaxed);
        for bit in [0, 5, 6, 12, 63] {
            entry.store(word ^ 1 << bit, Ordering::Relaxed);
            assert!(!space.is_as_settled());
        }
        entry.store(word, Ordering::Relaxed);
        assert!(space.is_as_settled());
    }
    // One that nothing depends on.
    world.last[index(START + 7 * PAGE, 0)].store(1, Ordering::Relaxed);
    assert!(space.is_as_settled());
    assert_eq!(space.judge(), 0);
    assert!(space.is_as_settled());
}

#[test]
fn whatever_is_loaded_or_dropped_unsettles_it() {
    let changes: [fn(&World, &mut Space); 5] = [
        |world, space| world.load(space, START, 0x10_0000),
        |world, space| world.load(space, START + 9 * PAGE, 0x10_0000),
        |world, space| {
            let entry = &world.last[index(START, 0)];
            entry.store(1, Ordering::Relaxed);
            assert_eq!(space.judge(), 1);
            entry.store(0, Ordering::Relaxed);
        },
        |_, space| space.retain(|address, _| address != START),
        |world, space| space.clear(&world.frames),
    ];
    for change in changes {
        let (world, mut space, _other) = settled();
        change(&world, &mut space);
        assert!(!space.is_settled() && !space.is_as_settled());
    }
    let (_world, mut space, _other) = settled();
    space.retain(|_, _| true);
    assert!(space.is_as_settled());
}

#[test]
fn more_than_can_be_listed_is_not_settled_and_no_frame_is_lost() {
    let world = World::new(1100);
    let mut space = Space::new(&world.frames).unwrap();
    let free = world.frames.free_pages();
    // 3 steps above the last table, and one for each page.
    for (pages, fits) in [(1, true), (248, true), (249, true), (250, false)] {
        for page in 0..pages {
            world.load(&mut space, 0x40_0000 + page * PAGE, 0x10_0000);
        }
        assert_eq!(space.settle(&world.frames, &[]), fits, "{pages} pages");
        assert_eq!(space.is_as_settled(), fits);
        world.last[index(0x40_0000 + (pages - 1) * PAGE, 0)].fetch_xor(1, Ordering::Relaxed);
        assert!(!space.is_as_settled());
        space.clear(&world.frames);
        assert_eq!(world.frames.free_pages(), free);
    }
    // As many ways through upper tables.
    let entries: Vec<AtomicU64> = (0..30).map(AtomicU64::new).collect();
    for (entry, region) in entries.iter().zip(0..) {
        let mut new = world.translation(region << 30, 0x10_0000);
        new.upper[2] = World::step(entry);
        space.load(&world.frames, &new).unwrap();
    }
    assert!(!space.settle(&world.frames, &[]));
    space.clear(&world.frames);
    assert_eq!(world.frames.free_pages(), free);
}

#[test]
fn nothing_is_settled_where_there_is_no_page_for_it() {
    let world = World::new(6);
    let mut space = Space::new(&world.frames).unwrap();
    world.load(&mut space, START, 0x10_0000);
    while world.frames.allocate().is_some() {}
    assert!(!space.settle(&world.frames, &[]) && !space.is_as_settled());
    assert_eq!(space.translate(START), Some(0x10_0000));
}
