//! What a measured boot says of itself, checked as somebody far away would check it, and what must be refused.

mod statement;

use std::fs;

use adyton::abi::PAGE_SIZE;
use adyton::abi::call::{Call, Information, Protection};
use adyton::abi::error::{Error as Reason, SUCCESS};
use adyton::abi::quote::{LONGEST_NONCE, REGISTERS};
use adyton::{Claim, Environment, Flags, Pool, Request, calls};
use adyton_evidence::files::hexadecimal;
use adyton_evidence::log::{self, Event, kind};
use adyton_evidence::platform::{MONITOR_PCR, STARTED_PCR};
use anyhow::{Context, Result, anyhow, bail, ensure};
use sha2::{Digest, Sha256};

use crate::fixture::{ROOM, agent_with, longest_call, pool, refused};
use statement::Statement;

/// Registers of the TPM.
const COUNT: usize = 24;

/// A claim with a page for answers.
struct Desk {
    _pool: Pool,
    claim: Claim,
    page: u64,
}

impl Desk {
    fn open() -> Result<Self> {
        let pool = pool()?;
        let claim = pool.claim(ROOM)?;
        let pages = claim.pages(PAGE_SIZE)?;
        let page = pages.address();
        // The claim ends with this process.
        std::mem::forget(pages);
        Ok(Self {
            _pool: pool,
            claim,
            page,
        })
    }

    fn quote(&self, nonce: &[u8]) -> Result<Statement> {
        let place = self.claim.environment();
        Statement::prepare(place, self.page, nonce.len() as u64, nonce);
        calls::quote(place, self.page)?;
        Ok(Statement::read(place, self.page))
    }

    fn event_log(&self) -> Result<Vec<u8>> {
        let place = self.claim.environment();
        let mut log = Vec::new();
        loop {
            let [size, count] = calls::event_log(place, self.page, log.len() as u64)?;
            let mut part = vec![0; count as usize];
            place.read(self.page, &mut part);
            log.extend(part);
            if log.len() as u64 == size {
                return Ok(log);
            }
            ensure!(count > 0, "the log stops at {} of {size} bytes", log.len());
        }
    }
}

/// The digest that a line of the boot's reference file names.
fn reference(name: &str) -> Result<String> {
    let text = fs::read_to_string("/adyton/reference")?;
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(found.context("no reference value")?.to_owned())
}

/// A quote with a fresh nonce is right in every respect, and the log leads to it.
///
/// # Errors
/// What is wrong.
pub fn quote() -> Result<()> {
    let desk = Desk::open()?;
    let protection = information()?;
    ensure!(
        protection & Protection::MeasuredBoot as u64 != 0,
        "the monitor says that nothing is measured"
    );
    let nonces: [&[u8]; 3] = [b"1", &[7; 32], &[9; LONGEST_NONCE]];
    for nonce in nonces {
        desk.quote(nonce)?.check(nonce)?;
    }
    let statement = desk.quote(b"one nonce")?;
    ensure!(
        statement.check(b"another one").is_err(),
        "a quote is right for a nonce that it was not asked for"
    );

    let log = desk.event_log()?;
    let events = events(&log)?;
    let values = replay(&events);
    for (index, register) in REGISTERS.into_iter().enumerate() {
        ensure!(
            values[register as usize] == statement.registers[index],
            "the log does not lead to register {register}"
        );
    }
    own_events(&events, &statement)?;
    println!(
        "{} events, {} bytes; statement of {} bytes",
        events.len(),
        log.len(),
        statement.attested.len()
    );
    Ok(())
}

/// All events of a log.
fn events(log: &[u8]) -> Result<Vec<Event<'_>>> {
    let events = log::events(log).and_then(Iterator::collect);
    events.map_err(|_| anyhow!("the log is malformed"))
}

/// The values that the registers have after these events.
fn replay(events: &[Event<'_>]) -> [[u8; 32]; COUNT] {
    let mut values = [[0; 32]; COUNT];
    for event in events.iter().filter(|event| event.is_extended()) {
        if let Some(value) = values.get_mut(event.pcr as usize) {
            *value = log::extended(value, &event.digest);
        }
    }
    values
}

/// The five events of the monitor's own register.
fn own_events(events: &[Event<'_>], statement: &Statement) -> Result<()> {
    let own: Vec<&Event<'_>> = events
        .iter()
        .filter(|event| event.pcr == MONITOR_PCR)
        .collect();
    let labels: Vec<&[u8]> = own.iter().map(|event| event.data).collect();
    let expected: [&[u8]; 5] = [
        b"adyton:configuration",
        b"adyton:kernel",
        b"adyton:initrd",
        b"adyton:command-line",
        b"adyton:key",
    ];
    ensure!(labels == expected, "{labels:?}");
    for index in [0, 1, 3] {
        let name = std::str::from_utf8(own[index].data)?;
        let digest = hexadecimal(&own[index].digest);
        ensure!(digest == reference(name)?, "{name} is not what was booted");
    }
    let key: [u8; 32] = Sha256::digest(statement.monitor_key).into();
    ensure!(own[4].digest == key, "the key is not bound");
    Ok(())
}

/// What measuring took of the boot, by the monitor's log.
///
/// # Errors
/// If the log does not say.
pub fn time() -> Result<()> {
    let output = std::process::Command::new("adyton").arg("log").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text
        .lines()
        .find_map(|line| line.split_once("the boot is measured, in "));
    let ticks = line.context("the log does not say")?.1;
    let ticks = ticks.split_whitespace().next().context("a number")?;
    println!("ADYTON-BENCH boot {ticks} instructions");
    Ok(())
}

/// Measures the longest time that a slice of these calls holds a core.
///
/// # Errors
/// If there is no quote.
pub fn slices() -> Result<()> {
    let desk = Desk::open()?;
    let before = longest_call()?;
    desk.event_log()?;
    desk.quote(b"a nonce")?;
    println!("the longest call before: {before}");
    let longest = longest_call()?;
    println!("ADYTON-BENCH attest-slice {longest} instructions");
    Ok(())
}

/// Writes a quote for the nonce, and the event log, into a folder, as tools that know nothing of us read them.
///
/// # Errors
/// If there is no quote, or the folder cannot be written.
pub fn write(folder: &str, nonce: &str) -> Result<()> {
    let desk = Desk::open()?;
    let statement = desk.quote(nonce.as_bytes())?;
    fs::create_dir_all(folder)?;
    let log = desk.event_log()?;
    for (name, contents) in [
        ("statement", statement.attested.as_slice()),
        ("signature", &statement.signature),
        ("public", &statement.public),
        ("key.der", &statement.public_key()?),
        ("registers", statement.registers.as_flattened()),
        ("registers.tpm2", &statement.register_file()),
        ("log", &log),
        (
            "qualification",
            hexadecimal(&statement.qualification(nonce.as_bytes())).as_bytes(),
        ),
    ] {
        fs::write(format!("{folder}/{name}"), contents)?;
    }
    Ok(())
}

/// Prints what a verifier must know of this machine, in the format of `adyton verify`'s anchors.
///
/// # Errors
/// If there is no quote.
pub fn anchors() -> Result<()> {
    println!("{}", machine_anchors()?);
    Ok(())
}

fn machine_anchors() -> Result<String> {
    let statement = Desk::open()?.quote(b"anchors")?;
    let key = hexadecimal(&Sha256::digest(&statement.public));
    let register = |index: usize| hexadecimal(&statement.registers[index]);
    Ok(format!(
        "[[machine]]\nname = \"this machine\"\nkey = \"{key}\"\n\n\
         [[firmware]]\nname = \"its firmware\"\npcrs = {{ 0 = \"{}\", 2 = \"{}\", 7 = \"{}\" }}\n",
        register(0),
        register(2),
        register(7)
    ))
}

/// As a verifier would have them: what this machine says of itself when it is enrolled, and the reference values of what it
/// should have started.
///
/// # Errors
/// If there is no quote, or no reference values.
pub fn anchors_text() -> Result<String> {
    let (monitor, configuration) = (reference("monitor")?, reference("adyton:configuration")?);
    Ok(format!(
        "version = 1\n\n{}\n\
         [[monitor]]\nname = \"this one\"\nimage = \"{monitor}\"\nsecurity-version = 1\n\n\
         [[boot]]\nname = \"this disk\"\nconfiguration = \"{configuration}\"\n\n{}",
        machine_anchors()?,
        loader_anchors()?
    ))
}

/// What a boot loader should do that starts this machine's monitor; nothing where there should be none.
///
/// # Errors
/// If there are no reference values.
pub fn loader_anchors() -> Result<String> {
    Ok(fs::read_to_string("/adyton/loader")?)
}

/// The firmware has started so many applications, and the monitor last.
///
/// # Errors
/// If it was otherwise.
pub fn applications(expected: usize) -> Result<()> {
    let desk = Desk::open()?;
    let log = desk.event_log()?;
    let events = events(&log)?;
    let started: Vec<&Event<'_>> = events
        .iter()
        .filter(|event| event.pcr == STARTED_PCR && event.kind == kind::APPLICATION)
        .collect();
    ensure!(started.len() == expected, "{} were started", started.len());
    let genuine = reference("monitor")?;
    for (index, event) in started.iter().enumerate() {
        let is_genuine = hexadecimal(&event.digest) == genuine;
        let is_last = index + 1 == expected;
        ensure!(
            is_genuine == is_last,
            "application {index} is not what it should be"
        );
    }
    Ok(())
}

/// Everything that is not asked for as it should be is refused.
///
/// # Errors
/// What was not.
pub fn refusals() -> Result<()> {
    let desk = Desk::open()?;
    let place = desk.claim.environment();
    for size in [0, LONGEST_NONCE as u64 + 1, u64::MAX] {
        Statement::prepare(place, desk.page, size, &[1; LONGEST_NONCE]);
        refused(calls::quote(place, desk.page), Reason::Invalid)?;
    }
    Statement::prepare(place, desk.page, 8, &[1; 8]);
    refused(calls::quote(place, desk.page + 8), Reason::Alignment)?;
    let without_token = Request::new(Call::Quote, [desk.page]);
    refused(calls::once(place, without_token), Reason::Invalid)?;
    refused(calls::event_log(place, desk.page, 1 << 40), Reason::Invalid)?;
    refused(
        calls::event_log(place, desk.page, u64::MAX),
        Reason::Invalid,
    )?;
    desk.quote(b"control")?.check(b"control")
}

/// Another domain reads the log and gets a quote if its policy says so, and otherwise neither.
///
/// # Errors
/// If it is otherwise.
pub fn domains() -> Result<()> {
    const STORE: u64 = 2;
    const CALL: u64 = 5;
    let [policy, invalid] = [Reason::Policy, Reason::Invalid].map(|reason| reason as u64);
    for (flags, expected) in [
        (Flags::CONFIDENTIAL, [policy, policy, policy]),
        (
            Flags::CONFIDENTIAL | Flags::MAY_ATTEST,
            [SUCCESS, invalid, SUCCESS],
        ),
    ] {
        let mut domain = agent_with(flags, |program| program.pool = 2 << 20)?;
        let page = domain.loaded.plan.pool.base;
        let mut call = |call: Call, nonce_size: u64| -> Result<u64> {
            domain.ask([STORE, page, nonce_size, 0, 0, 0])?;
            Ok(domain.ask([CALL, call as u64, page, 0, 0, 0])?[0])
        };
        let statuses = [
            call(Call::EventLog, 0)?,
            call(Call::Quote, 0)?,
            call(Call::Quote, 8)?,
        ];
        ensure!(statuses == expected, "{flags:?}: {statuses:?}");
    }
    Ok(())
}

/// Nobody has measured this boot, and the monitor says so.
///
/// # Errors
/// If it says otherwise.
pub fn unmeasured() -> Result<()> {
    let desk = Desk::open()?;
    let place = desk.claim.environment();
    Statement::prepare(place, desk.page, 8, &[1; 8]);
    refused(calls::quote(place, desk.page), Reason::Unmeasured)?;
    refused(calls::event_log(place, desk.page, 0), Reason::Unmeasured)?;
    if information()? & Protection::MeasuredBoot as u64 != 0 {
        bail!("the monitor says that the boot is measured");
    }
    Ok(())
}

fn information() -> Result<u64> {
    let place = adyton::Linux::without_memory()?;
    let request = Request::new(Call::Information, [Information::Protection as u64]);
    Ok(calls::once(&place, request)?[0])
}
