use std::path::PathBuf;

use thiserror::Error;
use topk_history::BESTK;

use crate::state::STATE;

/// A run cannot be resumed like this.
#[derive(Debug, Error)]
#[non_exhaustive]
pub(crate) enum ResumeError {
    /// The folder contains a run with other settings that has no state.
    #[error(
        "{} belongs to a run with other settings ({differences}): choose another --out, or remove the folder",
        path.display()
    )]
    NotStarted {
        /// The folder.
        path: PathBuf,
        /// The settings that differ.
        differences: String,
    },
    /// The folder contains a run with other settings.
    #[error(
        "{folder} belongs to a run with other settings ({differences}): choose another --out, and add \
         --resume-from {folder} to continue from this run, or remove the folder",
        folder = path.display()
    )]
    Settings {
        /// The folder.
        path: PathBuf,
        /// The settings that differ.
        differences: String,
    },
    /// Another number of ranks makes other batches.
    #[error(
        "{} belongs to a run with batches of {saved} images in total, and these settings make {found} (ranks: {ranks}): \
         give --global-batch-size {saved} in place of --batch-size, or choose another --out",
        path.display()
    )]
    BatchSize {
        /// The folder.
        path: PathBuf,
        /// The batch size of the run, of all ranks.
        saved: String,
        /// The batch size now.
        found: usize,
        /// The number of ranks now.
        ranks: usize,
    },
    /// There are fewer epochs than the run has trained.
    #[error(
        "--epochs {epochs} is less than the {begun} epochs that the run in {} has begun: give at least {begun}",
        path.display()
    )]
    Epochs {
        /// The folder.
        path: PathBuf,
        /// Requested epochs.
        epochs: usize,
        /// Epochs that have begun.
        begun: usize,
    },
    /// Only the test of a finished run would change.
    #[error(
        "{folder} contains a finished run, which is not tested again ({differences}): test its model with \
         topk-eval --model {folder}/{BESTK}.onnx",
        folder = path.display()
    )]
    Tested {
        /// The folder.
        path: PathBuf,
        /// The settings that differ.
        differences: String,
    },
    /// The images differ from those that the run was trained on.
    #[error(
        "the images of {} are not those that the run in {} was trained on: {difference}. Restore the images, \
         choose another --out, or start from the weights with --checkpoint {}",
        data.display(), path.display(), weights.display()
    )]
    Data {
        /// --data.
        data: PathBuf,
        /// The folder of the run.
        path: PathBuf,
        /// What is different.
        difference: String,
        /// A file of weights.
        weights: PathBuf,
    },
    /// The weights of the classes differ from those that the run was trained with.
    #[error(
        "--class-weights {weights}: the weights are not those that the run in {} was trained with: that of class {class} \
         (counted from 0) was {was}, and is {now}. Restore the weights, or choose another --out",
        path.display()
    )]
    ClassWeights {
        /// --class-weights.
        weights: String,
        /// The folder of the run.
        path: PathBuf,
        /// Index of the first class that differs.
        class: usize,
        /// Its weight in the run.
        was: f64,
        /// Its weight now.
        now: f64,
    },
    /// The teacher is another model than that of the run.
    #[error(
        "--teacher {}: the file is not the model that taught the run in {} so far. Restore the file, or choose another \
         --out",
        teacher.display(), path.display()
    )]
    Teacher {
        /// --teacher.
        teacher: PathBuf,
        /// The folder of the run.
        path: PathBuf,
    },
    /// The run of --resume-from has another network.
    #[error(
        "--resume-from {}: a run is continued with its own network and --test-resize ({differences}): start \
         from its weights with --checkpoint {}",
        path.display(), weights.display()
    )]
    Network {
        /// The folder of the run.
        path: PathBuf,
        /// How it differs.
        differences: String,
        /// A file of weights.
        weights: PathBuf,
    },
    /// Weights are given twice.
    #[error(
        "--resume-from {} continues from the weights of that run, so --checkpoint {checkpoint} would have no \
         effect: leave out one of them",
        path.display()
    )]
    Checkpoint {
        /// The run.
        path: PathBuf,
        /// The file.
        checkpoint: String,
    },
    /// The continued run has no epochs left, and its best checkpoints cannot be kept.
    #[error(
        "--resume-from {}: all {epochs} epochs are trained, and {differences} changes what is validated: give \
         more --epochs",
        path.display()
    )]
    NothingLeft {
        /// The run.
        path: PathBuf,
        /// Number of epochs.
        epochs: usize,
        /// The settings that differ.
        differences: String,
    },
    /// --resume-from is not a run.
    #[error(
        "--resume-from {}: expected the folder of a run that has saved a state, or its {STATE}; weights of other \
         files are given with --checkpoint",
        path.display()
    )]
    NoRun {
        /// What it names.
        path: PathBuf,
    },
    /// --resume-from is the folder of --out.
    #[error("--resume-from {} is the folder --out: leave it out to resume the run", path.display())]
    Itself {
        /// The folder.
        path: PathBuf,
    },
    /// Another process is training the run.
    #[error(
        "--resume-from {}: another process is training there; wait for it to finish, or stop it",
        path.display()
    )]
    Busy {
        /// The run.
        path: PathBuf,
    },
    /// The output folder contains another run.
    #[error(
        "{} contains a run that does not continue {from}: choose another --out, or leave out --resume-from",
        path.display()
    )]
    OtherRun {
        /// The folder.
        path: PathBuf,
        /// --resume-from.
        from: String,
    },
    /// A best checkpoint is not the one that the state describes.
    #[error(
        "{} does not belong to the saved state, which was interrupted while it was written: resume the run in \
         {} before it is continued in another folder",
        file.display(), path.display()
    )]
    Ahead {
        /// The checkpoint.
        file: PathBuf,
        /// The folder of the run.
        path: PathBuf,
    },
}
