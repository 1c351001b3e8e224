//! What happens, in order.

use std::time::Instant;

use adyton::{Environment, Monitor, Pool, listing};
use anyhow::{Context, Result, ensure};

use crate::attacks::{self, Aim};
use crate::document;
use crate::screen::{chapter, detail, good, hexadecimal, line, took};
use crate::signer::Signer;

/// Tells the whole story; any claim that does not hold ends it.
pub fn tell() -> Result<()> {
    let start = Instant::now();
    let pool = introduce()?;
    let before = Monitor::ask()?.claimed;
    let archive = document::make()?;
    let question = Question::read(&pool)?;
    let pattern = question.pattern.clone();
    let mut signer = build(&pool, &pattern)?;
    sign(&mut signer, &archive)?;
    resist_the_document(&mut signer)?;
    resist_root(&pool, &mut signer, &pattern)?;
    testify(&mut signer, &archive, &question)?;
    take_back(&pool, signer, before)?;
    println!();
    good("Everything held.");
    took(start);
    Ok(())
}

fn introduce() -> Result<Pool> {
    let monitor = Monitor::ask()?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    chapter("1. An unmodified Debian kernel, and below it the monitor");
    line(&format!(
        "Linux {} on {} cores. This program is root in it.",
        release.trim(),
        monitor.cores
    ));
    let pool = Pool::discover()?;
    let [major, minor, patch] = monitor.version;
    let (device, size) = (pool.device().path.display(), pool.size() >> 20);
    line(&format!(
        "Adyton {major}.{minor}.{patch} offers it {size} MiB for domains: {device}"
    ));
    if monitor.device_protection {
        detail("devices go through the IOMMU: what a domain has, they do not reach either");
    } else {
        detail("no IOMMU is driven here: devices that do DMA by themselves are not kept out");
    }
    Ok(pool)
}

fn build(pool: &Pool, pattern: &str) -> Result<Signer> {
    chapter("2. A confidential domain makes a signing key");
    let since = Instant::now();
    let signer = Signer::start(pool, pattern)?;
    let id = signer.loaded.domain.id();
    let digest = listing::measurement(pool.environment(), signer.claim.address(), id)?;
    good("built, sealed, measured; it drew an Ed25519 key from the monitor's randomness");
    detail(&format!(
        "measurement {}",
        hexadecimal(&digest.context("a measurement")?)
    ));
    detail(&format!(
        "public key  {}",
        hexadecimal(&signer.public_key()?)
    ));
    took(since);
    Ok(signer)
}

fn sign(signer: &mut Signer, archive: &[u8]) -> Result<()> {
    chapter("3. A sandbox inside it parses a document that nobody vouches for");
    let since = Instant::now();
    let size = archive.len() as f32 / f32::from(1_u16 << 10) / 1024.0;
    line(&format!(
        "The document: a tar archive of {size:.1} MiB, made by this system."
    ));
    let signed = signer.sign(archive)?;
    let said = signer.said();
    let signed = signed.with_context(|| format!("the signer refused: {said}"))?;
    let text = String::from_utf8_lossy(&signed.text).into_owned();
    good("parsed in the sandbox, signed in the domain that owns it:");
    text.lines().for_each(detail);
    took(since);
    let independent = document::independent_digest()?;
    ensure!(
        text.contains(&independent),
        "busybox finds another digest: {independent}"
    );
    good("busybox's tar and sha256sum find the same digest");
    let key = signer.public_key()?;
    ensure!(
        document::openssl_accepts(&key, &signed.text, &signed.signature)?,
        "not accepted"
    );
    good("OpenSSL accepts the signature");
    let mut forged = signed.text;
    forged[7] ^= 1;
    ensure!(
        !document::openssl_accepts(&key, &forged, &signed.signature)?,
        "forgery accepted"
    );
    good("OpenSSL rejects it for a text with one bit changed");
    Ok(())
}

fn resist_the_document(signer: &mut Signer) -> Result<()> {
    chapter("4. The same with a document that takes its parser over");
    let signed = signer.sign(&document::make_hostile()?)?;
    ensure!(signed.is_none(), "signed what a hostile parser said");
    good(&format!("nothing signed; {}", signer.said()));
    ensure!(signer.is_intact()?, "the signer's memory changed");
    good("the key's domain goes on, its memory as it was");
    Ok(())
}

fn resist_root(pool: &Pool, signer: &mut Signer, pattern: &str) -> Result<()> {
    chapter("5. Root wants the key");
    let since = Instant::now();
    attacks::prepare()?;
    let open = signer.claim.pages(4096)?;
    open.zero();
    open.write(0, pattern.as_bytes());
    let private = signer.loaded.plan.private.size;
    // The loader took the claim's first free run for the private memory.
    let first = signer.claim.address() + 4096;
    let aim = Aim {
        pool,
        open: open.address(),
        // Every page of the stack, where the key is, and of the image.
        domain: first..first + private,
        pattern: pattern.as_bytes(),
    };
    let refill = || open.write(0, pattern.as_bytes());
    refill();
    aim.try_everything()?;
    let pages = private / 4096;
    let which = format!("each on the {pages} pages of the domain's private memory");
    detail(&format!("{which} (by mmap: every eighth)"));
    ensure!(signer.is_intact()?, "the signer's memory changed");
    good("the domain finds its memory unchanged");
    took(since);
    Ok(())
}

/// What somebody outside wants to know, where there is one.
struct Question {
    /// What the signer keeps beside its key: it is part of what is measured, so whoever asks must know it.
    pattern: String,
    nonce: Option<Vec<u8>>,
}

impl Question {
    fn read(pool: &Pool) -> Result<Self> {
        let Ok(text) = std::fs::read_to_string("/adyton/question") else {
            return Ok(Self {
                pattern: format!("beside-the-key-{:016x}", pool.environment().entropy()),
                nonce: None,
            });
        };
        let mut words = text.split_whitespace();
        let pattern = words.next().context("a pattern")?.to_owned();
        let nonce = words.next().context("a nonce")?.as_bytes().to_vec();
        Ok(Self {
            pattern,
            nonce: Some(nonce),
        })
    }
}

/// Evidence goes to the console, from where whoever has asked takes it.
fn testify(signer: &mut Signer, archive: &[u8], question: &Question) -> Result<()> {
    let Some(nonce) = &question.nonce else {
        return Ok(());
    };
    chapter("6. Somebody far away asks what this is");
    let since = Instant::now();
    let evidence = signer.attest(archive, nonce)?;
    good(&format!(
        "the key's domain answers with {} bytes, bound to its public key",
        evidence.len()
    ));
    took(since);
    println!("ADYTON-KEY {}", hexadecimal(&signer.public_key()?));
    for part in evidence.chunks(512) {
        println!("ADYTON-EVIDENCE {}", hexadecimal(part));
    }
    Ok(())
}

fn take_back(pool: &Pool, signer: Signer, before: u64) -> Result<()> {
    chapter("7. Everything is taken back");
    let private = signer.loaded.plan.private.size;
    let first = signer.claim.address() + 4096;
    let claim = signer.revoke()?;
    let place = pool.environment();
    let left = (first..first + private)
        .step_by(8)
        .filter(|&at| place.load(at) != 0)
        .count();
    ensure!(
        left == 0,
        "{left} words of the domain's memory are not zero"
    );
    good("the domain's memory is root's again, and all zero");
    drop(claim);
    let after = Monitor::ask()?.claimed;
    ensure!(
        after == before,
        "{after} bytes are still claimed, {before} before"
    );
    good("the pool is whole");
    Ok(())
}
