//! Writes a sample into a folder: evidence of a machine made of software, anchors, a policy, and an evidence with an edge too many.
//!
//! `cargo run -p adyton-evidence --example sample FOLDER`, then what it prints.

use std::path::PathBuf;
use std::{env, fs, io};

use adyton_evidence::composition::Domain;
use adyton_evidence::files::hexadecimal;
use adyton_evidence::software::{Monitor, sample};

fn main() -> io::Result<()> {
    let folder = PathBuf::from(env::args_os().nth(1).unwrap_or_else(|| ".".into()));
    fs::create_dir_all(&folder)?;
    let monitor = Monitor::genuine();
    let mut composition = sample::composition();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes);
    let evidence = |composition: &_| monitor.evidence(sample::NONCE, sample::SUBJECT, composition);
    write("evidence", &evidence(&composition))?;
    if let Some(Domain::Tenant(signer)) = composition.domains.first_mut() {
        signer
            .regions
            .push(sample::window(0x300_0000, 0x1000, 1, 1));
    }
    write("evidence-shared", &evidence(&composition))?;
    write("anchors.toml", sample::anchors().as_bytes())?;
    write("policy.toml", sample::policy().as_bytes())?;
    let nonce = hexadecimal(sample::NONCE);
    println!("adyton verify evidence --nonce {nonce} --policy policy.toml --anchors anchors.toml");
    Ok(())
}
