//! Configuration space: what domain 0 reaches of a function that is not its own, what it may move while one is away, and what who
//! drives a function may write. Each refusal stands beside the same access while nobody has the function.

use std::fs::File;
use std::os::unix::fs::FileExt;

use adyton::abi::error::Error as Reason;
use adyton::devices::Assignment;
use adyton::{Error, Flags, Function, Image, Linux, Program, READ_WRITE};
use anyhow::{Context, Result, bail, ensure};

use super::assigned::{Driven, ask, drive, edu_function, folder, functions, nvme_function};
use super::edu::Edu;
use super::{PAGE, SECRET, domain_memory, own_memory};
use crate::fixture::{self, ROOM, refused as is_refused};
use crate::{kernel_attack, machine, raw};

const IDENTITY: u32 = 0x11e8_1234;
const BASE_ADDRESS: u64 = 0x10;
const BRIDGE_BUSES: u64 = 0x18;
const NOBODY: u32 = !0;
/// A bit of what is chosen that some processors take for one of the register's number, and others ignore.
const HIGHER_REGISTERS: u32 = 1 << 24;

/// The function's configuration space, by the kernel's file.
pub(super) fn file(function: &Function) -> Result<File> {
    let path = folder(function).join("config");
    Ok(File::options().read(true).write(true).open(path)?)
}

pub(super) fn read(file: &File, offset: u64) -> Result<u32> {
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(u32::from_le_bytes(bytes))
}

pub(super) fn write(file: &File, offset: u64, value: u32) -> Result<()> {
    Ok(file.write_all_at(&value.to_le_bytes(), offset)?)
}

/// Where the function's capability for messages stands.
pub fn messages(file: &File) -> Result<u64> {
    let mut place = u64::from(read(file, 0x34)? as u8);
    for _ in 0..48 {
        let header = read(file, place & !3)?;
        if header as u8 == 5 {
            return Ok(place);
        }
        place = u64::from((header >> 8) as u8);
    }
    bail!("it sends no messages")
}

/// Stores a word in the function's register by ports.
pub(super) fn by_ports(function: &Function, register: u32, value: u32) {
    machine::output(
        0xcf8,
        4,
        1 << 31 | u32::from(function.number) << 8 | register,
    );
    machine::output(0xcfc, 4, value);
}

/// Where configuration space of the function is mapped.
pub(super) fn window(function: &Function) -> Result<u64> {
    let map = std::fs::read_to_string("/proc/iomem")?;
    let line = map.lines().find(|line| line.contains("PCI MMCONFIG"));
    let line = line.context("configuration space is not mapped")?;
    let (start, _) = line.trim().split_once('-').context("no range")?;
    let start = u64::from_str_radix(start, 16)?;
    machine::map_physical(start + u64::from(function.number) * PAGE, PAGE)
}

/// Whether loads and stores there end the process.
fn is_closed(address: u64) -> Result<bool> {
    let load = raw::in_copy(|| machine::load32(address) as i32 & 1)?;
    let store = raw::in_copy(|| {
        machine::store32(address, 0);
        0
    })?;
    Ok(kernel_attack::faults(load) && kernel_attack::faults(store))
}

/// Registers, and configuration space by the kernel's file, by ports and by memory.
pub(super) fn hidden() -> Result<()> {
    let function = edu_function()?;
    let edu = Edu::at(&folder(&function))?;
    let (file, mapped) = (file(&function)?, window(&function)?);
    raw::allow_ports()?;
    let chosen = u32::from(function.number) << 8;
    ensure!(read(&file, 0)? == IDENTITY, "the control: by the file");
    ensure!(
        raw::configuration(chosen) == IDENTITY,
        "the control: by ports"
    );
    ensure!(
        machine::load32(mapped) == IDENTITY,
        "the control: by memory"
    );
    ensure!(!is_closed(edu.registers + 4)?, "the control: its registers");
    let address = read(&file, BASE_ADDRESS)?;
    let mut driven = drive("driver", &function)?;
    for _ in 0..2 {
        ensure!(read(&file, 0)? == NOBODY, "the file shows it");
        ensure!(raw::configuration(chosen) == NOBODY, "ports show it");
        ensure!(is_closed(mapped)?, "memory shows its configuration space");
        ensure!(
            is_closed(edu.registers + 4)?,
            "domain 0 reaches its registers"
        );
        // By what was chosen before, and what the kernel chooses now.
        machine::output(0xcf8, 4, 1 << 31 | chosen | BASE_ADDRESS as u32);
        machine::output(0xcfc, 4, 0);
        write(&file, BASE_ADDRESS, 0)?;
        write(&file, 4, 0)?;
        let [copied, _] = driven.ask([ask::COPY, SECRET, 0, 0])?;
        ensure!(copied == SECRET, "domain 0 has changed the function");
    }
    driven.end()?;
    ensure!(
        read(&file, BASE_ADDRESS)? == address,
        "its address has changed"
    );
    ensure!(read(&file, 0)? == IDENTITY && machine::load32(mapped) == IDENTITY);
    ensure!(
        !is_closed(edu.registers + 4)?,
        "its registers did not come back"
    );
    Ok(())
}

/// While a function is away nothing is moved: not another over it, no bridge's window or number.
pub(super) fn frozen() -> Result<()> {
    let mut both = functions([0x1234, 0x11e8]).into_iter();
    let (Some(function), Some(other)) = (both.next(), both.next()) else {
        bail!("the machine has no two edu devices");
    };
    let (first, second) = (file(&function)?, file(&other)?);
    let bridge_function = bridge()?;
    let bridge = file(&bridge_function)?;
    raw::allow_ports()?;
    let (here, there) = (read(&first, BASE_ADDRESS)?, read(&second, BASE_ADDRESS)?);
    let elsewhere = there ^ 1 << 25;
    let mapped = window(&other)? + BASE_ADDRESS;
    let moves = |to: u32| -> Result<[bool; 2]> {
        write(&second, BASE_ADDRESS, to)?;
        let by_file = read(&second, BASE_ADDRESS)? == to;
        write(&second, BASE_ADDRESS, there)?;
        machine::store32(mapped, to);
        let by_memory = read(&second, BASE_ADDRESS)? == to;
        machine::store32(mapped, there);
        Ok([by_file, by_memory])
    };
    let numbers = read(&bridge, BRIDGE_BUSES)?;
    let renumbers = || -> Result<[bool; 3]> {
        let others = numbers ^ 0x0010_1000;
        write(&bridge, BRIDGE_BUSES, others)?;
        let mut renumbered = [read(&bridge, BRIDGE_BUSES)? != numbers; 3];
        for (moved, besides) in renumbered[1..].iter_mut().zip([0, HIGHER_REGISTERS]) {
            write(&bridge, BRIDGE_BUSES, numbers)?;
            by_ports(&bridge_function, besides | BRIDGE_BUSES as u32, others);
            *moved = read(&bridge, BRIDGE_BUSES)? != numbers;
        }
        write(&bridge, BRIDGE_BUSES, numbers)?;
        Ok(renumbered)
    };
    // What is written to the end of one register does not reach into the next.
    let reaches_over = || -> Result<bool> {
        by_ports(&other, BASE_ADDRESS as u32 - 1, (there ^ 1 << 23) << 8);
        let moved = read(&second, BASE_ADDRESS)? != there;
        write(&second, BASE_ADDRESS, there)?;
        Ok(moved)
    };
    ensure!(moves(elsewhere)? == [true; 2], "the control does not move");
    ensure!(renumbers()? == [true; 3], "the control does not renumber");
    let mut driven = drive("driver", &function)?;
    ensure!(
        moves(here)? == [false; 2],
        "moved over the domain's registers"
    );
    ensure!(moves(elsewhere)? == [false; 2], "moved");
    ensure!(renumbers()? == [false; 3], "renumbered");
    ensure!(!reaches_over()?, "moved by the register before");
    let [copied, _] = driven.ask([ask::COPY, SECRET, 0, 0])?;
    ensure!(copied == SECRET);
    driven.end()?;
    ensure!(moves(elsewhere)? == [true; 2], "nothing moves any more");
    ensure!(read(&second, BASE_ADDRESS)? == there);
    // What lies over another cannot be given away.
    write(&second, BASE_ADDRESS, here)?;
    let entangled = drive("driver", &function);
    write(&second, BASE_ADDRESS, there)?;
    is_reason(entangled, Reason::Entangled)?;
    drive("driver", &function)?.end()
}

/// A function of domain 0's that is reset while another is away loses its base addresses, and the kernel puts them back.
pub(super) fn reset_meanwhile() -> Result<()> {
    let (function, other) = (edu_function()?, nvme_function()?);
    let addresses = || -> Result<[u32; 2]> {
        let file = file(&other)?;
        Ok([read(&file, BASE_ADDRESS)?, read(&file, BASE_ADDRESS + 4)?])
    };
    let before = addresses()?;
    ensure!(before[0] & !0xf != 0, "it lies nowhere");
    let mut driven = drive("driver", &function)?;
    std::fs::write(folder(&other).join("reset"), "1")?;
    ensure!(addresses()? == before, "it did not get them back");
    ensure!(driven.ask([ask::COPY, SECRET, 0, 0])?[0] == SECRET);
    driven.end()
}

fn bridge() -> Result<Function> {
    for function in Function::all() {
        let file = file(&function)?;
        if read(&file, 8)? >> 16 == 0x0604 {
            return Ok(function);
        }
    }
    bail!("the machine has no bridge")
}

fn is_reason(outcome: Result<Driven>, reason: Reason) -> Result<()> {
    let Err(error) = outcome else {
        bail!("expected {reason:?}, but it was given");
    };
    match error.downcast::<Error>()? {
        Error::Refused(refusal) => is_refused::<()>(Err(refusal), reason),
        other => bail!("expected {reason:?}, got {other}"),
    }
}

/// What cannot be given away, and by whom not.
pub(super) fn refused() -> Result<()> {
    let function = edu_function()?;
    let file = fixture::payload("driver")?;
    let program = Program::new(Image::parse(&file)?, Flags::CONFIDENTIAL);
    let pool = fixture::pool()?;
    let claim = pool.claim(ROOM)?;
    let loaded = program.build(&claim)?;
    let registers = function.map()?;
    let place = 0x4000_0000;
    let give = |number: u16, address: u64| {
        let assignment = Assignment {
            function: number,
            address,
            place,
            attributes: READ_WRITE,
        };
        loaded.domain.assign(assignment)
    };
    let base = registers.base();
    is_refused(give(0, base), Reason::Unassignable).context("the host bridge")?;
    is_refused(give(0x1f << 3, base), Reason::Unassignable).context("one of several functions")?;
    is_refused(give(0x1e << 3, base), Reason::NotDevice).context("none")?;
    is_refused(give(0x100, base), Reason::NotDevice).context("another bus")?;
    is_refused(give(function.number, base + PAGE), Reason::NotDevice)
        .context("not from the beginning")?;
    let page = raw::anonymous(function.facts()?.size)?;
    is_refused(give(function.number, page), Reason::NotDevice).context("other memory")?;
    // A part of the registers does not suffice: the call faults where the rest should be.
    let part = folder(&function).join("resource0");
    let part = File::options().read(true).write(true).open(part)?;
    let part = raw::map(&part, 0, PAGE, true)?;
    let end = raw::in_copy(|| i32::from(give(function.number, part).is_ok()))?;
    ensure!(
        !matches!(end, nix::sys::wait::WaitStatus::Exited(_, 1)),
        "a page sufficed"
    );
    let only = folder(&function).join("resource0");
    let only = raw::map(&File::open(only)?, 0, function.facts()?.size, false)?;
    let end = raw::in_copy(|| i32::from(give(function.number, only).is_ok()))?;
    ensure!(
        !matches!(end, nix::sys::wait::WaitStatus::Exited(_, 1)),
        "reading sufficed"
    );
    give(function.number, base).context("the control")?;
    is_refused(give(function.number, base), Reason::Overlap).context("twice")?;
    loaded.domain.destroy()?;
    Ok(())
}

/// Who drives a function switches it on and directs its messages; it moves nothing, and nothing of other functions is there for it.
pub(super) fn holder() -> Result<()> {
    let function = edu_function()?;
    let before = read(&file(&function)?, BASE_ADDRESS)?;
    let mut driven = drive("driver", &function)?;
    let mut read = |offset: u64, width: u64| driven.ask([ask::CONFIGURE, offset, width, 0]);
    ensure!(
        read(0, 4)? == [0, IDENTITY.into()],
        "the control does not read"
    );
    ensure!(read(4, 2)?[1] & 6 == 6, "it is not switched on");
    ensure!(read(0, 3)?[0] == Reason::Invalid as u64);
    ensure!(read(4096, 4)?[0] == Reason::Invalid as u64);
    let mut write = |offset: u64, width: u64, value: u64| -> Result<u64> {
        Ok(driven
            .running
            .ask([ask::CONFIGURE, offset, width, 1, value, 0])?[0])
    };
    let rights = Reason::Rights as u64;
    ensure!(write(4, 2, 0xffff)? == 0);
    for (offset, width) in [(0x10, 4), (0x30, 4), (0x3c, 1), (4, 4), (6, 2), (0x100, 4)] {
        let status = write(offset, width, 0xffff)?;
        ensure!(status == rights, "{offset:#x}: {status}");
    }
    let command = driven.ask([ask::CONFIGURE, 4, 2, 0])?[1];
    ensure!(command & 1 == 0, "it answers at ports");
    ensure!(command & 1 << 10 != 0, "it uses its interrupt pin");
    driven.end()?;
    ensure!(self::read(&file(&function)?, BASE_ADDRESS)? == before);
    // Domain 0 has other ways.
    let place = Linux::without_memory()?;
    is_refused(
        adyton::devices::read(&place, raw::anonymous_page()?, 0, 4),
        Reason::NotDevice,
    )
}

/// A function's registers moved over the monitor's memory and over a domain's: memory answers there, as ever.
pub(super) fn moved() -> Result<()> {
    let function = edu_function()?;
    let file = file(&function)?;
    let before = read(&file, BASE_ADDRESS)?;
    let pool = kernel_attack::start(&fixture::pool()?)?;
    let [image, reserve] = own_memory()?;
    for target in [image, reserve, pool] {
        let target = target as u32 & !0xf_ffff;
        write(&file, BASE_ADDRESS, target)?;
        let moved = read(&file, BASE_ADDRESS)? == target;
        let outcome = domain_at_work();
        write(&file, BASE_ADDRESS, before)?;
        ensure!(moved, "the control does not move");
        outcome.with_context(|| format!("over {target:#x}"))?;
    }
    domain_memory()
}

/// Making and driving domains as ever.
fn domain_at_work() -> Result<()> {
    let mut scene = super::scene()?;
    ensure!(scene.secret()? == SECRET);
    Ok(())
}

/// The host bridge's registers say where configuration space and memory lie.
pub(super) fn host_bridge() -> Result<()> {
    const WINDOW: u64 = 0x60;
    let all = Function::all();
    let bridge = all.iter().find(|function| function.number == 0);
    let file = file(bridge.context("no host bridge")?)?;
    let before = read(&file, WINDOW)?;
    ensure!(before & 1 == 1, "there is no window");
    write(&file, WINDOW, before ^ 1 << 28)?;
    ensure!(read(&file, WINDOW)? == before, "the window has moved");
    let mapped = window(bridge.context("no host bridge")?)?;
    machine::store32(mapped + WINDOW, before ^ 1 << 28);
    ensure!(
        read(&file, WINDOW)? == before,
        "the window has moved, by memory"
    );
    raw::allow_ports()?;
    machine::output(0xcf8, 4, 1 << 31 | WINDOW as u32);
    machine::output(0xcfc, 4, before ^ 1 << 28);
    ensure!(
        read(&file, WINDOW)? == before,
        "the window has moved, by ports"
    );
    domain_memory()
}
