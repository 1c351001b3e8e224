//! Hardware definitions of x86-64: what manuals define and nothing that anybody decides.
#![no_std]

pub mod apic;
pub mod cpuid;
pub mod iommu;
pub mod msr;
pub mod paging;
pub mod pci;
pub mod svm;
pub mod tpm;
