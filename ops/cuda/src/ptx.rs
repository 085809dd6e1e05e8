//! The kernels as PTX.
//!
//! There is one file for each `.cu` file in `kernels`, compressed, since the libraries for Python and ONNX Runtime each
//! contain all of them: 2 MB of text are 240 kB. `cargo xtask ptx` makes them, and a test compares them with the
//! sources. A driver takes about a second to compile a whole module for its GPU, so it is given a single kernel at a
//! time.

use std::io::Read;

use lzma_rust2::XzReader;
use thiserror::Error;

/// Kernels that are compiled together.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Module {
    /// The smooth top-1 SVM and cross-entropy.
    Top1,
    /// The smooth top-k SVM for k up to 5.
    Top5,
    /// For k up to 10.
    Top10,
    /// For larger k.
    TopAny,
    /// The losses of the highest scores.
    Ranked,
    /// Sums over the samples.
    Totals,
}

/// The embedded PTX is damaged.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("the CUDA kernels in this library are damaged ({0}): install it again")]
pub struct DamagedPtx(pub(crate) String);

impl Module {
    /// All modules.
    pub const ALL: [Self; 6] = [
        Self::Top1,
        Self::Top5,
        Self::Top10,
        Self::TopAny,
        Self::Ranked,
        Self::Totals,
    ];

    fn compressed(self) -> &'static [u8] {
        match self {
            Self::Top1 => include_bytes!("../ptx/top_1.ptx.xz"),
            Self::Top5 => include_bytes!("../ptx/top_5.ptx.xz"),
            Self::Top10 => include_bytes!("../ptx/top_10.ptx.xz"),
            Self::TopAny => include_bytes!("../ptx/top_any.ptx.xz"),
            Self::Ranked => include_bytes!("../ptx/ranked.ptx.xz"),
            Self::Totals => include_bytes!("../ptx/totals.ptx.xz"),
        }
    }

    /// The whole text.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn ptx(self) -> Result<String, DamagedPtx> {
        let mut ptx = String::new();
        XzReader::new(self.compressed(), false)
            .read_to_string(&mut ptx)
            .map_err(|error| DamagedPtx(error.to_string()))?;
        Ok(ptx)
    }

    #[cfg(test)]
    pub(crate) fn kernels(self) -> Result<Vec<&'static str>, DamagedPtx> {
        let ptx: &str = self.ptx()?.leak();
        Ok(parts(ptx).filter_map(kernel_of).collect())
    }
}

/// The text of a module without its other kernels.
///
/// # Errors
/// If it is damaged.
pub fn text(module: Module, kernel: &str) -> Result<String, DamagedPtx> {
    let ptx = module.ptx()?;
    let wanted = parts(&ptx).filter(|part| kernel_of(part).is_none_or(|found| found == kernel));
    let text: String = wanted.collect();
    if text.len() < ptx.len() && !text.contains(ENTRY) {
        return Err(DamagedPtx(format!("{kernel} is missing")));
    }
    Ok(text)
}

const ENTRY: &str = ".visible .entry ";

/// Splits PTX at its kernels: each is one part, and so is the text before them, which has all declarations.
fn parts(ptx: &str) -> impl Iterator<Item = &str> {
    let mut rest = ptx;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let own = if rest.starts_with(ENTRY) {
            ENTRY.len()
        } else {
            0
        };
        let end = rest[own..]
            .find(ENTRY)
            .map_or(rest.len(), |next| own + next);
        let (part, after) = rest.split_at(end);
        rest = after;
        Some(part)
    })
}

/// The name of the kernel that a part is.
fn kernel_of(part: &str) -> Option<&str> {
    part.strip_prefix(ENTRY)?.split('(').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_kernel_and_all_declarations() {
        for module in Module::ALL {
            let whole = module.ptx().unwrap();
            let declarations = &whole[..whole.find(ENTRY).unwrap()];
            let kernels = module.kernels().unwrap();
            for kernel in &kernels {
                let one = text(module, kernel).unwrap();
                assert!(one.starts_with(declarations));
                assert_eq!(one.matches(ENTRY).count(), 1, "{kernel}");
                assert!(one.contains(&format!("{ENTRY}{kernel}(")));
                assert!(one.ends_with("}\n"));
                assert_eq!(
                    one.matches('{').count(),
                    one.matches('}').count(),
                    "{kernel}"
                );
                // Nothing of the others is left.
                for other in kernels.iter().filter(|other| *other != kernel) {
                    assert!(
                        !one.contains(&format!("{other}_param_0")),
                        "{kernel} {other}"
                    );
                }
            }
        }
        let error = text(Module::Top1, "topk_svm_2_warp").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the CUDA kernels in this library are damaged (topk_svm_2_warp is missing): install it again"
        );
    }
}
