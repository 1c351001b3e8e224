//! What evidence and listings tell of whole cores.

use adyton::listing::{self, WholeCore};
use adyton::whole::Place;
use adyton::{Exit, Loaded, RegionName};
use adyton_evidence::verdict::Code;
use anyhow::{Context, Result, ensure};

use super::{Beating, CALL, CORE, LIMIT, Offline, build, program};
use crate::evidence::{NONCE, accepted, for_owner, judged, policy, refused_for, with};
use crate::fixture::{ROOM, payload, pool, refused};

pub(super) const TESTS: &[crate::Test] = &[
    ("whole-core-evidence", in_evidence),
    ("whole-core-nowhere-else", nowhere_else),
];

/// The policy that the domain satisfies but for its cores, with `cores` in the domain's part.
fn policy_with(loaded: &Loaded, cores: &str) -> Result<String> {
    let domain = &loaded.domain;
    let (place, address) = (domain.claim().environment(), domain.claim().address());
    let measurement = listing::measurement(place, address, domain.id())?;
    let text = for_owner(&policy(&measurement.context("a measurement")?));
    let rule = format!("name = \"witness\"\nvcpus = 2\n{cores}");
    Ok(with(&text, "name = \"witness\"", &rule))
}

fn listed(loaded: &Loaded) -> Result<Vec<WholeCore>> {
    let domain = &loaded.domain;
    let (place, address) = (domain.claim().environment(), domain.claim().address());
    Ok(listing::whole_cores(place, address, domain.id())?)
}

/// A core shows in the evidence of whoever has it, from the moment when it is there until it goes back; without one nothing is said.
fn in_evidence() -> Result<()> {
    let offline = Offline::begin()?;
    let beating = Beating::started()?;
    let Beating {
        loaded,
        core,
        claim,
    } = &beating;
    let silent = policy_with(loaded, "")?;
    let demanding = policy_with(loaded, "whole-cores = [1, 1]")?;
    let alone = policy_with(loaded, "whole-cores = [1, 1]\nshared-cores = false")?;
    let evidence = loaded.domain.evidence(NONCE)?;
    accepted(&judged(&evidence, &demanding)?)?;
    refused_for(&judged(&evidence, &silent)?, Code::WholeCores)?;
    refused_for(&judged(&evidence, &alone)?, Code::SharedCores)?;
    let expected = WholeCore {
        region: *core,
        first: CORE,
        threads: 1,
        usable: true,
    };
    ensure!(listed(loaded)? == [expected], "{:?}", listed(loaded)?);
    // Another domain of the same making has none.
    let second = pool()?.claim(ROOM)?;
    let other = build(&second, &payload("beat")?)?;
    other.domain.seal()?;
    let evidence = other.domain.evidence(NONCE)?;
    accepted(&judged(&evidence, &silent)?)?;
    refused_for(&judged(&evidence, &demanding)?, Code::WholeCores)?;
    claim.revoke(*core)?;
    let evidence = loaded.domain.evidence(NONCE)?;
    accepted(&judged(&evidence, &silent)?)?;
    refused_for(&judged(&evidence, &demanding)?, Code::WholeCores)?;
    ensure!(listed(loaded)?.is_empty(), "{:?}", listed(loaded)?);
    drop(beating);
    offline.end()
}

/// A domain whose evidence says that it runs nowhere else is not entered anywhere.
fn nowhere_else() -> Result<()> {
    let offline = Offline::begin()?;
    let claim = pool()?.claim(ROOM)?;
    let (mut loaded, core) = confined(&claim)?;
    let alone = policy_with(&loaded, "whole-cores = [1, 1]\nshared-cores = false")?;
    accepted(&judged(&loaded.domain.evidence(NONCE)?, &alone)?)?;
    let wrong = adyton::abi::error::Error::WrongCore;
    refused(loaded.vcpus[0].enter(LIMIT), wrong)?;
    loaded.vcpus[0].start(Place::on(core))?;
    let mut beating = Beating {
        loaded,
        core,
        claim,
    };
    beating.goes_on()?;
    beating.tell(CALL, 0);
    let exit = beating.exit()?;
    ensure!(matches!(exit, Exit::Call(_)), "{exit:?}");
    refused(beating.loaded.vcpus[0].enter(LIMIT), wrong)?;
    beating.claim.revoke(core)?;
    refused(beating.loaded.vcpus[0].enter(LIMIT), wrong)?;
    drop(beating);
    offline.end()
}

/// With core 1 and no right to be entered on others, sealed.
fn confined(claim: &adyton::Claim) -> Result<(Loaded, RegionName)> {
    let file = payload("beat")?;
    let mut program = program(&file)?;
    program.cores = Some((0, 0));
    let loaded = program.build(claim)?;
    let core = loaded.domain.carve_core(CORE)?;
    loaded.domain.seal()?;
    Ok((loaded, core))
}
