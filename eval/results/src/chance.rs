use topk_report::text::{grouped, percent};

use crate::schema::Results;
use crate::statistics::wilson;

/// With fewer images, an accuracy says little.
const MIN_IMAGES: usize = 100;

impl Results {
    /// A warning if the top-1 accuracy of a model is not significantly above that of guesses: its classes are
    /// then hardly those of the data.
    pub(crate) fn chance_warning(&self, model: usize) -> Option<String> {
        let classes = self.num_valid_classes();
        let pairs = self.images.iter().zip(&self.models[model].outcomes);
        let evaluated = pairs.filter_map(|(image, outcome)| Some((image, outcome.as_ref()?)));
        let (mut images, mut correct, mut labels) = (0, 0, 0);
        for (image, outcome) in evaluated {
            images += 1;
            correct += usize::from(outcome.rank == 0);
            let valid = |label: &&u32| self.is_valid_class(**label);
            labels += image.labels.iter().filter(valid).count();
        }
        let chance = labels as f64 / (images * classes) as f64;
        // With a single class every guess is right.
        if images < MIN_IMAGES || chance >= 1.0 || wilson(correct, images).0 > chance {
            return None;
        }
        Some(format!(
            "top-1 is not above chance ({} % with {} classes): check the order of the classes, \
             --label-offset and the preprocessing",
            percent(chance),
            grouped(classes)
        ))
    }
}
