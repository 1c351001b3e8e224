//! A domain that `adyton sign` has signed: it gets its signer's keys, and evidence says whose it is.

use std::fs;
use std::process::Command;

use adyton::Flags;
use adyton::abi::PAGE_SIZE;
use adyton::abi::call::Call;
use adyton::abi::error::Error as Reason;
use adyton::abi::key::Binding;
use adyton::convention::SIGNATURE_WINDOW;
use adyton_evidence::files::{hexadecimal, read_anchors};
use adyton_evidence::hash;
use adyton_evidence::verdict::{Code, Verdict};
use anyhow::{Context, Result, ensure};
use ed25519_dalek::SigningKey;

use crate::evidence::{
    NONCE, Wanted, accepted, for_owner, judge, measured as measurement, policy, refused_for, with,
};
use crate::fixture::{Running, agent_with};
use crate::kept::{Asker, CALL, key, refused};
use crate::measured;

/// The private key, and as `openssl genpkey -algorithm ed25519` writes it.
const SEED: u8 = 5;
const PEM: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIAUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUF
-----END PRIVATE KEY-----
";
const PRODUCT: u64 = 7;
const VERSION: u64 = 2;
const SIGNATURE: &str = "/tmp/signature";

/// What the command signs is what the monitor takes, for this domain and no other; and what evidence then says a policy can demand.
///
/// # Errors
/// What is wrong.
pub fn by_command() -> Result<()> {
    sign()?;
    let mut domain = started("signed")?;
    let mut other = started("another")?;
    judged(&domain)?.refused_for(Code::Unsigned)?;
    refused(show(&mut other)?, Reason::Signature)?;
    judged(&other)?.refused_for(Code::Unsigned)?;

    let found = key(show(&mut domain)?)?;
    let mut same = Asker::confidential("by hand")?;
    let by_hand = same.signed(SEED, PRODUCT, VERSION)?;
    ensure!(
        key(same.by_signer(VERSION, &by_hand)?)? == found,
        "not its signer's key"
    );
    let signed = judged(&domain)?;
    signed.accepted()?;
    let another = hexadecimal(&hash(b"somebody else"));
    signed
        .changed(&signer(), &another)
        .refused_for(Code::WrongSigner)?;
    let demanded = |version| format!("version = {version}\nmeasurement");
    signed
        .changed(&demanded(VERSION), &demanded(VERSION + 1))
        .refused_for(Code::WrongSigner)
}

fn sign() -> Result<()> {
    let file = "/tmp/signer.pem";
    fs::write(file, PEM)?;
    let (product, version) = (PRODUCT.to_string(), VERSION.to_string());
    let status = Command::new("adyton")
        .args(["sign", "--key", file, "--product", &product])
        .args(["--version", &version, "--output", SIGNATURE])
        .args(["--memory", "1M", "agent", "signed"])
        .status()?;
    ensure!(status.success(), "adyton sign");
    Ok(())
}

/// A domain like the one that is signed, but for its argument, with the signature in its window.
fn started(name: &'static str) -> Result<Running> {
    let running = agent_with(Flags::CONFIDENTIAL, |program| {
        program.heap = 1 << 20;
        program.arguments.push(name);
        program.windows[SIGNATURE_WINDOW] = PAGE_SIZE;
    })?;
    let window = running.loaded.window(SIGNATURE_WINDOW);
    window.context("a window")?.write(0, &fs::read(SIGNATURE)?);
    Ok(running)
}

/// Has it show the signature, and ask for its signer's key.
fn show(running: &mut Running) -> Result<[u64; 2]> {
    let page = running.loaded.plan.windows[SIGNATURE_WINDOW].base;
    let (call, binding) = (Call::Key as u64, Binding::Signer as u64);
    running.ask([CALL, call, binding, VERSION, page, 0])
}

/// Evidence about a domain, and a policy that demands the signer.
struct Case {
    evidence: Vec<u8>,
    policy: String,
}

fn signer() -> String {
    let key = SigningKey::from_bytes(&[SEED; 32]).verifying_key();
    hexadecimal(&hash(key.as_bytes()))
}

fn judged(running: &Running) -> Result<Case> {
    let policy = for_owner(&policy(&measurement(running)?));
    let demand = format!(
        "signer = [\"{}\"]\nproduct = {PRODUCT}\nversion = {VERSION}\nmeasurement",
        signer()
    );
    Ok(Case {
        evidence: running.domain().evidence(NONCE)?,
        policy: with(&policy, "measurement", &demand),
    })
}

impl Case {
    fn verdict(&self) -> Result<Verdict> {
        let anchors = read_anchors(&measured::anchors_text()?)?;
        judge(&self.evidence, &self.policy, &anchors, Wanted::default())
    }

    fn accepted(&self) -> Result<()> {
        accepted(&self.verdict()?)
    }

    fn refused_for(&self, code: Code) -> Result<()> {
        refused_for(&self.verdict()?, code)
    }

    fn changed(&self, from: &str, to: &str) -> Self {
        Self {
            evidence: self.evidence.clone(),
            policy: with(&self.policy, from, to),
        }
    }
}
