//! Measurements as a self-contained HTML page.

mod chart;

use topk_report::cells::{facts, header, number};
use topk_report::chart::legend;
use topk_report::text::{grouped, percent};
use topk_report::{Breakable, COLORS, Escaped, page};

use self::chart::{AccuracyPoint, LatencyRow, SpeedLine};
use super::schema::{Bench, Measurement, Profile};
use super::table::{mebibytes, milliseconds, on_device, short};
use crate::table::speed;

/// Operators and nodes of a profile that a page shows.
const LISTED: usize = 20;

impl Bench {
    /// The measurements as a self-contained HTML file.
    pub fn to_html(&self) -> String {
        let names = self.model_names();
        let title = match &names[..] {
            [name] => format!("Speed of {name}"),
            _ => format!("Speed of {} models", names.len()),
        };
        let mut body = format!("<header><h1>{}</h1>", Escaped(&title));
        body += &self.measured();
        body += "</header>";
        body += &self.summary(&names);
        body += &self.charts(&names);
        body += &self.throughput(&names);
        body += &self.preparations(&names);
        for (model, row) in self.rows() {
            if let Some(profile) = &row.profile {
                body += &section(profile, &names[model], row);
            }
        }
        body += &self.repeat();
        page(&title, &body)
    }

    /// What was measured, and on what.
    fn measured(&self) -> String {
        let day = self.started.split('T').next().unwrap_or_default();
        let machine = &self.environment;
        let mut html = format!(
            "<p>Measured on {} with topk-eval {} and ONNX Runtime {} on {} ({} cores, {})",
            Escaped(day),
            Escaped(&self.topk_eval),
            Escaped(&machine.onnxruntime),
            Escaped(&machine.cpu),
            machine.cores,
            Escaped(&machine.os)
        );
        if let Some(name) = machine.gpu.as_ref().and_then(|gpu| gpu.name.as_ref()) {
            html += &format!(", {}", Escaped(name));
        }
        html += &match &self.images {
            Some(images) => format!(
                ", with {} images of <span class=\"path\">{}</span>",
                grouped(images.count),
                Breakable(&images.path)
            ),
            None => ", with generated images".to_owned(),
        };
        html += ".</p>";
        if !self.notes.is_empty() {
            let notes: Vec<String> = self
                .notes
                .iter()
                .map(|note| format!("{}.", Escaped(note)))
                .collect();
            html += &format!("<p class=\"warn\">{}</p>", notes.join("<br>"));
        }
        html
    }

    /// The name of a measurement: as short as it is unique.
    fn row_names(&self, names: &[String]) -> Vec<String> {
        let single = self
            .models
            .iter()
            .all(|model| model.measurements.len() == 1);
        let name = |(model, row): (usize, &Measurement)| match single {
            true => names[model].clone(),
            false => format!("{}, {}", names[model], on_device(row)),
        };
        self.rows().map(name).collect()
    }

    fn charts(&self, names: &[String]) -> String {
        let titles = self.row_names(names);
        let figure = |title: &str, drawing: String, caption: &str| {
            format!(
                "<figure class=\"panel\"><h3>{title}</h3>{drawing}<figcaption>{caption}</figcaption></figure>"
            )
        };
        let mut html = String::from("<section><h2>Charts</h2><div class=\"charts two\">");
        let points = titles.iter().zip(self.rows());
        let points = points.filter_map(|(title, (model, row))| {
            let accuracy = self.models[model].accuracy.as_ref()?;
            Some(AccuracyPoint {
                name: title,
                seconds: row.latency.latency.p50,
                accuracy: accuracy.top1,
                low: accuracy.low,
                high: accuracy.high,
            })
        });
        let points: Vec<AccuracyPoint<'_>> = points.collect();
        if let Some(accuracy) = self.models.iter().find_map(|model| model.accuracy.as_ref()) {
            let drawing = legend(points.iter().map(|point| point.name));
            let caption = format!(
                "Top-1 accuracy on {} with its 95 % interval, and the median latency. Higher and further left is better.",
                Breakable(&accuracy.data)
            );
            let drawing = drawing + &chart::accuracy_by_latency(&points);
            html += &figure("Accuracy against latency", drawing, &caption);
        }
        let rows = titles.iter().zip(self.rows());
        let rows = rows.map(|(name, (model, row))| LatencyRow {
            name,
            model,
            latency: row.latency.latency,
        });
        html += &figure(
            "Latency",
            chart::latencies(&rows.collect::<Vec<_>>()),
            "Milliseconds per run. Lines reach from the fastest run to p99, bars from p50 to p90.",
        );
        let sizes = self.batch_sizes();
        if sizes.len() > 1 {
            let drawing = legend(titles.iter().map(String::as_str));
            html += &figure(
                "Throughput",
                drawing + &chart::throughput(&self.speed_lines(&titles), &sizes),
                "Images per second by batch size, in one session.",
            );
        }
        html + "</div></section>"
    }

    fn speed_lines<'a>(&self, titles: &'a [String]) -> Vec<SpeedLine<'a>> {
        let lines = titles.iter().zip(self.rows());
        lines
            .map(|(name, (_, row))| SpeedLine {
                name,
                points: row
                    .throughput
                    .iter()
                    .map(|runs| (runs.batch_size, runs.images_per_second))
                    .collect(),
            })
            .collect()
    }

    /// One row per measurement.
    fn summary(&self, names: &[String]) -> String {
        let accuracy = self.models.iter().any(|model| model.accuracy.is_some());
        let gpu = self.rows().any(|(_, row)| row.memory.gpu_bytes.is_some());
        let mut html = String::from(
            "<section><h2>Measurements</h2><div class=\"scroll panel\"><table><thead><tr>",
        );
        html += &header("model", false);
        html += &header("provider", false);
        let batches = self.rows().any(|(_, row)| row.latency.batch_size != 1);
        let mut titles = vec!["threads"];
        titles.extend(batches.then_some("batch"));
        titles.extend([
            "p50 ms", "p90 ms", "p99 ms", "images/s", "at batch", "first s", "MiB",
        ]);
        titles.extend(gpu.then_some("GPU MiB"));
        titles.extend(accuracy.then_some("top-1 %"));
        html.extend(titles.iter().map(|title| header(title, true)));
        html += "</tr></thead><tbody>";
        for (model, row) in self.rows() {
            let latency = row.latency.latency;
            html += &format!(
                "<tr><th scope=\"row\" class=\"path\">{}</th><td>{}</td>",
                Breakable(&names[model]),
                Escaped(&row.device)
            );
            let mut cells = vec![row.threads.to_string()];
            cells.extend(batches.then(|| row.latency.batch_size.to_string()));
            cells.extend([latency.p50, latency.p90, latency.p99].map(milliseconds));
            cells.extend([
                speed(row.best().images_per_second),
                row.best().batch_size.to_string(),
                format!("{:.2}", row.first_result_seconds()),
                mebibytes(row.memory.resident_bytes),
            ]);
            cells.extend(gpu.then(|| mebibytes(row.memory.gpu_bytes)));
            if accuracy {
                let accuracy = &self.models[model].accuracy;
                let top1 = accuracy.as_ref().map(|accuracy| percent(accuracy.top1));
                cells.push(top1.unwrap_or_else(|| "–".to_owned()));
            }
            html.extend(cells.iter().map(|cell| number(cell)));
            html += "</tr>";
        }
        html + "</tbody></table></div><p class=\"faint\">Latency: from images in memory to scores in memory, with copies \
                to and from the device. “First s” are the seconds to create the session and of the first run, “MiB” the \
                peak memory of the process minus what it had before the model was opened.</p></section>"
    }

    /// Images per second: one row per batch size.
    fn throughput(&self, names: &[String]) -> String {
        let sizes = self.batch_sizes();
        if sizes.len() < 2 {
            return String::new();
        }
        let titles = self.row_names(names);
        let lines = self.speed_lines(&titles);
        let mut html = String::from(
            "<section><h2>Images per second by batch size</h2><div class=\"scroll panel\"><table \
             class=\"by-k\"><thead><tr>",
        );
        html += &header("batch", true);
        for name in &titles {
            html += &format!("<th scope=\"col\" class=\"n\">{}</th>", Breakable(name));
        }
        html += "</tr></thead><tbody>";
        for size in sizes {
            html += &format!("<tr>{}", number(&size.to_string()));
            for (line, (_, row)) in lines.iter().zip(self.rows()) {
                let found = line.points.iter().find(|point| point.0 == size);
                let class = match row.best().batch_size == size {
                    true => "n best",
                    false => "n",
                };
                let text = found.map_or_else(|| "–".to_owned(), |point| speed(point.1));
                html += &format!("<td class=\"{class}\">{text}</td>");
            }
            html += "</tr>";
        }
        html + "</tbody></table></div></section>"
    }

    fn preparations(&self, names: &[String]) -> String {
        if self.models.iter().all(|model| model.preparation.is_none()) {
            return String::new();
        }
        let mut html = String::from(
            "<section><h2>Time per image</h2><div class=\"scroll panel\"><table><thead><tr>",
        );
        html += &header("model", false);
        for title in [
            "read ms",
            "decode ms",
            "resize and crop ms",
            "normalise ms",
            "inference ms",
        ] {
            html += &header(title, true);
        }
        html += "</tr></thead><tbody>";
        for (name, model) in names.iter().zip(&self.models) {
            let Some(times) = model.preparation else {
                continue;
            };
            let inference = model.measurements.first();
            let inference = inference.map_or(0.0, |row| 1.0 / row.best().images_per_second);
            html += &format!(
                "<tr><th scope=\"row\" class=\"path\">{}</th>",
                Breakable(name)
            );
            let cells = [
                times.read_seconds,
                times.decode_seconds,
                times.resize_seconds,
                times.normalize_seconds,
                inference,
            ];
            html.extend(cells.map(|time| number(&milliseconds(time))));
            html += "</tr>";
        }
        html + "</tbody></table></div><p class=\"faint\">Preparation on one thread, which several do at the same time for \
                different images. Inference at the best batch size of the model's first measurement.</p></section>"
    }

    /// How to repeat the measurement.
    fn repeat(&self) -> String {
        let settings = &self.settings;
        let length = match (settings.runs, settings.duration_seconds) {
            (Some(runs), _) => format!("{} runs", grouped(runs)),
            (None, Some(seconds)) => format!("{seconds} s"),
            (None, None) => String::new(),
        };
        let mut rows = vec![
            ("each measurement".to_owned(), length),
            ("runs before it".to_owned(), grouped(settings.warmup)),
            (
                "percentiles".to_owned(),
                "interpolated linearly, as by NumPy".to_owned(),
            ),
            (
                "threads that wait".to_owned(),
                if settings.spinning { "spin" } else { "sleep" }.to_owned(),
            ),
        ];
        for model in &self.models {
            let mut text = format!(
                "SHA-256 {}; {}; input {} {}×{}",
                model.sha256,
                model.precision,
                model.input,
                model.input_size[0],
                model.input_size[1]
            );
            for note in &model.notes {
                text += &format!("; {note}");
            }
            rows.push((model.path.clone(), Escaped(&text).to_string()));
        }
        format!(
            "<section><h2>How it was measured</h2>{}</section>",
            facts(rows)
        )
    }
}

fn section(profile: &Profile, name: &str, row: &Measurement) -> String {
    let title = format!("Operators of {name}, {}", on_device(row));
    let mut html = format!(
        "<section><h2>{}</h2><p class=\"faint\">ONNX Runtime's profile of {} runs with {} image{} each, {} ms per run \
         while profiling.</p><div class=\"columns\"><div class=\"scroll panel\"><table><thead><tr>",
        Escaped(&title),
        grouped(profile.runs),
        profile.batch_size,
        if profile.batch_size == 1 { "" } else { "s" },
        milliseconds(profile.run_seconds)
    );
    html += &header("operator", false);
    html += &header("provider", false);
    html.extend(["nodes", "ms", "%"].map(|title| header(title, true)));
    html += "</tr></thead><tbody>";
    for of in profile.operators.iter().take(LISTED) {
        html += &format!(
            "<tr><td>{}</td><td>{}</td>{}{}{}</tr>",
            Escaped(&of.operator),
            Escaped(&short(&of.provider)),
            number(&of.nodes.to_string()),
            number(&milliseconds(of.seconds)),
            number(&percent(of.share))
        );
    }
    html += "</tbody></table></div><div class=\"tall\"><table><thead><tr>";
    html += &header("slowest nodes", false);
    html.extend(["ms", "%"].map(|title| header(title, true)));
    html += "</tr></thead><tbody>";
    for of in profile.nodes.iter().take(LISTED) {
        html += &format!(
            "<tr><td class=\"path\">{}</td>{}{}</tr>",
            Breakable(&of.name),
            number(&milliseconds(of.seconds)),
            number(&percent(of.share))
        );
    }
    html + "</tbody></table></div></div></section>"
}

/// The class of a colour.
fn color(number: usize) -> String {
    format!("s{}", number % COLORS)
}
