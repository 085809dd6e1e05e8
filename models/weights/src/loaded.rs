use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use crate::error::{FormatError, WeightsError};
use crate::state_dict::{StateDict, shown};

/// Modules that PyTorch wraps around others: DataParallel, DistributedDataParallel and AveragedModel;
/// torch.compile; FullyShardedDataParallel; activation checkpointing; Lightning's strategies. They are parts of
/// the names of the tensors inside.
const WRAPPERS: [&str; 5] = [
    "module",
    "_orig_mod",
    "_fsdp_wrapped_module",
    "_checkpoint_wrapped_module",
    "_forward_module",
];

/// The counter of AveragedModel.
const COUNTER: &str = "n_averaged";

/// Key of the metadata of a training state, the safetensors file from which topk-train resumes.
pub const TRAINING_STATE: &str = "topk-train";

/// Prefix of the names of the weights in a training state.
pub const STATE_WEIGHTS: &str = "weights/";

/// Prefix of the names of the averaged weights (EMA) in a training state.
pub const STATE_EMA: &str = "averages/";

/// Number of names that a note shows.
const SHOWN: usize = 3;

/// Weights from the file of any program, and what was decided in reading them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The weights.
    pub weights: StateDict,
    /// The decisions, one line each.
    pub notes: Vec<Note>,
}

/// Which weights to take.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReadOptions {
    /// Whether to take the weights that were averaged in training (EMA, exponential moving average). Otherwise
    /// they are taken only if the file has no others.
    pub use_ema: bool,
}

/// A decision in reading weights. The message is one line.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Note {
    /// The file has averaged weights too, which were not taken.
    NotEma {
        /// Key or prefix of the weights; empty if they have none.
        taken: String,
        /// Key or prefix of the averaged weights.
        ema: String,
    },
    /// The averaged weights under this key or prefix were taken.
    Ema(String),
    /// The weights are those of an AveragedModel.
    AveragedModel,
    /// The weights were under this key, which is not a usual one.
    Key(String),
    /// Names of wrappers were removed from the names of tensors.
    Wrappers(Vec<String>),
    /// Objects of these types were beside the weights, and were not read.
    Skipped(Vec<String>),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::NotEma { taken, ema } => {
                let under = match &**taken {
                    "" => String::new(),
                    taken => format!(" under `{}`", shown(taken)),
                };
                let ema = shown(ema);
                write!(
                    f,
                    "took the weights{under}, not the averaged ones (EMA) under `{ema}`"
                )
            }
            Self::Ema(key) => {
                write!(f, "took the averaged weights (EMA) under `{}`", shown(key))
            }
            Self::AveragedModel => f.write_str("took the averaged weights of an AveragedModel"),
            Self::Key(key) => write!(f, "took the tensors under `{}` as the weights", shown(key)),
            Self::Wrappers(wrappers) => {
                let wrappers: Vec<_> = wrappers.iter().map(|name| format!("`{name}.`")).collect();
                write!(
                    f,
                    "removed {} from the names of tensors",
                    wrappers.join(" and ")
                )
            }
            Self::Skipped(types) => {
                let first: Vec<_> = types.iter().take(SHOWN).map(|name| shown(name)).collect();
                let more = match types.len() - first.len() {
                    0 => String::new(),
                    1 => " and 1 more type".to_owned(),
                    more => format!(" and {more} more types"),
                };
                let first = first.join(", ");
                write!(
                    f,
                    "skipped objects of {first}{more} beside the weights, without building them"
                )
            }
        }
    }
}

/// Whether a key or name is one of averaged weights: `model_ema`, `state_dict_ema`, `ema`, `swa_model`.
pub(crate) fn is_ema(key: &str) -> bool {
    let mut words = key.split(|char: char| !char.is_alphanumeric());
    words.any(|word| {
        let word = word.to_ascii_lowercase();
        matches!(&*word, "ema" | "swa" | "averaged" | "modelema" | "emamodel")
    })
}

impl Loaded {
    /// Reads a file as [`StateDict::read`] does, and chooses between averaged weights and others if it has both.
    ///
    /// # Errors
    /// As [`StateDict::read`], or if averaged weights are requested but the file has none.
    pub fn read(path: &Path, options: ReadOptions) -> Result<Self, WeightsError> {
        let loaded = Self::read_all(path, options)?;
        loaded
            .chosen(options)
            .map_err(|error| WeightsError::Format {
                path: path.to_owned(),
                error,
            })
    }

    /// Reads the contents of a file, as [`read`](Self::read) does.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_bytes(bytes: &[u8], options: ReadOptions) -> Result<Self, FormatError> {
        Self::all_from_bytes(bytes, options)?.chosen(options)
    }

    pub(crate) fn of_weights(weights: StateDict) -> Self {
        Self {
            weights,
            notes: Vec::new(),
        }
    }

    /// Chooses between averaged weights and others that differ in the first part of their names.
    fn chosen(mut self, options: ReadOptions) -> Result<Self, FormatError> {
        if self.weights.metadata.contains_key(TRAINING_STATE) {
            return self.of_training_state(options);
        }
        if self.is_averaged() {
            return Ok(self);
        }
        let prefix = |name: &str| {
            let (first, _) = name.split_once('.')?;
            is_ema(first).then(|| first.to_owned())
        };
        let names = self.weights.tensors.keys();
        let prefixes: BTreeSet<String> = names.filter_map(|name| prefix(name)).collect();
        let Some(ema) = prefixes.first() else {
            return match options.use_ema {
                true => Err(FormatError::NoEma(String::new())),
                false => Ok(self),
            };
        };
        let tensors = std::mem::take(&mut self.weights.tensors).into_iter();
        let (averaged, others): (BTreeMap<_, _>, _) =
            tensors.partition(|(name, _)| prefix(name).is_some());
        if options.use_ema || others.is_empty() {
            self.notes.push(Note::Ema(ema.clone()));
            self.weights.tensors = averaged
                .into_iter()
                .filter_map(|(name, tensor)| {
                    let rest = name.strip_prefix(ema)?.strip_prefix('.')?;
                    Some((rest.to_owned(), tensor))
                })
                .collect();
        } else {
            self.notes.push(Note::NotEma {
                taken: String::new(),
                ema: ema.clone(),
            });
            self.weights.tensors = others;
        }
        Ok(self)
    }

    /// The weights, or the averaged ones, in the state of a run of topk-train.
    fn of_training_state(mut self, options: ReadOptions) -> Result<Self, FormatError> {
        let mut all = std::mem::take(&mut self.weights);
        // What describes the weights remains, not the state.
        all.metadata.remove(TRAINING_STATE);
        self.weights.metadata = std::mem::take(&mut all.metadata);
        let with = |prefix: &str| -> BTreeMap<_, _> {
            let tensors = all.tensors.iter();
            let tensors = tensors.filter_map(|(name, tensor)| {
                Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
            });
            tensors.collect()
        };
        let [taken, ema] = [STATE_WEIGHTS, STATE_EMA].map(|prefix| prefix.trim_end_matches('/'));
        let averaged = with(STATE_EMA);
        let note = match (options.use_ema, averaged.is_empty()) {
            (true, true) => return Err(FormatError::NoEma(String::new())),
            (true, false) => Note::Ema(ema.to_owned()),
            (false, true) => Note::Key(taken.to_owned()),
            (false, false) => Note::NotEma {
                taken: taken.to_owned(),
                ema: ema.to_owned(),
            },
        };
        self.notes.push(note);
        self.weights.tensors = match options.use_ema {
            true => averaged,
            false => with(STATE_WEIGHTS),
        };
        Ok(self)
    }

    /// Checks that all numbers are finite, removes the counter of AveragedModel, and wrappers from names.
    pub(crate) fn cleaned(mut self) -> Result<Self, FormatError> {
        for (name, tensor) in &self.weights.tensors {
            if let Some((index, value)) = tensor.not_finite() {
                return Err(FormatError::NotFinite {
                    name: name.clone(),
                    index,
                    value,
                });
            }
        }
        let tensors = &mut self.weights.tensors;
        let is_counter = |name: &String| {
            let last = name.rsplit('.').next();
            last == Some(COUNTER) && tensors[name].shape().is_empty()
        };
        let counters: Vec<_> = tensors
            .keys()
            .filter(|name| is_counter(name))
            .cloned()
            .collect();
        for counter in &counters {
            tensors.remove(counter);
        }
        if !counters.is_empty() && !self.is_averaged() {
            self.notes.push(Note::AveragedModel);
        }
        self.unwrap_names();
        Ok(self)
    }

    fn is_averaged(&self) -> bool {
        let mut notes = self.notes.iter();
        notes.any(|note| matches!(note, Note::Ema(_) | Note::AveragedModel))
    }

    fn unwrap_names(&mut self) {
        let mut found = BTreeSet::new();
        let mut renamed = BTreeMap::new();
        for name in self.weights.tensors.keys() {
            let parts: Vec<_> = name.split('.').collect();
            let (last, modules) = parts.split_last().expect("`split` gives at least one part");
            let kept = modules.iter().filter(|part| {
                let wrapper = WRAPPERS.iter().position(|wrapper| wrapper == *part);
                found.extend(wrapper);
                wrapper.is_none()
            });
            let kept: Vec<_> = kept.chain([last]).copied().collect();
            renamed.insert(kept.join("."), name.clone());
        }
        // Names that differ only in a wrapper belong to several networks.
        if found.is_empty()
            || renamed.len() < self.weights.tensors.len()
            || renamed.contains_key("")
        {
            return;
        }
        let mut tensors = std::mem::take(&mut self.weights.tensors);
        let renamed = renamed
            .into_iter()
            .filter_map(|(new, old)| Some((new, tensors.remove(&old)?)));
        self.weights.tensors = renamed.collect();
        let wrappers = found.iter().map(|&wrapper| WRAPPERS[wrapper].to_owned());
        self.notes.push(Note::Wrappers(wrappers.collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_dict::Value;
    use crate::tensor::Tensor;

    fn loaded(names: &[&str]) -> Loaded {
        let mut loaded = Loaded::default();
        for (value, &name) in names.iter().enumerate() {
            let tensor = Tensor::from_f32(&[], &[value as f32]).unwrap();
            loaded.weights.tensors.insert(name.to_owned(), tensor);
        }
        loaded.cleaned().unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        loaded(names).weights.tensors.into_keys().collect()
    }

    #[test]
    fn wrappers_are_removed_from_names() {
        assert_eq!(names(&["module.a", "module.b.c"]), ["a", "b.c"]);
        assert_eq!(names(&["features.module.0.w", "b"]), ["b", "features.0.w"]);
        assert_eq!(names(&["_orig_mod.module.a"]), ["a"]);
        assert_eq!(
            names(&["model._orig_mod.a", "model.b._checkpoint_wrapped_module.c"]),
            ["model.a", "model.b.c"]
        );
        assert_eq!(names(&["_fsdp_wrapped_module.a.module"]), ["a.module"]);
        assert_eq!(names(&["module.a", "a"]), ["a", "module.a"]);
        assert_eq!(names(&["module.", "module.a"]), ["module.", "module.a"]);
        assert_eq!(names(&["n_averaged", "module.a.w"]), ["a.w"]);
        assert!(names(&[]).is_empty());
        let notes = loaded(&["module.a", "b._orig_mod.c"]).notes;
        let notes: Vec<_> = notes.iter().map(Note::to_string).collect();
        assert_eq!(
            notes,
            ["removed `module.` and `_orig_mod.` from the names of tensors"]
        );
    }

    #[test]
    fn a_training_state_has_weights_and_averages() {
        let state = |names: &[&str]| {
            let mut state = loaded(names);
            let position = Value::Text("{}".to_owned());
            let metadata = &mut state.weights.metadata;
            metadata.insert(TRAINING_STATE.to_owned(), position);
            metadata.insert("card".to_owned(), Value::Text("of the weights".to_owned()));
            state
        };
        let both = || state(&["averages/a.w", "sums", "velocities/a.w", "weights/a.w"]);
        for (use_ema, value, note) in [
            (
                false,
                3.0,
                "took the weights under `weights`, not the averaged ones (EMA) under `averages`",
            ),
            (
                true,
                0.0,
                "took the averaged weights (EMA) under `averages`",
            ),
        ] {
            let chosen = both().chosen(ReadOptions { use_ema }).unwrap();
            let expected = Tensor::from_f32(&[], &[value]).unwrap();
            let expected = BTreeMap::from([("a.w".to_owned(), expected)]);
            assert_eq!(chosen.weights.tensors, expected);
            let keys: Vec<_> = chosen.weights.metadata.keys().collect();
            assert_eq!(keys, ["card"]);
            assert_eq!(chosen.notes.last().unwrap().to_string(), note);
        }
        let plain = state(&["sums", "velocities/a.w", "weights/a.w"]);
        let plain = plain.chosen(ReadOptions::default()).unwrap();
        assert_eq!(plain.weights.tensors.keys().collect::<Vec<_>>(), ["a.w"]);
        let none = state(&["weights/a.w"]).chosen(ReadOptions { use_ema: true });
        assert!(none.is_err());
    }

    #[test]
    fn averaged_weights_are_a_choice() {
        let both = || loaded(&["model.a", "model_ema.module.a", "model_ema.b"]);
        let plain = both().chosen(ReadOptions::default()).unwrap();
        assert_eq!(
            plain.weights.tensors.keys().collect::<Vec<_>>(),
            ["model.a"]
        );
        assert_eq!(
            plain.notes.last().unwrap().to_string(),
            "took the weights, not the averaged ones (EMA) under `model_ema`"
        );
        let ema = both().chosen(ReadOptions { use_ema: true }).unwrap();
        assert_eq!(ema.weights.tensors.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            ema.notes.last().unwrap().to_string(),
            "took the averaged weights (EMA) under `model_ema`"
        );
        let none = loaded(&["model.a"]).chosen(ReadOptions { use_ema: true });
        assert_eq!(
            none.unwrap_err().to_string(),
            "it has no averaged (EMA) weights"
        );
        let alone = loaded(&["ema.a"]).chosen(ReadOptions::default()).unwrap();
        assert!(alone.weights.tensors.contains_key("a"));
        assert!(
            is_ema("ema") && is_ema("state_dict_ema") && is_ema("net.EMA") && is_ema("swa_model")
        );
        assert!(!is_ema("schema") && !is_ema("emanet") && !is_ema("swap.weight"));
    }
}
