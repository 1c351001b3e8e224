//! `adyton graph`: the composition of an evidence as a picture.

use std::path::PathBuf;

use adyton_evidence::bundle::{Bundle, Subject};
use adyton_evidence::closure::{self, Closure, Edge};
use adyton_evidence::composition::{Composition, Domain, Sharing, Tenant};

use crate::failure::Failure;
use crate::show::{kind, short, size};
use crate::verify::read;

mod dot;
mod svg;

/// What to draw.
#[derive(clap::Args)]
pub struct Options {
    /// The evidence
    file: PathBuf,
    /// Write DOT, for Graphviz, instead of SVG
    #[arg(long)]
    dot: bool,
}

/// What every picture says of itself.
const CAPTION: &str = "as the evidence states it; adyton verify tells whether to believe it";

pub fn print(options: &Options) -> Result<(), Failure> {
    let evidence = read(&options.file)?;
    let unusable = |reason: &dyn std::fmt::Debug| {
        Failure::unusable(&options.file, format_args!("is no evidence: {reason:?}"))
    };
    let bundle = Bundle::decode(&evidence).map_err(|reason| unusable(&reason))?;
    if bundle.subject == Subject::Enclave {
        let reason = "is about an enclave, which has no composition to draw";
        return Err(Failure::unusable(&options.file, reason));
    }
    let composition = Composition::decode(bundle.claims).map_err(|reason| unusable(&reason))?;
    let closure = closure::examine(&composition).map_err(|reason| unusable(&reason))?;
    let picture = if options.dot {
        dot::draw(&composition, &closure)
    } else {
        svg::draw(&composition, &closure)
    };
    say!("{picture}");
    Ok(())
}

/// The lines in a domain's box.
fn lines(index: usize, domain: &Domain) -> Vec<String> {
    match domain {
        Domain::Opaque => vec!["domain 0".into(), "opaque".into()],
        Domain::Tenant(tenant) => {
            let subject = if index == 0 { ", subject" } else { "" };
            let name = tenant.measurement.as_ref().map(short);
            vec![
                name.unwrap_or_else(|| "not sealed".into()),
                format!("{}{subject}", kind(tenant.flags)),
                own(tenant),
            ]
        }
    }
}

fn own(tenant: &Tenant) -> String {
    let memory = tenant
        .regions
        .iter()
        .filter(|region| matches!(region.sharing, Sharing::Exclusive | Sharing::Lent));
    let sum = memory.fold(0_u64, |sum, region| sum.saturating_add(region.size));
    match tenant.whole_cores.len() {
        0 => format!("{} of its own", size(sum)),
        1 => format!("{} and a core of its own", size(sum)),
        cores => format!("{} and {cores} cores of its own", size(sum)),
    }
}

/// An edge between two domains, in a word. Command edges carry derivations along, where they run the same way, so that a
/// picture does not show every line twice.
fn visible(closure: &Closure) -> impl Iterator<Item = (&Edge, [u64; 2], &'static str, String)> {
    let commands = |from: u64, to: u64| {
        let mut edges = closure.edges.iter();
        edges.any(|edge| *edge == Edge::Command { from, to })
    };
    closure.edges.iter().filter_map(move |edge| match *edge {
        Edge::Memory {
            ends, size: bytes, ..
        } => Some((edge, ends, "memory", size(bytes))),
        Edge::Command { from, to } => Some((edge, [from, to], "command", String::new())),
        Edge::Derivation { from, to, .. } if commands(from, to) => None,
        Edge::Derivation {
            from,
            to,
            size: bytes,
        } => Some((edge, [from, to], "derivation", size(bytes))),
        Edge::Device { .. } => None,
    })
}
