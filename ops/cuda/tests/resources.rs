//! What the kernels take of each generation of GPUs: a table, and bounds.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;
use std::thread;

use topk_ops_cuda::ptx::Module;
use topk_testing::{KernelResources, PtxAssembler};

/// Turing, Ampere (A100, and GeForce RTX 30), Ada, Hopper, and Blackwell (B200, and GeForce RTX 50).
const ARCHITECTURES: [&str; 7] = [
    "sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120",
];

/// Registers of a multiprocessor.
const REGISTERS: u32 = 64 << 10;

/// Bytes of shared memory that a block can have everywhere.
const SHARED: u32 = 48 << 10;

/// Bytes per thread that may be spilled. The compiler needs more registers for GPUs before Hopper, where
/// rows of up to 1,024 classes in registers leave few: those bytes stay in the cache. They are the sum over all types and
/// layouts of scores, of which a launch has one.
fn most_spilled(architecture: &str) -> u32 {
    match architecture {
        "sm_75" | "sm_80" | "sm_86" | "sm_89" => 1024,
        _ => 64,
    }
}

/// The numbers after `.maxntid` and `.minnctapersm`: threads per block, and blocks that a multiprocessor should hold.
fn launch_bounds(ptx: &str, kernel: &str) -> (u32, u32) {
    let start = ptx.find(&format!(".visible .entry {kernel}(")).unwrap();
    let after = |word: &str| -> u32 {
        let text = &ptx[start..];
        let text = &text[text.find(word).unwrap() + word.len()..];
        let digits = text.trim_start().split(|c: char| !c.is_ascii_digit());
        digits.into_iter().next().unwrap().parse().unwrap()
    };
    (after(".maxntid"), after(".minnctapersm"))
}

#[test]
fn registers_spills_and_shared_memory_are_bounded_on_every_architecture() {
    let Some(assembler) = PtxAssembler::open() else {
        return;
    };
    let modules = Module::ALL.map(|module| module.ptx().unwrap());
    let mut jobs = Vec::new();
    for architecture in ARCHITECTURES {
        for ptx in &modules {
            jobs.push((architecture, ptx));
        }
    }
    let jobs = Mutex::new(jobs);
    let found: Mutex<BTreeMap<String, BTreeMap<usize, KernelResources>>> = Mutex::default();
    let compile = || {
        loop {
            let Some((architecture, ptx)) = jobs.lock().unwrap().pop() else {
                return;
            };
            let kernels = assembler
                .resources(ptx, architecture)
                .unwrap_or_else(|error| panic!("{architecture}: {error}"));
            let index = ARCHITECTURES.iter().position(|&a| a == architecture);
            let mut found = found.lock().unwrap();
            for kernel in kernels {
                let of_kernel = found.entry(kernel.kernel.clone()).or_default();
                of_kernel.insert(index.unwrap(), kernel);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(compile);
        }
    });
    let found = found.into_inner().unwrap();

    let mut table = format!(
        "registers + bytes spilled, per thread\n{:24}{:>10}{:>10}",
        "kernel", "threads", "shared"
    );
    for architecture in ARCHITECTURES {
        write!(table, "{architecture:>10}").unwrap();
    }
    let mut faults = Vec::new();
    for (kernel, resources) in &found {
        assert_eq!(resources.len(), ARCHITECTURES.len(), "{kernel}");
        let ptx = modules
            .iter()
            .find(|ptx| ptx.contains(&format!(".visible .entry {kernel}(")));
        let (threads, blocks) = launch_bounds(ptx.unwrap(), kernel);
        let shared = resources.values().map(|r| r.shared).max().unwrap();
        write!(table, "\n{kernel:24}{threads:10}{shared:10}").unwrap();
        for (&architecture, found) in resources {
            let architecture = ARCHITECTURES[architecture];
            let registers = match found.spilled {
                0 => found.registers.to_string(),
                spilled => format!("{}+{spilled}", found.registers),
            };
            write!(table, "{registers:>10}").unwrap();
            // Registers are allocated to warps, 8 per thread at a time.
            let of_block = found.registers.next_multiple_of(8) * threads;
            if of_block > REGISTERS {
                faults.push(format!("{kernel} cannot be launched on {architecture}"));
            } else if REGISTERS / of_block < blocks {
                faults.push(format!(
                    "only {} blocks of {kernel} fit on a multiprocessor of {architecture}",
                    REGISTERS / of_block
                ));
            }
            if found.spilled > most_spilled(architecture) {
                faults.push(format!(
                    "{kernel} spills {} bytes on {architecture}",
                    found.spilled
                ));
            }
            if found.shared > SHARED {
                faults.push(format!(
                    "{kernel} has {} bytes of shared memory",
                    found.shared
                ));
            }
        }
    }
    // Not `println!`, which the test harness captures.
    writeln!(std::io::stderr(), "{table}").unwrap();
    assert!(faults.is_empty(), "{faults:#?}");
}
