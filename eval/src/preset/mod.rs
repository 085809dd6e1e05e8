//! Preprocessing from where models come from: by name, from a configuration file, or from one beside the model.

mod config;
mod error;
mod timm;
mod transformers;

use std::path::{Path, PathBuf};

use topk_preprocessing::Preset;

use self::config::ConfigFile;
pub use self::error::PresetError;

/// Names of configuration files that are looked for beside a model.
const TIMM: &str = "config.json";
const TRANSFORMERS: &str = "preprocessor_config.json";
pub(crate) const CONFIGURATIONS: [&str; 2] = [TRANSFORMERS, TIMM];

/// Name of a folder of models, as on the Hugging Face hub; their configuration is in the folder above.
pub(crate) const MODELS: &str = "onnx";

/// A preset, and where it is from.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedPreset {
    /// Its name, or the path of its file.
    pub name: String,
    /// The settings.
    pub preset: Preset,
}

impl NamedPreset {
    /// The preset of this name ([`Preset::named`]), or else of the configuration file with this path: timm's
    /// `config.json`, or the `preprocessor_config.json` of transformers.
    ///
    /// # Errors
    /// If neither a preset nor a file has this name, or the file has settings that cannot be reproduced.
    pub fn find(text: &str) -> Result<Self, PresetError> {
        if let Some(preset) = Preset::named(text) {
            return Ok(Self {
                name: text.to_owned(),
                preset,
            });
        }
        let path = Path::new(text);
        let is_file = path.exists() || text.contains('/') || text.ends_with(".json");
        match is_file {
            true => Self::read(path),
            false => Err(PresetError::Unknown {
                name: text.to_owned(),
            }),
        }
    }

    /// The preset of a configuration file.
    ///
    /// # Errors
    /// If it cannot be read, or has settings that cannot be reproduced.
    pub fn read(path: &Path) -> Result<Self, PresetError> {
        let file = ConfigFile::read(path)?;
        let preset = preset(&file)?;
        let preset = preset.ok_or_else(|| PresetError::NoPreprocessing {
            path: path.to_owned(),
        })?;
        Ok(Self {
            name: path.display().to_string(),
            preset,
        })
    }

    /// The preset of the configuration file beside a model, or in the folder above if its folder is named `onnx`, as
    /// on the Hugging Face hub.
    ///
    /// # Errors
    /// If a file has settings that cannot be reproduced, or two prescribe different ones.
    pub(crate) fn beside(model: &Path) -> Result<Option<Self>, PresetError> {
        let folder = model.parent().unwrap_or(Path::new(""));
        let above = folder.parent().filter(|_| folder.ends_with(MODELS));
        for folder in [Some(folder), above].into_iter().flatten() {
            let found = CONFIGURATIONS.map(|name| in_folder(folder, name));
            let [first, second] = found;
            let (first, second) = match (first?, second?) {
                (Some(first), Some(second)) => (first, second),
                (None, None) => continue,
                (first, second) => return Ok(first.or(second)),
            };
            if first.preset != second.preset {
                return Err(PresetError::Ambiguous {
                    first: first.name.into(),
                    second: second.name.into(),
                });
            }
            return Ok(Some(first));
        }
        Ok(None)
    }
}

/// The preset of the file with this name in a folder, if there is one. Files named `config.json` are of many kinds: those
/// without preprocessing do not count.
fn in_folder(folder: &Path, name: &str) -> Result<Option<NamedPreset>, PresetError> {
    let path: PathBuf = folder.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    let beside = |error: PresetError| PresetError::Beside {
        reason: error.to_string(),
    };
    let file = match ConfigFile::read(&path) {
        Ok(file) => file,
        Err(_) if name == TIMM => return Ok(None),
        Err(error) => return Err(beside(error)),
    };
    let preset = preset(&file).map_err(beside)?;
    Ok(preset.map(|preset| NamedPreset {
        name: path.display().to_string(),
        preset,
    }))
}

/// The preset of a file; none if it has no preprocessing.
fn preset(file: &ConfigFile) -> Result<Option<Preset>, PresetError> {
    if let Some(section) = timm::section(file) {
        return timm::preset(&section).map(Some);
    }
    match transformers::family(file)? {
        Some(family) => transformers::preset(&file.root(), &family).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const VIT: &str = r#"{"image_processor_type": "ViTImageProcessor", "do_resize": true, "size": 224, "resample": 2}"#;
    const CFG: &str = r#"{"architecture": "resnet18", "pretrained_cfg": {"crop_pct": 0.95}}"#;
    const MODEL: &str = r#"{"model_type": "vit", "image_size": 224}"#;

    /// The preset in a configuration file with this text; errors without its path.
    pub(super) fn read(config: &str) -> Result<Preset, String> {
        let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        fs::write(file.path(), config).unwrap();
        let found = NamedPreset::read(file.path()).map(|named| named.preset);
        let path = format!("{}: ", file.path().display());
        found.map_err(|error| error.to_string().replace(&path, ""))
    }

    /// A folder with these files, and a model in a folder below it.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn beside(files: &[(&str, &str)], model: &str) -> Result<Option<String>, String> {
        let folder = folder(files);
        let found = NamedPreset::beside(&folder.path().join(model));
        let root = format!("{}/", folder.path().display());
        found
            .map(|found| found.map(|found| found.name.replace(&root, "")))
            .map_err(|error| error.to_string().replace(&root, ""))
    }

    #[test]
    fn files_beside_the_model_are_found() {
        let some = |name: &str| Ok(Some(name.to_owned()));
        let both = [("config.json", MODEL), ("preprocessor_config.json", VIT)];
        assert_eq!(beside(&both, "m.onnx"), some("preprocessor_config.json"));
        assert_eq!(
            beside(&[("config.json", CFG)], "m.onnx"),
            some("config.json")
        );
        assert_eq!(
            beside(&both, "onnx/m.onnx"),
            some("preprocessor_config.json")
        );
        // Only in a folder of that name.
        assert_eq!(beside(&both, "other/m.onnx"), Ok(None));
        for text in [MODEL, "[1]", "no JSON", "{}"] {
            assert_eq!(
                beside(&[("config.json", text)], "m.onnx"),
                Ok(None),
                "{text}"
            );
        }
    }

    #[test]
    fn files_beside_the_model_must_agree_and_be_readable() {
        let both = [("config.json", CFG), ("preprocessor_config.json", VIT)];
        assert_eq!(
            beside(&both, "m.onnx").unwrap_err(),
            "preprocessor_config.json and config.json prescribe different preprocessing: choose one with --preset"
        );
        let error = beside(&[("preprocessor_config.json", "{")], "m.onnx").unwrap_err();
        assert!(
            error.starts_with("preprocessor_config.json is not valid JSON: ")
                && error.ends_with(
                    "; it is beside the model: to ignore it, pass --preset, or --mean and --std"
                ),
            "{error}"
        );
    }

    #[test]
    fn names_come_before_files() {
        assert_eq!(NamedPreset::find("clip").unwrap().preset, Preset::CLIP);
        let weights = "EfficientNet_V2_L_Weights.IMAGENET1K_V1";
        assert_eq!(
            NamedPreset::find(weights).unwrap().preset.input_size,
            Some([480; 2])
        );
        let error = NamedPreset::find("resnet50").unwrap_err().to_string();
        assert!(
            error.starts_with("unknown preset `resnet50`: expected torchvision, torchvision-v2, "),
            "{error}"
        );
        let error = NamedPreset::find("missing/config.json")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("cannot read missing/config.json: "),
            "{error}"
        );
        let folder = folder(&[("config.json", MODEL), ("timm.json", CFG)]);
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        assert!(NamedPreset::find(&path("timm.json")).is_ok());
        let error = NamedPreset::find(&path("config.json"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("config.json has no preprocessing"),
            "{error}"
        );
    }
}
