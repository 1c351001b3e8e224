//! How often leaves were tried, and how they ended.

use anyhow::{Result, ensure};

/// Error codes (Intel SDM volume 3D, table 38-4), but for two that no leaf returns here: ENTRYEPOCH_LOCKED, as nobody locks the epoch, and
/// UNMASKED_EVENT, as EINIT goes on behind an interrupt (`docs/sgx.md`).
const CODES: [u64; 25] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 18, 19, 20, 21, 26, 27, 32, 64, 256,
];

/// Vectors of faults: #UD, #GP, #PF.
const FAULTS: [u64; 3] = [6, 13, 14];

/// How a leaf ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It did what it is for.
    Success,
    /// With an error code.
    Code(u64),
    /// With the fault of this vector.
    Fault(u64),
}

/// What came of one leaf.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row {
    pub tried: u64,
    pub done: u64,
    codes: [u64; CODES.len()],
    faults: [u64; FAULTS.len()],
    /// What nobody documents.
    strange: u64,
}

impl Row {
    pub fn note(&mut self, ended: Ended) {
        self.tried += 1;
        let place = match ended {
            Ended::Success => Some(&mut self.done),
            Ended::Code(code) => place(&CODES, &mut self.codes, code),
            Ended::Fault(vector) => place(&FAULTS, &mut self.faults, vector),
        };
        *place.unwrap_or(&mut self.strange) += 1;
    }

    pub fn add(&mut self, other: &Self) {
        self.tried += other.tried;
        self.done += other.done;
        self.strange += other.strange;
        let pairs = self.codes.iter_mut().zip(other.codes);
        let faults = self.faults.iter_mut().zip(other.faults);
        pairs.chain(faults).for_each(|(count, more)| *count += more);
    }

    fn print(&self, name: &str) {
        let came = |names: &[u64], counts: &[u64]| {
            let pairs = names.iter().zip(counts).filter(|(_, count)| **count > 0);
            let texts: Vec<_> = pairs
                .map(|(name, count)| format!("{name}: {count}"))
                .collect();
            texts.join(", ")
        };
        let codes = came(&CODES, &self.codes);
        let faults = came(&FAULTS, &self.faults);
        println!(
            "  {name}: {} of {}; codes {codes}; faults {faults}",
            self.done, self.tried
        );
    }
}

fn place<'a>(names: &[u64], counts: &'a mut [u64], name: u64) -> Option<&'a mut u64> {
    let index = names.iter().position(|known| *known == name)?;
    counts.get_mut(index)
}

/// Prints what came, and judges: every leaf must have succeeded in a hundredth of its tries, every code and every fault have occurred, and nothing else.
/// `refused` is what no privilege and no number allows.
pub fn judge(leaves: &[(String, Row)], refused: &[(&str, Row)]) -> Result<()> {
    let mut all = Row::default();
    for (name, row) in leaves {
        row.print(name);
        all.add(row);
    }
    let mut never = Row::default();
    for (name, row) in refused {
        row.print(name);
        never.add(row);
        ensure!(row.tried > 0, "{name} was never tried");
    }
    println!("{} calls", all.tried + never.tried);
    ensure!(never.done == 0, "what must be refused was not");
    let is_only_faults = never.codes == [0; CODES.len()];
    ensure!(is_only_faults, "what must be refused has a code");
    ensure!(all.strange + never.strange == 0, "an end that nobody knows");
    for (name, row) in leaves {
        ensure!(
            row.tried > 0 && row.done * 100 >= row.tried,
            "{name} hardly succeeded"
        );
    }
    let missing = |names: &[u64], counts: &[u64]| -> Vec<u64> {
        let pairs = names.iter().zip(counts).filter(|(_, count)| **count == 0);
        pairs.map(|(name, _)| *name).collect()
    };
    let codes = missing(&CODES, &all.codes);
    ensure!(codes.is_empty(), "codes that never came: {codes:?}");
    all.add(&never);
    let faults = missing(&FAULTS, &all.faults);
    ensure!(faults.is_empty(), "faults that never came: {faults:?}");
    Ok(())
}
