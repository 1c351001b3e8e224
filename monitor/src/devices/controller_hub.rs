//! AMD's controller hubs: power management's own registers, which two ports and a page of memory lead to.
//!
//! There stands at which ports ACPI's registers answer and whether they do, what resets at once, and whether the page answers. The monitor
//! watches the ports that the firmware's tables name, so all this stays as the firmware left it; the rest is domain 0's, whose drivers
//! choose an SMBus there and set the watchdog. In the page ACPI's registers answer once more, unwatched: no store reaches them.
//!
//! Sources: AMD's register references for the SB800 (45482) and for FCHs in its processors' programming references (family 17h: 55570): IsaControl,
//! AcpiMmioEn, AcpiPm1EvtBlk and so on, ResetCommand. No emulator has such a hub: what is decided here runs in host tests only.

use core::ops::Range;

use super::permission::Write;
use crate::instructions::input8;
use crate::lock::Lock;
use crate::once::Once;

/// The port that chooses a register.
pub const INDEX: u16 = 0xcd6;
/// The port behind it, which accesses it.
pub const DATA: u16 = 0xcd7;
/// The page, which no register moves.
pub const PAGE: u64 = 0xfed8_0000;

/// In the page: power management's own registers, and ACPI's.
const POWER: u16 = 0x300;
const ACPI: Range<u16> = 0x800..0x900;

/// What stays as it is: where the page's decoding is (in newer hubs, and in older ones), where ACPI's registers are, whether they answer, and
/// what resets.
const KEPT: [Range<u16>; 5] = [0x04..0x08, 0x24..0x28, 0x60..0x70, 0x74..0x78, 0xc4..0xc5];

/// The hub is known by its SMBus controller, which is always there.
const FUNCTION: u16 = 0x14 << 3;
const IDENTITIES: [u32; 3] = [0x4385_1002, 0x780b_1022, 0x790b_1022];

static IS_PRESENT: Once<bool> = Once::new();

/// Held while a register is chosen, and while the one that is chosen is written.
static CHOOSING: Lock<()> = Lock::new(());

/// Whether the function of bus 0 with this identity says that there is a hub.
pub(super) fn tells(function: u16, identity: u32) -> bool {
    function == FUNCTION && IDENTITIES.contains(&identity)
}

/// Notes whether there is one.
pub(super) fn set(is_present: bool) {
    IS_PRESENT.set(is_present);
}

/// Whether the machine has such a hub.
#[must_use]
pub fn is_present() -> bool {
    IS_PRESENT.try_get().is_some_and(|is_present| *is_present)
}

/// Whether a write changes a register that stays.
fn keeps(write: Write) -> bool {
    let mut kept = KEPT.iter();
    kept.any(|registers| write.overlaps(registers.start, registers.end))
}

/// Domain 0 writes to the ports: `index` to the first, unless that is left out, and to the second if `data` says so. `write` does both, if that
/// is allowed; whether it was.
pub fn write_ports(index: Option<u8>, data: bool, write: impl FnOnce()) -> bool {
    let _guard = CHOOSING.lock();
    // SAFETY: reading what is chosen has no effect.
    let is_allowed = permits_ports(index, data, || unsafe { input8(INDEX) });
    if is_allowed {
        write();
    }
    is_allowed
}

fn permits_ports(index: Option<u8>, data: bool, chosen: impl FnOnce() -> u8) -> bool {
    let written = |register: u8| Write {
        offset: register.into(),
        width: 1,
    };
    !data || !keeps(written(index.unwrap_or_else(chosen)))
}

/// Whether a store of domain 0's to the page goes through.
#[must_use]
pub fn permits_store(store: Write) -> bool {
    let power = store.offset.checked_sub(POWER).map(|offset| Write {
        offset,
        width: store.width,
    });
    // One that begins before them could reach into them, but none is so wide.
    !store.overlaps(ACPI.start, ACPI.end) && !power.is_some_and(keeps)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn store(offset: u16, width: u8) -> Write {
        Write { offset, width }
    }

    #[test]
    fn the_hub_is_known_by_its_smbus() {
        assert!(tells(0xa0, 0x790b_1022));
        assert!(tells(0xa0, 0x4385_1002));
        for (function, identity) in [
            (0xa1, 0x790b_1022),
            (0xa0, 0x790e_1022),
            (0xa0, 0x2930_8086),
        ] {
            assert!(!tells(function, identity), "{function:#x} {identity:#x}");
        }
    }

    #[test]
    fn ports_write_everything_but_what_places_power_management() {
        let kept: Vec<u8> = (0..=u8::MAX)
            .filter(|register| !permits_ports(None, true, || *register))
            .collect();
        let expected = [4..8, 0x24..0x28, 0x60..0x70, 0x74..0x78, 0xc4..0xc5];
        assert_eq!(kept, expected.into_iter().flatten().collect::<Vec<u8>>());
    }

    #[test]
    fn choosing_writes_nothing_and_both_at_once_are_judged_by_what_is_chosen_then() {
        let never = || panic!("what was chosen does not matter");
        assert!(permits_ports(Some(0x60), false, never));
        assert!(!permits_ports(Some(0x60), true, never));
        assert!(permits_ports(Some(0x2e), true, never));
        assert!(!permits_ports(None, true, || 0x62));
    }

    #[test]
    fn the_page_leads_to_the_same_and_not_to_acpi() {
        for (offset, width) in [
            (0x304, 1),
            (0x302, 4),
            (0x307, 2),
            (0x324, 4),
            (0x35f, 2),
            (0x362, 2),
            (0x374, 4),
            (0x3c4, 1),
            (0x3c1, 4),
            (0x804, 2),
            (0x800, 4),
            (0x7fe, 4),
            (0x8ff, 1),
        ] {
            assert!(!permits_store(store(offset, width)), "{offset:#x}");
        }
        for (offset, width) in [
            (0x000, 4),
            (0x060, 4),
            (0x260, 4),
            (0x300, 4),
            (0x303, 1),
            (0x308, 4),
            (0x32c, 4),
            (0x348, 4),
            (0x370, 4),
            (0x3c5, 1),
            (0x460, 2),
            (0x7fc, 4),
            (0x900, 4),
            (0xb00, 4),
            (0xe28, 4),
        ] {
            assert!(permits_store(store(offset, width)), "{offset:#x}");
        }
    }
}
