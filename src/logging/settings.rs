//! Settings of what a run reports.

use serde::Serialize;

/// What a run prints and writes for people to follow it.
#[derive(Clone, Debug, PartialEq, Serialize, clap::Args)]
#[serde(rename_all = "kebab-case")]
pub struct LoggingSettings {
    /// Number of images of the first training batch that TensorBoard shows, augmented and with their classes; 0 for none
    #[arg(long, value_name = "N", default_value_t = 8, help_heading = "Logging")]
    pub log_images: usize,

    /// What to print on standard output
    #[arg(long, value_enum, default_value = "text", help_heading = "Logging")]
    pub log_format: LogFormat,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// A table with a row per epoch
    Text,
    /// A JSON object per line: the events of log.jsonl, steps, times and messages
    Json,
}
