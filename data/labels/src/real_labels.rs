use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

use topk_files::excerpt;

use crate::{LabelError, imagenet};

/// Images of the validation set.
const IMAGES: usize = 50_000;

/// Largest file that is read; `real.json` has 2 MB.
const MAX_BYTES: u64 = 1 << 26;

/// Reassessed labels of ImageNet's validation images ("Are we done with ImageNet?", Beyer et al., 2020,
/// arXiv 2006.07159): each image has any number of classes, all of them correct.
#[derive(Clone, Debug)]
pub struct RealLabels {
    path: PathBuf,
    images: Vec<ClassSet>,
}

impl RealLabels {
    /// Reads `real.json`: a list of lists of class indices, in the order of the images' numbers.
    ///
    /// # Errors
    /// If the file cannot be read, or does not contain 50,000 lists of class indices below 1000.
    pub fn read(path: &Path) -> Result<Self, LabelError> {
        let file = File::open(path).map_err(LabelError::io(path))?;
        let json = serde_json::from_reader(BufReader::new(file.take(MAX_BYTES)));
        let Lists(images) = json.map_err(|error| LabelError::Json {
            path: path.to_owned(),
            reason: error.to_string(),
            expected: "real.json: 50,000 lists of class indices below 1000",
        })?;
        Ok(Self {
            path: path.to_owned(),
            images,
        })
    }

    /// The correct classes of an image, which is found by the number in its name. Images without
    /// classes do not count in the accuracy.
    ///
    /// # Errors
    /// If the name has no number of an image of the validation set.
    pub fn of(&self, name: &str) -> Result<&[u32], LabelError> {
        let number = imagenet::validation_number(name);
        let classes = number.and_then(|number| self.images.get(number - 1));
        classes
            .map(|set| set.0.as_slice())
            .ok_or_else(|| LabelError::NoNumber {
                labels: self.path.clone(),
                name: excerpt(name),
            })
    }
}

/// Classes of one image, sorted, without duplicates.
#[derive(Clone, Debug)]
struct ClassSet(Vec<u32>);

impl<'de> Deserialize<'de> for ClassSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut classes = Vec::<u32>::deserialize(deserializer)?;
        if let Some(class) = classes
            .iter()
            .find(|&&class| class as usize >= imagenet::CLASSES)
        {
            return Err(D::Error::custom(format_args!(
                "class {class} is not below 1000"
            )));
        }
        classes.sort_unstable();
        classes.dedup();
        classes.shrink_to_fit();
        Ok(Self(classes))
    }
}

/// One list per image; further lists are not kept.
struct Lists(Vec<ClassSet>);

impl<'de> Deserialize<'de> for Lists {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Images;

        impl<'de> Visitor<'de> for Images {
            type Value = Lists;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{IMAGES} lists")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Lists, A::Error> {
                let mut lists = Vec::with_capacity(IMAGES);
                while let Some(list) = seq.next_element()? {
                    lists.push(list);
                    if lists.len() > IMAGES {
                        break;
                    }
                }
                if lists.len() != IMAGES {
                    return Err(A::Error::invalid_length(lists.len(), &self));
                }
                Ok(Lists(lists))
            }
        }

        deserializer.deserialize_seq(Images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lists: &[&str]) -> Result<RealLabels, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("[{}]", lists.join(","))).unwrap();
        RealLabels::read(file.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn labels_are_found_by_number() {
        let mut lists = vec!["[]"; IMAGES];
        lists[0] = "[65, 7, 65]";
        lists[IMAGES - 1] = "[999]";
        let labels = read(&lists).unwrap();
        assert_eq!(
            labels.of("n01751748/ILSVRC2012_val_00000001.JPEG").unwrap(),
            [7, 65]
        );
        assert!(
            labels
                .of("ILSVRC2012_val_00000002.JPEG")
                .unwrap()
                .is_empty()
        );
        assert_eq!(labels.of("ILSVRC2012_val_00050000.JPEG").unwrap(), [999]);
        for name in ["1.JPEG", "ILSVRC2012_val_00050001.JPEG"] {
            let error = labels.of(name).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn other_json_is_an_error() {
        let mut lists = vec!["[]"; IMAGES + 1];
        assert!(read(&lists).unwrap_err().contains("invalid length 50001"));
        lists.truncate(IMAGES - 1);
        assert!(read(&lists).unwrap_err().contains("invalid length 49999"));
        lists.push("[1000]");
        assert!(
            read(&lists)
                .unwrap_err()
                .contains("class 1000 is not below 1000")
        );
        assert!(read(&["3"]).unwrap_err().contains("expected real.json"));
    }
}
