//! The CUDA kernels on the CPU: programs and a CUDA driver that tests compile from `ops/cuda/emulation`.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::{Cpp, root};

/// What can be compiled from `ops/cuda/emulation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emulation {
    /// Runs the kernels with arrays from its standard input, with sanitizers: see `program.cpp`.
    Program,
    /// Runs small kernels, most of which have a fault: see `faults.cpp`.
    Faults,
    /// `libcuda.so.1`, whose one device is the CPU: see `driver.cpp`.
    Driver,
}

impl Emulation {
    /// The compiled file. It is compiled once for each state of the sources. Without a suitable compiler, this calls
    /// [`skip()`](crate::skip()) and returns `None`.
    ///
    /// # Panics
    ///
    /// If a source file does not compile.
    pub fn build(self) -> Option<PathBuf> {
        // Tests of one program compile one after the other; those of several at worst compile twice.
        static LOCK: Mutex<()> = Mutex::new(());
        let _lock = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        let cpp = self.compiler()?;
        let sources: Vec<PathBuf> = self
            .sources()
            .iter()
            .map(|name| folder().join("emulation").join(name))
            .collect();
        let built = self.built(&cpp);
        if !built.exists() {
            let into = built.parent().expect("the file is in a folder");
            fs::create_dir_all(into).expect("cargo's target folder is writable");
            let partial = tempfile::tempdir_in(into).expect("cargo's target folder is writable");
            let partial = partial.path().join("built");
            cpp.build(&sources, &partial);
            fs::rename(partial, &built).expect("both are in the same folder");
        }
        Some(built)
    }

    fn compiler(self) -> Option<Cpp> {
        let cpp = match self {
            Self::Program | Self::Faults => Cpp::with_sanitizers()?.flag("-O1").flag("-g1"),
            Self::Driver => Cpp::plain()?
                .flag("-O2")
                .flag("-fPIC")
                .flag("-shared")
                .flag("-Wl,-soname,libcuda.so.1"),
        };
        // Kernels are found by name.
        let cpp = cpp.flag("-rdynamic");
        // As on a GPU, a product and a sum are one operation. Without the instruction, `fma` is slow.
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("fma") {
            return Some(cpp.flag("-mfma").flag("-ffp-contract=fast"));
        }
        Some(cpp)
    }

    fn sources(self) -> Vec<&'static str> {
        let mut sources = vec!["fibre.cpp", "launch.cpp", "numbers.cpp", "shared.cpp"];
        sources.extend(match self {
            Self::Program => ["kernels.cpp", "program.cpp"].as_slice(),
            Self::Faults => &["faults.cpp"],
            Self::Driver => &["kernels.cpp", "driver.cpp"],
        });
        sources
    }

    /// The path of the compiled file, which changes with the sources and the compiler.
    fn built(self, cpp: &Cpp) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        cpp.hash(&mut hasher);
        for part in ["emulation", "kernels"] {
            let mut files: Vec<PathBuf> = fs::read_dir(folder().join(part))
                .expect("the folder is part of the repository")
                .map(|entry| entry.expect("the folder can be read").path())
                .filter(|path| path.is_file())
                .collect();
            files.sort();
            for file in files {
                file.hash(&mut hasher);
                fs::read(&file)
                    .expect("the file is part of the repository")
                    .hash(&mut hasher);
            }
        }
        let exe = env::current_exe().expect("Linux knows the path of a process");
        let target = exe.ancestors().nth(2).unwrap_or(&exe);
        let folder = target
            .join("emulation")
            .join(format!("{:016x}", hasher.finish()));
        folder.join(match self {
            Self::Program => "program",
            Self::Faults => "faults",
            Self::Driver => "libcuda.so.1",
        })
    }
}

fn folder() -> PathBuf {
    Path::new(root()).join("ops/cuda")
}
