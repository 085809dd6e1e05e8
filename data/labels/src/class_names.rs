use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use topk_files::excerpt;

use crate::{LabelError, MAX_CLASSES, imagenet, text};

/// Largest file that is read; the names of ImageNet-21k have 1 MB.
const MAX_BYTES: u64 = 1 << 26;

/// Expected contents of a JSON file.
const EXPECTED: &str = "a list of names, names or [wnid, name] by index (\"0\", \"1\", …), or a \
                        config.json with id2label or label_names";

/// Names of the classes of a model, in the order of its outputs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClassNames {
    path: PathBuf,
    names: Vec<String>,
    wnids: Option<Vec<String>>,
}

impl ClassNames {
    /// Reads a file of names, which may be
    ///
    /// - a text with one name per line, such as `imagenet_classes.txt`;
    /// - a JSON list of names;
    /// - a JSON object of names by index, `{"0": "tench", …}`, or of wnids and names, `{"0": ["n01440764",
    ///   "tench"], …}`, such as `imagenet_class_index.json`;
    /// - the `config.json` of a model on the Hugging Face hub, with `id2label` (transformers), or with
    ///   `label_names` and optionally `label_descriptions` (timm).
    ///
    /// If all names are wnids, or start with one as in `synset_words.txt`, the wnids are separated from
    /// the names (see [`wnids`](Self::wnids)). wnids without names get those of ILSVRC-2012.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, a class has no name, or there are more than 1,048,576.
    pub fn read(path: &Path) -> Result<Self, LabelError> {
        let text = text::read_limited(path, MAX_BYTES)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let names = match text.trim_start().starts_with(['[', '{']) {
            true => of_json(text).map_err(|reason| LabelError::Json {
                path: path.to_owned(),
                reason,
                expected: EXPECTED,
            })?,
            false => of_lines(text, path)?,
        };
        if names.is_empty() {
            return Err(LabelError::Empty(path.to_owned()));
        }
        let pairs: Option<Vec<(&str, &str)>> =
            names.iter().map(|name| wnid_and_names(name)).collect();
        let (wnids, names) = match pairs {
            None => (None, names),
            Some(pairs) => {
                let wnids = pairs.iter().map(|(wnid, _)| (*wnid).to_owned());
                let names = pairs.iter().map(|(_, names)| (*names).to_owned());
                (Some(wnids.collect()), names.collect())
            }
        };
        Ok(Self {
            path: path.to_owned(),
            names,
            wnids,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names, by class index.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// WordNet IDs of the classes, if the file has them.
    pub fn wnids(&self) -> Option<&[String]> {
        self.wnids.as_deref()
    }
}

fn of_lines(text: &str, path: &Path) -> Result<Vec<String>, LabelError> {
    let lines: Vec<(usize, &str)> = text::lines(text).collect();
    let blank = (1..).zip(&lines).find(|(line, (number, _))| line != number);
    if lines.len() > MAX_CLASSES {
        let expected = format!("at most {MAX_CLASSES} names");
        let (number, line) = lines[MAX_CLASSES];
        return Err(LabelError::line(path, number, line, expected));
    }
    if let Some((line, _)) = blank {
        let expected = format!("the name of class {}", line - 1);
        return Err(LabelError::line(path, line, "", expected));
    }
    Ok(lines.into_iter().map(|(_, line)| line.to_owned()).collect())
}

/// Names, each optionally after a wnid and a space.
fn of_json(text: &str) -> Result<Vec<String>, String> {
    let json = serde_json::from_str(text).map_err(|error| error.to_string())?;
    match &json {
        Value::Object(config) => match (config.get("id2label"), config.get("label_names")) {
            (Some(names), _) => of_value(names),
            (None, Some(names)) => {
                let names = of_value(names)?;
                Ok(match config.get("label_descriptions") {
                    Some(Value::Object(descriptions)) => described(names, descriptions),
                    _ => names,
                })
            }
            (None, None) => of_value(&json),
        },
        _ => of_value(&json),
    }
}

/// Names from a list, or from an object by index.
fn of_value(value: &Value) -> Result<Vec<String>, String> {
    let entries: Vec<&Value> = match value {
        Value::Array(entries) => entries.iter().collect(),
        Value::Object(entries) => {
            let mut by_index = vec![None; entries.len()];
            for (key, entry) in entries {
                let index = key.parse::<usize>().ok();
                let slot = index.and_then(|index| by_index.get_mut(index));
                *slot.ok_or_else(|| {
                    format!(
                        "the key `{}` is not an index below {}, the number of names",
                        excerpt(key),
                        entries.len()
                    )
                })? = Some(entry);
            }
            let missing = by_index.iter().position(Option::is_none);
            match missing {
                None => by_index.into_iter().flatten().collect(),
                Some(class) => return Err(format!("class {class} has no name")),
            }
        }
        other => return Err(format!("found {}", excerpt(&other.to_string()))),
    };
    if entries.len() > MAX_CLASSES {
        let count = entries.len();
        return Err(format!(
            "{count} names exceed the limit of {MAX_CLASSES} classes"
        ));
    }
    let name = |(class, entry): (usize, &Value)| {
        let name = match entry {
            Value::String(name) => Some(name.trim().to_owned()),
            Value::Array(pair) => match &pair[..] {
                [Value::String(wnid), Value::String(name)] => Some(format!("{wnid} {name}")),
                _ => None,
            },
            _ => None,
        };
        let name = name.filter(|name| !name.is_empty());
        name.ok_or_else(|| format!("class {class} is {}", excerpt(&entry.to_string())))
    };
    entries.into_iter().enumerate().map(name).collect()
}

/// Labels with timm's descriptions of them.
fn described(labels: Vec<String>, descriptions: &Map<String, Value>) -> Vec<String> {
    let described = |label: String| match descriptions.get(&label).and_then(Value::as_str) {
        Some(names) if imagenet::is_wnid(&label) => format!("{label} {names}"),
        Some(names) => names.to_owned(),
        None => label,
    };
    labels.into_iter().map(described).collect()
}

/// A wnid and the names after it; without names, those of ImageNet's class, or else the wnid.
pub(crate) fn wnid_and_names(text: &str) -> Option<(&str, &str)> {
    let (wnid, names) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    if !imagenet::is_wnid(wnid) {
        return None;
    }
    let known = || {
        let class = imagenet::class_of_wnid(wnid)?;
        Some(imagenet::synsets()[class as usize].names)
    };
    match names.trim() {
        "" => Some((wnid, known().unwrap_or(wnid))),
        names => Some((wnid, names)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ClassNames, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        ClassNames::read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn all_layouts_are_read() {
        for text in [
            "tench\nsnow leopard\n\n",
            "\u{feff}tench\r\nsnow leopard",
            r#"["tench", "snow leopard"]"#,
            r#"{"1": "snow leopard", "0": "tench"}"#,
            r#"{"model_type": "resnet", "id2label": {"0": "tench", "1": "snow leopard"}}"#,
            r#"{"architecture": "resnet18", "label_names": ["tench", "snow leopard"]}"#,
            r#"{"label_names": ["a", "b"], "label_descriptions": {"a": "tench", "b": "snow leopard"}}"#,
        ] {
            let names = read(text).unwrap();
            assert_eq!(names.names(), ["tench", "snow leopard"], "{text}");
            assert_eq!(names.wnids(), None, "{text}");
        }
    }

    #[test]
    fn wnids_are_separated_from_names() {
        for text in [
            "n01440764 tench, Tinca tinca\nn00004475 organism\n",
            "n01440764\tTinca, tench\nn00004475\torganism\n",
            "n01440764\nn00004475\n",
            r#"{"0": ["n01440764", "tench"], "1": ["n00004475", "organism"]}"#,
            r#"{"label_names": ["n01440764", "n00004475"],
                "label_descriptions": {"n01440764": "tench, fish", "n00004475": "organism"}}"#,
        ] {
            let names = read(text).unwrap();
            let wnids = ["n01440764", "n00004475"].map(str::to_owned);
            assert_eq!(names.wnids(), Some(&wnids[..]), "{text}");
            assert!(names.names()[0].contains("tench"), "{text}");
            assert!(!names.names()[0].contains("n01440764"), "{text}");
        }
        assert_eq!(read("n00004475\n").unwrap().names(), ["n00004475"]);
        // Not all have one.
        let names = read("n01440764 tench\ncat\n").unwrap();
        assert_eq!(names.names()[0], "n01440764 tench");
        assert_eq!(names.wnids(), None);
    }

    #[test]
    fn other_files_are_errors() {
        for (text, expected) in [
            ("", "is empty"),
            ("[]", "is empty"),
            ("a\n\nb\n", "line 2: found ``, expected the name of class 1"),
            (
                r#"{"0": "a", "2": "b"}"#,
                "the key `2` is not an index below 2",
            ),
            (r#"{"0": "a", "00": "b"}"#, "class 1 has no name"),
            (
                r#"{"architecture": "resnet18"}"#,
                "the key `architecture` is not an index",
            ),
            (r#"["a", 3]"#, "class 1 is 3, expected a list of names"),
            (r#"[["a", "b", "c"]]"#, r#"class 0 is ["#),
            (r#"["a", " "]"#, "class 1 is"),
            (r#"["a""#, "EOF"),
            (r#"{"id2label": 5}"#, "found 5"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
