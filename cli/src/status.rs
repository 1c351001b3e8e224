//! `adyton status`: what the monitor is, has, protects, and does not.

use adyton::Monitor;
use serde_json::json;

use crate::Arguments;
use crate::failure::Failure;
use crate::show::{BOLD, GREEN, YELLOW, colour, size};

pub fn print(arguments: &Arguments) -> Result<(), Failure> {
    let monitor = Monitor::ask()?;
    let pool = arguments.pool();
    if arguments.json {
        let device = pool
            .as_ref()
            .ok()
            .map(|pool| pool.device().path.display().to_string());
        say!("{:#}", json(&monitor, device.as_deref()));
        return Ok(());
    }
    let [major, minor, patch] = monitor.version;
    let title = format!("Adyton {major}.{minor}.{patch}");
    say!(
        "{} runs below this system (interface {})",
        colour(BOLD, &title),
        monitor.interface
    );
    say!("  cores      {}", monitor.cores);
    let free = size(monitor.pool.saturating_sub(monitor.claimed));
    say!(
        "  pool       {}: {} claimed, {free} free",
        size(monitor.pool),
        size(monitor.claimed)
    );
    match &pool {
        Ok(pool) => say!("  device     {}", pool.device().path.display()),
        Err(failure) => say!("  device     {}", colour(YELLOW, &failure.to_string())),
    }
    let [limit, used, passed] = monitor.quota;
    say!("  monitor's own memory   {limit} pages: {used} used, {passed} passed on to claims");
    say!("{}", colour(GREEN, "Protected"));
    say!("  - the memory of domains, from this Linux and its root, and from each other");
    say!("  - it is scrubbed before anybody else gets it, at reboot and reset too");
    if monitor.device_protection {
        say!("  - both from devices: {}", devices(&monitor));
    }
    say!("{}", colour(YELLOW, "Not protected"));
    gaps(&monitor).iter().for_each(|gap| say!("  - {gap}"));
    Ok(())
}

/// What keeps devices out, and whom it has kept out.
fn devices(monitor: &Monitor) -> String {
    let mut text = format!("{} IOMMU", monitor.iommus);
    let blocked = monitor.blocked;
    if blocked.count > 0 {
        let (bus, device, function) = (
            blocked.device >> 8,
            blocked.device >> 3 & 31,
            blocked.device & 7,
        );
        text += &format!(
            ", {} accesses blocked, the last by {bus:02x}:{device:02x}.{function} at {:#x}",
            blocked.count, blocked.address
        );
    }
    text
}

/// What a user must not rely on, here and now.
fn gaps(monitor: &Monitor) -> Vec<&'static str> {
    let mut gaps = Vec::new();
    if !monitor.device_protection {
        gaps.push("devices reach all memory by DMA: the monitor drives no IOMMU here");
    }
    if !monitor.measured_boot {
        gaps.push("this boot was not measured: nobody far away can be convinced of it");
    }
    gaps.push("caches, timing and single steps tell this system something about a domain");
    gaps.push("memory chips and buses: whoever opens the machine reads them");
    gaps.push("this system may always refuse to run a domain");
    gaps
}

fn json(monitor: &Monitor, device: Option<&str>) -> serde_json::Value {
    let [major, minor, patch] = monitor.version;
    let [limit, used, passed] = monitor.quota;
    json!({
        "version": format!("{major}.{minor}.{patch}"),
        "interface": monitor.interface,
        "build": monitor.build,
        "cores": monitor.cores,
        "frequency": monitor.frequency,
        "pool": { "size": monitor.pool, "claimed": monitor.claimed, "device": device },
        "quota": { "limit": limit, "used": used, "passed": passed },
        "device_protection": monitor.device_protection,
        "devices": {
            "iommus": monitor.iommus,
            "flushes": monitor.iommu_flushes,
            "blocked": monitor.blocked.count,
            "last_blocked": { "device": monitor.blocked.device, "address": monitor.blocked.address },
        },
        "measured_boot": monitor.measured_boot,
        "not_protected": gaps(monitor),
    })
}
