//! Tests of the monitor, from a program in domain 0.
//!
//! A test is a function in one of the rooms below; it fails by an error, and says `skip` by [`skip`]. Running one by
//! name exits with its status; `all` runs each in a process of its own, since some of them end theirs.
#![deny(unsafe_code)]

mod attack;
mod calls;
mod entering;
mod exits;
mod fixture;
mod lifetime;
mod nesting;
mod process;
mod raw;
mod sharing;

use std::process::{Command, ExitCode};

use anyhow::Result;

/// A test: its name, and what it does.
type Test = (&'static str, fn() -> Result<()>);

fn tests() -> impl Iterator<Item = Test> {
    let rooms = [
        calls::TESTS,
        entering::TESTS,
        exits::TESTS,
        sharing::TESTS,
        nesting::TESTS,
        attack::TESTS,
        lifetime::TESTS,
        process::TESTS,
    ];
    rooms.into_iter().flatten().copied()
}

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    match names.first().map(String::as_str) {
        None | Some("--help") => {
            eprintln!("usage: adyton-guest-tests NAME... | all | --list");
            ExitCode::FAILURE
        }
        Some("--list") => {
            tests().for_each(|(name, _)| println!("{name}"));
            ExitCode::SUCCESS
        }
        Some("all") => each_in_its_process(tests().map(|(name, _)| name)),
        Some(name) if names.len() == 1 => one(name),
        Some(_) => each_in_its_process(names.iter().map(String::as_str)),
    }
}

fn one(name: &str) -> ExitCode {
    let Some((_, test)) = tests().find(|(found, _)| *found == name) else {
        println!("ADYTON-TEST {name} FAIL there is no such test");
        return ExitCode::FAILURE;
    };
    match test() {
        Ok(()) => {
            println!("ADYTON-TEST {name} ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("ADYTON-TEST {name} FAIL {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn each_in_its_process<'name>(names: impl Iterator<Item = &'name str>) -> ExitCode {
    let mut failed = 0;
    for name in names {
        let status = Command::new("/proc/self/exe").arg(name).status();
        let passed = status.as_ref().is_ok_and(|status| status.success());
        failed += u32::from(!passed);
        if !passed {
            println!("ADYTON-TEST {name} FAIL {status:?}");
        }
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
