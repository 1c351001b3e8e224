//! The engine's calls one by one: what each refuses, what each asks of the platform, what it costs.

mod accounts;
mod devices;
mod effects;
mod errors;
mod listing;
mod offers;
mod quarantine;
mod reach;
mod scale;
mod seal;
#[path = "../support/mod.rs"]
mod support;
mod survey;
mod whole_cores;
