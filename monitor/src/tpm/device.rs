//! The TPM's registers: giving a command, and looking whether the answer is there.
//!
//! Locality 0, without interrupts. Only [`Device::find`] and [`Device::run`] wait, which the boot uses: on behalf of a guest, a
//! command goes through [`Device::prepare`], [`Device::send`] and [`Device::answer`] in slices of their own.

use adyton_x86::tpm::{BASE, crb, identity, tis};

use super::Exchange;
use super::command::{AnswerError, LONGEST, Message, announced_size};
use crate::instructions::time_stamp;
use crate::machine;

/// Looks at a register before it is given up while the monitor boots: each takes a bus cycle.
const PATIENCE: u32 = 1_000_000;
/// The same within a message, all in all: on behalf of a guest, no slice may take long.
const LOOKS: u32 = 5_000;
/// Seconds that a command may take: making a key in old hardware takes some.
const LONGEST_COMMAND: u64 = 20;
/// How often a command that the TPM was too busy for is sent.
const ATTEMPTS: u32 = 100;
/// Where the data of CRB TPMs lie: in the locality's own page.
const PAGE_SIZE: u64 = 0x1000;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TpmError {
    /// Nothing answers, or not by an interface that is driven here.
    NoInterface(u32),
    /// Its buffers lie in ordinary memory, which domain 0 would have to be kept from too.
    Buffers(u64),
    /// It does not become ready, or does not answer in time.
    Silent,
    /// It has failed.
    Failed,
    /// It has refused a command, or answered what is no answer.
    Answer(AnswerError),
}

impl From<AnswerError> for TpmError {
    fn from(error: AnswerError) -> Self {
        Self::Answer(error)
    }
}

/// A TPM that this structure alone drives.
#[derive(Debug)]
pub struct Device {
    interface: Interface,
}

#[derive(Clone, Copy, Debug)]
enum Interface {
    Crb {
        command: u64,
        capacity: u32,
        response: u64,
    },
    Tis,
}

fn read32(offset: u64) -> u32 {
    // SAFETY: a register of the device's, which is the monitor's; where there is none, a read gives ones.
    unsafe { ((BASE + offset) as *const u32).read_volatile() }
}

fn write32(offset: u64, value: u32) {
    // SAFETY: as above; what the device does stays in its own registers.
    unsafe { ((BASE + offset) as *mut u32).write_volatile(value) };
}

fn read8(offset: u64) -> u8 {
    // SAFETY: as for `read32`.
    unsafe { ((BASE + offset) as *const u8).read_volatile() }
}

fn write8(offset: u64, value: u8) {
    // SAFETY: as for `write32`.
    unsafe { ((BASE + offset) as *mut u8).write_volatile(value) };
}

/// Looks until it is so, as often as is left.
fn wait_for(looks: &mut u32, condition: impl Fn() -> bool) -> Result<(), TpmError> {
    while !condition() {
        *looks = looks.checked_sub(1).ok_or(TpmError::Silent)?;
    }
    Ok(())
}

impl Device {
    /// Takes the TPM over from the firmware.
    ///
    /// # Errors
    /// If there is none that can be driven.
    ///
    /// # Safety
    /// Once, when the firmware uses it no more; the page at its address is mapped.
    pub unsafe fn find() -> Result<Self, TpmError> {
        let identity = read32(identity::REGISTER);
        let interface = match identity & identity::KIND {
            _ if identity == u32::MAX => return Err(TpmError::NoInterface(identity)),
            identity::CRB => Self::find_crb()?,
            identity::TIS | identity::OLD_TIS => Self::find_tis()?,
            _ => return Err(TpmError::NoInterface(identity)),
        };
        Ok(Self { interface })
    }

    fn find_crb() -> Result<Interface, TpmError> {
        write32(crb::LOCALITY_CONTROL, crb::REQUEST_ACCESS);
        wait_for(&mut PATIENCE.clone(), || {
            read32(crb::LOCALITY_STATE) & crb::ASSIGNED != 0
        })?;
        let address = |low, high| u64::from(read32(high)) << 32 | u64::from(read32(low));
        let command = address(crb::COMMAND_LOW, crb::COMMAND_HIGH);
        let response = address(crb::RESPONSE_LOW, crb::RESPONSE_HIGH);
        let capacity = read32(crb::COMMAND_SIZE);
        for place in [command, response] {
            let end = place.saturating_add(capacity.into());
            if place < BASE || end > BASE + PAGE_SIZE {
                return Err(TpmError::Buffers(place));
            }
        }
        Ok(Interface::Crb {
            command: command - BASE,
            capacity,
            response: response - BASE,
        })
    }

    fn find_tis() -> Result<Interface, TpmError> {
        const IN_USE: u8 = tis::ACCESS_VALID | tis::ACTIVE;
        write8(tis::ACCESS, tis::REQUEST_USE);
        wait_for(&mut PATIENCE.clone(), || {
            read8(tis::ACCESS) & IN_USE == IN_USE
        })?;
        Ok(Interface::Tis)
    }

    /// Asks the TPM to become ready for a command.
    pub fn prepare(&mut self) {
        match self.interface {
            Interface::Crb { .. } => write32(crb::REQUEST, crb::READY),
            Interface::Tis => write32(tis::STATUS, tis::READY),
        }
    }

    /// Whether it has become ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self.interface {
            Interface::Crb { .. } => read32(crb::REQUEST) & crb::READY == 0,
            Interface::Tis => read32(tis::STATUS) & tis::READY != 0,
        }
    }

    /// Gives a command to the TPM, which is ready.
    ///
    /// # Errors
    /// If it does not take it.
    pub fn send(&mut self, message: &[u8]) -> Result<(), TpmError> {
        match self.interface {
            Interface::Crb {
                command, capacity, ..
            } => {
                if message.len() > capacity as usize {
                    return Err(TpmError::Failed);
                }
                for (offset, byte) in message.iter().enumerate() {
                    write8(command + offset as u64, *byte);
                }
                write32(crb::START, 1);
                Ok(())
            }
            Interface::Tis => {
                let mut looks = LOOKS;
                for byte in message {
                    wait_for(&mut looks, || burst() > 0)?;
                    write8(tis::DATA_FIFO, *byte);
                }
                wait_for(&mut looks, || read32(tis::STATUS) & tis::VALID != 0)?;
                if read32(tis::STATUS) & tis::EXPECT != 0 {
                    return Err(TpmError::Failed);
                }
                write32(tis::STATUS, tis::GO);
                Ok(())
            }
        }
    }

    /// The answer to the command that was given, if it is there.
    ///
    /// # Errors
    /// If the TPM has failed.
    pub fn answer(&mut self) -> Result<Option<Message>, TpmError> {
        match self.interface {
            Interface::Crb {
                capacity, response, ..
            } => {
                if read32(crb::START) != 0 {
                    return Ok(None);
                }
                if read32(crb::STATUS) & crb::FATAL != 0 {
                    return Err(TpmError::Failed);
                }
                let mut place = 0;
                let answer = receive(|| {
                    let byte = (place < capacity.into()).then(|| read8(response + place));
                    place += 1;
                    byte
                })?;
                write32(crb::REQUEST, crb::IDLE);
                Ok(Some(answer))
            }
            Interface::Tis => {
                const READY: u32 = tis::VALID | tis::DATA;
                if read32(tis::STATUS) & READY != READY {
                    return Ok(None);
                }
                let mut looks = LOOKS;
                let answer = receive(|| {
                    wait_for(&mut looks, || burst() > 0).ok()?;
                    Some(read8(tis::DATA_FIFO))
                })?;
                write32(tis::STATUS, tis::READY);
                Ok(Some(answer))
            }
        }
    }

    fn wait(&mut self) -> Result<Message, TpmError> {
        let begin = time_stamp();
        let mut looks = 0_u32;
        loop {
            if let Some(answer) = self.answer()? {
                return Ok(answer);
            }
            looks = looks.saturating_add(1);
            if machine::lasts(begin, LONGEST_COMMAND) && looks > PATIENCE {
                return Err(TpmError::Silent);
            }
            core::hint::spin_loop();
        }
    }
}

/// Waits for each answer, so only while the monitor boots; a command that the TPM was too busy for is sent again.
impl Exchange for Device {
    fn run<T>(
        &mut self,
        message: &[u8],
        read: impl Fn(&[u8]) -> Result<T, AnswerError>,
    ) -> Result<T, TpmError> {
        for _ in 0..ATTEMPTS {
            self.prepare();
            wait_for(&mut PATIENCE.clone(), || self.is_ready())?;
            self.send(message)?;
            let answer = self.wait()?;
            match read(&answer) {
                Err(error) if error.is_passing() => {}
                outcome => return Ok(outcome?),
            }
        }
        Err(TpmError::Silent)
    }
}

/// How many bytes the FIFO takes or has.
fn burst() -> u32 {
    read32(tis::STATUS) >> tis::BURST_SHIFT & tis::BURST_MASK
}

/// Takes the bytes of an answer, as many as its header says.
fn receive(mut next: impl FnMut() -> Option<u8>) -> Result<Message, TpmError> {
    let mut answer = Message::new();
    while answer.len() < announced_size(&answer).unwrap_or(LONGEST) {
        let byte = next().ok_or(TpmError::Failed)?;
        answer.try_push(byte).map_err(|_| TpmError::Failed)?;
    }
    Ok(answer)
}
