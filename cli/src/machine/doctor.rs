//! `adyton doctor`: what is missing on a machine, in plain words, and what to do.

use std::process::ExitCode;

use adyton::Monitor;
use serde_json::json;

use super::findings::{self, Finding, Level};
use super::{System, configuration::Configuration, loader};
use crate::failure::Failure;
use crate::show::{BOLD, GREEN, YELLOW, colour};

/// Looks at everything. Exit status: 1 if something prevents the monitor from running.
pub fn print(system: &System, as_json: bool) -> Result<ExitCode, Failure> {
    // A configuration that is not understood is the first thing to know.
    Configuration::read(system)?;
    let findings = examine(system);
    if as_json {
        say!("{:#}", json(&findings));
    } else {
        for finding in &findings {
            let (sign, style) = match finding.level {
                Level::Good => ("ok     ", GREEN),
                Level::Weaker => ("weaker ", YELLOW),
                Level::Prevents => ("MISSING", BOLD),
            };
            say!(
                "{} {:<17} {}",
                colour(style, sign),
                finding.subject,
                finding.seen
            );
            if !finding.advice.is_empty() {
                say!("{:26}{}", "", finding.advice);
            }
        }
    }
    let worst = findings.iter().map(|finding| finding.level).max();
    Ok(match worst {
        Some(Level::Prevents) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn examine(system: &System) -> Vec<Finding> {
    let monitor = Monitor::ask().ok().filter(|_| system.is_running());
    let release = system
        .text("/proc/sys/kernel/osrelease")
        .unwrap_or_default();
    vec![
        findings::processor(system, monitor.is_some()),
        findings::iommu(
            system,
            monitor.as_ref().map(|monitor| monitor.device_protection),
        ),
        findings::firmware(system),
        loader::measures(system),
        findings::secure_boot(system),
        findings::tpm(
            system,
            monitor.as_ref().map(|monitor| monitor.measured_boot),
        ),
        findings::disk(system),
        findings::hibernation(system),
        findings::kvm(system),
        findings::kernel(system, release.trim()),
    ]
}

fn json(findings: &[Finding]) -> serde_json::Value {
    let level = |level| match level {
        Level::Good => "good",
        Level::Weaker => "weaker",
        Level::Prevents => "prevents",
    };
    let one = |finding: &Finding| {
        json!({
            "subject": finding.subject,
            "level": level(finding.level),
            "seen": finding.seen,
            "advice": finding.advice,
        })
    };
    findings.iter().map(one).collect()
}
