//! Test sets for models of ImageNet's classes, by name.

use anyhow::{Context, Result, bail, ensure};
use topk_data::ImageSet;
use topk_labels::{Classes, ImagenetVariant, imagenet};
use topk_report::text::{grouped, images};
use topk_results::Corruption;

/// The name of a test set in results: that of the variant; for ImageNet-C with the corruption and the severity, which are
/// the last two folders of the path.
pub(super) fn name(set: &ImageSet, variant: ImagenetVariant) -> Result<String> {
    if variant != ImagenetVariant::C {
        return Ok(variant.to_string());
    }
    let path = set.description().path;
    let corruption = Corruption::of_path(&path).with_context(|| {
        format!(
            "--preset-data {variant} needs the folder of one corruption at one severity, such as \
             ImageNet-C/gaussian_noise/3, but --data is {}",
            path.display()
        )
    })?;
    Ok(format!("{variant}/{corruption}"))
}

/// Gives the images of a test set their classes among ImageNet's 1,000, leaves out those that do not belong to it, and
/// records what was decided.
pub(super) fn apply(set: &mut ImageSet, variant: ImagenetVariant) -> Result<()> {
    if variant.is_objectnet() {
        use_objects(set, variant)?;
    } else {
        // Folders 0 to 999, as of ImageNet-V2.
        if *set.classes() == Classes::Numbered(imagenet::CLASSES) {
            set.relabel(Classes::Imagenet, Some);
        }
        ensure!(
            *set.classes() == Classes::Imagenet,
            "--preset-data {variant} needs class folders named by WordNet ID, or 0 to 999, but {} has {} other classes",
            set.description().path.display(),
            grouped(set.classes().len())
        );
    }
    if let Some(valid) = variant.valid_classes() {
        restrict(set, variant, valid)?;
    }
    if set.len() != variant.images() {
        set.decide(format!(
            "{variant} has {}, but this data has {}",
            images(variant.images()),
            grouped(set.len())
        ));
    }
    Ok(())
}

/// The folders of ObjectNet are objects, of which ImageNet's classes show some.
fn use_objects(set: &mut ImageSet, variant: ImagenetVariant) -> Result<()> {
    let folders = set.classes().clone();
    let object = |folder: u32| {
        let mut objects = ImagenetVariant::objects().iter();
        objects.find(|object| object.folder == folders.name(folder))
    };
    let known = (0..folders.len() as u32).filter(|&folder| object(folder).is_some());
    let (known, all) = (known.count(), set.len());
    ensure!(
        known > 0,
        "--preset-data {variant} needs the class folders of ObjectNet, such as alarm_clock, but {} has none of them",
        set.description().path.display()
    );
    set.relabel(Classes::Imagenet, |folder| {
        object(folder).map(|object| object.classes[0])
    });
    set.decide(format!(
        "{variant}: {known} objects that are classes of ImageNet, any of which is correct; {} of other objects {} left \
         out",
        images(all - set.len()),
        if all - set.len() == 1 { "is" } else { "are" }
    ));
    Ok(())
}

/// Predictions are restricted to these classes, which must be those of the images.
fn restrict(set: &mut ImageSet, variant: ImagenetVariant, valid: &[u32]) -> Result<()> {
    let count = valid.len();
    let is_valid = |class: u32| valid.binary_search(&class).is_ok();
    set.decide(format!(
        "{variant}: predictions are restricted to its {count} classes"
    ));
    if matches!(variant, ImagenetVariant::AClean | ImagenetVariant::RClean) {
        let all = set.len();
        set.relabel(Classes::Imagenet, |class| is_valid(class).then_some(class));
        set.decide(format!(
            "{variant}: {} of other classes are left out",
            images(all - set.len())
        ));
        return Ok(());
    }
    let mut labels = set.samples().iter().filter_map(|sample| sample.label);
    if let Some(other) = labels.find(|&class| !is_valid(class)) {
        let hint = match variant {
            ImagenetVariant::A | ImagenetVariant::R => {
                format!(
                    ". For validation images of its classes, pass --preset-data {variant}-clean"
                )
            }
            _ => String::new(),
        };
        bail!(
            "{} has images of {} ({}), which is not among the {count} classes of {variant}{hint}",
            set.description().path.display(),
            Classes::Imagenet.key(other),
            Classes::Imagenet.name(other)
        );
    }
    Ok(())
}

/// The classes that show the object with this label, which is the first of them.
pub(super) fn classes_of_object(label: u32) -> Vec<u32> {
    let mut objects = ImagenetVariant::objects().iter();
    let object = objects.find(|object| object.classes[0] == label);
    object.map_or_else(|| vec![label], |object| object.classes.clone())
}
