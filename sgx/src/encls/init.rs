//! EINIT (SDM, EINIT), in three slices: the signature's square, its cube, and everything about the enclave.

use sha2::{Digest, Sha256};

use super::{Context, PAGE, Page, claimed, require};
use crate::epcm::{EpcPage, Part};
use crate::error::ErrorCode;
use crate::fault::Access;
use crate::keys::{self, Dependencies, KeyName};
use crate::machine::Machine;
use crate::measurement::Measurement;
use crate::outcome::Stop;
use crate::platform::attribute;
use crate::processor::Register;
use crate::signature::{self, Number};
use crate::structures::{Einittoken, Secs, Sigstruct};

/// The vendor number that some signatures have, the others have 0.
const INTEL: u32 = 0x8086;

/// An EINIT on its way: the operands, copied once, and how far it is.
pub(crate) struct Initialization {
    operands: [u64; 3],
    secs: EpcPage,
    stamp: u64,
    signature: Sigstruct,
    token: Einittoken,
    square: Number,
    step: Step,
}

#[derive(Clone, Copy)]
enum Step {
    Nothing,
    Squared,
    Verified,
}

impl Initialization {
    pub const NONE: Self = Self {
        operands: [0; 3],
        secs: EpcPage(0),
        stamp: 0,
        signature: Sigstruct::zeroed(),
        token: Einittoken::zeroed(),
        square: [0; 48],
        step: Step::Nothing,
    };

    /// Whether it is the one that these operands carry on.
    fn is_of(&self, operands: [u64; 3], page: Page<'_>) -> bool {
        self.operands == operands && self.secs == page.number && self.stamp == page.entry.stamp()
    }
}

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn einit(&mut self, work: &mut Initialization) -> Result<(), Stop> {
        let operands = [
            self.operand(Register::Rbx, PAGE)?,
            self.operand(Register::Rcx, PAGE)?,
            self.operand(Register::Rdx, 512)?,
        ];
        let page = self.epc(operands[1], Access::Write)?;
        let step = core::mem::replace(&mut work.step, Step::Nothing);
        if !work.is_of(operands, page) {
            work.operands = operands;
            work.secs = page.number;
            work.stamp = page.entry.stamp();
            return self.begin_initialization(work);
        }
        match step {
            Step::Nothing => self.begin_initialization(work),
            Step::Squared => {
                refuse_if(
                    !signature::is_valid(&work.signature, &work.square),
                    ErrorCode::InvalidSignature,
                )?;
                work.step = Step::Verified;
                Err(Stop::Again)
            }
            Step::Verified => self.initialize(page, &work.signature, &work.token),
        }
    }

    fn begin_initialization(&mut self, work: &mut Initialization) -> Result<(), Stop> {
        let [signature, _, token] = work.operands;
        self.machine.read(signature, &mut work.signature.0)?;
        self.machine.read(token, &mut work.token.0)?;
        refuse_if(
            !is_well_formed(&work.signature),
            ErrorCode::InvalidSigStruct,
        )?;
        work.square = signature::square(&work.signature).ok_or(ErrorCode::InvalidSignature)?;
        work.step = Step::Squared;
        Err(Stop::Again)
    }

    /// Everything after the signature has been found valid.
    fn initialize(
        &mut self,
        page: Page<'e>,
        signature: &Sigstruct,
        token: &Einittoken,
    ) -> Result<(), Stop> {
        let _share = claimed(page.entry.share())?;
        self.require_secs(page)?;
        let _measuring = claimed(page.entry.part(Part::Measurement))?;
        let mut secs = self.secs(page.number);
        require(!secs.has(attribute::INIT))?;
        let separated = secs.has(attribute::KSS);
        let family = signature.isvfamilyid() != &[0; 16];
        refuse_if(family && !separated, ErrorCode::InvalidSigStruct)?;
        let mrenclave = Measurement::load(&secs).finish();
        refuse_if(
            signature.enclavehash() != &mrenclave,
            ErrorCode::InvalidMeasurement,
        )?;
        let mrsigner: [u8; 32] = Sha256::digest(signature.modulus()).into();
        let authorized = mrsigner == self.machine.launch_key_hash();
        refuse_if(
            secs.has(attribute::EINITTOKEN_KEY) && !authorized || !is_agreed(&secs, signature),
            ErrorCode::InvalidAttribute,
        )?;
        if token.valid() & 1 == 0 {
            refuse_if(!authorized, ErrorCode::InvalidEinittoken)?;
        } else {
            self.check_token(&secs, token, &mrenclave, &mrsigner)?;
        }
        secs.set_mrenclave(&mrenclave);
        secs.set_mrsigner(&mrsigner);
        secs.set_isvextprodid(signature.isvextprodid());
        secs.set_isvprodid(signature.isvprodid());
        secs.set_isvsvn(signature.isvsvn());
        secs.set_isvfamilyid(signature.isvfamilyid());
        secs.set_attributes(secs.attributes() | attribute::INIT);
        self.store(page, 0, &secs.0);
        Ok(())
    }

    fn check_token(
        &self,
        secs: &Secs,
        token: &Einittoken,
        mrenclave: &[u8; 32],
        mrsigner: &[u8; 32],
    ) -> Result<(), Stop> {
        let secrets = &self.platform.secrets();
        let debug = u64::from(token.maskedattributesle()[0]) & attribute::DEBUG != 0;
        refuse_if(
            debug && !secs.has(attribute::DEBUG) || !token.is_reserved_zero() || token.valid() != 1,
            ErrorCode::InvalidEinittoken,
        )?;
        refuse_if(
            keys::is_beyond(token.cpusvnle(), &secrets.cpusvn),
            ErrorCode::InvalidCpusvn,
        )?;
        let mut dependencies = Dependencies::of(KeyName::Einittoken, secrets);
        dependencies.set_isvprodid(token.isvprodidle());
        dependencies.set_isvsvn(token.isvsvnle());
        dependencies.set_attributes(token.maskedattributesle());
        dependencies.set_mrsigner(&self.machine.launch_key_hash());
        dependencies.set_keyid(token.keyid());
        dependencies.set_cpusvn(token.cpusvnle());
        dependencies.set_miscselect(token.maskedmiscselectle());
        let key = dependencies.derive(secrets);
        let body = token.0.get(..Einittoken::BODY).unwrap_or_default();
        refuse_if(
            !keys::is_equal(&keys::mac(&key, &[body]), token.mac()),
            ErrorCode::InvalidEinittoken,
        )?;
        refuse_if(
            token.mrenclave() != mrenclave || token.mrsigner() != mrsigner,
            ErrorCode::InvalidMeasurement,
        )?;
        refuse_if(
            token.attributes() != secs.attribute_bytes(),
            ErrorCode::InvalidAttribute,
        )
    }
}

fn refuse_if(wrong: bool, code: ErrorCode) -> Result<(), Stop> {
    if wrong { Err(code.into()) } else { Ok(()) }
}

fn is_well_formed(signature: &Sigstruct) -> bool {
    signature.header() == &Sigstruct::HEADER
        && matches!(signature.vendor(), 0 | INTEL)
        && signature.header2() == &Sigstruct::HEADER2
        && signature.exponent() == 3
        && signature.is_reserved_zero()
}

/// Whether the enclave has what its signer asks for, where the signer cares.
fn is_agreed(secs: &Secs, signature: &Sigstruct) -> bool {
    let same = |have: u64, want: u64, mask: u64| (have ^ want) & mask == 0;
    same(
        secs.attributes(),
        signature.attributes(),
        signature.attributemask(),
    ) && same(secs.xfrm(), signature.xfrm(), signature.xfrmmask())
        && same(
            secs.miscselect().into(),
            signature.miscselect().into(),
            signature.miscmask().into(),
        )
}
