//! Reports: what a domain believes of another on the same machine, by the monitor's word, carried by domain 0.

use adyton::abi::error::Error as Reason;
use adyton::abi::report::{DATA, Report, SIZE};
use adyton::{Flags, Linux, check};
use anyhow::{Context, Result, ensure};

use super::{FLAGS, Witness, witness};
use crate::fixture::refused;

pub(super) const TESTS: &[crate::Test] = &[
    ("report-of-a-sibling", of_a_sibling),
    ("report-forged", forged),
    ("report-needs-a-domain", needs_a_domain),
];

/// Has the witness make a report about itself.
fn report(witness: &mut Witness, data: &[u8; DATA]) -> Result<Result<Report, u64>> {
    let window = witness.running.loaded.window(1).context("a window")?;
    window.write(0, data);
    let [status, _] = witness.running.ask([3, 0, 0, 0, 0, 0])?;
    if status != 0 {
        return Ok(Err(status));
    }
    let mut bytes = [0; SIZE];
    let window = witness.running.loaded.window(2).context("a window")?;
    window.read(0, &mut bytes);
    Ok(Ok(Report::from_bytes(&bytes)))
}

/// Has the witness check a report.
fn checked(witness: &mut Witness, bytes: &[u8; SIZE]) -> Result<[u64; 2]> {
    let window = witness.running.loaded.window(1).context("a window")?;
    window.write(0, bytes);
    witness.running.ask([4, 0, 0, 0, 0, 0])
}

/// One domain learns what another is, through the hands of somebody whom neither trusts.
fn of_a_sibling() -> Result<()> {
    let (mut left, mut right) = (witness(FLAGS)?, witness(FLAGS)?);
    let data = [0x77; DATA];
    let found = report(&mut left, &data)?.ok().context("a report")?;
    ensure!(found.data == data && found.measurement == left.measurement);
    ensure!(found.flags == FLAGS.word() && found.vcpus == 1 && found.epoch == 0);
    let bytes = found.to_bytes();
    ensure!(
        checked(&mut right, &bytes)? == [0, 0],
        "a sibling refuses it"
    );
    let mut plain = witness(Flags::CONFIDENTIAL)?;
    ensure!(
        checked(&mut plain, &bytes)? == [0, 0],
        "checking needs no flag"
    );
    let making = report(&mut plain, &data)?;
    ensure!(making == Err(Reason::Policy as u64), "{making:?}");
    left.running.domain().destroy()?;
    let [status, _] = checked(&mut right, &bytes)?;
    ensure!(
        status == Reason::Dead as u64,
        "of a domain that is gone: {status}"
    );
    Ok(())
}

/// Nobody changes a byte of it.
fn forged() -> Result<()> {
    let (mut left, mut right) = (witness(FLAGS)?, witness(FLAGS)?);
    let genuine = report(&mut left, &[1; DATA])?.ok().context("a report")?;
    let genuine = genuine.to_bytes();
    ensure!(checked(&mut right, &genuine)?[0] == 0);
    for place in 0..SIZE {
        let mut spoilt = genuine;
        spoilt[place] ^= 1 << (place % 8);
        let [status, _] = checked(&mut right, &spoilt)?;
        ensure!(status == Reason::Forged as u64, "byte {place}: {status}");
    }
    // Parts of two reports of the same domain.
    let other = report(&mut left, &[2; DATA])?.ok().context("a report")?;
    let mut mixed = other.to_bytes();
    mixed[..DATA].copy_from_slice(&genuine[..DATA]);
    let [status, _] = checked(&mut right, &mixed)?;
    ensure!(status == Reason::Forged as u64, "mixed: {status}");
    ensure!(checked(&mut right, &other.to_bytes())?[0] == 0);
    Ok(())
}

/// Domain 0 checks, and makes none.
fn needs_a_domain() -> Result<()> {
    let mut witness = witness(FLAGS)?;
    let genuine = report(&mut witness, &[3; DATA])?.ok().context("a report")?;
    let place = Linux::without_memory()?;
    ensure!(check(&place, &genuine)? == 0);
    let nothing = adyton::report(&place, &[3; DATA]);
    refused(nothing, Reason::Unsupported)
}
