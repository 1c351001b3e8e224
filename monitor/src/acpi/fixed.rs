//! The FADT: the registers for sleep, reset and the way into SMM, and where the DSDT is (ACPI 6.5, section 5.2.9).

use super::table::Table;
use super::{AcpiError, PhysicalMemory, Tables};

pub(super) const SIGNATURE: &[u8; 4] = b"FACP";

const DSDT: u32 = 40;
const SMI_COMMAND: u32 = 48;
const ACPI_ENABLE: u32 = 52;
const ACPI_DISABLE: u32 = 53;
const PM1A_CONTROL: u32 = 64;
const PM1B_CONTROL: u32 = 68;
const FLAGS: u32 = 112;
const RESET_REGISTER: u32 = 116;
const RESET_VALUE: u32 = 128;
const EXTENDED_DSDT: u32 = 140;
const EXTENDED_PM1A_CONTROL: u32 = 172;
const EXTENDED_PM1B_CONTROL: u32 = 184;
const SLEEP_CONTROL: u32 = 244;

const RESET_SUPPORTED: u32 = 1 << 10;
const HARDWARE_REDUCED: u32 = 1 << 20;

/// Where a register is: a generic address (ACPI 6.5, section 5.2.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// An I/O port.
    Port(u16),
    /// A physical address.
    Memory(u64),
    /// PCI configuration space of a function on bus 0.
    Configuration {
        /// The function's device number.
        device: u16,
        /// Its function number.
        function: u16,
        /// The offset in its configuration space.
        offset: u16,
    },
}

/// How the machine is reset by ACPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The register to write.
    pub register: Register,
    /// The byte to write there.
    pub value: u8,
}

/// What the FADT says, as far as the monitor needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// PM1a control: a write with SLP_EN puts the machine to sleep.
    pub pm1a_control: Option<Register>,
    /// PM1b control, where the chipset has a second block.
    pub pm1b_control: Option<Register>,
    /// The sleep control register of hardware-reduced machines, which have no PM1 blocks.
    pub sleep_control: Option<Register>,
    /// The port by which the operating system calls into SMM.
    pub smi_command: Option<u16>,
    /// What is written there to make firmware hand ACPI's registers over, and to take them back.
    pub ownership: [u8; 2],
    /// How to reset, if this table says so.
    pub reset: Option<Reset>,
    /// The physical address of the DSDT.
    pub dsdt: Option<u64>,
    /// Whether the machine is hardware-reduced.
    pub hardware_reduced: bool,
}

impl<M: PhysicalMemory> Tables<'_, M> {
    /// The fixed hardware's registers.
    ///
    /// # Errors
    /// If there is no FADT or it is shorter than its first revision.
    pub fn fixed(&self) -> Result<Fixed, AcpiError> {
        let table = self.fixed.ok_or(AcpiError::Missing(*SIGNATURE))?;
        Fixed::parse(&table, self.memory).ok_or(AcpiError::BadLength(*SIGNATURE))
    }
}

impl Fixed {
    fn parse(table: &Table, memory: &impl PhysicalMemory) -> Option<Self> {
        let flags = table.double(memory, FLAGS)?;
        let register = |extended, plain| {
            generic_address(table, memory, extended).or_else(|| port(table, memory, plain))
        };
        let dsdt = table
            .quad(memory, EXTENDED_DSDT)
            .filter(|address| *address != 0)
            .unwrap_or(table.double(memory, DSDT)?.into());
        let hardware_reduced = flags & HARDWARE_REDUCED != 0;
        Some(Self {
            pm1a_control: register(EXTENDED_PM1A_CONTROL, PM1A_CONTROL),
            pm1b_control: register(EXTENDED_PM1B_CONTROL, PM1B_CONTROL),
            sleep_control: generic_address(table, memory, SLEEP_CONTROL)
                .filter(|_| hardware_reduced),
            smi_command: table
                .double(memory, SMI_COMMAND)
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port != 0),
            ownership: [
                table.byte(memory, ACPI_ENABLE)?,
                table.byte(memory, ACPI_DISABLE)?,
            ],
            reset: Self::reset(table, memory).filter(|_| flags & RESET_SUPPORTED != 0),
            dsdt: (dsdt != 0).then_some(dsdt),
            hardware_reduced,
        })
    }

    fn reset(table: &Table, memory: &impl PhysicalMemory) -> Option<Reset> {
        Some(Reset {
            register: generic_address(table, memory, RESET_REGISTER)?,
            value: table.byte(memory, RESET_VALUE)?,
        })
    }
}

fn port(table: &Table, memory: &impl PhysicalMemory, offset: u32) -> Option<Register> {
    let port = u16::try_from(table.double(memory, offset)?).ok()?;
    (port != 0).then_some(Register::Port(port))
}

fn generic_address(table: &Table, memory: &impl PhysicalMemory, offset: u32) -> Option<Register> {
    let space = table.byte(memory, offset)?;
    let address = table.quad(memory, offset + 4)?;
    let word = |shift: u32| (address >> shift) as u16;
    match space {
        _ if address == 0 => None,
        0 => Some(Register::Memory(address)),
        1 => u16::try_from(address).ok().map(Register::Port),
        2 => Some(Register::Configuration {
            device: word(32),
            function: word(16),
            offset: word(0),
        }),
        _ => None,
    }
}
