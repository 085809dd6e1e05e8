use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{FloatType, Int64Type};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use topk_files::OutputFile;

use super::{INDEX, LABEL, LOGITS};
use crate::logits::Logits;

/// Logits in a group of rows: 64 MiB. Most readers keep a whole group in memory.
const GROUP: usize = 1 << 24;

/// Writes the rows of these logits, in this order. Memory holds a page.
///
/// Logits do not compress well, and not at all by the values that they have in common, so they are stored as they are.
pub(crate) fn write(path: &Path, logits: &Logits, order: &[usize]) -> io::Result<()> {
    let schema = format!(
        "message logits {{
            required int64 {INDEX};
            required int64 {LABEL};
            required group {LOGITS} (LIST) {{ repeated group list {{ required float element; }} }}
        }}"
    );
    let schema = Arc::new(parse_message_type(&schema)?);
    let properties = WriterProperties::builder()
        .set_created_by(format!("topk-calibration {}", env!("CARGO_PKG_VERSION")))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let per_group = (GROUP / logits.classes()).max(1);
    topk_files::write_with(path, |file: &mut BufWriter<OutputFile>| {
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties))?;
        for rows in order.chunks(per_group) {
            write_group(logits, rows, writer.next_row_group()?)?;
        }
        writer.close()?;
        Ok(())
    })
}

fn write_group<W: Write + Send>(
    logits: &Logits,
    rows: &[usize],
    mut group: SerializedRowGroupWriter<'_, W>,
) -> io::Result<()> {
    let missing = || io::Error::other("the schema has three columns");
    let indices = rows.iter().map(|&row| logits.indices()[row] as i64);
    let labels = rows.iter().map(|&row| logits.labels()[row].into());
    for values in [indices.collect(), labels.collect::<Vec<i64>>()] {
        let mut column = group.next_column()?.ok_or_else(missing)?;
        column
            .typed::<Int64Type>()
            .write_batch(&values, None, None)?;
        column.close()?;
    }
    let mut column = group.next_column()?.ok_or_else(missing)?;
    // Every list has elements, and each but the first of a row continues its list.
    let defined = vec![1; logits.classes()];
    let mut continued = defined.clone();
    continued[0] = 0;
    let mut values = Vec::new();
    for &row in rows {
        logits.rows().read(row, 1, &mut values)?;
        let writer = column.typed::<FloatType>();
        writer.write_batch(&values, Some(&defined), Some(&continued))?;
    }
    column.close()?;
    group.close()?;
    Ok(())
}
