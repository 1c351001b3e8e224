//! Structures and measurement as others describe them.

use std::io::Cursor;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

use adyton_sgx::epcm::PageType;
use adyton_sgx::structures::{
    Einittoken, Field, Gprsgx, Keyrequest, Pageinfo, Pcmd, Report, Secinfo, Secs, Sigstruct,
    Targetinfo, Tcs,
};
use sgxs::crypto::{Hash, SgxHashOps};
use sgxs::sgxs::{CreateInfo, PageChunks, PageReader};
use sgxs::sigstruct::EnclaveHash;
use sha2::{Digest, Sha256};

use crate::support::enclave::{Enclave, OK_SILENT, secs};
use crate::support::world::{OK, World, epc};

struct Hasher(Sha256);

impl SgxHashOps for Hasher {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn update(&mut self, data: &[u8]) {
        Digest::update(&mut self.0, data);
    }

    fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}

fn offset(fields: &[Field], name: &str) -> usize {
    let found = fields.iter().find(|field| field.name == name);
    found.unwrap_or_else(|| panic!("no field {name}")).offset
}

macro_rules! same_layout {
    ($ours:ident, $theirs:ident, $size:expr, [$($field:ident = $other:ident),* $(,)?]) => {
        assert_eq!($ours::SIZE, $size, stringify!($ours));
        $(assert_eq!(
            offset($ours::FIELDS, stringify!($field)),
            offset_of!(sgx_isa::$theirs, $other),
            concat!(stringify!($ours), ".", stringify!($field)),
        );)*
    };
}

#[test]
fn structures_are_laid_out_as_sgx_isa_has_them() {
    same_layout!(
        Pageinfo,
        Pageinfo,
        size_of::<sgx_isa::Pageinfo>(),
        [
            linaddr = linaddr,
            srcpge = srcpge,
            secinfo = secinfo,
            secs = secs
        ]
    );
    same_layout!(
        Secinfo,
        Secinfo,
        size_of::<sgx_isa::Secinfo>(),
        [flags = flags]
    );
    same_layout!(
        Pcmd,
        Pcmd,
        size_of::<sgx_isa::Pcmd>(),
        [
            secinfo = secinfo,
            enclaveid = enclaveid,
            spare = _reserved1,
            mac = mac
        ]
    );
    same_layout!(
        Secs,
        Secs,
        512,
        [
            size = size,
            baseaddr = baseaddr,
            ssaframesize = ssaframesize,
            miscselect = miscselect,
            attributes = attributes,
            mrenclave = mrenclave,
            mrsigner = mrsigner,
            isvprodid = isvprodid,
            isvsvn = isvsvn,
        ]
    );
    same_layout!(
        Tcs,
        Tcs,
        offset_of!(sgx_isa::Tcs, _reserved3),
        [
            flags = flags,
            ossa = ossa,
            cssa = cssa,
            nssa = nssa,
            oentry = oentry,
            ofsbase = ofsbasgx,
            ogsbase = ogsbasgx,
            fslimit = fslimit,
            gslimit = gslimit,
        ]
    );
    same_layout!(
        Sigstruct,
        Sigstruct,
        sgx_isa::Sigstruct::UNPADDED_SIZE,
        [
            header = header,
            vendor = vendor,
            date = date,
            header2 = header2,
            swdefined = swdefined,
            modulus = modulus,
            exponent = exponent,
            signature = signature,
            miscselect = miscselect,
            miscmask = miscmask,
            isvfamilyid = isvfamilyid,
            attributes = attributes,
            attributemask = attributemask,
            enclavehash = enclavehash,
            isvextprodid = isvextprodid,
            isvprodid = isvprodid,
            isvsvn = isvsvn,
            q1 = q1,
            q2 = q2,
        ]
    );
    same_layout!(
        Einittoken,
        Einittoken,
        sgx_isa::Einittoken::UNPADDED_SIZE,
        [
            valid = valid,
            attributes = attributes,
            mrenclave = mrenclave,
            mrsigner = mrsigner,
            cpusvnle = cpusvnle,
            isvprodidle = isvprodidle,
            isvsvnle = isvsvnle,
            maskedmiscselectle = maskedmiscselectle,
            maskedattributesle = maskedattributesle,
            keyid = keyid,
            mac = mac,
        ]
    );
    same_layout!(
        Report,
        Report,
        sgx_isa::Report::UNPADDED_SIZE,
        [
            cpusvn = cpusvn,
            miscselect = miscselect,
            isvextprodid = isvextnprodid,
            attributes = attributes,
            mrenclave = mrenclave,
            mrsigner = mrsigner,
            configid = configid,
            isvprodid = isvprodid,
            isvsvn = isvsvn,
            configsvn = configsvn,
            isvfamilyid = isvfamilyid,
            reportdata = reportdata,
            keyid = keyid,
            mac = mac,
        ]
    );
    assert_eq!(Report::BODY, sgx_isa::Report::TRUNCATED_SIZE);
    same_layout!(
        Targetinfo,
        Targetinfo,
        size_of::<sgx_isa::Targetinfo>(),
        [
            measurement = measurement,
            attributes = attributes,
            miscselect = miscselect
        ]
    );
    same_layout!(
        Keyrequest,
        Keyrequest,
        size_of::<sgx_isa::Keyrequest>(),
        [
            keyname = keyname,
            keypolicy = keypolicy,
            isvsvn = isvsvn,
            cpusvn = cpusvn,
            attributemask = attributemask,
            keyid = keyid,
            miscmask = miscmask,
        ]
    );
    assert_eq!(Sigstruct::HEADER, sgx_isa::SIGSTRUCT_HEADER1);
    assert_eq!(Sigstruct::HEADER2, sgx_isa::SIGSTRUCT_HEADER2);
    assert_eq!(Gprsgx::SIZE, 184);
}

/// Files of the crate `sgxs-tools`, whose test enclave others built and signed.
fn published(name: &str, hash: &str) -> Vec<u8> {
    const CRATE: &str = "sgxs-tools-0.10.0";
    let home = std::env::var_os("CARGO_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cargo"),
        PathBuf::from,
    );
    let find = || {
        let registries = std::fs::read_dir(home.join("registry/src")).ok()?;
        registries.flatten().find_map(|registry| {
            let path = registry
                .path()
                .join(CRATE)
                .join("src/sgx_detect/tests")
                .join(name);
            Path::is_file(&path).then_some(path)
        })
    };
    let path = find().or_else(|| {
        // Fetches that one crate.
        let package = CRATE.replacen("-0", "@0", 1);
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let _ = Command::new(cargo).args(["info", &package]).output();
        find()
    });
    let bytes = std::fs::read(path.expect("the published enclave")).expect("a file");
    let found: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(found, hash, "{name} is not what was published");
    bytes
}

fn stream() -> Vec<u8> {
    published("test_enclave.sgxs", STREAM_HASH)
}

const STREAM_HASH: &str = "784acfd7d5096a8f0fbd3265760bff21b120f62407a9a9e5ba31aa3c8ed198fc";
const SIGNATURE_HASH: &str = "daf4af439a7263ad591f43a20704f252ee6e4e53b65a83378efde2caa5964653";

/// Builds an enclave as its stream says.
fn load(world: &mut World, stream: &[u8], attributes: u64, xfrm: u64, miscselect: u32) -> Enclave {
    let mut cursor = Cursor::new(stream);
    let (CreateInfo { ecreate, .. }, mut pages) = PageReader::new(&mut cursor).expect("a stream");
    let mut page = secs(attributes);
    page.set_size(ecreate.size);
    page.set_ssaframesize(ecreate.ssaframesize);
    page.set_xfrm(xfrm);
    page.set_miscselect(miscselect);
    let enclave = world.create(&page);
    while let Some((added, PageChunks(measured), contents)) = pages.read_page().expect("a page") {
        let free = world.free_page();
        let flags = added.secinfo.flags.bits();
        let operands = world.add_operands(&enclave, added.offset, flags, &contents, free);
        assert_eq!(
            world.silent(adyton_sgx::leaf::Encls::Eadd, operands),
            OK_SILENT
        );
        for chunk in (0..16).filter(|chunk| measured >> chunk & 1 != 0) {
            let operands = [epc(enclave.secs), epc(free) + chunk * 256, 0];
            assert_eq!(
                world.silent(adyton_sgx::leaf::Encls::Eextend, operands),
                OK_SILENT
            );
        }
    }
    enclave
}

#[test]
fn an_enclave_that_others_signed_is_initialized_with_the_measurement_that_its_signature_names() {
    let signature = published("test_enclave.sig", SIGNATURE_HASH);
    let signature = Sigstruct(signature.try_into().expect("a SIGSTRUCT"));
    let stream = stream();
    let expected =
        EnclaveHash::from_stream::<_, Hasher>(&mut Cursor::new(&stream)).expect("a stream");
    assert_eq!(&expected.hash(), signature.enclavehash());
    let mut world = World::with(256, 1, crate::support::world::capabilities());
    world.machine.launch_key_hash = Sha256::digest(signature.modulus()).into();
    let enclave = load(
        &mut world,
        &stream,
        signature.attributes(),
        signature.xfrm(),
        signature.miscselect(),
    );
    assert_eq!(world.init(&enclave, &signature), OK);
    let contents = world.machine.epc[enclave.secs.0 as usize];
    assert_eq!(&contents[64..96], signature.enclavehash());
    assert!(world.entry(enclave.secs).attributes().is(PageType::Secs));

    // One byte more or less is another enclave.
    let mut changed = stream.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let mut world = World::with(256, 1, crate::support::world::capabilities());
    world.machine.launch_key_hash = Sha256::digest(signature.modulus()).into();
    let enclave = load(
        &mut world,
        &changed,
        signature.attributes(),
        signature.xfrm(),
        signature.miscselect(),
    );
    assert_eq!(
        world.init(&enclave, &signature),
        crate::support::world::code(adyton_sgx::ErrorCode::InvalidMeasurement)
    );
}
