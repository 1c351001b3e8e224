//! Running a payload to its end, with its console carried to and from this process.

use std::io::{self, Read, Write};
use std::thread;
use std::time::Duration;

use adyton_compose::convention::{CONSOLE, CONSOLE_WINDOW, FAULT, FINISHED, PANIC};
use adyton_compose::ring::{Consumer, Producer};

use crate::whole::Place;
use crate::{Error, Exit, Linux, Loaded, RegionName, Vcpu, Window};

/// How a payload ended, or what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It finished with this status.
    Finished(u64),
    /// It took an exception that it does not handle.
    Fault(u64),
    /// It panicked.
    Panic,
    /// Anything else: its own calls, faults that the monitor reports, budget.
    Exit(Exit),
}

/// The owner's ends of a payload's console.
pub struct Console {
    input: Producer<Linux>,
    output: Consumer<Linux>,
    /// Input that was read and found no room yet.
    waiting: Vec<u8>,
    /// The whole core that the payload runs on.
    core: Option<RegionName>,
}

/// How often an exit on a whole core is looked for.
const LOOK: Duration = Duration::from_millis(1);

impl Console {
    /// The console of a loaded program, if it has one.
    #[must_use]
    pub fn of(loaded: &Loaded) -> Option<Self> {
        loaded.window(CONSOLE_WINDOW).map(Self::new)
    }

    fn new(window: &Window) -> Self {
        let (input, output) = window.outside();
        Self {
            input,
            output,
            waiting: Vec::new(),
            core: None,
        }
    }

    /// Has the payload run on a whole core that its domain has, and not be entered.
    #[must_use]
    pub fn on_core(self, core: Option<RegionName>) -> Self {
        Self { core, ..self }
    }

    /// Takes what the payload has written.
    pub fn take(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut bytes = [0; 4096];
        loop {
            match self.output.receive(&mut bytes) {
                0 => return all,
                count => all.extend_from_slice(&bytes[..count]),
            }
        }
    }

    /// Gives the payload as much of `bytes` as there is room for.
    pub fn give(&mut self, bytes: &[u8]) -> usize {
        self.input.send(bytes)
    }

    /// Ends the payload's input.
    pub fn end(&mut self) {
        self.input.close();
    }

    /// Enters `vcpu`, or starts it on its [core](Self::on_core), until it does something other than using its console; `limit` as for
    /// [`Vcpu::enter`].
    ///
    /// # Errors
    /// What the monitor refuses, or an error of `input` or `output`.
    pub fn run(
        &mut self,
        vcpu: &mut Vcpu,
        limit: u64,
        input: &mut impl Read,
        output: &mut impl Write,
    ) -> Result<Outcome, Error> {
        loop {
            let exit = match self.core {
                None => vcpu.enter(limit)?,
                Some(core) => run_on(core, vcpu)?,
            };
            output
                .write_all(&self.take())
                .and_then(|()| output.flush())
                .map_err(|error| Error::io("writing the payload's output", error))?;
            match exit {
                Exit::Call([CONSOLE, 1, ..]) => self.feed(input)?,
                Exit::Call([CONSOLE, ..]) => {}
                Exit::Call([FINISHED, status, ..]) => return Ok(Outcome::Finished(status)),
                Exit::Call([FAULT, vector, ..]) => return Ok(Outcome::Fault(vector)),
                Exit::Call([PANIC, ..]) => return Ok(Outcome::Panic),
                other => return Ok(Outcome::Exit(other)),
            }
        }
    }

    /// Passes on what one read gives; the payload asks again when it wants more.
    fn feed(&mut self, input: &mut impl Read) -> Result<(), Error> {
        if self.waiting.is_empty() {
            self.waiting = read_some(input)?;
            if self.waiting.is_empty() {
                self.end();
            }
        }
        let given = self.input.send(&self.waiting);
        self.waiting.drain(..given);
        Ok(())
    }
}

/// Starts the vCPU on the core, and waits for its exit.
fn run_on(core: RegionName, vcpu: &mut Vcpu) -> Result<Exit, Error> {
    vcpu.start(Place::on(core))?;
    loop {
        if let Some(exit) = vcpu.ended() {
            return Ok(exit);
        }
        thread::sleep(LOOK);
    }
}

fn read_some(input: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; 1024];
    let count = loop {
        match input.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => break outcome,
        }
    };
    let count = count.map_err(|error| Error::io("reading input for the payload", error))?;
    bytes.truncate(count);
    Ok(bytes)
}
