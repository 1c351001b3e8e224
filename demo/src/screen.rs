//! How the demonstration looks.

use std::time::Instant;

const BOLD: &str = "\x1b[1m";
const FAINT: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// A chapter's heading.
pub fn chapter(text: &str) {
    println!("\n{BOLD}{text}{PLAIN}");
}

/// Something that happened.
pub fn line(text: &str) {
    println!("   {text}");
}

/// Something to look up, of minor interest.
pub fn detail(text: &str) {
    println!("   {FAINT}{text}{PLAIN}");
}

/// Something that holds.
pub fn good(text: &str) {
    println!(" {GREEN}✔{PLAIN} {text}");
}

/// An attempt, what it did to memory that nobody protects, and what it did to the domain's.
pub fn attempt(what: &str, control: &str, attempt: &str) {
    println!(
        " {GREEN}✔{PLAIN} {what:<33} {FAINT}open page:{PLAIN} {control:<9} {FAINT}domain:{PLAIN} {attempt}"
    );
}

/// The end, when something does not hold.
pub fn failure(text: &str) {
    println!(" {RED}✘ {text}{PLAIN}");
}

/// How long it took.
pub fn took(since: Instant) {
    detail(&format!("({:.1} s)", since.elapsed().as_secs_f32()));
}

/// Lower-case digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
