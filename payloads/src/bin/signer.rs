//! Keeps a signing key that never leaves this domain, and signs what a sandbox found in a document.
//!
//! The sandbox is a child built out of this domain's own pool, from a program that domain 0 provides: neither it nor
//! the document is trusted. Windows: 1 the sandbox's ELF file behind its length, 2 the document behind its
//! length, 3 what is public: the key (32 bytes), the signature (64 bytes), the signed text behind its length.
//!
//! | word 0 of the reply | does | words 1 and 2 of the next exit |
//! | --- | --- | --- |
//! | 1 | has the document parsed and signs the result | 0, or why not: see [`Refused`]; the operand |
//! | 2 | looks whether its own memory is as it left it | 1 if it is |
//! | 3 | finishes | |
//! | 4 `bytes of the nonce` | has the document parsed, and asks for evidence while the sandbox is there | 0, or why not; bytes of the evidence |
//!
//! In window 3 a nonce lies behind the first 2 KiB, and evidence behind the first page. It binds the public key.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::arch::asm;
use core::fmt::Write;

use adyton_runtime::abi::policy::Flags;
use adyton_runtime::compose::claim::{Claim, Failure};
use adyton_runtime::compose::convention::PAYLOAD;
use adyton_runtime::compose::evidence::Asked;
use adyton_runtime::compose::image::Image;
use adyton_runtime::compose::program::Program;
use adyton_runtime::compose::ring::Window;
use adyton_runtime::compose::vcpu::Exit;
use adyton_runtime::{Domain, Inside, call_parent, println, random};
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

adyton_runtime::entry!(main);

const PROGRAM: usize = 1;
const DOCUMENT: usize = 2;
const PUBLIC: usize = 3;

/// What this domain keeps: the key, and a pattern around it that an attacker can look for.
struct Secret {
    before: [u8; 4096],
    key: SigningKey,
    after: [u8; 4096],
}

/// Why nothing was signed.
enum Refused {
    /// The sandbox cannot be built.
    Compose(Failure),
    /// The sandbox ended otherwise than by a result.
    Stopped(Exit),
    /// A window is missing.
    Window,
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Compose(failure)
    }
}

fn main(domain: &mut Domain) -> u64 {
    let pattern = domain.arguments().next().unwrap_or(b"secret");
    let secret = Secret::new(pattern);
    let Some(public) = domain.window(PUBLIC) else {
        return 1;
    };
    public.write(0, secret.key.verifying_key().as_bytes());
    let mut answer = [0, 0];
    loop {
        let [wanted, rest @ ..] = call_parent([PAYLOAD, answer[0], answer[1], 0, 0, 0]);
        answer = match wanted {
            1 => sign(domain, &secret, &public),
            2 => [u64::from(secret.is_intact(pattern)), 0],
            4 => attest(domain, &secret, &public, rest[0]),
            _ => return 0,
        };
    }
}

/// 32 random bytes: the monitor's, mixed with the processor's own where it has any.
fn seed() -> [u8; 32] {
    let mut hash = Sha256::new();
    for word in random() {
        hash.update(word.to_le_bytes());
    }
    if core::arch::x86_64::__cpuid(1).ecx & 1 << 30 != 0 {
        for _ in 0..4 {
            let word: u64;
            // SAFETY: the CPU has the instruction; a failure gives 0, which the mixing bears.
            unsafe { asm!("rdrand {0}", out(reg) word, options(nomem, nostack)) };
            hash.update(word.to_le_bytes());
        }
    }
    hash.finalize().into()
}

impl Secret {
    fn new(pattern: &[u8]) -> Self {
        let fill = || core::array::from_fn(|index| at(pattern, index));
        Self {
            before: fill(),
            key: SigningKey::from_bytes(&seed()),
            after: fill(),
        }
    }

    fn is_intact(&self, pattern: &[u8]) -> bool {
        let both = self.before.iter().zip(&self.after).enumerate();
        let mut kept = both.map(|(index, (before, after))| (at(pattern, index), *before, *after));
        kept.all(|(expected, before, after)| before == expected && after == expected)
    }
}

fn at(pattern: &[u8], index: usize) -> u8 {
    pattern
        .get(index % pattern.len().max(1))
        .copied()
        .unwrap_or_default()
}

fn sign(domain: &Domain, secret: &Secret, public: &Window<Inside>) -> [u64; 2] {
    match parse(domain, |_| ()) {
        Ok((text, ())) => {
            let signature = secret.key.sign(text.as_bytes());
            public.write(32, &signature.to_bytes());
            public.write(104, text.as_bytes());
            public.store(96, text.len() as u64);
            [0, 0]
        }
        Err(refused) => complain(refused),
    }
}

/// Where in the public window a nonce lies, and where evidence goes.
const NONCE_AT: u64 = 2048;
const EVIDENCE_AT: u64 = 4096;

/// SubjectPublicKeyInfo of an Ed25519 key (RFC 8410), up to the key.
const KEY_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Evidence of this domain with its sandbox, bound to the public key: for whoever sent the nonce.
fn attest(domain: &Domain, secret: &Secret, public: &Window<Inside>, bytes: u64) -> [u64; 2] {
    let mut nonce = vec![0; bytes.min(64) as usize];
    public.read(NONCE_AT, &mut nonce);
    let mut key = Sha256::new_with_prefix(KEY_HEAD);
    key.update(secret.key.verifying_key().as_bytes());
    let asked = Asked {
        nonce: &nonce,
        report_data: &[],
        key: Some(key.finalize().into()),
    };
    match parse(domain, |domain| domain.evidence(&asked)) {
        Ok((_, Ok(evidence))) if evidence.len() as u64 <= public.size() - EVIDENCE_AT => {
            public.write(EVIDENCE_AT, &evidence);
            [0, evidence.len() as u64]
        }
        Ok((_, Ok(_))) => [3, 0],
        Ok((_, Err(refusal))) => {
            println!("no evidence: {refusal}");
            [4, 0]
        }
        Err(refused) => complain(refused),
    }
}

fn complain(refused: Refused) -> [u64; 2] {
    match refused {
        Refused::Compose(failure) => {
            println!("the sandbox cannot be built: {failure}");
            [1, 0]
        }
        Refused::Stopped(exit) => {
            println!("the sandbox was stopped: {}", describe(exit));
            [2, 0]
        }
        Refused::Window => [3, 0],
    }
}

fn describe(exit: Exit) -> String {
    match exit {
        Exit::Exception {
            vector: 14,
            address,
            ..
        }
        | Exit::Memory { address, .. } => {
            format!("it reached for address {address:#x}, which is not its own")
        }
        Exit::Call([_, status, ..]) => format!("it gave up with status {status}"),
        other => format!("{other:?}"),
    }
}

/// What a window holds behind its length; the length is read once, and bounded.
fn contents(window: &Window<Inside>) -> Vec<u8> {
    let mut bytes = vec![0; window.load(0).min(window.size() - 8) as usize];
    window.read(8, &mut bytes);
    bytes
}

/// Has a new sandbox parse the document, and words the result for signing; what `meanwhile` returns while the sandbox is still there.
fn parse<T>(domain: &Domain, meanwhile: impl FnOnce(&Domain) -> T) -> Result<(String, T), Refused> {
    let program = contents(&domain.window(PROGRAM).ok_or(Refused::Window)?);
    let document = domain.window(DOCUMENT).ok_or(Refused::Window)?;
    let claim = domain.claim_pool().map_err(Failure::from)?;
    let ([digest @ .., files], found) = run(&claim, &program, &document, || meanwhile(domain))?;
    let mut text = format!("files: {files}\nsha256 of the listing: ");
    for byte in digest.iter().flat_map(|word| word.to_le_bytes()) {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
    }
    text.push_str("\nsha256 of the parser: ");
    for byte in Sha256::digest(&program) {
        let _written = write!(text, "{byte:02x}");
    }
    text.push('\n');
    Ok((text, found))
}

fn run<T>(
    claim: &Claim<Inside>,
    file: &[u8],
    document: &Window<Inside>,
    meanwhile: impl FnOnce() -> T,
) -> Result<([u64; 5], T), Refused> {
    let mut program = Program::new(Image::parse(file).map_err(Failure::from)?, Flags::NONE);
    program.windows[1] = document.size();
    program.read_only[1] = true;
    let mut sandbox = program.build(claim)?;
    let copy = sandbox.window(1).ok_or(Refused::Window)?;
    copy_document(document, copy);
    sandbox.domain.seal().map_err(Failure::from)?;
    let [vcpu, ..] = sandbox.vcpus.as_mut_slice() else {
        return Err(Refused::Window);
    };
    match vcpu.enter(0).map_err(Failure::from)? {
        Exit::Call([PAYLOAD, result @ ..]) => Ok((result, meanwhile())),
        other => Err(Refused::Stopped(other)),
    }
}

/// A copy in this domain's own pool: domain 0 may change the original at any time.
fn copy_document(from: &Window<Inside>, to: &Window<Inside>) {
    let mut bytes = vec![0; 64 << 10];
    let mut offset = 0;
    while offset < from.size().min(to.size()) {
        let count = (from.size() - offset).min(bytes.len() as u64);
        let part = bytes.get_mut(..count as usize).unwrap_or_default();
        from.read(offset, part);
        to.write(offset, part);
        offset += count;
    }
}
