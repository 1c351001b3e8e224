//! An enclave for people: who it is, what it may, what it said.

use adyton_evidence::enclave::{Enclave, attribute};

use crate::show::{BOLD, FAINT, YELLOW, colour, hexadecimal};

pub fn print(enclave: &Enclave) {
    say!("");
    let kind = if enclave.is_debugged() {
        colour(YELLOW, "a debugger reads and changes it")
    } else {
        "no debugger reads it".into()
    };
    say!("{}, {kind}", colour(BOLD, "SGX enclave"));
    say!("  MRENCLAVE  {}", hexadecimal(&enclave.measurement));
    say!("  MRSIGNER   {}", hexadecimal(&enclave.signer));
    say!(
        "  product    ISVPRODID {}, ISVSVN {}",
        enclave.product,
        enclave.version
    );
    say!("  attributes {}", attributes(enclave));
    if let Some(separation) = &enclave.separation {
        say!(
            "  CONFIGID   {}, CONFIGSVN {}",
            hexadecimal(&separation.configuration),
            separation.configuration_version
        );
        say!("  ISVFAMILYID {}", hexadecimal(&separation.family));
        say!("  ISVEXTPRODID {}", hexadecimal(&separation.product));
    }
    say!("  REPORTDATA {}", hexadecimal(&enclave.data));
    let meaning = "it was on this machine since the boot and said this; whether it said so after the nonce, REPORTDATA alone can tell";
    say!("             {}", colour(FAINT, meaning));
}

fn attributes(enclave: &Enclave) -> String {
    let known = attribute::NAMES.iter();
    let names = known.filter(|(flag, _)| enclave.flags & flag != 0);
    let names: Vec<_> = names.map(|(_, name)| *name).collect();
    format!(
        "{} ({:#x}), XFRM {:#x}, MISCSELECT {:#x}",
        names.join(", "),
        enclave.flags,
        enclave.xfrm,
        enclave.miscselect
    )
}
