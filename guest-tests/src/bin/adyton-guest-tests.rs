//! Runs one test by name, or all, each of them in a process of its own, since some end theirs.
#![forbid(unsafe_code)]

use std::process::{Command, ExitCode};

use adyton_guest_tests::{demanding_tests, fixture, machine, second_kernel, secret, tests};

fn main() -> ExitCode {
    let names: Vec<String> = std::env::args().skip(1).collect();
    match names.first().map(String::as_str) {
        None | Some("--help") => {
            eprintln!(
                "usage: adyton-guest-tests NAME... | all | --list | while-secret COMMAND | output PORT:SIZE:VALUE | panic-monitor | use-up-stack | stack-depth | start-kernel IMAGE INITRD LINE | load-for-crash IMAGE INITRD LINE"
            );
            ExitCode::FAILURE
        }
        Some("--list") => {
            let all = tests().chain(demanding_tests());
            all.for_each(|(name, _)| println!("{name}"));
            ExitCode::SUCCESS
        }
        Some("all") => each_in_its_process(tests().map(|(name, _)| name)),
        Some("while-secret") => report(secret::while_in_memory(&names[1..])),
        Some("panic-monitor") => report(fixture::selfcheck(fixture::Selfcheck::Panic, 0).map(drop)),
        Some("use-up-stack") => {
            report(fixture::selfcheck(fixture::Selfcheck::UseUpStack, 0).map(drop))
        }
        Some("stack-depth") => report(fixture::stack_depth()),
        Some("start-kernel") => report(second_kernel::start_command(&names[1..])),
        Some("load-for-crash") => report(second_kernel::load_for_crash(&names[1..])),
        Some("output") => report(machine::output_command(&names[1..])),
        Some(name) if names.len() == 1 => one(name),
        Some(_) => each_in_its_process(names.iter().map(String::as_str)),
    }
}

fn report(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn one(name: &str) -> ExitCode {
    let mut all = tests().chain(demanding_tests());
    let Some((_, test)) = all.find(|(found, _)| *found == name) else {
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
        if !status.as_ref().is_ok_and(|status| status.success()) {
            failed += 1;
            println!("failed: {name}: {status:?}");
        }
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
