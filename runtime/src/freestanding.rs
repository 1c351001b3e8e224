//! What a program without an operating system must bring itself.

use core::arch::asm;
use core::panic::PanicInfo;

use adyton_compose::convention::PANIC;

use crate::call::call_parent;

#[panic_handler]
fn panic(information: &PanicInfo<'_>) -> ! {
    crate::console::emergency(format_args!("{information}\n"));
    loop {
        call_parent([PANIC, 0, 0, 0, 0, 0]);
    }
}

/// Never called: nothing here unwinds, but prebuilt `core` names it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// Never called either: prebuilt `alloc` was compiled to unwind.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    panic!("nothing unwinds here")
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: by the contract of the C function; the direction flag is clear.
    unsafe {
        asm!("rep movsb", inout("rdi") to => _, inout("rsi") from => _, inout("rcx") length => _,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= length {
        // SAFETY: copying upwards is right when `to` does not lie within the source.
        return unsafe { memcpy(to, from, length) };
    }
    // SAFETY: by the contract of the C function; the direction flag is clear again afterwards.
    unsafe {
        asm!("std", "rep movsb", "cld",
            inout("rdi") to.wrapping_add(length).wrapping_sub(1) => _,
            inout("rsi") from.wrapping_add(length).wrapping_sub(1) => _,
            inout("rcx") length => _,
            options(nostack));
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    // SAFETY: by the contract of the C function; the direction flag is clear.
    unsafe {
        asm!("rep stosb", inout("rdi") to => _, inout("rcx") length => _, in("al") byte as u8,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
    let mut same = 0;
    while same + 8 <= length {
        // SAFETY: by the contract of the C function; unaligned words within both ranges.
        let words = unsafe {
            let left = left.add(same).cast::<u64>().read_unaligned();
            (left, right.add(same).cast::<u64>().read_unaligned())
        };
        if words.0 != words.1 {
            break;
        }
        same += 8;
    }
    for index in same..length {
        // SAFETY: by the contract of the C function.
        let (left, right) = unsafe { (left.add(index).read(), right.add(index).read()) };
        if left != right {
            return i32::from(left) - i32::from(right);
        }
    }
    0
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, length: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(left, right, length) }
}
