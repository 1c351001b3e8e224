//! `adyton setup`: divides the pool among the machine's tenants, and takes cores offline for domains. The package's service calls it
//! at every start.

use std::fs;
use std::process::Command;

use super::System;
use super::configuration::{Configuration, Tenant};
use crate::failure::Failure;

/// Rules behind those of the package, which give every device to the group adyton.
const RULES: &str = "/run/udev/rules.d/61-adyton-tenants.rules";

/// Does it.
pub fn setup(system: &System) -> Result<(), Failure> {
    let configuration = Configuration::read(system)?;
    if configuration.tenants.is_empty() {
        adyton::prepare()?;
    } else {
        divide(system, &configuration.tenants)?;
    }
    for core in &configuration.linux.offline_cores {
        let path = system.path(format!("/sys/devices/system/cpu/cpu{core}/online"));
        fs::write(&path, "0").map_err(Failure::file(&path))?;
    }
    Ok(())
}

/// The rules come first, so that no device is anybody else's for a moment.
fn divide(system: &System, tenants: &[Tenant]) -> Result<(), Failure> {
    let rules = system.path(RULES);
    if let Some(folder) = rules.parent() {
        fs::create_dir_all(folder).map_err(Failure::file(folder))?;
    }
    fs::write(&rules, text(tenants)).map_err(Failure::file(&rules))?;
    udev(&["control", "--reload"])?;
    let parts: Vec<u64> = tenants.iter().map(|tenant| tenant.size.0).collect();
    adyton::divide(&parts)?;
    // For devices that were there before their rules.
    udev(&["trigger", "--settle", "--subsystem-match=dax"])
}

fn udev(arguments: &[&str]) -> Result<(), Failure> {
    let program = std::path::Path::new("udevadm");
    let status = Command::new(program).args(arguments).status();
    match status.map_err(Failure::file(program))?.success() {
        true => Ok(()),
        false => Err(Failure::unusable(
            program,
            format!("{} failed", arguments.join(" ")),
        )),
    }
}

fn text(tenants: &[Tenant]) -> String {
    let rule = |(index, tenant): (usize, &Tenant)| {
        let user = tenant.user.as_deref().unwrap_or("root");
        let group = tenant.group.as_deref().unwrap_or("root");
        // A group that is not named must not get in by the mode.
        let mode = if tenant.group.is_some() {
            "0660"
        } else {
            "0600"
        };
        format!(
            "SUBSYSTEM==\"dax\", KERNEL==\"dax*.{}\", OWNER=\"{user}\", GROUP=\"{group}\", MODE=\"{mode}\"\n",
            index + 1
        )
    };
    tenants.iter().enumerate().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::super::configuration::Size;
    use super::*;

    #[test]
    fn each_tenant_has_a_rule_for_a_device_behind_the_first() {
        let tenant = |user: Option<&str>, group: Option<&str>| Tenant {
            size: Size(1),
            user: user.map(str::to_owned),
            group: group.map(str::to_owned),
        };
        assert_eq!(
            text(&[tenant(Some("alice"), None), tenant(None, Some("team"))]),
            "SUBSYSTEM==\"dax\", KERNEL==\"dax*.1\", OWNER=\"alice\", GROUP=\"root\", MODE=\"0600\"\n\
             SUBSYSTEM==\"dax\", KERNEL==\"dax*.2\", OWNER=\"root\", GROUP=\"team\", MODE=\"0660\"\n"
        );
    }
}
