//! The text that the driver is given for each kernel is complete.

use topk_ops_cuda::ptx::{Module, text};
use topk_testing::PtxAssembler;

#[test]
fn every_kernel_compiles_by_itself() {
    let Some(assembler) = PtxAssembler::open() else {
        return;
    };
    for module in Module::ALL {
        let ptx = module.ptx().unwrap();
        let kernels = ptx
            .lines()
            .filter_map(|line| line.strip_prefix(".visible .entry "));
        for kernel in kernels.map(|line| line.trim_end_matches('(')) {
            let text = text(module, kernel).unwrap();
            let cubin = assembler
                .assemble(&text, "sm_90")
                .unwrap_or_else(|error| panic!("{kernel}: {error}"));
            let named = cubin
                .windows(kernel.len())
                .any(|part| part == kernel.as_bytes());
            assert!(named, "{kernel}");
        }
    }
}
