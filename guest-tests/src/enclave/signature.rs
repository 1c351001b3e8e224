//! An enclave's signature, made with a key that is no secret: Intel SDM volume 3D, table 35-23.

use num_bigint::BigUint;
use sha2::{Digest, Sha256};

use super::image::Attributes;

/// Of 3072 bits with the exponent 3, made for these tests.
const MODULUS: &str = "\
    b688c7f625751509048ce19784d38ea789fef6e02d6cdd472a03c405db3a943b58334cc80c63c11f0cc0919fd039c819\
    b697b387cbc66b868043cdcaa5830e62af2d7beaf0e0cdc34011d0b9da776f6b7f41010147c6a573c2ec690a6cab41bb\
    ab7b420ebbbb47510f990bc58e6bcd8399d6c98edb1fdd3ec191e91301d52a8ac89a10a308ac5cafad4a4c1dd7d96426\
    1fae6a247da73080983f213fe11efbc60c9cd56a1d68883b56d778e656245931108735118e7109a06fe59473fcbcf2e0\
    387b2cd51bd576a2f2d84705a410c92b57ad1e7fc0a8acd515f2dd583855cf788d2a1a9db35327e70bba1f606bbea5da\
    d687b8f429a3e90095b3f8b700c96ce163c6e1603094b2593e3028d4e1e0794d49d1144646b70d3bd4594b638ffa8764\
    9a4f54db11c177e8d10231eb2ba048a8328ad0625c6d2090e62fbd762458524cc514647b491e55c9769c78f707a8a5fc\
    338f0450149f33cfd5db88a55f712c6c62c1328a3cf01311830925725e5eccbe33530aba742166ee3a4286969e436e7d";

/// Its private exponent.
const EXPONENT: &str = "\
    79b0854ec3a3635b585debba588d09c506a9f9eac8f33e2f7157d803e77c62d23accdddab2ed2b6a08806115357bdabb\
    cf0fcd05328447af002d33dc6e575eec74c8fd474b40892cd56135d13c4f9f9cff80ab562fd9c3a281f2f0b19dc78127\
    c7a7815f27d22f8b5fbb5d2e5ef28902668f3109e76a937f2bb69b620138c7073066b5c205c83dca7386dd693a90ed6e\
    bfc99c1853c4cb00657f6b7feb69fd2eb31338f168f05ad239e4fb44396d90cb605a236109a0b1159fee62f7fdd34c94\
    5a3a55fae9d3793bef340b3d940f60807962a486cd5ad293041b94379e9bd2b3e5ba91cf75c61371a45dc9680000af83\
    e3c060a1406481f01c8a073a2d484b2e9a8b8eb1f4e2dff25b5b57ca5e5d238ac66044110795b89471a4e765e99111c7\
    6a38a13104793b406af2833f927adde7aaab35773882bc436d780c4c18a4329acaec93db02192091392e4638108a5755\
    99223bf1be630416f31d3ea7b19818d4708d2d216f01e207388c144d74a8aa7fcdc359071cf5560e7a0612a9d3a6af13";

/// Bytes of SIGSTRUCT.
pub const SIZE: usize = 1808;
/// Bytes of its numbers.
const NUMBER: usize = 384;
/// The first constant, which says what it is.
const HEADER: [u8; 16] = [6, 0, 0, 0, 0xe1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
/// The second one: in words, 101h, the sizes of the numbers, 1.
const SECOND_HEADER: [u8; 16] = [1, 1, 0, 0, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 1, 0, 0, 0];
/// What PKCS #1 puts before a SHA-256 digest.
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// Signs an enclave with this measurement, whose attributes are exactly these.
pub fn sign(measurement: &[u8; 32], attributes: Attributes) -> [u8; SIZE] {
    let number = |text| BigUint::parse_bytes(str::as_bytes(text), 16).expect("hexadecimal");
    let (modulus, exponent) = (number(MODULUS), number(EXPONENT));
    let mut structure = [0; SIZE];
    let mut put = |place: usize, bytes: &[u8]| {
        structure[place..place + bytes.len()].copy_from_slice(bytes);
    };
    put(0, &HEADER);
    put(20, &0x2024_0101_u32.to_le_bytes());
    put(24, &SECOND_HEADER);
    put(128, &little(&modulus));
    put(512, &3_u32.to_le_bytes());
    put(904, &u32::MAX.to_le_bytes());
    put(900, &attributes.miscselect.to_le_bytes());
    put(928, &attributes.flags.to_le_bytes());
    put(936, &attributes.xfrm.to_le_bytes());
    put(944, &u64::MAX.to_le_bytes());
    put(952, &u64::MAX.to_le_bytes());
    put(960, measurement);
    put(1024, &attributes.product.to_le_bytes());
    put(1026, &attributes.version.to_le_bytes());
    let digest = Sha256::new()
        .chain_update(&structure[..128])
        .chain_update(&structure[900..1028])
        .finalize();
    let signature = padded(&digest).modpow(&exponent, &modulus);
    let square = &signature * &signature;
    let first = &square / &modulus;
    let second = (&signature * (&square % &modulus)) / &modulus;
    for (place, value) in [(516, &signature), (1040, &first), (1424, &second)] {
        structure[place..place + NUMBER].copy_from_slice(&little(value));
    }
    structure
}

/// A digest as PKCS #1 version 1.5 pads it.
fn padded(digest: &[u8]) -> BigUint {
    let mut bytes = vec![0xff; NUMBER];
    bytes[0] = 0;
    bytes[1] = 1;
    let end = NUMBER - digest.len();
    bytes[end..].copy_from_slice(digest);
    let information = end - DIGEST_INFO.len();
    bytes[information..end].copy_from_slice(&DIGEST_INFO);
    bytes[information - 1] = 0;
    BigUint::from_bytes_be(&bytes)
}

fn little(value: &BigUint) -> [u8; NUMBER] {
    let mut bytes = value.to_bytes_le();
    bytes.resize(NUMBER, 0);
    bytes.try_into().expect("a number of 3072 bits")
}
