mod devices;
pub(super) mod pages;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use pages::Pages;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn mapping(place: u64, base: u64, size: u64, rights: Rights) -> Mapping {
    Mapping {
        place: GuestPhysical(place),
        base: HostPhysical(base),
        size,
        rights,
    }
}

/// Repeats a slice until the range is done, flushing after each; how many slices it took.
fn slices(
    frames: &Pages,
    size: u64,
    mut slice: impl FnMut(u64, u64) -> Result<Progress, Refused>,
) -> u32 {
    let mut done = 0;
    for count in 1.. {
        let progress = slice(done, size - done).unwrap();
        frames.flush(progress.flush);
        done += progress.done;
        match progress.end {
            End::Complete => {
                assert_eq!(done, size);
                return count;
            }
            End::Budget => assert!(progress.done > 0),
            End::OutOfFrames => panic!("out of frames"),
        }
    }
    unreachable!()
}

fn map(tables: &mut NestedTables, frames: &Pages, whole: Mapping, budget: u32) -> u32 {
    slices(frames, whole.size, |done, rest| {
        let part = mapping(
            whole.place.0 + done,
            whole.base.0 + done,
            rest,
            whole.rights,
        );
        tables.map(frames, part, budget)
    })
}

fn unmap(
    tables: &mut NestedTables,
    frames: &Pages,
    place: u64,
    size: u64,
    emptied: Emptied,
    budget: u32,
) -> u32 {
    slices(frames, size, |done, rest| {
        tables.unmap(frames, GuestPhysical(place + done), rest, emptied, budget)
    })
}

fn leaves(tables: &NestedTables, frames: &Pages) -> Vec<(u64, u64, u64, Rights)> {
    let mut all = Vec::new();
    tables.view().for_each(frames, |leaf| {
        all.push((leaf.place.0, leaf.base.0, leaf.size, leaf.rights))
    });
    all
}

fn fresh(frames: &Pages) -> NestedTables {
    NestedTables::new(frames, Format::Npt, true).unwrap()
}

#[test]
fn identity_map_uses_the_largest_pages() {
    let frames = Pages::new(16);
    let mut tables = fresh(&frames);
    map(
        &mut tables,
        &frames,
        mapping(0, 0, 4 * GIB, Rights::ALL),
        100,
    );
    assert_eq!(tables.tables(), 2);
    let found = tables.translate(&frames, GuestPhysical(GIB + 5)).unwrap();
    assert_eq!(
        (found.address.0, found.page_size, found.rights),
        (GIB + 5, GIB, Rights::ALL)
    );
    assert_eq!(tables.translate(&frames, GuestPhysical(4 * GIB)), None);
    assert_eq!(tables.translate(&frames, GuestPhysical(u64::MAX)), None);
}

#[test]
fn without_gigabyte_pages() {
    let frames = Pages::new(16);
    let mut tables = NestedTables::new(&frames, Format::Npt, false).unwrap();
    map(
        &mut tables,
        &frames,
        mapping(0, 0, 2 * GIB, Rights::READ),
        100,
    );
    assert_eq!(tables.tables(), 4);
    assert_eq!(leaves(&tables, &frames), [(0, 0, 2 * GIB, Rights::READ)]);
}

#[test]
fn a_carved_page_splits_and_its_return_merges() {
    let frames = Pages::new(16);
    let mut tables = fresh(&frames);
    map(
        &mut tables,
        &frames,
        mapping(0, 0, 2 * GIB, Rights::ALL),
        100,
    );
    let page = GIB + 3 * PAGE_SIZE;
    unmap(&mut tables, &frames, page, PAGE_SIZE, Emptied::Keep, 100);
    assert_eq!(tables.tables(), 4);
    assert_eq!(
        leaves(&tables, &frames),
        [
            (0, 0, page, Rights::ALL),
            (
                page + PAGE_SIZE,
                page + PAGE_SIZE,
                GIB - 4 * PAGE_SIZE,
                Rights::ALL
            )
        ]
    );
    map(
        &mut tables,
        &frames,
        mapping(page, page, PAGE_SIZE, Rights::ALL),
        100,
    );
    assert_eq!(tables.tables(), 2);
    assert_eq!(frames.used(), 2);
    assert_eq!(leaves(&tables, &frames), [(0, 0, 2 * GIB, Rights::ALL)]);
}

#[test]
fn kept_tables_make_the_return_free_of_allocation() {
    let frames = Pages::new(4);
    let mut tables = fresh(&frames);
    map(&mut tables, &frames, mapping(0, 0, GIB, Rights::ALL), 100);
    for part in 0..512 {
        let place = 2 * MIB + part * PAGE_SIZE;
        unmap(&mut tables, &frames, place, PAGE_SIZE, Emptied::Keep, 1);
    }
    assert_eq!(frames.used(), 4);
    for part in (0..512).rev() {
        let place = 2 * MIB + part * PAGE_SIZE;
        map(
            &mut tables,
            &frames,
            mapping(place, place, PAGE_SIZE, Rights::ALL),
            1,
        );
    }
    assert_eq!(leaves(&tables, &frames), [(0, 0, GIB, Rights::ALL)]);
    assert_eq!(frames.used(), 2);
}

#[test]
fn emptied_tables_are_detached() {
    let frames = Pages::new(16);
    let mut tables = fresh(&frames);
    for place in [0, 512 * GIB - PAGE_SIZE, 512 * GIB] {
        map(
            &mut tables,
            &frames,
            mapping(place, 0, PAGE_SIZE, Rights::READ),
            1,
        );
    }
    assert_eq!(tables.tables(), 9);
    unmap(&mut tables, &frames, 0, PLACES, Emptied::Detach, 7);
    assert_eq!((tables.tables(), frames.used()), (1, 1));
    let flush = tables.destroy(&frames);
    frames.flush(flush);
    assert_eq!(frames.used(), 0);
}

#[test]
fn a_slice_is_bounded() {
    let frames = Pages::new(32);
    let mut tables = fresh(&frames);
    let slices = map(
        &mut tables,
        &frames,
        mapping(PAGE_SIZE, 0, 16 * MIB, Rights::READ),
        64,
    );
    assert!((64..80).contains(&slices), "{slices}");
}

#[test]
fn running_out_of_frames_leaves_what_is_done() {
    let frames = Pages::new(4);
    let mut tables = fresh(&frames);
    let wanted = mapping(2 * MIB - PAGE_SIZE, 0, 2 * PAGE_SIZE, Rights::READ);
    let progress = tables.map(&frames, wanted, 100).unwrap();
    assert_eq!((progress.done, progress.end), (PAGE_SIZE, End::OutOfFrames));
    progress.flush.flushed();
    assert_eq!(
        leaves(&tables, &frames),
        [(2 * MIB - PAGE_SIZE, 0, PAGE_SIZE, Rights::READ)]
    );
}

#[test]
fn running_out_of_frames_halfway_down_leaves_no_empty_table() {
    let frames = Pages::new(3);
    let mut tables = fresh(&frames);
    let progress = tables
        .map(&frames, mapping(0, 0, PAGE_SIZE, Rights::READ), 100)
        .unwrap();
    assert_eq!((progress.done, progress.end), (0, End::OutOfFrames));
    frames.flush(progress.flush);
    assert_eq!((tables.tables(), frames.used()), (1, 1));
}

#[test]
fn unpresentable_rights_unmap() {
    let frames = Pages::new(8);
    let mut tables = fresh(&frames);
    map(
        &mut tables,
        &frames,
        mapping(0, 0, PAGE_SIZE, Rights::READ),
        10,
    );
    map(
        &mut tables,
        &frames,
        mapping(0, 0, PAGE_SIZE, Rights::WRITE),
        10,
    );
    assert_eq!(leaves(&tables, &frames), []);
}

#[test]
fn bad_ranges_are_refused() {
    let frames = Pages::new(8);
    let mut tables = fresh(&frames);
    let mut refusal = |place, base, size| {
        tables
            .map(&frames, mapping(place, base, size, Rights::ALL), 10)
            .unwrap_err()
    };
    assert_eq!(refusal(1, 0, PAGE_SIZE), Refused::Misaligned);
    assert_eq!(refusal(0, 1, PAGE_SIZE), Refused::Misaligned);
    assert_eq!(refusal(0, 0, 1), Refused::Misaligned);
    assert_eq!(refusal(PLACES, 0, PAGE_SIZE), Refused::OutOfRange);
    assert_eq!(refusal(0, BASES, PAGE_SIZE), Refused::OutOfRange);
    assert_eq!(
        refusal(PAGE_SIZE, 0, u64::MAX - PAGE_SIZE + 1),
        Refused::OutOfRange
    );
}

#[test]
fn worst_case_of_tables() {
    assert_eq!(tables_needed(GuestPhysical(0), 0), 0);
    assert_eq!(tables_needed(GuestPhysical(0), PAGE_SIZE), 3);
    assert_eq!(
        tables_needed(GuestPhysical(2 * MIB - PAGE_SIZE), 2 * PAGE_SIZE),
        4
    );
    assert_eq!(
        tables_needed(GuestPhysical(512 * GIB - PAGE_SIZE), 2 * PAGE_SIZE),
        6
    );
    assert_eq!(tables_needed(GuestPhysical(0), GIB), 514);
}

/// The pages that the random steps play with: they cross a border of 512 GiB in the middle of larger identity maps.
const WINDOW: u64 = 512 * GIB - 4 * MIB;
const WINDOW_PAGES: u64 = 8 * MIB / PAGE_SIZE;

#[derive(Clone, Debug)]
enum Step {
    Map {
        page: u64,
        base: u64,
        pages: u64,
        rights: Rights,
    },
    Identity {
        page: u64,
        pages: u64,
    },
    Unmap {
        page: u64,
        pages: u64,
        emptied: Emptied,
    },
}

/// Ranges that like to start and end at 2 MiB.
fn pages() -> impl Strategy<Value = (u64, u64)> {
    let page = prop_oneof![
        0..WINDOW_PAGES,
        (0..WINDOW_PAGES / 512).prop_map(|slot| slot * 512)
    ];
    let length = prop_oneof![1..20u64, Just(512), Just(511), Just(1024), 1..WINDOW_PAGES];
    (page, length).prop_map(|(page, length)| (page, length.min(WINDOW_PAGES - page)))
}

fn step() -> impl Strategy<Value = Step> {
    let processor = prop::sample::select(vec![Rights::READ, Rights::READ_WRITE, Rights::ALL]);
    let devices = prop::sample::select(vec![Rights::NONE, Rights::DEVICE]);
    let rights = (processor, devices).prop_map(|(processor, devices)| processor.union(devices));
    let base = prop_oneof![0..100u64, Just(512), Just(WINDOW / PAGE_SIZE)];
    let emptied = prop::sample::select(vec![Emptied::Keep, Emptied::Detach]);
    prop_oneof![
        (pages(), base, rights).prop_map(|((page, pages), base, rights)| Step::Map {
            page,
            base,
            pages,
            rights
        }),
        pages().prop_map(|(page, pages)| Step::Identity { page, pages }),
        (pages(), emptied).prop_map(|((page, pages), emptied)| Step::Unmap {
            page,
            pages,
            emptied
        }),
    ]
}

type Model = BTreeMap<u64, (u64, Rights)>;

fn apply(tables: &mut NestedTables, frames: &Pages, model: &mut Model, step: &Step, budget: u32) {
    let place = |page| WINDOW + page * PAGE_SIZE;
    let mut mapped = |page: u64, base: u64, pages: u64, rights| {
        map(
            tables,
            frames,
            mapping(place(page), base, pages * PAGE_SIZE, rights),
            budget,
        );
        model.extend((0..pages).map(|n| (page + n, (base + n * PAGE_SIZE, rights))));
    };
    match *step {
        Step::Map {
            page,
            base,
            pages,
            rights,
        } => mapped(page, base * PAGE_SIZE, pages, rights),
        Step::Identity { page, pages } => mapped(page, place(page), pages, Rights::ALL),
        Step::Unmap {
            page,
            pages,
            emptied,
        } => {
            unmap(
                tables,
                frames,
                place(page),
                pages * PAGE_SIZE,
                emptied,
                budget,
            );
            model.retain(|known, _| !(page..page + pages).contains(known));
        }
    }
}

fn agree(tables: &NestedTables, frames: &Pages, model: &Model) {
    for page in 0..WINDOW_PAGES {
        let place = GuestPhysical(WINDOW + page * PAGE_SIZE + 7);
        let found = tables
            .translate(frames, place)
            .map(|found| (found.address.0 - 7, found.rights));
        assert_eq!(found, model.get(&page).copied(), "page {page}");
        devices::agree(tables, frames, place);
    }
    let mapped: u64 = leaves(tables, frames).iter().map(|leaf| leaf.2).sum();
    assert_eq!(mapped, 2 * GIB - 8 * MIB + model.len() as u64 * PAGE_SIZE);
    assert_eq!(tables.tables(), frames.used());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn agrees_with_the_model(
        steps in proptest::collection::vec((step(), 1u32..2000), 1..20),
        gigabyte_pages: bool,
    ) {
        let frames = Pages::new(64);
        let mut tables = NestedTables::new(&frames, Format::Npt, gigabyte_pages).unwrap();
        let around = 511 * GIB;
        map(&mut tables, &frames, mapping(around, around, 2 * GIB, Rights::ALL), 100);
        let least = frames.used();
        let mut model: Model = (0..WINDOW_PAGES)
            .map(|page| (page, (WINDOW + page * PAGE_SIZE, Rights::ALL)))
            .collect();
        for (step, budget) in &steps {
            apply(&mut tables, &frames, &mut model, step, *budget);
            agree(&tables, &frames, &model);
        }
        // With everything back in place, nothing is left of the splits.
        apply(&mut tables, &frames, &mut model, &Step::Identity { page: 0, pages: WINDOW_PAGES }, 99);
        prop_assert_eq!(frames.used(), least);
        unmap(&mut tables, &frames, around, 2 * GIB, Emptied::Detach, 99);
        prop_assert_eq!(frames.used(), 1);
        let flush = tables.destroy(&frames);
        frames.flush(flush);
        prop_assert_eq!(frames.used(), 0);
    }
}
