//! Calls of the firmware's boot services.
//!
//! Interrupts are on only inside the firmware: it needs them for its timer, and they would destroy what the prebuilt parts of
//! `core` keep in the red zone below the stack, which the firmware's convention does not have.

use core::arch::asm;
use core::ffi::c_void;
use core::ptr::{null_mut, slice_from_raw_parts};

use super::tables::{
    BootServices, ConfigurationTable, File, FileSystem, Guid, Handle, LoadedImage, RuntimeServices,
    Status, SystemTable, Tcg2,
};
use crate::address::PAGE_SIZE;
use crate::memory::Range;

const ALLOCATE_BELOW: u32 = 1;
const LOADER_DATA: u32 = 2;
/// What is loaded lies below 4 GiB, where every kernel finds it.
const HIGHEST: u64 = u32::MAX as u64;
const READ: u64 = 1;
const LONGEST_PATH: usize = 256;
const LONGEST_NAME: usize = 64;
const CRYPTO_AGILE: u32 = 2;

/// The firmware before ExitBootServices.
pub struct Firmware {
    image: Handle,
    system: &'static SystemTable,
}

/// Why the firmware's part of the boot failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The firmware does not know the file system or device that the monitor came from.
    NoVolume(Status),
    /// A file cannot be opened or read.
    File(Status),
    /// There is no memory for a file.
    Memory(Status),
    /// A path is longer than 255 characters, or not ASCII.
    Path,
    /// The memory map cannot be had, or is too long.
    Map(Status),
}

/// The event log as the firmware shows it.
#[derive(Clone, Copy, Debug)]
pub struct FirmwareLog {
    /// Address of the first event.
    pub first: u64,
    /// Address of the last event.
    pub last: u64,
    /// Whether events are missing for want of room.
    pub is_truncated: bool,
}

/// The memory map, and what it is good for.
#[derive(Clone, Copy, Debug)]
pub struct Map {
    /// Bytes.
    pub size: usize,
    /// Bytes of a descriptor.
    pub descriptor_size: usize,
    key: usize,
}

/// A short ASCII name as the firmware reads it, ending with zero.
fn wide(name: &str) -> [u16; LONGEST_NAME] {
    let mut wide = [0; LONGEST_NAME];
    let room = LONGEST_NAME - 1;
    for (place, byte) in wide.iter_mut().take(room).zip(name.bytes()) {
        *place = byte.into();
    }
    wide
}

/// Runs a call of the firmware's with interrupts on.
#[inline(always)]
fn call<T>(service: impl FnOnce() -> T) -> T {
    // SAFETY: the firmware's own descriptor tables are loaded, and everything from here to the second instruction is its code
    // or this crate's, which has no red zone.
    unsafe { asm!("sti", options(nomem, nostack)) };
    let result = service();
    // SAFETY: as above.
    unsafe { asm!("cli", options(nomem, nostack)) };
    result
}

impl Firmware {
    /// # Safety
    /// As the firmware called: these are the application's image and the system table, and boot services run.
    pub unsafe fn new(image: Handle, system: *const SystemTable) -> Self {
        // SAFETY: as the caller warrants.
        let system = unsafe { &*system };
        Self { image, system }
    }

    fn boot(&self) -> &'static BootServices {
        // SAFETY: they run until `exit` succeeds, which takes the firmware along.
        unsafe { &*self.system.boot }
    }

    /// Address of the system table.
    pub fn system_table(&self) -> u64 {
        &raw const *self.system as u64
    }

    /// The configuration table of this name.
    pub fn table(&self, name: Guid) -> Option<u64> {
        // SAFETY: count and address belong together, and nobody changes the array while the firmware does not run.
        let tables: &[ConfigurationTable] =
            unsafe { &*slice_from_raw_parts(self.system.configuration, self.system.entries) };
        let found = tables.iter().find(|table| table.name == name);
        found.map(|table| table.table)
    }

    /// Writes a line on the screen, as far as it is ASCII and short.
    pub fn say(&self, text: &str) {
        let mut wide = [0; 160];
        let end = wide.len() - 3;
        let mut length = 0;
        for (place, byte) in wide.iter_mut().take(end).zip(text.bytes()) {
            *place = byte.into();
            length += 1;
        }
        for (place, byte) in wide.iter_mut().skip(length).zip([0xd, 0xa]) {
            *place = byte;
        }
        let output = self.system.output;
        if !output.is_null() {
            // SAFETY: the protocol's instance, and a text that ends with zero.
            call(|| unsafe { ((*output).output_string)(output, wide.as_ptr()) });
        }
    }

    fn protocol<T>(&self, handle: Handle, name: &Guid) -> Result<*mut T, Status> {
        let mut found: *mut c_void = null_mut();
        call(|| (self.boot().handle_protocol)(handle, name, &mut found)).ok()?;
        Ok(found.cast())
    }

    /// The root folder of the volume that the monitor was loaded from.
    ///
    /// # Errors
    /// If there is none.
    pub fn volume(&self) -> Result<Folder<'_>, Refusal> {
        let open = || {
            let image: *mut LoadedImage = self.protocol(self.image, &Guid::LOADED_IMAGE)?;
            // SAFETY: the firmware says that it is one.
            let device = unsafe { (*image).device };
            let system: *mut FileSystem = self.protocol(device, &Guid::FILE_SYSTEM)?;
            let mut root = null_mut();
            // SAFETY: as above.
            call(|| unsafe { ((*system).open_volume)(system, &mut root) }).ok()?;
            Ok(root)
        };
        let root = open().map_err(Refusal::NoVolume)?;
        Ok(Folder {
            firmware: self,
            root,
        })
    }

    /// The event log, where there is a TPM.
    pub fn event_log(&self) -> Option<FirmwareLog> {
        let mut found: *mut c_void = null_mut();
        call(|| (self.boot().locate_protocol)(&Guid::TCG2, null_mut(), &mut found))
            .ok()
            .ok()?;
        let protocol: *mut Tcg2 = found.cast();
        let (mut first, mut last, mut cut) = (0, 0, 0);
        // SAFETY: the firmware says that it is this protocol.
        let status = call(|| unsafe {
            ((*protocol).get_event_log)(protocol, CRYPTO_AGILE, &mut first, &mut last, &mut cut)
        });
        status.ok().ok()?;
        (first != 0).then_some(FirmwareLog {
            first,
            last,
            is_truncated: cut != 0,
        })
    }

    /// Whether there is a variable of one byte by this name.
    pub fn has_variable(&self, name: &str, vendor: &Guid) -> bool {
        let (mut attributes, mut size, mut value) = (0, 1, 0);
        let name = wide(name);
        let get = self.runtime().get_variable;
        call(|| {
            get(
                name.as_ptr(),
                vendor,
                &mut attributes,
                &mut size,
                &mut value,
            )
        }) == Status::SUCCESS
    }

    /// Sets a variable of one byte, which is kept, and which an operating system may see.
    ///
    /// # Errors
    /// What the firmware refuses.
    pub fn set_variable(&self, name: &str, vendor: &Guid, value: u8) -> Result<(), Status> {
        const KEPT: u32 = 1;
        const WHILE_BOOTING: u32 = 2;
        const AT_RUN_TIME: u32 = 4;
        let attributes = KEPT | WHILE_BOOTING | AT_RUN_TIME;
        let name = wide(name);
        let set = self.runtime().set_variable;
        call(|| set(name.as_ptr(), vendor, attributes, 1, &value)).ok()
    }

    fn runtime(&self) -> &'static RuntimeServices {
        // SAFETY: the firmware's table; the boot services run, so it is where the firmware put it.
        unsafe { &*self.system.runtime }
    }

    fn allocate(&self, size: u64) -> Result<u64, Refusal> {
        let pages = size.div_ceil(PAGE_SIZE).max(1) as usize;
        let mut address = HIGHEST;
        call(|| (self.boot().allocate_pages)(ALLOCATE_BELOW, LOADER_DATA, pages, &mut address))
            .ok()
            .map_err(Refusal::Memory)?;
        Ok(address)
    }

    /// Fills `buffer` with the memory map.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn memory_map(&self, buffer: &mut [u8]) -> Result<Map, Refusal> {
        let mut map = Map {
            size: buffer.len(),
            descriptor_size: 0,
            key: 0,
        };
        let mut version = 0;
        let Map {
            size,
            key,
            descriptor_size,
        } = &mut map;
        call(|| {
            (self.boot().get_memory_map)(
                size,
                buffer.as_mut_ptr(),
                key,
                descriptor_size,
                &mut version,
            )
        })
        .ok()
        .map_err(Refusal::Map)?;
        Ok(map)
    }

    /// Ends the boot services: on success the machine is the monitor's, and this structure is of no more use.
    ///
    /// # Errors
    /// If `map` is not the latest any more.
    pub fn exit(&self, map: &Map) -> Result<(), Refusal> {
        call(|| (self.boot().exit_boot_services)(self.image, map.key))
            .ok()
            .map_err(Refusal::Map)
    }
}

/// The root folder of a volume.
pub struct Folder<'a> {
    firmware: &'a Firmware,
    root: *mut File,
}

impl Folder<'_> {
    /// Loads a file whole, and says where it lies. In `path`, `/` and `\` part folders.
    ///
    /// # Errors
    /// If it cannot be read, or there is no memory for it.
    pub fn load(&self, path: &str) -> Result<Range, Refusal> {
        let file = self.open(path)?;
        let outcome = self.load_open(file);
        // SAFETY: opened above; used no more.
        call(|| unsafe { ((*file).close)(file) });
        outcome
    }

    fn open(&self, path: &str) -> Result<*mut File, Refusal> {
        let mut wide = [0; LONGEST_PATH];
        if path.len() >= LONGEST_PATH || !path.is_ascii() {
            return Err(Refusal::Path);
        }
        for (place, byte) in wide.iter_mut().zip(path.bytes()) {
            *place = if byte == b'/' { b'\\' } else { byte }.into();
        }
        let mut file = null_mut();
        // SAFETY: the root is open; the path ends with zero.
        call(|| unsafe { ((*self.root).open)(self.root, &mut file, wide.as_ptr(), READ, 0) })
            .ok()
            .map_err(Refusal::File)?;
        Ok(file)
    }

    fn load_open(&self, file: *mut File) -> Result<Range, Refusal> {
        let mut size = 0;
        // SAFETY: the file is open.
        call(|| unsafe {
            ((*file).set_position)(file, u64::MAX).ok()?;
            ((*file).get_position)(file, &mut size).ok()?;
            ((*file).set_position)(file, 0).ok()
        })
        .map_err(Refusal::File)?;
        let start = self.firmware.allocate(size)?;
        let mut done = 0;
        while done < size {
            let mut part = (size - done) as usize;
            // SAFETY: the pages were allocated for this, and `part` is what is left of them.
            call(|| unsafe { ((*file).read)(file, &mut part, (start + done) as *mut u8) })
                .ok()
                .map_err(Refusal::File)?;
            if part == 0 {
                return Err(Refusal::File(Status::LOAD_ERROR));
            }
            done += part as u64;
        }
        Ok(Range {
            start,
            end: start + size,
        })
    }
}
