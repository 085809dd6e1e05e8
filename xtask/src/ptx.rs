//! The CUDA kernels as PTX: one compressed file for each `.cu` file.
//!
//! PTX alone is shipped, and the driver compiles it for its GPU: machine code for the seven architectures in use would
//! be 8 MB, and PTX also serves those to come.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use lzma_rust2::{XzOptions, XzWriter};
use topk_testing::{NVRTC, Nvrtc, root};

use crate::testing::install_python;

/// The compiler's options. Turing is the oldest architecture that it supports.
pub(crate) const OPTIONS: [&str; 3] = [
    "--gpu-architecture=compute_75",
    "--std=c++17",
    "--device-as-default-execution-space",
];

/// The version of PTX that is declared: that of CUDA 11.8, so that drivers from 520 on accept it. The compiler declares
/// its own version, whether or not the code needs it.
const VERSION: &str = "7.8";

/// Compiles all kernels.
pub(crate) fn run() -> Result<()> {
    install_python(&NVRTC)?;
    let nvrtc = Nvrtc::open().context("cannot load NVIDIA's run-time compiler")?;
    let mut total = 0;
    for source in sources()? {
        let ptx = compile(&nvrtc, &source)?;
        let compressed = compress(&ptx)?;
        let path = output(&source);
        fs::write(&path, &compressed)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!(
            "{}: {} bytes of PTX, {} compressed",
            path.strip_prefix(root()).unwrap_or(&path).display(),
            ptx.len(),
            compressed.len()
        );
        total += compressed.len();
    }
    println!("{total} bytes in all");
    Ok(())
}

/// The files that are compiled, in alphabetical order.
pub(crate) fn sources() -> Result<Vec<PathBuf>> {
    let folder = root().join("ops/cuda/kernels");
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut sources = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "cu"));
    sources.sort();
    Ok(sources)
}

/// The file for the PTX of a source.
fn output(source: &Path) -> PathBuf {
    let name = source.file_stem().expect("a source has a name");
    let mut path = root().join("ops/cuda/ptx").join(name);
    path.add_extension("ptx.xz");
    path
}

/// The PTX of a source, as it is shipped.
fn compile(nvrtc: &Nvrtc, source: &Path) -> Result<String> {
    let compiled = nvrtc
        .compile(source, &OPTIONS)
        .map_err(|log| anyhow!("{} does not compile:\n{log}", source.display()))?;
    let ptx = String::from_utf8(compiled.ptx).context("PTX is text")?;
    Ok(shipped(&ptx))
}

/// Declares the older version, and removes comments and hints that older drivers do not know.
fn shipped(ptx: &str) -> String {
    let mut result = String::new();
    for line in ptx.lines() {
        let line = line.trim();
        if line.starts_with(".version ") {
            result.push_str(".version ");
            result.push_str(VERSION);
            result.push('\n');
        } else if !(line.is_empty()
            || line.starts_with("//")
            || line.starts_with(".pragma \"used_bytes_mask"))
        {
            result.push_str(line);
            result.push('\n');
        }
    }
    result
}

fn compress(ptx: &str) -> Result<Vec<u8>> {
    let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(9))?;
    writer.write_all(ptx.as_bytes())?;
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use lzma_rust2::XzReader;
    use topk_testing::PtxAssembler;

    use super::*;

    /// The PTX in the repository.
    fn shipped_for(source: &Path) -> Result<String> {
        let path = output(source);
        let compressed =
            fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut ptx = String::new();
        XzReader::new(&*compressed, false).read_to_string(&mut ptx)?;
        Ok(ptx)
    }

    #[test]
    fn the_ptx_in_the_repository_is_that_of_the_sources() {
        let Some(nvrtc) = Nvrtc::open() else { return };
        let sources = sources().unwrap();
        assert!(!sources.is_empty());
        for source in &sources {
            assert!(
                compile(&nvrtc, source).unwrap() == shipped_for(source).unwrap(),
                "{} changed: run `cargo xtask ptx`",
                source.display()
            );
        }
        let files = fs::read_dir(root().join("ops/cuda/ptx")).unwrap();
        assert_eq!(files.count(), sources.len(), "a source was removed");
    }

    /// What a driver does when it loads the kernels; PTX newer than its declared version is an error.
    #[test]
    fn the_ptx_compiles_for_the_oldest_and_the_newest_architecture() {
        let Some(assembler) = PtxAssembler::open() else {
            return;
        };
        for source in sources().unwrap() {
            let ptx = shipped_for(&source).unwrap();
            assert!(ptx.starts_with(".version 7.8\n.target sm_75\n"));
            for architecture in ["sm_75", "sm_120"] {
                let result = assembler.assemble(&ptx, architecture);
                assert!(result.is_ok(), "{} {result:?}", source.display());
            }
        }
    }

    #[test]
    fn comments_and_hints_are_removed() {
        let ptx = "//\n// Generated\n.version 9.0\n.target sm_75\n\n\t.pragma \"used_bytes_mask 15\";\n\tret;\n";
        assert_eq!(shipped(ptx), ".version 7.8\n.target sm_75\nret;\n");
    }
}
