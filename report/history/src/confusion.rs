use crate::tensorboard::Picture;

/// Number of pixels of a side of the picture of a confusion matrix, about.
const SIDE: usize = 512;

/// Colours of no image of a class and of all of them.
const COLOURS: [[f64; 3]; 2] = [[255.0, 255.0, 255.0], [8.0, 48.0, 107.0]];

/// How many images of each class are taken for each class.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Confusion {
    classes: usize,
    /// Number of images of a class, the row, whose highest score is that of another class, the column.
    counts: Vec<usize>,
}

impl Confusion {
    /// The largest number of classes for which a matrix is kept: one of more would have pixels for classes that nobody
    /// could tell apart.
    pub const MAX_CLASSES: usize = 1000;

    /// A matrix of no images.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            counts: vec![0; classes * classes],
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The counts, row by row; rows are labels, columns are predictions.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// The counts.
    pub fn counts_mut(&mut self) -> &mut [usize] {
        &mut self.counts
    }

    /// Counts images by their scores, `[images, classes]`. Of equal scores, the lower class comes first. Images whose
    /// label is not a class do not count.
    pub fn add(&mut self, scores: &[f32], labels: &[i64]) {
        let rows = scores.chunks_exact(self.classes.max(1));
        for (row, &label) in rows.zip(labels) {
            let best =
                row.iter().enumerate().fold(
                    0,
                    |best, (class, score)| {
                        if *score > row[best] { class } else { best }
                    },
                );
            let label = usize::try_from(label)
                .ok()
                .filter(|&label| label < self.classes);
            if let Some(label) = label {
                self.counts[label * self.classes + best] += 1;
            }
        }
    }

    /// The matrix as a picture: labels from top to bottom, predictions from left to right, darker where a larger part of
    /// the images of the label is predicted so.
    pub(crate) fn picture(&self) -> Picture {
        let cell = (SIDE / self.classes.max(1)).max(1);
        let side = (cell * self.classes).max(1);
        let mut pixels = vec![255; 3 * side * side];
        for (label, row) in self.counts.chunks_exact(self.classes.max(1)).enumerate() {
            let total = row.iter().sum::<usize>().max(1) as f64;
            let colours = row.iter().map(|&count| {
                let part = count as f64 / total;
                let [none, all] = COLOURS;
                std::array::from_fn(|at| (none[at] + part * (all[at] - none[at])).round() as u8)
            });
            let line: Vec<u8> = colours
                .flat_map(|colour: [u8; 3]| std::iter::repeat_n(colour, cell))
                .flatten()
                .collect();
            for y in label * cell..(label + 1) * cell {
                pixels[3 * side * y..3 * side * (y + 1)].copy_from_slice(&line);
            }
        }
        Picture {
            width: side,
            height: side,
            pixels,
        }
    }

    /// The pairs of classes that are confused most often, as a Markdown table.
    pub(crate) fn table(&self, class_names: &[String], pairs: usize) -> String {
        let mut wrong: Vec<(usize, usize)> = self
            .counts
            .iter()
            .enumerate()
            .filter(|&(at, &count)| count > 0 && at / self.classes != at % self.classes)
            .map(|(at, &count)| (count, at))
            .collect();
        wrong.sort_unstable_by_key(|&(count, at)| (std::cmp::Reverse(count), at));
        let name = |class: usize| match class_names.get(class) {
            Some(name) => name.replace('|', "\\|").replace(['\n', '\r'], " "),
            None => class.to_string(),
        };
        let mut table = String::from("| images | of | predicted as |\n| ---: | --- | --- |\n");
        for (count, at) in wrong.into_iter().take(pairs) {
            let (label, predicted) = (name(at / self.classes), name(at % self.classes));
            table += &format!("| {count} | {label} | {predicted} |\n");
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confusion() -> Confusion {
        let mut confusion = Confusion::new(3);
        let scores = [
            [1.0, 0.0, 0.5],
            [0.0, 2.0, 2.0],
            [0.5, 0.1, 0.2],
            [0.0, 0.0, 0.0],
        ];
        confusion.add(&scores.concat(), &[0, 1, 2, 2]);
        confusion.add(&[0.0, 1.0, 0.0], &[-1]);
        confusion
    }

    #[test]
    fn rows_are_labels_and_columns_predictions() {
        assert_eq!(confusion().counts(), [1, 0, 0, 0, 1, 0, 2, 0, 0]);
        let names = ["a", "b|c", "d"].map(str::to_owned);
        let table = confusion().table(&names, 5);
        assert_eq!(table.lines().nth(2), Some("| 2 | d | a |"));
        assert_eq!(table.lines().count(), 3);
    }

    #[test]
    fn a_picture_has_a_cell_per_pair() {
        let picture = confusion().picture();
        let (cell, side) = (512 / 3, 510);
        assert_eq!((picture.width, picture.height), (side, side));
        let pixel = |x: usize, y: usize| {
            let at = 3 * (y * side + x);
            &picture.pixels[at..at + 3]
        };
        for (row, dark) in [(0, 0), (1, 1), (2, 0)] {
            for column in 0..3 {
                let expected: [u8; 3] = match column == dark {
                    true => [8, 48, 107],
                    false => [255; 3],
                };
                for inside in [0, cell - 1] {
                    let found = pixel(column * cell + inside, row * cell + inside);
                    assert_eq!(found, expected, "{row}, {column}");
                }
            }
        }
        // More classes than pixels.
        assert_eq!(Confusion::new(700).picture().width, 700);
    }
}
