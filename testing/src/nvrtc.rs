//! NVIDIA's run-time compiler, which compiles CUDA C++ on machines without a GPU.

use std::ffi::{CString, OsStr, c_char, c_int, c_void};
use std::fs;
use std::path::Path;
use std::ptr;

use libloading::os::unix::{Library, RTLD_NOW, Symbol};

use crate::python::NVRTC;
use crate::{Requirement, skip};

/// The compiler's library.
#[derive(Debug)]
pub struct Nvrtc {
    compiler: Library,
    /// The compiler looks for this library by name, which it finds while it is loaded.
    _builtins: Library,
}

/// What the compiler made of a file.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// PTX, the assembly text that drivers compile for their GPU.
    pub ptx: Vec<u8>,
    /// Machine code; empty unless `--gpu-architecture=sm_…` selects a GPU.
    pub cubin: Vec<u8>,
    /// Warnings and remarks.
    pub log: String,
}

type Program = *mut c_void;

impl Nvrtc {
    /// Loads the compiler that `cargo xtask test` installs; `None`, after a call of [`skip()`], if it is not installed.
    pub fn open() -> Option<Self> {
        let installed = NVRTC.are_installed().then(|| NVRTC.folder()).flatten();
        let Some(folder) = installed else {
            skip(
                Requirement::Python,
                "NVIDIA's run-time compiler is not installed: run `cargo xtask test`",
            );
            return None;
        };
        let folder = folder.join("nvidia/cu13/lib");
        Some(Self {
            _builtins: load(&folder.join("libnvrtc-builtins.so.13.0"))?,
            compiler: load(&folder.join("libnvrtc.so.13"))?,
        })
    }

    /// Compiles a file, for which `#include "…"` finds files of its folder.
    ///
    /// # Errors
    /// The compiler's messages.
    ///
    /// # Panics
    /// If the file cannot be read, or the compiler itself fails.
    pub fn compile(&self, file: &Path, options: &[&str]) -> Result<Compiled, String> {
        let text = |text: &OsStr| CString::new(text.as_encoded_bytes()).expect("no NUL");
        let source = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let source = CString::new(source).expect("sources have no NUL");
        let name = text(file.file_name().expect("a file has a name"));
        let folder = file.parent().expect("a file is in a folder");
        let include = format!("--include-path={}", folder.display());
        let options: Vec<CString> = [&[&*include], options]
            .concat()
            .into_iter()
            .map(|option| text(option.as_ref()))
            .collect();
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program = ptr::null_mut();
        // SAFETY: the signatures are those of the compiler's documentation. Texts are NUL-terminated and live during the
        // calls; `program` is valid between creation and destruction.
        unsafe {
            let create: Symbol<
                unsafe extern "C" fn(
                    *mut Program,
                    *const c_char,
                    *const c_char,
                    c_int,
                    *const *const c_char,
                    *const *const c_char,
                ) -> c_int,
            > = self
                .compiler
                .get(b"nvrtcCreateProgram\0")
                .expect("has the function");
            let compile: Symbol<
                unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
            > = self
                .compiler
                .get(b"nvrtcCompileProgram\0")
                .expect("has the function");
            let destroy: Symbol<unsafe extern "C" fn(*mut Program) -> c_int> = self
                .compiler
                .get(b"nvrtcDestroyProgram\0")
                .expect("has the function");
            let (source, name) = (source.as_ptr(), name.as_ptr());
            let status = create(&raw mut program, source, name, 0, ptr::null(), ptr::null());
            assert_eq!(status, 0, "nvrtcCreateProgram failed");
            let status = compile(program, options.len() as c_int, options.as_ptr());
            let log = self.result(
                program,
                b"nvrtcGetProgramLogSize\0",
                b"nvrtcGetProgramLog\0",
            );
            let log = String::from_utf8_lossy(&log).into_owned();
            let compiled = if status == 0 {
                Ok(Compiled {
                    ptx: self.result(program, b"nvrtcGetPTXSize\0", b"nvrtcGetPTX\0"),
                    cubin: self.result(program, b"nvrtcGetCUBINSize\0", b"nvrtcGetCUBIN\0"),
                    log,
                })
            } else {
                Err(log)
            };
            destroy(&raw mut program);
            compiled
        }
    }

    /// Calls a pair of functions, one for the size of a result and one for the result. Removes the NUL at the end of a
    /// text.
    ///
    /// # Safety
    /// `program` is valid, and the functions have the signatures of such a pair.
    unsafe fn result(&self, program: Program, size: &[u8], get: &[u8]) -> Vec<u8> {
        let mut length = 0usize;
        // SAFETY: the caller's promise; the buffer has the size that the compiler states.
        unsafe {
            let size: Symbol<unsafe extern "C" fn(Program, *mut usize) -> c_int> =
                self.compiler.get(size).expect("has the function");
            let get: Symbol<unsafe extern "C" fn(Program, *mut c_char) -> c_int> =
                self.compiler.get(get).expect("has the function");
            if size(program, &raw mut length) != 0 || length == 0 {
                return Vec::new();
            }
            let mut result = vec![0u8; length];
            assert_eq!(get(program, result.as_mut_ptr().cast()), 0);
            if result.last() == Some(&0) && !result.starts_with(b"\x7fELF") {
                result.pop();
            }
            result
        }
    }
}

/// Loads a library.
fn load(file: &Path) -> Option<Library> {
    // SAFETY: the initialisers of NVIDIA's libraries only set up their own state.
    match unsafe { Library::open(Some(file), RTLD_NOW) } {
        Ok(library) => Some(library),
        Err(error) => {
            skip(Requirement::Python, &error.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiles_and_reports_errors() {
        let Some(nvrtc) = Nvrtc::open() else { return };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kernel.cu");
        fs::write(folder.path().join("value.h"), "#define VALUE 7\n").unwrap();
        fs::write(
            &file,
            "#include \"value.h\"\nextern \"C\" __global__ void f(int *x) { *x = VALUE; }",
        )
        .unwrap();
        let compiled = nvrtc
            .compile(&file, &["--gpu-architecture=compute_75"])
            .unwrap();
        let ptx = String::from_utf8(compiled.ptx).unwrap();
        assert!(ptx.contains(".visible .entry f("), "{ptx}");
        assert!(compiled.cubin.is_empty());
        let compiled = nvrtc.compile(&file, &["--gpu-architecture=sm_90"]).unwrap();
        assert!(compiled.cubin.starts_with(b"\x7fELF"));
        fs::write(&file, "__global__ void f() { nothing(); }").unwrap();
        let error = nvrtc.compile(&file, &[]).unwrap_err();
        assert!(error.contains("nothing"), "{error}");
    }
}
