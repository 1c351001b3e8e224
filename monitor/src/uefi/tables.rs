//! What the firmware hands to an application: the system table, and those of its services and protocols that the monitor calls.
//!
//! Layouts: the UEFI specification, version 2.10, sections 4 (tables), 7 (boot services), 9.1 (loaded image), 13.4 and 13.5
//! (files), 12.4 (text output); the TCG EFI protocol specification, family 2.0, for TCG2. What is not called is a gap of words.

use core::ffi::c_void;
use core::mem::{offset_of, size_of};

/// A status; 0 is success, errors have the highest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Status(pub usize);

impl Status {
    /// It went well.
    pub const SUCCESS: Self = Self(0);
    /// The application cannot go on (`EFI_LOAD_ERROR`).
    pub const LOAD_ERROR: Self = Self(1 << 63 | 1);

    /// As a result.
    ///
    /// # Errors
    /// If it is anything but success: a warning would be about something that was not asked for.
    pub fn ok(self) -> Result<(), Self> {
        if self == Self::SUCCESS {
            Ok(())
        } else {
            Err(self)
        }
    }
}

/// Something that the firmware knows by a pointer.
pub type Handle = *mut c_void;

/// The name of a protocol or table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Guid(pub u32, pub u16, pub u16, pub [u8; 8]);

impl Guid {
    /// `EFI_LOADED_IMAGE_PROTOCOL`.
    pub const LOADED_IMAGE: Self = Self(0x5b1b_31a1, 0x9562, 0x11d2, CLASSIC_2);
    /// `EFI_SIMPLE_FILE_SYSTEM_PROTOCOL`.
    pub const FILE_SYSTEM: Self = Self(
        0x964e_5b22,
        0x6459,
        0x11d2,
        [0x8e, 0x39, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b],
    );
    /// `EFI_TCG2_PROTOCOL`.
    pub const TCG2: Self = Self(
        0x607f_766c,
        0x7455,
        0x42be,
        [0x93, 0x0b, 0xe4, 0xd7, 0x6d, 0xb2, 0x72, 0x0f],
    );
    /// `EFI_TCG2_FINAL_EVENTS_TABLE`.
    pub const FINAL_EVENTS: Self = Self(
        0x1e2e_d096,
        0x30e2,
        0x4254,
        [0xbd, 0x89, 0x86, 0x3b, 0xbe, 0xf8, 0x23, 0x25],
    );
    /// `EFI_ACPI_20_TABLE`.
    pub const ACPI: Self = Self(
        0x8868_e871,
        0xe4f1,
        0x11d3,
        [0xbc, 0x22, 0, 0x80, 0xc7, 0x3c, 0x88, 0x81],
    );
}

const CLASSIC_2: [u8; 8] = [0x8e, 0x3f, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b];

/// `EFI_SYSTEM_TABLE`.
#[repr(C)]
pub struct SystemTable {
    header: [u64; 3],
    vendor: *const u16,
    revision: u32,
    input: [usize; 2],
    output_handle: Handle,
    /// The screen.
    pub output: *mut TextOutput,
    error: [usize; 2],
    /// What it also offers to an operating system.
    pub runtime: *const RuntimeServices,
    /// Until ExitBootServices.
    pub boot: *const BootServices,
    /// How many configuration tables there are.
    pub entries: usize,
    /// The first of them.
    pub configuration: *const ConfigurationTable,
}

/// `EFI_CONFIGURATION_TABLE`.
#[repr(C)]
pub struct ConfigurationTable {
    /// What it is.
    pub name: Guid,
    /// Where it is.
    pub table: u64,
}

/// `EFI_BOOT_SERVICES`.
#[repr(C)]
pub struct BootServices {
    header: [u64; 3],
    priority: [usize; 2],
    /// Type of allocation, type of memory, pages, address.
    pub allocate_pages: extern "efiapi" fn(u32, u32, usize, &mut u64) -> Status,
    free_pages: usize,
    /// Size, map, key, size of a descriptor, version of a descriptor.
    pub get_memory_map:
        extern "efiapi" fn(&mut usize, *mut u8, &mut usize, &mut usize, &mut u32) -> Status,
    pool_and_events: [usize; 11],
    /// Handle, protocol, interface.
    pub handle_protocol: extern "efiapi" fn(Handle, &Guid, &mut *mut c_void) -> Status,
    handles_and_images: [usize; 9],
    /// Image, key of the map.
    pub exit_boot_services: extern "efiapi" fn(Handle, usize) -> Status,
    others: [usize; 10],
    /// Protocol, registration, interface.
    pub locate_protocol: extern "efiapi" fn(&Guid, *mut c_void, &mut *mut c_void) -> Status,
}

/// `EFI_RUNTIME_SERVICES`.
#[repr(C)]
pub struct RuntimeServices {
    header: [u64; 3],
    time_and_addresses: [usize; 6],
    /// Name, vendor, attributes, size, contents.
    pub get_variable:
        extern "efiapi" fn(*const u16, &Guid, &mut u32, &mut usize, *mut u8) -> Status,
    next_variable: usize,
    /// Name, vendor, attributes, size, contents.
    pub set_variable: extern "efiapi" fn(*const u16, &Guid, u32, usize, *const u8) -> Status,
}

/// `EFI_LOADED_IMAGE_PROTOCOL`.
#[repr(C)]
pub struct LoadedImage {
    revision: u32,
    parent: Handle,
    system: *const SystemTable,
    /// Where the image was loaded from.
    pub device: Handle,
}

/// `EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL`.
#[repr(C)]
pub struct TextOutput {
    reset: usize,
    /// A text that ends with zero.
    pub output_string: extern "efiapi" fn(*mut TextOutput, *const u16) -> Status,
}

/// `EFI_SIMPLE_FILE_SYSTEM_PROTOCOL`.
#[repr(C)]
pub struct FileSystem {
    revision: u64,
    /// The root folder.
    pub open_volume: extern "efiapi" fn(*mut FileSystem, &mut *mut File) -> Status,
}

/// `EFI_FILE_PROTOCOL`.
#[repr(C)]
pub struct File {
    revision: u64,
    /// New file, name, mode, attributes.
    pub open: extern "efiapi" fn(*mut File, &mut *mut File, *const u16, u64, u64) -> Status,
    /// Also frees it.
    pub close: extern "efiapi" fn(*mut File) -> Status,
    delete: usize,
    /// Size, buffer.
    pub read: extern "efiapi" fn(*mut File, &mut usize, *mut u8) -> Status,
    write: usize,
    /// Where the next byte is read.
    pub get_position: extern "efiapi" fn(*mut File, &mut u64) -> Status,
    /// All ones: the end.
    pub set_position: extern "efiapi" fn(*mut File, u64) -> Status,
}

/// `EFI_TCG2_PROTOCOL`.
#[repr(C)]
pub struct Tcg2 {
    get_capability: usize,
    /// Format, first event, last event, whether it was cut.
    pub get_event_log: extern "efiapi" fn(*mut Tcg2, u32, &mut u64, &mut u64, &mut u8) -> Status,
}

const _: () = {
    assert!(offset_of!(SystemTable, output) == 64);
    assert!(offset_of!(SystemTable, runtime) == 88);
    assert!(offset_of!(SystemTable, boot) == 96);
    assert!(offset_of!(RuntimeServices, get_variable) == 72);
    assert!(offset_of!(RuntimeServices, set_variable) == 88);
    assert!(size_of::<SystemTable>() == 120);
    assert!(size_of::<ConfigurationTable>() == 24);
    assert!(offset_of!(BootServices, allocate_pages) == 40);
    assert!(offset_of!(BootServices, get_memory_map) == 56);
    assert!(offset_of!(BootServices, handle_protocol) == 152);
    assert!(offset_of!(BootServices, exit_boot_services) == 232);
    assert!(offset_of!(BootServices, locate_protocol) == 320);
    assert!(offset_of!(LoadedImage, device) == 24);
    assert!(offset_of!(TextOutput, output_string) == 8);
    assert!(offset_of!(FileSystem, open_volume) == 8);
    assert!(offset_of!(File, read) == 32);
    assert!(offset_of!(File, set_position) == 56);
    assert!(offset_of!(Tcg2, get_event_log) == 8);
};
