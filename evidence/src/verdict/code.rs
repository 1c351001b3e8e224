//! Reasons to refuse, each with a name for programs and a sentence for people.

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $code:ident $name:literal $sentence:literal,)*) => {
        /// A reason to refuse.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $sentence] $code,)*
        }

        impl Code {
            /// All of them, in the order in which they are looked for.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// The name, for programs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)* }
            }

            /// The sentence, for people.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$code => $sentence,)* }
            }
        }
    };
}

codes! {
    EmptyPolicy "empty-policy" "The policy names no domain and no enclave, so there is nothing that could be right.",
    PolicyAllowsNothing "policy-allows-nothing" "The policy gives no measurement and no signer for what it demands, so nothing could satisfy it.",
    TooLarge "too-large" "The evidence is larger than any can be.",
    Malformed "malformed" "The evidence is not written as its specification says, or says something that this verifier does not know.",
    WrongSignature "wrong-signature" "The evidence was changed, or was not signed by the key that it names.",
    StaleNonce "stale-nonce" "The evidence does not answer this question: its nonce is another one, as in a replay.",
    DigestMismatch "digest-mismatch" "A part of the evidence is not the one that the monitor signed.",
    UnmeasuredBoot "unmeasured-boot" "Nobody measured how this machine was started, so nothing is known of what runs there.",
    UnknownAttestationKey "unknown-attestation-key" "No anchor knows this machine: there is no reference value for its TPM's key.",
    UnsuitableAttestationKey "unsuitable-attestation-key" "The machine's attestation key could sign what no TPM states, or is of an unknown kind.",
    WrongQuoteSignature "wrong-quote-signature" "The TPM's statement was not signed by the machine's attestation key.",
    MalformedQuote "malformed-quote" "The TPM's statement is not a quote.",
    KeyNotBound "key-not-bound" "The TPM's statement was not made for this monitor's key and this nonce.",
    WrongPcrSelection "wrong-pcr-selection" "The TPM's statement is about other registers than it must be.",
    PcrMismatch "pcr-mismatch" "The register values are not those that the TPM states.",
    TpmReset "tpm-reset" "The TPM was reset since the monitor started, so its registers say nothing of it.",
    MalformedLog "malformed-log" "The event log cannot be read.",
    LogMismatch "log-mismatch" "The event log does not lead to the values that the TPM states: it was cut, changed, or added to.",
    NoFirmwareReference "no-firmware-reference" "The anchors have no reference value for any firmware.",
    FirmwareMismatch "firmware-mismatch" "The machine's firmware, or what it was extended by, matches no anchor.",
    NoMonitorReference "no-monitor-reference" "The anchors have no reference value for any monitor.",
    UnknownBootEvent "unknown-boot-event" "Something ran before the monitor, or instead of it, that no anchor knows.",
    CodeAfterMonitor "code-after-monitor" "The firmware started something else after the monitor.",
    LoaderWithoutRules "loader-without-rules" "A boot loader ran before the monitor, and the anchors that know it do not say what it may do and read.",
    LoaderMismatch "loader-mismatch" "A boot loader did or read something else than its anchor says, or in another order.",
    OldMonitor "old-monitor" "The monitor is older than the policy allows.",
    MonitorEvents "monitor-events" "The monitor's register was not extended as the monitor does it.",
    KeyNotMeasured "key-not-measured" "The key that signed is not the one that was measured at boot.",
    NoBootReference "no-boot-reference" "The anchors have no reference value for what a monitor starts with.",
    ConfigurationMismatch "configuration-mismatch" "The monitor's configuration matches no anchor.",
    DomainZeroMismatch "domain-0-mismatch" "Domain 0's kernel, initrd or command line matches no anchor, and the policy does not say that any will do.",
    Unprotected "unprotected" "No IOMMU keeps devices out of that machine's memory, so whoever commands a device reaches all of it.",
    Contradiction "contradiction" "What the domains say of each other does not fit together.",
    WrongSubject "wrong-subject" "The evidence is about an enclave and the policy about domains, or the other way round.",
    FetchedByOwner "fetched-by-owner" "The domain's owner asked for this evidence, not the domain: nothing in it comes from the domain.",
    ReportDataMismatch "report-data-mismatch" "The subject did not bind the report data that was expected.",
    BoundKeyMismatch "bound-key-mismatch" "The subject did not bind the key that was presented as its own.",
    MeasurementMismatch "measurement-mismatch" "The subject's measurement is not one that the policy gives for it.",
    NoReferenceValue "no-reference-value" "The policy has no reference value for a domain that takes part.",
    Unsigned "unsigned" "A domain must be signed, and has shown no signature.",
    WrongSigner "wrong-signer" "A domain was signed by another, for another product, or in an older version than the policy gives.",
    NotSealed "not-sealed" "A domain that takes part is not sealed, so it can still become anything.",
    DebugDomain "debug-domain" "A domain can be read by its owner.",
    NotConfidential "not-confidential" "A domain that must be confidential shows its registers to its owner.",
    ForbiddenAbility "forbidden-ability" "A domain may call what the policy does not let it.",
    MutableDomain "mutable-domain" "A domain can still change its edges, and the policy does not accept that.",
    ChangedAfterSeal "changed-after-seal" "A domain got more memory after it was sealed, and the policy does not accept that.",
    OpenMemory "open-memory" "A domain shares memory that its maker can share with others a moment later, and the policy does not accept that.",
    TooManyVcpus "too-many-vcpus" "A domain has more vCPUs than the policy allows.",
    WholeCores "whole-cores" "A domain has fewer or more cores of its own than the policy gives it.",
    SharedCores "shared-cores" "A domain may be entered on cores where others run, and the policy does not accept that.",
    TooDeep "too-deep" "Domains are nested deeper than the policy allows.",
    MissingDomain "missing-domain" "A domain that the policy demands does not take part.",
    TooManyDomains "too-many-domains" "More domains of one kind take part than the policy allows.",
    ForbiddenMemory "forbidden-memory-edge" "Two domains have memory in common that the policy does not allow.",
    ForbiddenCommand "forbidden-command-edge" "A domain is commanded by one that the policy does not allow.",
    ForbiddenDerivation "forbidden-derivation-edge" "A domain's memory was derived from one that the policy does not allow.",
    ForbiddenDevice "forbidden-device-edge" "A domain has a device that the policy does not allow.",
    EnclaveMismatch "enclave-mismatch" "The enclave's measurement (MRENCLAVE) is not one that the policy gives.",
    SignerMismatch "signer-mismatch" "The enclave's signer (MRSIGNER) is not one that the policy gives.",
    ProductMismatch "product-mismatch" "The enclave is another of its signer's products (ISVPRODID, ISVEXTPRODID, ISVFAMILYID).",
    OldEnclave "old-enclave" "The enclave's security version (ISVSVN) is lower than the policy demands.",
    DebugEnclave "debug-enclave" "The enclave can be read and changed by a debugger.",
    EnclaveAttributes "enclave-attributes" "The enclave has attributes that the policy does not allow, or lacks some that it demands.",
    EnclaveConfiguration "enclave-configuration" "The enclave was created with another configuration (CONFIGID, CONFIGSVN) than the policy gives.",
}
