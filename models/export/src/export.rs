use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use thiserror::Error;
use topk_models::{Checkpoint, OnnxError, OnnxOptions, onnx_model};
use topk_native::Runtime;
use topk_onnx::proto::ModelProto;

use crate::draft::Draft;
use crate::verification::{Expected, Verification, VerificationError};

/// How a checkpoint is exported as an ONNX file.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportOptions {
    /// The model.
    pub model: OnnxOptions,
    /// Whether the model is run in ONNX Runtime and, if built with the feature `libtorch`, compared with
    /// the network in libtorch.
    pub verify: bool,
    /// Maximum difference between outputs, relative to the largest logit. `None` is 1e-4, or 1e-2 in
    /// 16-bit floating point.
    pub tolerance: Option<f32>,
}

impl Default for ExportOptions {
    /// The default model, verified.
    fn default() -> Self {
        Self {
            model: OnnxOptions::default(),
            verify: true,
            tolerance: None,
        }
    }
}

/// Why a checkpoint cannot be exported as an ONNX file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The checkpoint cannot be converted.
    #[error(transparent)]
    Model(#[from] OnnxError),
    /// The model cannot be run, or its outputs are wrong.
    #[error(transparent)]
    Verification(#[from] VerificationError),
    /// The file cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
}

impl ExportError {
    pub(crate) fn write(path: &Path, error: io::Error) -> Self {
        Self::Write {
            path: path.to_owned(),
            error,
        }
    }
}

/// Writes the ONNX model of a checkpoint to a file and verifies it: runs it in ONNX Runtime on a
/// photograph and on noise, and compares the outputs with those of the network in libtorch. A model that
/// fails is not left behind.
///
/// The weights of a model above 2 GiB, which cannot be one file, go to a second file beside it, as
/// [`topk_onnx::save`] says.
///
/// # Errors
/// As [`onnx_model`], if a file cannot be written, or if the model fails verification.
pub fn export(
    checkpoint: Checkpoint,
    options: &ExportOptions,
    path: &Path,
) -> Result<Option<Verification>, ExportError> {
    let export = Export::new(checkpoint, options)?;
    let draft = Draft::beside(path)?;
    let name = path
        .file_name()
        .ok_or_else(|| draft.error(io::ErrorKind::IsADirectory.into()))?;
    let verification = export.write(&draft, &draft.folder().join(name))?;
    let written = fs::read_dir(draft.folder()).and_then(|files| {
        // The model last: its name appears only once its data is complete.
        let mut files: Vec<_> = files
            .map(|file| Ok(file?.file_name()))
            .collect::<io::Result<_>>()?;
        files.sort_by_key(|file| file == name);
        for file in files {
            fs::rename(draft.folder().join(&file), path.with_file_name(&file))?;
        }
        Ok(())
    });
    written.map_err(|error| draft.error(error))?;
    Ok(verification)
}

/// A model in memory, and the outputs expected of it.
pub(crate) struct Export<'a> {
    options: &'a ExportOptions,
    expected: Option<Expected>,
    pub(crate) model: ModelProto,
}

impl<'a> Export<'a> {
    pub(crate) fn new(
        checkpoint: Checkpoint,
        options: &'a ExportOptions,
    ) -> Result<Self, ExportError> {
        let expected = options.verify.then(|| Expected::new(&checkpoint));
        Ok(Self {
            options,
            expected: expected.transpose()?,
            model: onnx_model(checkpoint, &options.model)?,
        })
    }

    /// Writes the model to `path`, which is in `draft`, and verifies it.
    pub(crate) fn write(
        self,
        draft: &Draft,
        path: &Path,
    ) -> Result<Option<Verification>, ExportError> {
        let Self {
            options,
            expected,
            model,
        } = self;
        let files = thread::scope(|scope| {
            if expected.is_some() {
                // Loaded once per process; the verification reports errors.
                scope.spawn(|| drop(Runtime::load()));
            }
            topk_onnx::save_unsynced(&model, path)
        });
        let files = files.map_err(|error| draft.error(error))?;
        // ONNX Runtime is about to need the same amount of memory.
        drop(model);
        while_syncing(draft, &files, || {
            let verification = expected.map(|expected| expected.check(path, options));
            verification.transpose()
        })
    }
}

/// Verifies a model while the system stores its files. An error in storing them is reported before one in verification.
fn while_syncing<T>(
    draft: &Draft,
    files: &[File],
    verify: impl FnOnce() -> Result<T, VerificationError>,
) -> Result<T, ExportError> {
    let (synced, verified) = thread::scope(|scope| {
        let syncing = scope.spawn(|| files.iter().try_for_each(File::sync_all));
        let verified = verify();
        (syncing.join().expect("syncing does not panic"), verified)
    });
    synced.map_err(|error| draft.error(error))?;
    Ok(verified?)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn files_that_cannot_be_stored_are_an_error_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net.onnx");
        let stored = File::create(folder.path().join("stored")).unwrap();
        // A pipe cannot be stored.
        let (_reader, writer) = io::pipe().unwrap();
        let files = [stored, File::from(OwnedFd::from(writer))];
        for verified in [Ok(()), Err(VerificationError::Zero)] {
            let draft = Draft::beside(&path).unwrap();
            fs::write(draft.folder().join("net.onnx"), "a model").unwrap();
            let error = while_syncing(&draft, &files, || verified).unwrap_err();
            let expected = format!("cannot write {}: Invalid argument", path.display());
            assert!(error.to_string().starts_with(&expected), "{error}");
            drop(draft);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        let draft = Draft::beside(&path).unwrap();
        let failed = || Err::<(), _>(VerificationError::Zero);
        let error = while_syncing(&draft, &files[..1], failed).unwrap_err();
        assert!(matches!(
            error,
            ExportError::Verification(VerificationError::Zero)
        ));
        assert_eq!(while_syncing(&draft, &files[..1], || Ok(7)).unwrap(), 7);
    }
}
