//! Predictions as a table with one row per model and image.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, Repetition, Type as PhysicalType};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use thiserror::Error;

use crate::schema::{Image, Outcome, Prediction, Results};

/// Predictions that cannot be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PredictionsError {
    /// The extension is not that of a supported format.
    #[error("cannot write {path}: expected a file name that ends in .csv or .parquet")]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// Writing failed.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// Writing Parquet failed.
    #[error("cannot write {path}: {error}")]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The cause.
        error: ParquetError,
    },
}

/// File format of predictions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PredictionsFormat {
    /// CSV (RFC 4180).
    Csv,
    /// Parquet.
    Parquet,
}

impl PredictionsFormat {
    /// The format for a file name, chosen by its extension, ignoring case; CSV for `-`, standard output.
    ///
    /// # Errors
    /// [`PredictionsError::Extension`] if it is neither `.csv` nor `.parquet`.
    pub fn of(path: &Path) -> Result<Self, PredictionsError> {
        if path == Path::new("-") {
            return Ok(Self::Csv);
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("csv") => Ok(Self::Csv),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(PredictionsError::Extension {
                path: path.to_owned(),
            }),
        }
    }
}

/// The values of a column; `None` where missing.
enum Values {
    Bool(Vec<Option<bool>>),
    Integer(Vec<Option<i64>>),
    Number(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
}

struct Column {
    name: String,
    values: Values,
}

impl Results {
    /// Writes the predictions of each model for each image atomically. The extension selects the
    /// [`PredictionsFormat`].
    ///
    /// Columns: `model`, `index`, `name`, `status` (`judged`, `failed`, or `excluded` for images without a
    /// valid label), `label` and `label_name`, `labels` (all true classes, separated by spaces), `rank` (from 0),
    /// `tied`, `predicted`, `predicted_name`, `confidence`, `cross_entropy`, `brier`, `topk_loss`, and, if the
    /// most probable classes are kept, `class1`, `probability1` and so on.
    ///
    /// # Errors
    /// If the extension is not supported, or the file cannot be written.
    pub fn save_predictions(&self, path: &Path) -> Result<(), PredictionsError> {
        match PredictionsFormat::of(path)? {
            PredictionsFormat::Csv => {
                let written = topk_files::write_with(path, |file| self.write_csv(file));
                written.map_err(|error| PredictionsError::Write {
                    path: path.to_owned(),
                    error,
                })
            }
            PredictionsFormat::Parquet => {
                let written = topk_files::write_with(path, |file| self.write_parquet(file));
                written.map_err(|error| PredictionsError::Parquet {
                    path: path.to_owned(),
                    error,
                })
            }
        }
    }

    fn write_csv(&self, file: &mut impl Write) -> io::Result<()> {
        let mut writer = ::csv::WriterBuilder::new()
            .terminator(::csv::Terminator::CRLF)
            .from_writer(file);
        let best = self.best();
        let header = self.columns(None, best);
        writer.write_record(header.iter().map(|column| &column.name))?;
        for model in 0..self.models.len() {
            let columns = self.columns(Some(model), best);
            for row in 0..self.images.len() {
                for column in &columns {
                    writer.write_field(column.values.field(row))?;
                }
                writer.write_record(None::<&[u8]>)?;
            }
        }
        writer.flush()
    }

    /// Writes one row group per model.
    fn write_parquet(&self, file: &mut (impl Write + Send)) -> Result<(), ParquetError> {
        let best = self.best();
        let header = self.columns(None, best);
        let fields = header.iter().map(|column| column.field().map(Arc::new));
        let schema = Type::group_type_builder("predictions")
            .with_fields(fields.collect::<Result<_, _>>()?)
            .build()?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
        for model in 0..self.models.len() {
            let mut group = writer.next_row_group()?;
            for column in self.columns(Some(model), best) {
                let mut to = group
                    .next_column()?
                    .expect("the schema has the same columns");
                column.values.write(&mut to)?;
                to.close()?;
            }
            group.close()?;
        }
        writer.close()?;
        Ok(())
    }

    /// The largest number of best classes that a model keeps.
    fn best(&self) -> usize {
        let first = |outcomes: &[Option<Outcome>]| outcomes.iter().flatten().next().cloned();
        let counts = self.models.iter().map(|model| first(&model.outcomes));
        let counts = counts.map(|outcome| outcome.map_or(0, |outcome| outcome.best.len()));
        counts.max().unwrap_or(0)
    }

    /// The columns of a model with `best` classes; empty columns without a model.
    fn columns(&self, model: Option<usize>, best: usize) -> Vec<Column> {
        let images = if model.is_some() { &*self.images } else { &[] };
        let outcomes: &[_] = model.map_or(&[], |model| &self.models[model].outcomes);
        let of_images = |value: &dyn Fn(&Image) -> Option<i64>| {
            Values::Integer(images.iter().map(value).collect())
        };
        let texts = |value: &dyn Fn(&Image) -> Option<String>| {
            Values::Text(images.iter().map(value).collect())
        };
        let of_outcomes = |value: &dyn Fn(&Outcome) -> Option<f64>| {
            let values = outcomes
                .iter()
                .map(|outcome| outcome.as_ref().and_then(value));
            Values::Number(values.collect())
        };
        let integers = |value: &dyn Fn(&Outcome) -> Option<u32>| {
            let values = outcomes
                .iter()
                .map(|outcome| outcome.as_ref().and_then(value));
            Values::Integer(values.map(|value| value.map(i64::from)).collect())
        };
        let path = model.map(|model| &self.models[model].model.path);
        let status = |(image, outcome): (&Image, &Option<Outcome>)| {
            Some(match (outcome, self.class(image)) {
                (Some(_), _) => "judged".to_owned(),
                (None, Some(_)) => "failed".to_owned(),
                (None, None) => "excluded".to_owned(),
            })
        };
        let names = outcomes.iter().map(|outcome| {
            let predicted = outcome.as_ref()?.predicted;
            Some(self.class_names[predicted as usize].clone())
        });
        let tied = outcomes
            .iter()
            .map(|outcome| outcome.as_ref().map(|outcome| outcome.tied));
        let mut columns = vec![
            ("model".to_owned(), texts(&|_| path.cloned())),
            (
                "index".to_owned(),
                of_images(&|image| Some(image.index as i64)),
            ),
            ("name".to_owned(), texts(&|image| Some(image.name.clone()))),
            (
                "status".to_owned(),
                Values::Text(images.iter().zip(outcomes).map(status).collect()),
            ),
            (
                "label".to_owned(),
                of_images(&|image| self.class(image).map(i64::from)),
            ),
            (
                "label_name".to_owned(),
                texts(&|image| Some(self.class_names[self.class(image)? as usize].clone())),
            ),
            (
                "labels".to_owned(),
                texts(&|image| Some(spaced(&image.labels))),
            ),
            ("rank".to_owned(), integers(&|outcome| Some(outcome.rank))),
            ("tied".to_owned(), Values::Bool(tied.collect())),
            (
                "predicted".to_owned(),
                integers(&|outcome| Some(outcome.predicted)),
            ),
            ("predicted_name".to_owned(), Values::Text(names.collect())),
            (
                "confidence".to_owned(),
                of_outcomes(&|outcome| Some(wide(outcome.confidence))),
            ),
            (
                "cross_entropy".to_owned(),
                of_outcomes(&|outcome| Some(outcome.cross_entropy)),
            ),
            (
                "brier".to_owned(),
                of_outcomes(&|outcome| outcome.brier.map(wide)),
            ),
            (
                "topk_loss".to_owned(),
                of_outcomes(&|outcome| outcome.topk_loss),
            ),
        ];
        for at in 0..best {
            let prediction =
                |outcome: &Outcome| -> Option<Prediction> { outcome.best.get(at).copied() };
            let class = integers(&|outcome| Some(prediction(outcome)?.class));
            let probability = of_outcomes(&|outcome| Some(wide(prediction(outcome)?.probability)));
            columns.push((format!("class{}", at + 1), class));
            columns.push((format!("probability{}", at + 1), probability));
        }
        let columns = columns.into_iter();
        columns
            .map(|(name, values)| Column { name, values })
            .collect()
    }
}

fn spaced(labels: &[u32]) -> String {
    let labels: Vec<String> = labels.iter().map(u32::to_string).collect();
    labels.join(" ")
}

/// The `f64` with the same shortest decimal form: 0.1, not 0.10000000149011612.
fn wide(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| number.into())
}

impl Column {
    fn field(&self) -> Result<Type, ParquetError> {
        let (physical, converted) = match self.values {
            Values::Bool(_) => (PhysicalType::BOOLEAN, ConvertedType::NONE),
            Values::Integer(_) => (PhysicalType::INT64, ConvertedType::NONE),
            Values::Number(_) => (PhysicalType::DOUBLE, ConvertedType::NONE),
            Values::Text(_) => (PhysicalType::BYTE_ARRAY, ConvertedType::UTF8),
        };
        Type::primitive_type_builder(&self.name, physical)
            .with_converted_type(converted)
            .with_repetition(Repetition::OPTIONAL)
            .build()
    }
}

impl Values {
    /// The value of a row as a CSV field.
    fn field(&self, row: usize) -> String {
        let field = match self {
            Self::Bool(values) => values[row].map(|value| value.to_string()),
            Self::Integer(values) => values[row].map(|value| value.to_string()),
            Self::Number(values) => values[row].map(|value| value.to_string()),
            Self::Text(values) => values[row].clone(),
        };
        field.unwrap_or_default()
    }

    fn write(self, to: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        /// The present values, and for each entry whether it is present (definition levels).
        fn split<T>(values: Vec<Option<T>>) -> (Vec<T>, Vec<i16>) {
            let levels = values
                .iter()
                .map(|value| i16::from(value.is_some()))
                .collect();
            (values.into_iter().flatten().collect(), levels)
        }
        match self {
            Self::Bool(values) => {
                let (values, levels) = split(values);
                to.typed::<BoolType>()
                    .write_batch(&values, Some(&levels), None)?;
            }
            Self::Integer(values) => {
                let (values, levels) = split(values);
                to.typed::<Int64Type>()
                    .write_batch(&values, Some(&levels), None)?;
            }
            Self::Number(values) => {
                let (values, levels) = split(values);
                to.typed::<DoubleType>()
                    .write_batch(&values, Some(&levels), None)?;
            }
            Self::Text(values) => {
                let (values, levels) = split(values);
                let values: Vec<ByteArray> = values
                    .iter()
                    .map(|text| ByteArray::from(text.as_str()))
                    .collect();
                to.typed::<ByteArrayType>()
                    .write_batch(&values, Some(&levels), None)?;
            }
        }
        Ok(())
    }
}
