//! The classes of a model and of a data set: which output of the model each class of the data is.

use topk_data::ImageSet;
use topk_files::excerpt;
use topk_labels::{ClassMatcher, ClassNames, Classes, imagenet};

use crate::error::EvaluationError;
use crate::model::Model;
use crate::options::EvalOptions;

/// Largest number of classes in a message.
const SHOWN: usize = 3;

/// How the classes of a data set and the outputs of a model belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ClassAssignment {
    /// Number of classes in results.
    pub(crate) classes: usize,
    /// Names of the classes in results.
    pub(crate) names: Vec<String>,
    /// WordNet IDs of the classes in results, if they have any.
    pub(crate) wnids: Option<Vec<String>>,
    /// Class in results of each class of the data, where they differ; `None` for classes that the model does
    /// not have.
    pub(crate) labels: Option<Vec<Option<u32>>>,
    /// Output of the model for each class in results, where they differ.
    pub(crate) outputs: Option<Vec<u32>>,
    /// What was decided, in one line.
    pub(crate) decision: Option<String>,
}

/// The classes of a model.
struct ModelClasses<'a> {
    path: String,
    count: usize,
    /// Texts with the wnid or the names of each class, if they are known.
    names: Option<&'a [String]>,
    given: Option<&'a ClassNames>,
}

/// Assigns the outputs of a model to the classes of the data, by wnid or name where the model has them.
pub(crate) fn assign_classes(
    model: &Model,
    set: &ImageSet,
    options: &EvalOptions,
) -> Result<ClassAssignment, EvaluationError> {
    let given = options.class_names.as_ref();
    let card = model.card().and_then(|card| card.class_names.as_deref());
    let names = given.map(ClassNames::names).or(card);
    let known = model.classes().or(card.map(<[String]>::len));
    let data = set.classes();
    let classes = ModelClasses {
        path: model.path().display().to_string(),
        count: known.or(names.map(<[String]>::len)).unwrap_or(data.len()),
        names,
        given,
    };
    if let Some(names) = names.filter(|names| names.len() != classes.count) {
        return Err(EvaluationError::ClassNames {
            names: given.map_or_else(
                || "the metadata of the model".to_owned(),
                |given| given.path().display().to_string(),
            ),
            found: names.len(),
            model: classes.path,
            expected: classes.count,
        });
    }
    if let Some(indices) = &options.class_indices {
        return classes.of_indices(set, indices.clone());
    }
    classes.assign(set)
}

impl ModelClasses<'_> {
    fn assign(&self, set: &ImageSet) -> Result<ClassAssignment, EvaluationError> {
        let data = set.classes();
        let numbers = match (self.names, data) {
            // Numbers in another order, as of class folders in the order of text.
            (Some(names), Classes::Numbered(_)) => are_numbers(names),
            _ => false,
        };
        if set.has_class_map() || matches!(data, Classes::Numbered(_)) && !numbers {
            return match data.len() <= self.count {
                true => Ok(self.by_index(set)),
                false => Err(self.different(set)),
            };
        }
        let Some(texts) = self.texts() else {
            if data.len() != self.count {
                return Err(self.different(set));
            }
            set.check_empty_classes()
                .map_err(|error| EvaluationError::ClassFolders(error.to_string()))?;
            return Ok(self.by_index(set));
        };
        let matcher = ClassMatcher::new(&texts);
        let at_index = |class: u32| matcher.is(class, &data.identity(class));
        let counts = set.class_counts();
        let has_images = |class: u32| counts[class as usize] > 0;
        let all = 0..data.len() as u32;
        let found: Vec<Option<u32>> = all
            .clone()
            .map(|class| match at_index(class) && data.len() == self.count {
                true => Some(class),
                false => matcher.find(&data.identity(class)),
            })
            .collect();
        let find = |class: u32| found[class as usize];
        let same = |class: u32| find(class) == Some(class);
        let unknown = all
            .clone()
            .find(|&class| has_images(class) && find(class).is_none());
        let moved = all
            .clone()
            .find(|&class| find(class).is_some_and(|found| found != class));
        if data.len() == self.count && moved.is_none() {
            // Other names for the same classes, as far as can be seen; but class folders are identified by
            // nothing else.
            let named = matches!(data, Classes::Named(_)) && self.given.is_none();
            return match unknown.filter(|_| named) {
                None => {
                    let any = all.clone().any(same);
                    let mut assignment = self.by_index(set);
                    if !any && *data == Classes::Imagenet {
                        assignment.decision = Some(format!(
                            "the names of the {} classes are not ImageNet's, so classes are taken in the \
                             order of WordNet IDs",
                            self.count
                        ));
                    }
                    Ok(assignment)
                }
                Some(class) => Err(self.unknown(set, class, &texts)),
            };
        }
        if let Some(class) = unknown {
            let none = all.clone().all(|class| find(class).is_none());
            return Err(match none && data.len() != self.count {
                true => self.different(set),
                false => self.unknown(set, class, &texts),
            });
        }
        self.by_name(set, &found)
    }

    /// Texts with the wnid or names of each class.
    fn texts(&self) -> Option<Vec<String>> {
        let names = self.names?;
        let wnids = self.given.and_then(ClassNames::wnids);
        Some(match wnids {
            Some(wnids) => wnids
                .iter()
                .zip(names)
                .map(|(wnid, name)| format!("{wnid} {name}"))
                .collect(),
            None => names.to_vec(),
        })
    }

    /// Results have the classes of the data if those are the model's in another order; otherwise the model's.
    fn by_name(
        &self,
        set: &ImageSet,
        found: &[Option<u32>],
    ) -> Result<ClassAssignment, EvaluationError> {
        let data = set.classes();
        let twice = |pair: &[u32]| pair[0] == pair[1];
        let mut outputs: Vec<u32> = found.iter().copied().flatten().collect();
        outputs.sort_unstable();
        if let Some(pair) = outputs.windows(2).find(|pair| twice(pair)) {
            let names = self.names.unwrap_or_default();
            return Err(EvaluationError::SharedClass {
                model: self.path.clone(),
                name: excerpt(&names[pair[0] as usize]),
            });
        }
        if outputs.len() == self.count && found.len() == self.count {
            let mut assignment = self.by_index(set);
            assignment.outputs = found.iter().copied().collect();
            let shown = moved_example(data, found, self.names.unwrap_or_default());
            assignment.decision = Some(format!(
                "the {} classes of the model are those of the data in another order and matched by name: \
                 {shown}",
                self.count
            ));
            assignment.names = (0..data.len() as u32)
                .map(|c| data.name(c).into_owned())
                .collect();
            assignment.wnids = wnids_of(data);
            return Ok(assignment);
        }
        let counts = set.class_counts();
        let mut images = vec![0; self.count];
        for (count, found) in counts.iter().zip(found) {
            if let Some(found) = found {
                images[*found as usize] += count;
            }
        }
        let names = self.names.unwrap_or_default();
        let without = names
            .iter()
            .zip(&images)
            .filter(|(_, images)| **images == 0);
        let without: Vec<String> = without.map(|(name, _)| first_name(name)).collect();
        let with = self.count - without.len();
        let shown = without[..without.len().min(SHOWN)].join(", ");
        let more = if without.len() > SHOWN { ", …" } else { "" };
        let decision = format!(
            "the data has images of {with} of the {} classes of the model, matched by name; none of: {shown}{more}",
            self.count
        );
        Ok(ClassAssignment {
            classes: self.count,
            names: names.to_vec(),
            wnids: self
                .given
                .and_then(ClassNames::wnids)
                .map(<[String]>::to_vec),
            labels: Some(found.to_vec()),
            outputs: None,
            decision: Some(decision),
        })
    }

    /// Classes of the data are outputs of the model with the same index.
    fn by_index(&self, set: &ImageSet) -> ClassAssignment {
        let data = set.classes();
        let of_data = || {
            (0..self.count as u32)
                .map(|class| data.name(class).into_owned())
                .collect()
        };
        let is_named = matches!(data, Classes::Imagenet | Classes::Named(_));
        let use_data = is_named && self.given.is_none() && !set.has_class_map();
        let given = self
            .given
            .and_then(ClassNames::wnids)
            .map(<[String]>::to_vec);
        let mut assignment = ClassAssignment {
            classes: self.count,
            names: match self.names.filter(|_| !use_data) {
                Some(names) => names.to_vec(),
                None => of_data(),
            },
            wnids: wnids_of(data)
                .filter(|wnids| wnids.len() == self.count)
                .or(given),
            ..ClassAssignment::default()
        };
        if let Some(texts) = self.texts().filter(|_| set.has_class_map()) {
            assignment.decision = self.contradiction(set, &texts);
        }
        assignment
    }

    /// A line if a class map contradicts the names of the model.
    fn contradiction(&self, set: &ImageSet, texts: &[String]) -> Option<String> {
        let data = set.classes();
        let matcher = ClassMatcher::new(texts);
        let counts = set.class_counts();
        let differs = |&class: &u32| {
            let text = data.identity(class);
            let found = matcher.find(&text);
            counts[class as usize] > 0
                && !matcher.is(class, &text)
                && found.is_some_and(|found| found != class)
        };
        let classes: Vec<u32> = (0..data.len() as u32).filter(differs).collect();
        let class = *classes.first()?;
        Some(format!(
            "the class map gives {} of the classes other indices than the names of the model: {} is {class}, \
             which the model names {}; the class map is used",
            classes.len(),
            first_name(&data.name(class)),
            first_name(&texts[class as usize])
        ))
    }

    /// Classes of the data have these indices in the order of the data.
    fn of_indices(
        &self,
        set: &ImageSet,
        indices: Vec<u32>,
    ) -> Result<ClassAssignment, EvaluationError> {
        let largest = indices.iter().max().map_or(0, |&index| index as usize + 1);
        if indices.len() != set.classes().len() || largest > self.count {
            return Err(self.different(set));
        }
        let known = self.texts();
        let imagenet = self.count == imagenet::CLASSES && known.is_none();
        let number = |class: u32| match imagenet {
            true => Classes::Imagenet.name(class).into_owned(),
            false => class.to_string(),
        };
        let names = known.unwrap_or_else(|| (0..self.count as u32).map(number).collect());
        Ok(ClassAssignment {
            classes: self.count,
            names,
            wnids: None,
            decision: Some(format!(
                "the {} classes of the data are those of --valid-labels, in the order of that file",
                indices.len()
            )),
            labels: Some(indices.into_iter().map(Some).collect()),
            outputs: None,
        })
    }

    /// The error for different numbers of classes, with an example of a class map.
    fn different(&self, set: &ImageSet) -> EvaluationError {
        let data = set.classes();
        let counts = set.class_counts();
        let present: Vec<u32> = (0..counts.len() as u32)
            .filter(|&class| counts[class as usize] > 0)
            .collect();
        let found = data.len();
        let lines = present.iter().take(SHOWN).zip(0..);
        let lines: Vec<String> = lines
            .map(|(&class, index)| format!("  {} {index}", excerpt(&data.key(class))))
            .collect();
        let present_fits = present.len() == self.count && present.len() < found;
        EvaluationError::Classes {
            model: self.path.clone(),
            expected: self.count,
            found,
            with_images: match present.len() < found {
                true => format!(", {} of them with images", present.len()),
                false => String::new(),
            },
            hint: match present_fits {
                true => {
                    "If the model has the classes with images in this order, pass --classes-present. Otherwise "
                }
                false => "If the data has some of the classes of the model, ",
            },
            example: lines.join("\n"),
        }
    }

    /// The error for a class of the data that the model does not have.
    fn unknown(&self, set: &ImageSet, class: u32, texts: &[String]) -> EvaluationError {
        let found = first_name(&set.classes().key(class));
        let index = class.min(self.count.saturating_sub(1) as u32);
        EvaluationError::ClassName {
            model: match self.given {
                Some(given) => given.path().display().to_string(),
                None => self.path.clone(),
            },
            found,
            class: index as usize,
            expected: excerpt(&texts[index as usize]),
        }
    }
}

/// Whether names are the numbers from 0, in any order.
fn are_numbers(names: &[String]) -> bool {
    let numbers = names.iter().map(|name| {
        let number: u32 = name.parse().ok()?;
        (number.to_string() == *name).then_some(number)
    });
    let Some(mut numbers) = numbers.collect::<Option<Vec<u32>>>() else {
        return false;
    };
    numbers.sort_unstable();
    (0..).zip(numbers).all(|(rank, number)| rank == number)
}

fn wnids_of(classes: &Classes) -> Option<Vec<String>> {
    let wnids = (0..classes.len() as u32).map(|class| classes.wnid(class).map(str::to_owned));
    wnids.collect()
}

/// The first class with another index in the model.
fn moved_example(data: &Classes, found: &[Option<u32>], names: &[String]) -> String {
    let mut moved = (0..)
        .zip(found)
        .filter_map(|(class, found)| Some((class, (*found)?)));
    match moved.find(|(class, found)| class != found) {
        Some((class, found)) => format!(
            "class {class} of the data, {}, is output {found}, {}",
            first_name(&data.key(class)),
            first_name(&names[found as usize])
        ),
        None => String::new(),
    }
}

/// The first of several names, as an excerpt.
fn first_name(names: &str) -> String {
    excerpt(names.split(',').next().unwrap_or(names).trim())
}
