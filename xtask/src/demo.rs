//! `cargo xtask demo`: boots and runs the demonstration to its end.
//!
//! What it does is in `demo/`, which runs in domain 0. It checks our signatures with the
//! distribution's own OpenSSL, which is packed with its libraries.

use std::fs;
use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

mod relying_party;

use crate::build::Monitors;
use crate::guest::{Firmware, Images, Settings};
use crate::image;
use crate::qemu::{Ending, Event, Session, Tpm};
use crate::setup;
use crate::workspace::Workspace;
use relying_party::RelyingParty;

const STATUS: &str = "ADYTON-DEMO status ";

/// The guest's part: tell the status, and leave nothing else on the screen.
const START: &str = "\
adyton-demo
echo \"ADYTON-DEMO status $?\"
poweroff -f";

/// What the demonstration may be told.
#[derive(Args)]
pub struct Options {
    /// Number of cores
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: u32,
    /// Size of memory
    #[arg(long, value_name = "SIZE", default_value = "2G")]
    memory: String,
    /// End after so many seconds
    #[arg(long, value_name = "S", default_value_t = 240)]
    timeout: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory: "2G".to_owned(),
            timeout: 240,
        }
    }
}

/// Where the demonstration is shown.
pub enum Screen {
    /// A terminal that knows colours.
    Coloured,
    /// Anything else on standard output.
    Plain,
    /// Nowhere: the console's log has it all.
    None,
}

impl Screen {
    fn new() -> Self {
        match stdout().is_terminal() {
            true => Self::Coloured,
            false => Self::Plain,
        }
    }

    fn print(&self, line: &str) {
        match self {
            Self::Coloured => println!("{line}"),
            Self::Plain => println!("{}", without_colour(line)),
            Self::None => {}
        }
    }
}

/// Sets up, builds, boots; prints what the guest prints; succeeds when the demonstration does.
pub fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    setup::packages()?;
    let shown = perform(workspace, options, &Screen::new())?;
    match shown {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(why) => {
            eprintln!("{why}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Boots and shows; the inner error says why the demonstration failed.
pub fn perform(
    workspace: &Workspace,
    options: &Options,
    screen: &Screen,
) -> Result<Result<(), String>> {
    let settings = Settings {
        cpus: options.cpus,
        memory: options.memory.clone(),
        iommu: true,
        // What docs/emulators.md tells of QEMU 7.2 could end it early.
        parallel: false,
        // The demonstration tries /dev/mem too, as far as the kernel can be told to allow it.
        append: "quiet loglevel=1 iomem=relaxed".to_owned(),
        firmware: Firmware::Uefi,
        tpm: Some(Tpm::Crb),
        ..Settings::default()
    };
    let kernel = settings.fetch_kernel(workspace)?;
    let images = Images::build(workspace, Monitors::PRODUCT)?;
    let folder = workspace.target("boots/demo");
    let state = folder.join("tpm");
    let _absent = fs::remove_dir_all(&state);
    let mut relying_party = RelyingParty::new(folder.join("relying-party"), &state)?;
    let question = relying_party.question();
    let start = vec![
        image::host_programs(&["openssl"])?,
        image::start(START, &[("adyton/question", &question)]),
    ];
    let initrd = images.initrd(&kernel, start)?;
    relying_party.expect(&images.reference(&settings, &kernel.image)?, &initrd);
    let mut machine = images.machine(&settings, &kernel.image, &initrd, &folder)?;
    machine.tpm_state = Some(state);
    let mut session = Session::start(&machine, &folder.join("console.log"))?;
    let status = show(
        &mut session,
        screen,
        Instant::now() + Duration::from_secs(options.timeout),
        &mut relying_party,
    )?;
    let ending = session.finish()?;
    Ok(match (status.as_deref(), &ending) {
        (Some("0"), Ending::PowerOff) => relying_party
            .decide(&images, &mut |line| screen.print(line))
            .map_err(|error| format!("{error:#}")),
        _ => Err(format!(
            "the demonstration failed: status {}, the machine ended: {ending:?}\nconsole: {}",
            status.as_deref().unwrap_or("unknown"),
            folder.join("console.log").display()
        )),
    })
}

/// Prints the console and returns the status that the demonstration told.
fn show(
    session: &mut Session,
    screen: &Screen,
    deadline: Instant,
    relying_party: &mut RelyingParty,
) -> Result<Option<String>> {
    let mut status = None;
    loop {
        match session.next(deadline) {
            Event::Line(line) if relying_party.takes(&line) => {}
            Event::Line(line) => match line.strip_prefix(STATUS) {
                Some(number) => status = Some(number.to_owned()),
                None if status.is_none() => screen.print(&line),
                // What the kernel says when it goes down.
                None => {}
            },
            Event::Closed => return Ok(status),
            Event::Deadline => {
                session.kill()?;
                return Ok(status);
            }
        }
    }
}

/// A line without the escape sequences that set colours.
fn without_colour(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // A sequence ends with its letter.
        text.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn colours_go_and_text_stays() {
        assert_eq!(
            super::without_colour("\x1b[1mone\x1b[0m more\x1b[2m"),
            "one more"
        );
    }
}
