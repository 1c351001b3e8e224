//! Hardware definitions of x86-64: what manuals define and nothing that anybody decides.
#![no_std]
#![forbid(unsafe_code)]

pub mod apic;
pub mod cpuid;
pub mod descriptors;
pub mod flags;
pub mod iommu;
pub mod msr;
pub mod paging;
pub mod pci;
pub mod svm;
pub mod tpm;
