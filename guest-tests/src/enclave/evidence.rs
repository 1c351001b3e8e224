//! Evidence of enclaves: what the monitor makes of a REPORT, and what it does not take for one. Needs an EPC; where the boot is measured,
//! the whole chain is judged.

use std::fs;
use std::process::Command as Program;
use std::sync::OnceLock;

use adyton::abi::call::{Call, Information, Protection};
use adyton::abi::enclave::{QUESTION_SIZE, Question, REPORT_SIZE, TARGET_SIZE, target};
use adyton::abi::error::Error;
use adyton::{Linux, Request, calls};
use adyton_evidence::anchors::Anchors;
use adyton_evidence::enclave::{Enclave as Claimed, attribute};
use adyton_evidence::files::{self, hexadecimal};
use adyton_evidence::verdict::{Code, Machine, Verdict};
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use sha2::{Digest, Sha256};

use super::code::{Command, enter};
use super::driver::Enclave;
use super::image::{Attributes, Image, PAGE};
use super::{image, place, signature};
use crate::evidence::{NONCE, Wanted, accepted, refused_for};
use crate::fixture::{longest_call, refused};
use crate::{measured, raw};

pub(crate) const TESTS: &[crate::Test] = &[
    ("enclave-evidence", honest),
    ("enclave-evidence-by-command", by_command),
    ("enclave-evidence-of-another", of_another),
    ("enclave-evidence-bit-flips", bit_flips),
    ("enclave-reports-forged", forged),
    ("enclave-reports-for-another", for_another),
    ("enclave-evidence-questions", questions),
    ("enclave-evidence-without-epc", without_epc),
    ("enclave-evidence-slices", slices),
];

/// What the enclave says.
const DATA: [u8; 64] = {
    let mut data = [0; 64];
    let mut place = 0;
    while place < 32 {
        data[place] = 0xa0 ^ place as u8;
        place += 1;
    }
    data
};

/// EREPORT in the enclave, for a target.
fn report(enclave: &Enclave, target: &[u8; TARGET_SIZE], data: &[u8; 64]) -> [u8; REPORT_SIZE] {
    const EREPORT: u64 = 0;
    let tcs = enclave.page(place::TCS);
    let input = enclave.page(place::DATA + 8);
    let (said, output) = (input + TARGET_SIZE as u64, input + PAGE as u64);
    for (address, bytes) in [(input, &target[..]), (said, data)] {
        for (word, number) in bytes.chunks_exact(8).zip(0..) {
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            enter(tcs, Command::Store, address + 8 * number, word);
        }
    }
    let operands = [input, said, output];
    enter(tcs, Command::Leaf, EREPORT, operands.as_ptr() as u64);
    let mut report = [0; REPORT_SIZE];
    for (word, number) in report.chunks_exact_mut(8).zip(0..) {
        let found = enter(tcs, Command::Load, output + 8 * number, 0);
        word.copy_from_slice(&found.to_le_bytes());
    }
    report
}

/// A report of an enclave of these tests' for the monitor.
pub(crate) fn any_report() -> Result<[u8; REPORT_SIZE]> {
    testified(&image(Attributes::PLAIN))
}

/// A report for the monitor, of an enclave that then ends: the report stays.
fn testified(image: &Image) -> Result<[u8; REPORT_SIZE]> {
    let enclave = Enclave::load(image)?;
    Ok(report(&enclave, &target(), &DATA))
}

fn evidence(image: &Image) -> Result<Vec<u8>> {
    Ok(adyton::enclave_evidence(NONCE, &testified(image)?)?)
}

/// MRSIGNER of the tests' signer.
fn signer() -> [u8; 32] {
    let signed = signature::sign(&[0; 32], Attributes::PLAIN);
    Sha256::digest(&signed[128..512]).into()
}

/// For enclaves of this measurement, of the tests' signer. Which IOMMU the machine has is not what this is about.
fn policy(image: &Image) -> Result<String> {
    let unmeasured = anchors()?.is_none();
    Ok(format!(
        "version = 1\nname = \"an enclave\"\nsecurity-version = 1\nwithout-iommu = true\nunmeasured = {unmeasured}\n\
         domain-0 = \"any\"\n\n[enclave]\nmrenclave = [\"{}\"]\nmrsigner = [\"{}\"]\nisvprodid = 7\nisvsvn = 3\n",
        hexadecimal(&image.measurement()),
        hexadecimal(&signer())
    ))
}

/// Anchors of this machine, asked for once; none where its boot was not measured.
fn anchors() -> Result<Option<&'static str>> {
    static FOUND: OnceLock<Option<String>> = OnceLock::new();
    if FOUND.get().is_none() {
        let found = find_anchors()?;
        FOUND.get_or_init(|| found);
    }
    Ok(FOUND.get().and_then(Option::as_deref))
}

fn find_anchors() -> Result<Option<String>> {
    let place = Linux::without_memory()?;
    let protection = calls::information(&place, Information::Protection, 0)?[0];
    let is_measured = protection & Protection::MeasuredBoot as u64 != 0;
    is_measured.then(measured::anchors_text).transpose()
}

fn judge(evidence: &[u8], policy: &str, data: Option<&[u8]>) -> Result<Verdict> {
    let anchors = match anchors()? {
        Some(text) => files::read_anchors(text)?,
        None => Anchors::default(),
    };
    let wanted = Wanted {
        report: data,
        key: None,
    };
    crate::evidence::judge(evidence, policy, &anchors, wanted)
}

/// What evidence says is what the enclave was built of, and it is believed. That the enclave is gone by then changes nothing.
fn honest() -> Result<()> {
    let image = image(Attributes::PLAIN);
    let evidence = evidence(&image)?;
    let verdict = judge(&evidence, &policy(&image)?, Some(&DATA[..32]))?;
    accepted(&verdict)?;
    let seen = verdict.seen.context("seen")?;
    let claimed = Claimed {
        measurement: image.measurement(),
        signer: signer(),
        product: image.attributes.product,
        version: image.attributes.version,
        flags: image.attributes.flags | attribute::INIT,
        xfrm: image.attributes.xfrm,
        miscselect: 0,
        cpusvn: [1; 16],
        data: DATA,
        separation: None,
    };
    ensure!(
        seen.enclave.as_ref() == Some(&claimed),
        "{:?}",
        seen.enclave
    );
    let is_known = matches!(seen.machine, Machine::Known { .. });
    ensure!(is_known == anchors()?.is_some(), "{:?}", seen.machine);
    let other = judge(&evidence, &policy(&image)?, Some(&[7; 32]))?;
    refused_for(&other, Code::ReportDataMismatch)?;
    println!("ADYTON-BENCH enclave-evidence {} bytes", evidence.len());
    Ok(())
}

/// As people do it: `adyton evidence`, `adyton verify`.
fn by_command() -> Result<()> {
    let genuine = image(Attributes::PLAIN);
    let mut changed = genuine.clone();
    changed.pages[place::DATA as usize].bytes[100] ^= 1;
    fs::write("/tmp/policy.toml", policy(&genuine)?)?;
    let anchors = anchors()?.unwrap_or("version = 1\n");
    fs::write("/tmp/anchors.toml", anchors)?;
    for (image, status) in [(&genuine, 0), (&changed, 2)] {
        fs::write("/tmp/report", testified(image)?)?;
        let nonce = hexadecimal(NONCE);
        let words = ["evidence", "--nonce", &nonce, "--output", "/tmp/evidence"];
        let made = Program::new("adyton")
            .args(words)
            .args(["--enclave-report", "/tmp/report"])
            .status()?;
        ensure!(made.success(), "adyton evidence: {made}");
        let words = ["verify", "/tmp/evidence", "--nonce", &nonce];
        let judged = Program::new("adyton")
            .args(words)
            .args([
                "--policy",
                "/tmp/policy.toml",
                "--anchors",
                "/tmp/anchors.toml",
            ])
            .status()?;
        ensure!(judged.code() == Some(status), "adyton verify: {judged}");
    }
    Ok(())
}

/// An enclave changed by one byte, one with other attributes, and a domain's policy.
fn of_another() -> Result<()> {
    let genuine = image(Attributes::PLAIN);
    let policy = policy(&genuine)?;
    let mut changed = genuine.clone();
    changed.pages[place::CODE as usize].bytes[PAGE - 1] ^= 1;
    let other = evidence(&changed)?;
    refused_for(&judge(&other, &policy, None)?, Code::EnclaveMismatch)?;
    accepted(&judge(&other, &self::policy(&changed)?, None)?)?;
    let with = |change: fn(&mut Attributes)| {
        let mut attributes = Attributes::PLAIN;
        change(&mut attributes);
        evidence(&image(attributes))
    };
    for (change, code) in [
        (
            (|attributes| attributes.product = 8) as fn(&mut Attributes),
            Code::ProductMismatch,
        ),
        (|attributes| attributes.version = 2, Code::OldEnclave),
        (
            |attributes| attributes.flags |= Attributes::DEBUG,
            Code::DebugEnclave,
        ),
        (
            |attributes| attributes.miscselect = 1,
            Code::EnclaveAttributes,
        ),
    ] {
        refused_for(&judge(&with(change)?, &policy, None)?, code)?;
    }
    let genuine = evidence(&genuine)?;
    accepted(&judge(&genuine, &policy, None)?)?;
    let of_domain = crate::evidence::policy(&[1; 32]);
    let of_domain = match anchors()? {
        Some(_) => of_domain.replace("unmeasured = true", ""),
        None => of_domain,
    };
    refused_for(&judge(&genuine, &of_domain, None)?, Code::WrongSubject)
}

/// Every byte of the token and of the claims matters.
fn bit_flips() -> Result<()> {
    let image = image(Attributes::PLAIN);
    let (evidence, policy) = (evidence(&image)?, policy(&image)?);
    accepted(&judge(&evidence, &policy, None)?)?;
    let bundle = crate::evidence::opened(&evidence)?;
    for part in [bundle.token, bundle.claims] {
        let first = part.as_ptr() as usize - evidence.as_ptr() as usize;
        for place in first..first + part.len() {
            let mut spoilt = evidence.clone();
            spoilt[place] ^= 1 << (place % 8);
            let verdict = judge(&spoilt, &policy, None)?;
            ensure!(!verdict.is_accepted(), "byte {place} does not matter");
        }
    }
    Ok(())
}

/// Asks with whatever stands for a report: evidence, or the monitor's reason to refuse.
fn ask(report: &[u8; REPORT_SIZE]) -> Result<Result<Vec<u8>, u64>> {
    match adyton::enclave_evidence(NONCE, report) {
        Ok(evidence) => Ok(Ok(evidence)),
        Err(adyton::Error::Refused(refusal)) => Ok(Err(refusal.code)),
        Err(other) => bail!("{other}"),
    }
}

/// No bit of a report can be another.
fn forged() -> Result<()> {
    let genuine = testified(&image(Attributes::PLAIN))?;
    ensure!(ask(&genuine)?.is_ok(), "the genuine one is refused");
    for bit in 0..REPORT_SIZE * 8 {
        let mut forged = genuine;
        forged[bit / 8] ^= 1 << (bit % 8);
        let answer = ask(&forged)?.err();
        ensure!(
            answer == Some(Error::Forged as u64),
            "bit {bit}: {answer:?}"
        );
    }
    ensure!(ask(&[0; REPORT_SIZE])?.is_err(), "zeros");
    ensure!(ask(&genuine)?.is_ok(), "the genuine one is refused at last");
    Ok(())
}

/// A genuine report that was not made for the monitor says nothing to it: not one for an enclave, which that could have made.
fn for_another() -> Result<()> {
    let enclave = Enclave::load(&image(Attributes::PLAIN))?;
    let with = |change: fn(&mut [u8; TARGET_SIZE])| {
        let mut target = target();
        change(&mut target);
        ask(&report(&enclave, &target, &DATA))
    };
    ensure!(with(|_| ())?.is_ok(), "for the monitor");
    let others: [fn(&mut [u8; TARGET_SIZE]); 6] = [
        |target| target.fill(0),
        |target| target[0] ^= 1,
        // INIT and MODE64BIT: as an enclave of that measurement would be.
        |target| target[32] = 5,
        |target| target[52] = 1,
        |target| target[50] = 1,
        |target| target[64] = 1,
    ];
    for (other, number) in others.into_iter().zip(0..) {
        let answer = with(other)?.err();
        ensure!(answer == Some(Error::Forged as u64), "{number}: {answer:?}");
    }
    Ok(())
}

/// Lengths and addresses that lie.
fn questions() -> Result<()> {
    let report = testified(&image(Attributes::PLAIN))?;
    let place = Linux::without_memory()?;
    let size = 32 * PAGE as u64;
    let buffer = raw::anonymous(size)?;
    let put = |bytes: &[u8; QUESTION_SIZE]| {
        for (word, number) in bytes.chunks_exact(8).zip(0..) {
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            raw::store(buffer + 8 * number, word);
        }
    };
    let ask = |address, size, token| {
        let request = Request::new(Call::EnclaveEvidence, [address, size]);
        calls::once(&place, request.with_token(token))
    };
    let good = Question::new(NONCE, &report)
        .context("a question")?
        .to_bytes();
    put(&good);
    ask(buffer, size, 1)?;
    for (address, bytes, token, reason) in [
        (buffer, size, 0, Error::Invalid),
        (buffer, 0, 2, Error::Invalid),
        (buffer + 8, size, 3, Error::Alignment),
        (buffer, 100, 4, Error::Alignment),
        (!0 << 12, 2 << 12, 5, Error::Invalid),
    ] {
        put(&good);
        refused(ask(address, bytes, token), reason)?;
    }
    for length in [0, 7, 65, u64::MAX] {
        let mut wrong = good;
        wrong[..8].copy_from_slice(&length.to_le_bytes());
        put(&wrong);
        refused(ask(buffer, size, 6), Error::Invalid)?;
    }
    put(&good);
    protect(buffer, size)?;
    // A page that the caller may not write raises the fault of a store.
    let end = raw::in_copy(|| i32::from(ask(buffer, size, 7).is_ok()))?;
    let is_fault = matches!(end, WaitStatus::Signaled(_, Signal::SIGSEGV, _));
    ensure!(is_fault, "a read-only buffer: {end:?}");
    Ok(())
}

/// Lets this process only read there.
#[allow(unsafe_code)]
fn protect(address: u64, size: u64) -> Result<()> {
    use nix::libc;
    let place = address as *mut libc::c_void;
    // SAFETY: memory that one test has mapped, which writes to it no more.
    let done = unsafe { libc::mprotect(place, size as usize, libc::PROT_READ) };
    ensure!(done == 0, "mprotect");
    Ok(())
}

/// On a machine without an EPC there are no reports.
fn without_epc() -> Result<()> {
    let answer = ask(&[0; REPORT_SIZE])?.err();
    ensure!(answer == Some(Error::Unsupported as u64), "{answer:?}");
    Ok(())
}

/// Measures the longest time that a slice of this call holds a core.
fn slices() -> Result<()> {
    let report = testified(&image(Attributes::PLAIN))?;
    println!("the longest call before: {}", longest_call()?);
    ensure!(ask(&report)?.is_ok(), "evidence");
    println!(
        "ADYTON-BENCH enclave-evidence-slice {} instructions",
        longest_call()?
    );
    Ok(())
}
