//! The log of an installed Debian: shim, GRUB, and a script that `grub-mkconfig` has made.
//!
//! `debian.log` was recorded in `installation/uefi-domain0`.

use adyton_evidence::files::{hexadecimal, loader};
use adyton_evidence::verdict::Code;

use crate::boots::{Step, evidence, images, judge_on, name, read};
use crate::scene::refused;

const RECORDED: &[u8] = include_bytes!("debian.log");

/// What the operator's tool reads has the loaders in their order, every command as text, every file by its name; evidence is accepted by it.
#[test]
fn an_installed_debian_is_accepted_by_what_the_tool_reads() {
    let steps = read(RECORDED);
    let evidence = evidence(&steps);
    let found = loader(&evidence, "Debian").expect("a loader");
    let [shim, grub, _] = images(&steps)[..] else {
        panic!("shim, GRUB, the monitor");
    };
    let loaders = [shim, grub].map(|image| hexadecimal(&image));
    assert!(found.contains(&format!("images = {loaders:?}")), "{found}");
    assert_eq!(found.matches("grub_cmd: ").count(), 41);
    assert_eq!(found.matches("{ name = ").count(), 9);
    let verdict = judge_on(&steps, &evidence, &found);
    assert_eq!(name(verdict).as_deref(), Some("Debian"));
    refused(&judge_on(&steps, &evidence, ""), Code::UnknownBootEvent);
}

/// Without shim, with GRUB alone, with both the other way round, and with one more command it is another start.
#[test]
fn another_start_of_that_debian_is_refused() {
    let steps = read(RECORDED);
    let rules = loader(&evidence(&steps), "Debian").expect("a loader");
    let [shim, grub, _] = images(&steps)[..] else {
        panic!("shim, GRUB, the monitor");
    };
    let ask = |other: &[Step]| judge_on(&steps, &evidence(other), &rules);
    for image in [shim, grub] {
        let mut fewer = steps.clone();
        fewer.retain(|step| !step.is(&image));
        refused(&ask(&fewer), Code::UnknownBootEvent);
    }
    let place = |image| steps.iter().position(|step| step.is(image));
    let mut exchanged = steps.clone();
    exchanged.swap(place(&shim).expect("shim"), place(&grub).expect("GRUB"));
    refused(&ask(&exchanged), Code::UnknownBootEvent);
    let mut more = steps.clone();
    more.push(Step::command("insmod acpi"));
    refused(&ask(&more), Code::LoaderMismatch);
}
