//! What is evaluated, and how, as text for a terminal.

use topk_preprocessing::{ChannelOrder, PixelRange};
use topk_report::text::{TERMINAL_WIDTH, wrap};
use topk_results::{CropAveraging, PluginInfo};

use crate::evaluation::Evaluation;
use crate::model_run::{ModelRun, nodes};
use crate::transform::InputTransform;

impl Evaluation<'_> {
    /// A description of the data and the models, in lines of at most 80 columns as far as paths permit.
    pub fn description(&self) -> Vec<String> {
        let set = self.set();
        let mut lines = vec![wrap(&set.description().to_string(), TERMINAL_WIDTH, 2)];
        let (version, path) = (self.runtime().version(), self.runtime().path());
        let line = format!("ONNX Runtime {version}, {}", path.display());
        lines.push(wrap(&line, TERMINAL_WIDTH, 2));
        let decisions = self.decisions();
        lines.extend(decisions.iter().map(|line| wrap(line, TERMINAL_WIDTH, 2)));
        if let Some(reason) = self.models().iter().find_map(|run| run.model.no_gpu()) {
            let line = format!("running on the CPU: {reason} (--provider auto)");
            lines.push(wrap(&line, TERMINAL_WIDTH, 2));
        }
        for run in self.models() {
            lines.push(run.model.path().display().to_string());
            let texts = model(run, self.transform(run));
            lines.extend(
                texts
                    .iter()
                    .map(|text| wrap(&format!("  {text}"), TERMINAL_WIDTH, 4)),
            );
        }
        lines
    }
}

fn model(run: &ModelRun, transform: &InputTransform) -> Vec<String> {
    let mut texts = vec![transform.preprocessing.to_string()];
    let mut values = Vec::new();
    if let Some(normalization) = transform.normalization {
        let [mean, std] = [normalization.mean, normalization.std].map(channels);
        values.push(format!("mean {mean}, std {std}"));
    }
    if transform.pixel_range == PixelRange::Byte {
        values.push("times 255".to_owned());
    }
    if transform.channel_order == ChannelOrder::Bgr {
        values.push("blue, green, red".to_owned());
    }
    if !values.is_empty() {
        texts.push(values.join(", "));
    }
    match run.scorer.averaging {
        CropAveraging::None => {}
        CropAveraging::Probs => {
            texts.push("softmax probabilities of the crops averaged".to_owned())
        }
        CropAveraging::Logits => texts.push("logits of the crops averaged".to_owned()),
    }
    let nodes: Vec<String> = nodes(&run.model)
        .iter()
        .map(|(provider, count)| format!("{count} nodes on {provider}"))
        .collect();
    texts.push(nodes.join(", "));
    let weights = run.model.external_data();
    if !weights.is_empty() {
        texts.push(format!("weights in {}", weights.join(", ")));
    }
    if let Some(gpu) = run.model.gpu() {
        let version = |name: &str, version: &Option<String>| {
            version.as_ref().map(|version| format!("{name} {version}"))
        };
        let known = [
            gpu.name.clone(),
            version("driver", &gpu.driver),
            version("CUDA", &gpu.cuda),
            version("cuDNN", &gpu.cudnn),
        ];
        texts.push(known.into_iter().flatten().collect::<Vec<_>>().join(", "));
    }
    if let Some(plugin) = run.model.plugin() {
        texts.push(format!(
            "on {}, {}",
            run.model.device(),
            plugin_text(plugin)
        ));
    }
    texts.extend_from_slice(run.model.notes());
    texts
}

/// A plugin with its version and library.
pub(crate) fn plugin_text(plugin: &PluginInfo) -> String {
    let mut text = plugin.execution_provider.clone();
    if let Some(version) = &plugin.version {
        text += &format!(" {version}");
    }
    if let Some(library) = &plugin.library {
        text += &format!(" from {library}");
    }
    text
}

/// Values of red, green and blue, to four decimals.
fn channels(values: [f32; 3]) -> String {
    let values = values.map(|value| {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    });
    values.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_short() {
        assert_eq!(channels([0.491_372_56, 0.5, 1.0]), "0.4914 0.5 1");
    }
}
