//! What the engine costs at scale, on the host: `capability/tests/scale.rs` prints it.

use anyhow::{Result, ensure};

use super::results::{Beside, Results};
use crate::suite::Measurement;
use crate::workspace::Workspace;

/// The name of this measurement.
pub const NAME: &str = "engine";

/// Measures, and adds what was measured.
pub fn measure(workspace: &Workspace, results: &mut Results) -> Result<()> {
    let output = workspace
        .cargo()
        .args(["test", "--quiet", "--profile=program", "--test=scale"])
        .args(["--package=adyton-capability", "--", "--nocapture"])
        .output()?;
    ensure!(
        output.status.success(),
        "the engine's measurements failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let ["ADYTON-BENCH", name, value, unit] =
            *line.split_whitespace().collect::<Vec<_>>().as_slice()
        {
            let measured = Measurement {
                name: name.to_owned(),
                value: value.parse()?,
                unit: unit.to_owned(),
            };
            results.add(NAME, &measured, Beside::default());
        }
    }
    Ok(())
}
