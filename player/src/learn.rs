//! What an answer says about the world.

use adyton_abi::PAGE_SIZE;
use adyton_abi::call::Call;
use adyton_abi::error::Error;
use adyton_abi::region::Attributes;
use adyton_compose::environment::{Request, Response};

use crate::choose::FIRST_PLACE;
use crate::dice::Dice;
use crate::world::{Domain, Ground, RANGES, Region, VCPUS, World, remember};

pub(crate) fn from(
    ground: Ground,
    world: &mut World,
    dice: &mut Dice,
    request: &Request,
    response: &Response,
) {
    let name = request.arguments[0];
    let range = range_of(ground, name);
    if response.status != 0 {
        if response.status == Error::NotFound as u64 {
            not_found(world, request);
        }
        return;
    }
    if range as u64 >= ground.ranges {
        // Named by another mapping of the same memory: what came of it is found out as others' doings are.
        return;
    }
    let victim = dice.word() >> 8;
    let [first, second, ..] = response.results;
    match request.call {
        Call::Claim => {
            world.forget_range(range);
            if let Some(key) = world.keys.get_mut(range) {
                *key = Some([first, second]);
            }
        }
        Call::Release => world.forget_range(range),
        Call::Create => remember(
            &mut world.domains,
            victim,
            Domain {
                range,
                control: name & !(PAGE_SIZE - 1),
                is_sealed: false,
                vcpus: 0,
                sequences: [0; VCPUS],
                next_place: FIRST_PLACE,
                core: None,
            },
        ),
        Call::Vcpu => change(world, name, |domain| domain.vcpus += 1),
        Call::Seal => change(world, name, |domain| domain.is_sealed = true),
        Call::Destroy => world.forget_domain(name & !(PAGE_SIZE - 1)),
        Call::Enter => {
            let vcpu = request.arguments[3] as usize;
            change(world, name, |domain| {
                if let Some(sequence) = domain.sequences.get_mut(vcpu) {
                    *sequence = second;
                }
            });
        }
        Call::Abandon => {
            let vcpu = request.arguments[3] as usize;
            change(world, name, |domain| {
                if let Some(sequence) = domain.sequences.get_mut(vcpu) {
                    *sequence = first;
                }
            });
        }
        Call::Carve | Call::Share | Call::Derive => derived(world, request, range, first, victim),
        Call::Grant => {
            let (target, place) = (request.arguments[4], request.arguments[5]);
            let at_once = range == range_of(ground, target);
            if let Some(region) = world.region(first) {
                region.is_nobodys = !at_once;
                region.offer = (!at_once).then_some((target, place));
            }
        }
        Call::Accept => {
            if let Some(region) = world.region(request.arguments[3]) {
                (region.offer, region.is_nobodys) = (None, false);
            }
        }
        Call::Revoke => world.forget_region(request.arguments[3]),
        Call::CarveCore | Call::Assign => {
            if request.call == Call::CarveCore {
                change(world, name, |domain| domain.core = Some(first));
            }
            let region = Region {
                range,
                name: first,
                size: 0,
                attributes: 0,
                is_nobodys: false,
                offer: None,
            };
            remember(&mut world.regions, victim, region);
        }
        _ => {}
    }
}

fn range_of(ground: Ground, address: u64) -> usize {
    let offset = address.wrapping_sub(ground.base);
    ((offset / ground.size.max(1)) as usize).min(RANGES)
}

fn change(world: &mut World, name: u64, change: impl FnOnce(&mut Domain)) {
    if let Some(domain) = world.domain(name & !(PAGE_SIZE - 1)) {
        change(domain);
    }
}

fn derived(world: &mut World, request: &Request, range: usize, name: u64, victim: u64) {
    let [control, _, _, _, b, c, d, e] = request.arguments;
    let (size, place, attributes) = match request.call {
        Call::Derive => (c, d, e),
        _ => (b, c, d),
    };
    let nobody = Attributes::NOBODY.word();
    let region = Region {
        range,
        name,
        size,
        attributes: attributes & !nobody,
        is_nobodys: attributes & nobody != 0,
        offer: None,
    };
    remember(&mut world.regions, victim, region);
    if attributes & nobody == 0 {
        change(world, control, |domain| {
            domain.next_place = domain.next_place.max(place.saturating_add(size));
        });
    }
}

/// What was named is gone, if it was named as it is remembered.
fn not_found(world: &mut World, request: &Request) {
    match request.call {
        Call::Revoke | Call::Close => world.forget_region(request.arguments[3]),
        Call::Accept | Call::Grant => world.forget_region(request.arguments[3]),
        Call::Seal | Call::Vcpu | Call::Cores | Call::Destroy => {
            world.forget_domain(request.arguments[0] & !(PAGE_SIZE - 1));
        }
        _ => {}
    }
}
