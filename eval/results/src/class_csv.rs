//! Per-class metrics and confusions of all models as CSV.

use crate::csv::{field, write_csv};
use crate::schema::Results;

impl Results {
    /// CSV (RFC 4180) with a header and one row per model and valid class.
    ///
    /// Columns: `model`, `class` (index), `wnid` (empty if the classes have none), `name`, `images`, `top1` and, if k
    /// is not 1, `top{k}` (accuracies, 0 to 1, where k is the largest of the settings), `precision`, `recall`, `f1`,
    /// `predicted` (images that are predicted as the class), `confused_with`, `confused_with_name` and
    /// `confused_images` (the most frequent wrong prediction). What is undefined, such as the accuracy on a class
    /// without images, is empty.
    pub fn to_class_csv(&self) -> String {
        let k = Some(self.largest_k()).filter(|&k| k > 1);
        let mut header = ["model", "class", "wnid", "name", "images", "top1"]
            .map(str::to_owned)
            .to_vec();
        header.extend(k.map(|k| format!("top{k}")));
        let rest = [
            "precision",
            "recall",
            "f1",
            "predicted",
            "confused_with",
            "confused_with_name",
            "confused_images",
        ];
        header.extend(rest.map(str::to_owned));
        let mut rows = vec![header];
        for (model, entry) in self.models.iter().enumerate() {
            let classes = self.all_class_rows(model).into_iter();
            for class in classes.filter(|row| self.is_valid_class(row.class)) {
                let mut row = vec![entry.model.path.clone()];
                row.extend(self.class_fields(class.class));
                row.extend([class.images.to_string(), field(class.recall())]);
                if k.is_some() {
                    row.push(field((class.images > 0).then(|| class.topk())));
                }
                row.extend([
                    field(class.precision()),
                    field(class.recall()),
                    field(class.f1()),
                    class.predicted.to_string(),
                    field(class.confused_with.map(|(class, _)| class)),
                    field(class.confused_with.map(|(class, _)| self.all_names(class))),
                    field(class.confused_with.map(|(_, images)| images)),
                ]);
                rows.push(row);
            }
        }
        write_csv(&rows)
    }

    /// CSV (RFC 4180) with a header and one row per model, true class and predicted class that occur together,
    /// in this order: the confusion matrix without its zeros.
    ///
    /// Columns: `model`, `class`, `wnid`, `name`, `predicted`, `predicted_wnid`, `predicted_name`, `correct` (`true`
    /// or `false`) and `images`. Images without a prediction are not in it. An image with several true classes
    /// belongs to the first valid one; the prediction of another of them is `correct`, though its class differs.
    pub fn to_confusion_csv(&self) -> String {
        let header = [
            "model",
            "class",
            "wnid",
            "name",
            "predicted",
            "predicted_wnid",
            "predicted_name",
            "correct",
            "images",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        for (model, entry) in self.models.iter().enumerate() {
            let mut pairs: Vec<(u32, u32, bool)> = self
                .counted(model)
                .filter_map(|counted| {
                    let predicted = counted.outcome?.predicted;
                    Some((counted.class, predicted, counted.is_correct(1)))
                })
                .collect();
            pairs.sort_unstable();
            for same in pairs.chunk_by(|a, b| a == b) {
                let (class, predicted, correct) = same[0];
                let mut row = vec![entry.model.path.clone()];
                row.extend(self.class_fields(class));
                row.extend(self.class_fields(predicted));
                row.extend([correct.to_string(), same.len().to_string()]);
                rows.push(row);
            }
        }
        write_csv(&rows)
    }

    /// Index, wnid and names of a class.
    fn class_fields(&self, class: u32) -> [String; 3] {
        let wnid = self
            .wnids
            .as_ref()
            .map(|wnids| wnids[class as usize].clone());
        [
            class.to_string(),
            wnid.unwrap_or_default(),
            self.all_names(class).to_owned(),
        ]
    }

    fn all_names(&self, class: u32) -> &str {
        &self.class_names[class as usize]
    }
}
