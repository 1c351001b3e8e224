//! The effects that are about devices: a function's registers in a domain's nested tables, and its accesses through them.
//!
//! What is done to the function itself is [`crate::devices`]'. Registers are mapped without the right of devices: no device writes to
//! another's.

use adyton_capability::effect::{Applied, Budget, RECORD_SIZE};

use super::context::{Changing, Context};
use super::mapping::{self, Stretch};
use crate::address::PAGE_SIZE;
use crate::devices::{self, Part, Step};
use crate::nested::Rights;

/// A function in an effect.
#[derive(Clone, Copy)]
pub(super) struct Device {
    /// Its number.
    pub(super) number: u64,
    /// Where its registers are in the domain; domain 0 has them where they are.
    pub(super) place: u64,
    /// Bytes.
    pub(super) size: u64,
}

impl Device {
    /// The part at `offset` of the effect, and where it stands in the domain. Behind the registers comes, in domain 0, the function's page of
    /// configuration space.
    fn part(self, is_system: bool, from: u64) -> Option<(Part, u64)> {
        let part = devices::part(self.number, from)?;
        let place = if is_system {
            part.base
        } else {
            self.place + part.offset
        };
        Some((part, place))
    }
}

/// Goes on with giving the function to the domain.
pub(super) fn attach(
    context: &Context,
    changing: &mut Changing,
    device: Device,
    from: u64,
    budget: &mut Budget,
) -> Applied {
    let is_system = context.is_system();
    if let Some((part, place)) = device.part(is_system, from) {
        let stretch = Stretch {
            place,
            base: part.base,
            size: part.size,
            from: 0,
        };
        let rights = if is_system {
            Rights::ALL
        } else {
            Rights::READ_WRITE
        };
        return match mapping::map((context.id, &mut *changing), stretch, rights, budget) {
            Applied::Done if part.offset + part.size < device.size => {
                Applied::Partial(part.offset + part.size)
            }
            Applied::Done => lead(context, changing, device, budget),
            Applied::Partial(bytes) => Applied::Partial(part.offset + bytes),
            other => other,
        };
    }
    lead(context, changing, device, budget)
}

/// The registers are in place: the function's accesses follow.
fn lead(
    context: &Context,
    changing: &mut Changing,
    device: Device,
    budget: &mut Budget,
) -> Applied {
    let is_system = context.is_system();
    if let Some(page) = devices::page(device.number).filter(|_| is_system) {
        let stretch = Stretch {
            place: page,
            base: page,
            size: PAGE_SIZE,
            from: 0,
        };
        let mapped = mapping::map((context.id, &mut *changing), stretch, Rights::READ, budget);
        if mapped != Applied::Done {
            return waiting(mapped);
        }
    }
    let Some(root) = changing.tables.as_ref().map(|tables| tables.root()) else {
        return Applied::Done;
    };
    applied(devices::lead(device.number, context.id, root, is_system))
}

/// Goes on with taking the function from the domain.
pub(super) fn detach(
    context: &Context,
    changing: &mut Changing,
    device: Device,
    from: u64,
    budget: &mut Budget,
) -> Applied {
    match devices::block(device.number, context.id) {
        Step::Done => {}
        other => return applied(other),
    }
    let is_system = context.is_system();
    if from == 0
        && is_system
        && let Some(page) = devices::page(device.number)
    {
        let unmapped = mapping::unmap(changing, page, PAGE_SIZE, 0, budget);
        if unmapped != Applied::Done {
            return waiting(unmapped);
        }
    }
    let Some((part, place)) = device.part(is_system, from) else {
        return Applied::Done;
    };
    match mapping::unmap(changing, place, part.size, 0, budget) {
        Applied::Done if part.offset + part.size < device.size => {
            Applied::Partial(part.offset + part.size)
        }
        Applied::Partial(bytes) => Applied::Partial(part.offset + bytes),
        other => other,
    }
}

/// One page is done or not begun.
const fn waiting(applied: Applied) -> Applied {
    match applied {
        Applied::Partial(_) => Applied::Wait,
        other => other,
    }
}

/// Goes on with making the function forget.
pub(super) fn reset(number: u64, ticket: u64) -> Applied {
    match devices::reset(number, ticket == 0) {
        Step::Done => Applied::Done,
        Step::Wait => Applied::Ticket(1),
        Step::Failed => Applied::TimedOut,
    }
}

/// The record of the measured stream, with the kind of the device as its last word.
pub(super) fn record(number: u64, mut bytes: [u8; RECORD_SIZE]) -> [u8; RECORD_SIZE] {
    if let Some((_, last)) = bytes.split_last_chunk_mut() {
        *last = devices::identity(number).to_le_bytes();
    }
    bytes
}

const fn applied(step: Step) -> Applied {
    match step {
        Step::Done => Applied::Done,
        Step::Wait => Applied::Wait,
        Step::Failed => Applied::TimedOut,
    }
}
