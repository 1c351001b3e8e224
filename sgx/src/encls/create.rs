//! ECREATE (SDM, ECREATE).

use super::{Context, PAGE, require};
use crate::epcm::{Attributes, EpcPage, PageType};
use crate::machine::Machine;
use crate::measurement::{self, Measurement};
use crate::outcome::Stop;
use crate::platform::{Capabilities, attribute};
use crate::structures::{Exinfo, Gprsgx, Pageinfo, Secinfo, Secs};
use crate::thread::XSAVE_PAGES;

/// Smallest enclave, in bytes.
const SMALLEST: u64 = 8192;

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn ecreate(&mut self) -> Result<(), Stop> {
        let (info, target) = self.target()?;
        let source = self.address(info.srcpge(), PAGE)?;
        let secinfo = self.address(info.secinfo(), 64)?;
        require(info.linaddr() == 0 && info.secs() == 0)?;
        let secinfo = self.secinfo(secinfo)?;
        require(secinfo.is_well_formed() && secinfo.page_type() == Some(PageType::Secs))?;
        let _claim = self.claim_free(target)?;
        target.entry.touch();
        self.machine.copy_in(source, target.number)?;
        let mut secs = self.secs(target.number);
        require(
            is_software_clean(&secs)
                && self.is_zero_from(target.number, Secs::SIZE)
                && is_acceptable(&secs, &self.platform.capabilities),
        )?;
        let area = self.platform.capabilities.xsave_size(secs.xfrm());
        secs.set_xsavepages(area.div_ceil(PAGE as u32));
        initialize(&mut secs, self.platform.new_enclave());
        self.machine.store(target.number, 0, &secs.0);
        target
            .entry
            .occupy(Attributes::of(PageType::Secs, EpcPage(0)), 0);
        Ok(())
    }

    /// PAGEINFO from memory.
    pub(super) fn page_info(&mut self, address: u64) -> Result<Pageinfo, Stop> {
        let mut info = Pageinfo::zeroed();
        self.machine.read(address, &mut info.0)?;
        Ok(info)
    }

    /// SECINFO from memory.
    pub(super) fn secinfo(&mut self, address: u64) -> Result<Secinfo, Stop> {
        let mut info = Secinfo::zeroed();
        self.machine.read(address, &mut info.0)?;
        Ok(info)
    }
}

/// Reserved bytes are zero, and so are those that only the processor knows.
fn is_software_clean(secs: &Secs) -> bool {
    let rest = secs.0.get(Secs::SOFTWARE_END..).unwrap_or_default();
    secs.is_reserved_zero() && secs.xsavepages() == 0 && rest.iter().all(|byte| *byte == 0)
}

fn is_acceptable(secs: &Secs, capabilities: &Capabilities) -> bool {
    let configured = secs.configsvn() != 0 || secs.configid() != &[0; 64];
    is_legal_xfrm(secs.xfrm())
        && secs.xfrm() & !capabilities.xfrm == 0
        && secs.miscselect() & !capabilities.miscselect == 0
        && secs.attributes() & !capabilities.attributes == 0
        && (secs.has(attribute::KSS) || !configured)
        && frame_fits(secs, capabilities)
        && range_fits(secs, capabilities)
}

/// What XSETBV accepts: x87 and SSE, and groups of components that only come together.
fn is_legal_xfrm(xfrm: u64) -> bool {
    const BASIC: u64 = 3;
    const AVX: u64 = 1 << 2;
    const BOUNDS: u64 = 3 << 3;
    const AVX512: u64 = 7 << 5;
    const TILES: u64 = 3 << 17;
    let together = |group: u64| xfrm & group == 0 || xfrm & group == group;
    xfrm & BASIC == BASIC
        && together(BOUNDS)
        && together(AVX512)
        && together(TILES)
        && (xfrm & AVX512 == 0 || xfrm & AVX != 0)
}

fn frame_fits(secs: &Secs, capabilities: &Capabilities) -> bool {
    let miscellaneous = if secs.miscselect() & 1 != 0 {
        Exinfo::SIZE
    } else {
        0
    };
    let fixed = (Gprsgx::SIZE + miscellaneous) as u64;
    let area = u64::from(capabilities.xsave_size(secs.xfrm()));
    u64::from(secs.ssaframesize()) * PAGE >= area + fixed && area <= XSAVE_PAGES as u64 * PAGE
}

fn range_fits(secs: &Secs, capabilities: &Capabilities) -> bool {
    let (base, size) = (secs.baseaddr(), secs.size());
    let (limit, place) = if secs.has(attribute::MODE64BIT) {
        (capabilities.size_64, capabilities.is_canonical(base))
    } else {
        (capabilities.size_32, base >> 32 == 0)
    };
    place
        && size.is_power_of_two()
        && size >= SMALLEST
        && size.checked_shr(limit.into()) == Some(0)
        && base & (size - 1) == 0
}

fn initialize(secs: &mut Secs, eid: u64) {
    secs.set_isvprodid(0);
    secs.set_isvsvn(0);
    secs.set_mrsigner(&[0; 32]);
    secs.set_eid(eid);
    let mut measurement = Measurement::begin();
    measurement.update(&[measurement::create_record(secs)]);
    measurement.store(secs);
}
