//! The owner's side of the signer: building it, and the few things it does when asked.

use std::fs;

use adyton::convention::PAYLOAD;
use adyton::{Claim, Console, Exit, Flags, Image, Loaded, Pool, Program, Window};
use anyhow::{Context, Result, bail, ensure};

const PROGRAM: usize = 1;
const DOCUMENT: usize = 2;
const PUBLIC: usize = 3;
const PAGE: u64 = 4096;

/// The signer's domain, and the claim that it lives in.
pub struct Signer {
    /// The domain, its vCPU, its windows.
    pub loaded: Loaded,
    /// The claim.
    pub claim: Claim,
    console: Console,
}

/// What the signer signed.
pub struct Signed {
    /// The text.
    pub text: Vec<u8>,
    /// Ed25519.
    pub signature: [u8; 64],
}

/// Room for a document. It is part of the signer's measurement, so it does not depend on the document.
const DOCUMENT_ROOM: u64 = 16 << 20;
const PUBLIC_ROOM: u64 = 128 << 10;
/// Where in the public window a nonce lies, and where evidence comes.
const NONCE_AT: u64 = 2048;
const EVIDENCE_AT: u64 = 4096;

/// The signer, as everybody who wants to know its measurement builds it.
pub fn program<'data>(
    file: &'data [u8],
    parser: &[u8],
    pattern: &'data str,
) -> Result<Program<'data>> {
    let flags = Flags::CONFIDENTIAL | Flags::MAY_COMPOSE | Flags::MAY_ATTEST;
    let mut program = Program::new(Image::parse(file)?, flags);
    program.arguments = vec![pattern];
    program.heap = 2 << 20;
    program.stack = 256 << 10;
    program.windows[PROGRAM] = window_for(parser);
    program.windows[DOCUMENT] = DOCUMENT_ROOM;
    program.windows[PUBLIC] = PUBLIC_ROOM;
    program.pool = DOCUMENT_ROOM + (4 << 20);
    Ok(program)
}

/// The sandbox that the signer makes for each document.
pub fn sandbox(parser: &[u8]) -> Result<Program<'_>> {
    let mut program = Program::new(Image::parse(parser)?, Flags::NONE);
    program.windows[1] = DOCUMENT_ROOM;
    program.read_only[1] = true;
    Ok(program)
}

fn window_for(contents: &[u8]) -> u64 {
    (contents.len() as u64 + 8).next_multiple_of(PAGE)
}

fn fill(window: &Window, contents: &[u8]) {
    window.write(8, contents);
    window.store(0, contents.len() as u64);
}

impl Signer {
    /// Builds, seals and starts the signer. `pattern`: what it keeps beside the key, for attackers to look for.
    pub fn start(pool: &Pool, pattern: &str) -> Result<Self> {
        let file = fs::read("/payloads/signer").context("/payloads/signer")?;
        let parser = fs::read("/payloads/parser").context("/payloads/parser")?;
        let program = program(&file, &parser, pattern)?;
        let claim = pool.claim(program.claim_size() + (2 << 20))?;
        let loaded = program.build(&claim)?;
        loaded.domain.seal()?;
        let console = Console::of(&loaded).context("a console")?;
        let mut signer = Self {
            loaded,
            claim,
            console,
        };
        fill(signer.window(PROGRAM)?, &parser);
        signer.enter([0; 6])?;
        Ok(signer)
    }

    fn window(&self, index: usize) -> Result<&Window> {
        self.loaded.window(index).context("a window")
    }

    fn enter(&mut self, reply: [u64; 6]) -> Result<[u64; 2]> {
        match self.loaded.vcpus[0].answer(reply, 0)? {
            Exit::Call([PAYLOAD, first, second, ..]) => Ok([first, second]),
            other => bail!("the signer left: {other:?}: {}", self.said()),
        }
    }

    /// What the signer wrote to its console.
    pub fn said(&mut self) -> String {
        String::from_utf8_lossy(&self.console.take())
            .trim()
            .to_owned()
    }

    /// The public key.
    pub fn public_key(&self) -> Result<[u8; 32]> {
        let mut key = [0; 32];
        self.window(PUBLIC)?.read(0, &mut key);
        Ok(key)
    }

    /// Gives the signer a document; `None` when it refuses to sign.
    pub fn sign(&mut self, document: &[u8]) -> Result<Option<Signed>> {
        ensure!(
            window_for(document) <= DOCUMENT_ROOM,
            "the document is larger than the window for it"
        );
        fill(self.window(DOCUMENT)?, document);
        let [refused, _] = self.enter([1, 0, 0, 0, 0, 0])?;
        if refused != 0 {
            return Ok(None);
        }
        let window = self.window(PUBLIC)?;
        let mut signature = [0; 64];
        window.read(32, &mut signature);
        let mut text = vec![0; window.load(96).min(1024) as usize];
        window.read(104, &mut text);
        Ok(Some(Signed { text, signature }))
    }

    /// Evidence about the signer and its sandbox, for whoever sent the nonce.
    pub fn attest(&mut self, document: &[u8], nonce: &[u8]) -> Result<Vec<u8>> {
        fill(self.window(DOCUMENT)?, document);
        self.window(PUBLIC)?.write(NONCE_AT, nonce);
        let [refused, size] = self.enter([4, nonce.len() as u64, 0, 0, 0, 0])?;
        ensure!(refused == 0, "no evidence ({refused}): {}", self.said());
        let mut evidence = vec![0; size.min(PUBLIC_ROOM - EVIDENCE_AT) as usize];
        self.window(PUBLIC)?.read(EVIDENCE_AT, &mut evidence);
        Ok(evidence)
    }

    /// Whether the signer finds its own memory as it left it.
    pub fn is_intact(&mut self) -> Result<bool> {
        Ok(self.enter([2, 0, 0, 0, 0, 0])?[0] == 1)
    }

    /// Destroys the domain, and says how much memory of the claim is free then.
    pub fn revoke(self) -> Result<Claim> {
        self.loaded.domain.destroy()?;
        let Self {
            loaded,
            claim,
            console,
        } = self;
        drop(console);
        drop(loaded);
        ensure!(
            claim.available() == claim.size() - PAGE,
            "the claim is not whole"
        );
        Ok(claim)
    }
}
