//! `adyton device`: PCI functions, and whether domains may have them.
//!
//! A function goes to a domain in two steps: the kernel's driver lets go of it, which this command asks for, and whoever builds a
//! domain gives it away (`adyton run --function`).

use adyton::devices::Holder;
use adyton::{Error, Function};

use crate::Arguments;
use crate::failure::Failure;
use crate::show::{BOLD, FAINT, colour, id, size};

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List PCI functions: who has them, and which can be given to a domain
    Ls,
    /// Have the kernel's driver let go of a function and keep off it, so that a domain can have it (for root)
    Assign {
        /// As `ls` shows it: 0000:00:04.0, or 00:04.0
        function: String,
    },
    /// Give a function back to the kernel's drivers (for root)
    Release {
        /// As for `assign`
        function: String,
    },
}

pub fn run(arguments: &Arguments, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Ls => list(arguments),
        Command::Assign { function } => Ok(Function::find(function)?.unbind()?),
        Command::Release { function } => Ok(Function::find(function)?.bind()?),
    }
}

fn list(arguments: &Arguments) -> Result<(), Failure> {
    let functions = Function::all();
    if arguments.json {
        let values: Vec<_> = functions.iter().map(json).collect();
        say!("{:#}", serde_json::Value::from(values));
        return Ok(());
    }
    for function in &functions {
        let (kind, registers) = match function.facts() {
            Ok(facts) => (
                format!(
                    "{:04x}:{:04x} {:06x}",
                    facts.vendor, facts.device, facts.class
                ),
                size(facts.size),
            ),
            Err(_) => (String::new(), String::new()),
        };
        say!(
            "{}  {kind:<16}  {registers:>8}  {}",
            colour(BOLD, &function.name),
            who(function)
        );
    }
    Ok(())
}

/// Who has it, or why nobody but domain 0 can.
fn who(function: &Function) -> String {
    let driver = function.driver();
    let of_system = match &driver {
        Some(driver) => format!("domain 0, driver {driver}"),
        None => "domain 0, free for a domain".into(),
    };
    match function.facts() {
        Ok(facts) => match facts.holder {
            Holder::System | Holder::Caller => of_system,
            Holder::Nobody => "nobody: on its way, or it did not come to rest".into(),
            Holder::Other(domain) => format!("domain {}", id(domain)),
        },
        Err(Error::Refused(refusal)) => {
            let reason = refusal
                .reason()
                .map_or("", adyton::abi::error::Error::message);
            colour(FAINT, &format!("domain 0: {reason}"))
        }
        Err(error) => error.to_string(),
    }
}

fn json(function: &Function) -> serde_json::Value {
    let facts = function.facts().ok();
    let holder = facts.map(|facts| match facts.holder {
        Holder::System | Holder::Caller => "domain 0".into(),
        Holder::Nobody => "nobody".into(),
        Holder::Other(domain) => id(domain),
    });
    serde_json::json!({
        "function": function.name,
        "vendor": facts.map(|facts| facts.vendor),
        "device": facts.map(|facts| facts.device),
        "class": facts.map(|facts| facts.class),
        "registers": facts.map(|facts| facts.size),
        "driver": function.driver(),
        "holder": holder,
    })
}
