use super::*;
use crate::environment::Request;
use crate::fake::Fake;
use crate::image::Segment;
use crate::tables::Access;
use adyton_abi::call::Call;
use adyton_abi::error::Error;

const SIZE: u64 = 4 << 20;

fn image() -> Image<'static> {
    let code = Segment {
        address: 0x40_0010,
        size: 0x1100,
        contents: b"code",
        access: Access {
            write: false,
            execute: true,
        },
    };
    Image {
        entry: 0x40_0010,
        segments: Vec::from([code]),
    }
}

fn claim(fake: &Fake) -> Claim<Fake> {
    Claim::take(fake.clone(), fake.base(), SIZE, None).expect("answered")
}

fn numbers(calls: &[Request]) -> Vec<Call> {
    calls.iter().map(|request| request.call).collect()
}

#[test]
fn a_program_is_written_before_it_is_carved() {
    let fake = Fake::new(SIZE as usize);
    let claim = claim(&fake);
    fake.calls();
    let mut program = Program::new(image(), Flags::CONFIDENTIAL);
    program.arguments = Vec::from(["one", "two"]);
    let loaded = program.build(&claim).expect("built");
    let calls = fake.calls();
    let expected = [
        Call::Create,
        Call::Vcpu,
        Call::Cores,
        Call::Carve,
        Call::Share,
    ];
    assert_eq!(numbers(&calls), expected);
    let [_, _, _, from, size, place, attributes, _] = calls[3].arguments;
    assert_eq!((place, size % PAGE_SIZE), (0x40_0000, 0));
    assert_eq!(attributes, (ALL_RIGHTS | Attributes::MEASURED).word());
    let mut bytes = [0; 4];
    fake.read(from + 0x10, &mut bytes);
    assert_eq!(&bytes, b"code");
    fake.read(from + (loaded.plan.arguments.base - place), &mut bytes);
    assert_eq!(&bytes, b"one\0");
    let start = from + (loaded.plan.start - place);
    assert_eq!(fake.load(start), START_MAGIC);
    assert_eq!(calls[1].arguments[7], loaded.plan.start);
    drop(loaded);
    assert_eq!(numbers(&fake.calls()), [Call::Destroy]);
    assert_eq!(claim.available(), SIZE - PAGE_SIZE);
}

/// What is measured is what is built: places, attributes, and every byte of the private part.
#[test]
fn a_blueprint_is_what_is_built() {
    let fake = Fake::new(SIZE as usize);
    let claim = claim(&fake);
    let mut program = Program::new(image(), Flags::CONFIDENTIAL);
    program.arguments = Vec::from(["one", "two"]);
    program.heap = 4096;
    program.windows[1] = 4096;
    program.read_only[1] = true;
    let blueprint = program.blueprint().expect("small arguments");
    fake.calls();
    let _loaded = program.build(&claim).expect("built");
    let calls = fake.calls();
    let regions = calls.iter().filter_map(|request| {
        let shared = match request.call {
            Call::Carve => false,
            Call::Share => true,
            _ => return None,
        };
        let [_, _, _, from, size, place, attributes, _] = request.arguments;
        Some((place, size, attributes, shared, from))
    });
    let mut regions: Vec<_> = regions.collect();
    regions.sort_unstable();
    assert_eq!(regions.len(), blueprint.parts.len());
    for ((place, size, attributes, shared, from), part) in regions.iter().zip(&blueprint.parts) {
        let range = Range {
            base: *place,
            size: *size,
        };
        assert_eq!((part.range, part.attributes.word()), (range, *attributes));
        assert_eq!(part.shared, *shared);
        let mut bytes = alloc::vec![0; part.contents.len()];
        fake.read(*from, &mut bytes);
        assert!(bytes == part.contents, "contents at {place:#x}");
    }
    let measured = blueprint
        .parts
        .iter()
        .filter(|part| !part.contents.is_empty());
    assert_eq!(measured.count(), 1);
}

#[test]
fn a_refused_build_leaves_nothing_behind() {
    let fake = Fake::new(SIZE as usize);
    let claim = claim(&fake);
    for _ in 0..4 {
        fake.answer(0, [1, 0, 0, 0, 0, 0, 0, 0]);
    }
    fake.answer(Error::Quota as u64, [0; 8]);
    let program = Program::new(image(), Flags::NONE);
    let Err(Failure::Refused(refusal)) = program.build(&claim) else {
        panic!("refused")
    };
    assert!(refusal.is(Error::Quota));
    assert_eq!(claim.available(), SIZE - PAGE_SIZE);
}

#[test]
fn a_forked_copy_destroys_and_releases_nothing() {
    let fake = Fake::new(SIZE as usize);
    let claim = claim(&fake);
    let loaded = Program::new(image(), Flags::NONE)
        .build(&claim)
        .expect("built");
    fake.calls();
    fake.fork();
    drop(loaded);
    drop(claim);
    assert!(fake.calls().is_empty());
}

#[test]
fn an_entry_answers_the_last_exit_with_a_new_token() {
    let fake = Fake::new(SIZE as usize);
    let claim = claim(&fake);
    let mut loaded = Program::new(image(), Flags::NONE)
        .build(&claim)
        .expect("built");
    fake.calls();
    let vcpu = &mut loaded.vcpus[0];
    fake.answer(0, [1, 7, 10, 11, 12, 13, 14, 15]);
    let exit = vcpu.enter(0);
    assert_eq!(exit, Ok(crate::vcpu::Exit::Call([10, 11, 12, 13, 14, 15])));
    fake.answer(Error::Stale as u64, [0; 8]);
    assert!(vcpu.answer([1; 6], 5).is_err());
    let calls = fake.calls();
    assert_eq!((calls[0].arguments[4], calls[1].arguments[4]), (0, 7));
    assert_ne!(calls[0].token, calls[1].token);
}
