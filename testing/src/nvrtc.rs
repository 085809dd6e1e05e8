//! NVIDIA's compilers of CUDA C++ and of PTX, which need no GPU.

use std::ffi::{CString, OsStr, c_char, c_int, c_uint, c_void};
use std::fs;
use std::path::{Path, PathBuf};
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
        let folder = folder()?;
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
            let log = result(
                &self.compiler,
                program,
                b"nvrtcGetProgramLogSize\0",
                b"nvrtcGetProgramLog\0",
            );
            let log = String::from_utf8_lossy(&log).into_owned();
            let compiled = if status == 0 {
                Ok(Compiled {
                    ptx: result(
                        &self.compiler,
                        program,
                        b"nvrtcGetPTXSize\0",
                        b"nvrtcGetPTX\0",
                    ),
                    cubin: result(
                        &self.compiler,
                        program,
                        b"nvrtcGetCUBINSize\0",
                        b"nvrtcGetCUBIN\0",
                    ),
                    log,
                })
            } else {
                Err(log)
            };
            destroy(&raw mut program);
            compiled
        }
    }
}

/// Calls a pair of functions, one for the size of a result and one for the result. Removes the NUL at the end of a
/// text.
///
/// # Safety
/// `program` is valid, and the functions have the signatures of such a pair.
unsafe fn result(library: &Library, program: Program, size: &[u8], get: &[u8]) -> Vec<u8> {
    let mut length = 0usize;
    // SAFETY: the caller's promise; the buffer has the size that the compiler states.
    unsafe {
        let size: Symbol<unsafe extern "C" fn(Program, *mut usize) -> c_int> =
            library.get(size).expect("has the function");
        let get: Symbol<unsafe extern "C" fn(Program, *mut c_char) -> c_int> =
            library.get(get).expect("has the function");
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

/// The compiler of PTX that drivers contain, as a library.
#[derive(Debug)]
pub struct PtxAssembler(Library);

impl PtxAssembler {
    /// As [`Nvrtc::open`].
    pub fn open() -> Option<Self> {
        load(&folder()?.join("libnvJitLink.so.13")).map(Self)
    }

    /// Compiles PTX for an architecture such as `sm_90`, and returns machine code.
    ///
    /// # Errors
    /// The compiler's messages.
    ///
    /// # Panics
    /// If the compiler itself fails.
    pub fn assemble(&self, ptx: &str, architecture: &str) -> Result<Vec<u8>, String> {
        self.run(ptx, &[&format!("-arch={architecture}")])
            .map(|(cubin, _)| cubin)
    }

    /// What each kernel of some PTX takes on an architecture such as `sm_90`.
    ///
    /// # Errors
    /// The compiler's messages.
    ///
    /// # Panics
    /// If the compiler itself fails, or its report changes.
    pub fn resources(&self, ptx: &str, architecture: &str) -> Result<Vec<KernelResources>, String> {
        let options = [&*format!("-arch={architecture}"), "-Xptxas=-v"];
        let (_, log) = self.run(ptx, &options)?;
        let kernels = KernelResources::of_log(&log);
        assert_eq!(
            kernels.len(),
            ptx.matches(".visible .entry ").count(),
            "the report is not as expected:\n{log}"
        );
        Ok(kernels)
    }

    /// Returns machine code and the compiler's remarks.
    fn run(&self, ptx: &str, options: &[&str]) -> Result<(Vec<u8>, String), String> {
        const PTX: c_int = 2;
        let options: Vec<CString> = options
            .iter()
            .map(|&option| CString::new(option).expect("no NUL"))
            .collect();
        let ptx = CString::new(ptx).expect("PTX has no NUL");
        let mut linker = ptr::null_mut();
        // SAFETY: the signatures are those of the library's header. Texts are NUL-terminated and live during the calls;
        // `linker` is valid between creation and destruction.
        unsafe {
            let create: Symbol<
                unsafe extern "C" fn(*mut Program, c_uint, *const *const c_char) -> c_int,
            > = self
                .0
                .get(b"__nvJitLinkCreate_13_0\0")
                .expect("has the function");
            let add: Symbol<
                unsafe extern "C" fn(Program, c_int, *const c_void, usize, *const c_char) -> c_int,
            > = self
                .0
                .get(b"__nvJitLinkAddData_13_0\0")
                .expect("has the function");
            let complete: Symbol<unsafe extern "C" fn(Program) -> c_int> = self
                .0
                .get(b"__nvJitLinkComplete_13_0\0")
                .expect("has the function");
            let destroy: Symbol<unsafe extern "C" fn(*mut Program) -> c_int> = self
                .0
                .get(b"__nvJitLinkDestroy_13_0\0")
                .expect("has the function");
            let pointers: Vec<*const c_char> = options.iter().map(|text| text.as_ptr()).collect();
            let count = pointers.len() as c_uint;
            let created = create(&raw mut linker, count, pointers.as_ptr());
            assert_eq!(created, 0, "{options:?}");
            let bytes = ptx.as_bytes_with_nul();
            let added = add(
                linker,
                PTX,
                bytes.as_ptr().cast(),
                bytes.len(),
                c"ptx".as_ptr(),
            );
            let result = if added == 0 && complete(linker) == 0 {
                let cubin = result(
                    &self.0,
                    linker,
                    b"__nvJitLinkGetLinkedCubinSize_13_0\0",
                    b"__nvJitLinkGetLinkedCubin_13_0\0",
                );
                let log = result(
                    &self.0,
                    linker,
                    b"__nvJitLinkGetInfoLogSize_13_0\0",
                    b"__nvJitLinkGetInfoLog_13_0\0",
                );
                Ok((cubin, String::from_utf8_lossy(&log).into_owned()))
            } else {
                let log = result(
                    &self.0,
                    linker,
                    b"__nvJitLinkGetErrorLogSize_13_0\0",
                    b"__nvJitLinkGetErrorLog_13_0\0",
                );
                Err(String::from_utf8_lossy(&log).into_owned())
            };
            destroy(&raw mut linker);
            result
        }
    }
}

/// What a kernel takes of a multiprocessor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelResources {
    /// The kernel's name.
    pub kernel: String,
    /// Registers per thread.
    pub registers: u32,
    /// Bytes per thread that are written to memory because there are too few registers.
    pub spilled: u32,
    /// Bytes per thread of local memory: spilled registers, and arrays that are indexed at run time.
    pub stack: u32,
    /// Bytes of static shared memory per block.
    pub shared: u32,
}

impl KernelResources {
    /// Reads the report of the option `-v` of ptxas.
    fn of_log(log: &str) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for line in log.lines() {
            // The number before a word.
            let before = |word: &str| -> Option<u32> {
                let (text, _) = line.split_once(word)?;
                text.rsplit(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse()
                    .ok()
            };
            if let Some((_, name)) = line.split_once("Compiling entry function '") {
                found.push(Self {
                    kernel: name.split('\'').next().unwrap_or_default().to_owned(),
                    registers: 0,
                    spilled: 0,
                    stack: 0,
                    shared: 0,
                });
            }
            let Some(kernel) = found.last_mut() else {
                continue;
            };
            if let (Some(stack), Some(spilled)) =
                (before(" bytes stack frame"), before(" bytes spill stores"))
            {
                (kernel.stack, kernel.spilled) = (stack, spilled);
            }
            if let Some(registers) = before(" registers") {
                kernel.registers = registers;
                kernel.shared = before(" bytes smem").unwrap_or(0);
            }
        }
        found.retain(|kernel| kernel.registers > 0);
        found
    }
}

/// The folder with the libraries that `cargo xtask test` installs; `None`, after a call of [`skip()`], if they are not
/// installed.
fn folder() -> Option<PathBuf> {
    let folder = NVRTC.are_installed().then(|| NVRTC.folder()).flatten();
    if folder.is_none() {
        skip(
            Requirement::Python,
            "NVIDIA's run-time compiler is not installed: run `cargo xtask test`",
        );
    }
    folder.map(|folder| folder.join("nvidia/cu13/lib"))
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
    fn reports_of_kernels_are_read() {
        let log = "ptxas info    : 28 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_75'
ptxas info    : Function properties for first
ptxas         .     16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 30 registers, used 1 barriers, 128 bytes smem, 512 bytes cmem[0]
ptxas info    : Compiling entry function 'second' for 'sm_75'
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 255 registers, used 0 barriers, 512 bytes cmem[0]
";
        let kernel = |kernel: &str, registers, spilled, stack, shared| KernelResources {
            kernel: kernel.to_owned(),
            registers,
            spilled,
            stack,
            shared,
        };
        let expected = [
            kernel("first", 30, 12, 16, 128),
            kernel("second", 255, 0, 0, 0),
        ];
        assert_eq!(KernelResources::of_log(log), expected);
    }

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
        let Some(assembler) = PtxAssembler::open() else {
            return;
        };
        let cubin = assembler.assemble(&ptx, "sm_120").unwrap();
        assert!(cubin.starts_with(b"\x7fELF"));
        let error = assembler
            .assemble(&ptx.replace("ret;", "return;"), "sm_90")
            .unwrap_err();
        assert!(error.contains("return"), "{error}");
        fs::write(&file, "__global__ void f() { nothing(); }").unwrap();
        let error = nvrtc.compile(&file, &[]).unwrap_err();
        assert!(error.contains("nothing"), "{error}");
    }
}
