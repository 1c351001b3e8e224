//! How sizes, ids, states and rights are written, and when in colour.

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};

use adyton::abi::record::{DomainState, Sharing};
use adyton::{Attributes, Flags};
pub use adyton_evidence::files::hexadecimal;

/// Prints a line; see [`say!`].
pub fn line(text: Arguments<'_>) {
    // A reader that wants no more is no error.
    let _gone = writeln!(io::stdout(), "{text}");
}

/// Prints a line to standard output.
macro_rules! say {
    ($($part:tt)*) => { $crate::show::line(format_args!($($part)*)) };
}

/// Bytes, in the largest unit that keeps them short.
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut rest = bytes as f64;
    while rest >= 1024.0 && unit + 1 < units.len() {
        rest /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && rest.fract() != 0.0);
    format!("{rest:.digits$} {}", units[unit])
}

/// Bytes from what a person wrote: `4096`, `64K`, `2M`, `1G`.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(number) => (number, text.as_bytes()[number.len()]),
        None => (text, b' '),
    };
    let factor = match unit {
        b'K' => 1 << 10,
        b'M' => 1 << 20,
        b'G' => 1 << 30,
        _ => 1,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// So many of what is called this.
pub fn several(count: u64, name: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural}")
}

/// A domain's id.
pub fn id(id: u64) -> String {
    format!("{id:x}")
}

/// A measurement's beginning, enough to tell domains apart.
pub fn short(digest: &[u8; 32]) -> String {
    hexadecimal(&digest[..6])
}

/// What kind of domain a policy makes.
pub fn kind(flags: Flags) -> &'static str {
    match (
        flags.contains(Flags::CONFIDENTIAL),
        flags.contains(Flags::DEBUG),
    ) {
        (_, true) => "debug",
        (true, false) => "confidential",
        (false, false) => "sandbox",
    }
}

/// What a policy lets a domain do.
pub fn abilities(flags: Flags) -> Vec<&'static str> {
    Flags::ABILITIES
        .into_iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .map(|(_, name)| name)
        .collect()
}

/// The state of a domain.
pub fn state(number: u64) -> &'static str {
    let states = [
        (DomainState::Building, "building"),
        (DomainState::Sealing, "sealing"),
        (DomainState::Sealed, "sealed"),
        (DomainState::Dying, "dying"),
    ];
    states
        .into_iter()
        .find(|(state, _)| *state as u64 == number)
        .map_or("unknown", |found| found.1)
}

/// Who else reaches a region.
pub fn sharing(number: u64) -> &'static str {
    let kinds = [
        (Sharing::Exclusive, "exclusive"),
        (Sharing::Shared, "shared"),
        (Sharing::Lent, "lent"),
    ];
    kinds
        .into_iter()
        .find(|(kind, _)| *kind as u64 == number)
        .map_or("unknown", |found| found.1)
}

/// Rights and attributes: `rwx clean measured`.
pub fn attributes(attributes: Attributes) -> String {
    let right = |bit, letter| {
        if attributes.contains(bit) {
            letter
        } else {
            '-'
        }
    };
    let mut text: String = [
        right(Attributes::READ, 'r'),
        right(Attributes::WRITE, 'w'),
        right(Attributes::EXECUTE, 'x'),
    ]
    .into_iter()
    .collect();
    let names = [
        (Attributes::CLEAN, " clean"),
        (Attributes::MEASURED, " measured"),
        (Attributes::VITAL, " vital"),
        (Attributes::POOL, " pool"),
        (Attributes::DEVICE, " device"),
    ];
    text.extend(
        names
            .iter()
            .filter(|(bit, _)| attributes.contains(*bit))
            .map(|(_, name)| *name),
    );
    text
}

/// Text in one of the terminal's colours, where standard output is a terminal.
pub fn colour(code: u8, text: &str) -> String {
    if !text.is_empty() && io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// For headings.
pub const BOLD: u8 = 1;
/// For what is of minor interest.
pub const FAINT: u8 = 2;
/// For what is good.
pub const GREEN: u8 = 32;
/// For what deserves attention.
pub const YELLOW: u8 = 33;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_read_back() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(4096), "4 KiB");
        assert_eq!(size(3 << 19), "1.5 MiB");
        assert_eq!(parse_size("2M"), Some(2 << 20));
        assert_eq!(parse_size("77"), Some(77));
        assert_eq!(parse_size("M"), None);
        assert_eq!(parse_size("99999999999G"), None);
    }

    #[test]
    fn attributes_are_told_in_words() {
        let both = Attributes::READ | Attributes::WRITE | Attributes::CLEAN;
        assert_eq!(attributes(both), "rw- clean");
    }
}
