//! The list of execution providers and devices.

use std::path::PathBuf;

use anyhow::{Context, Result};
use topk_native::{ProviderLibrary, Runtime};
use topk_report::text::{TERMINAL_WIDTH, wrap};

use super::outputs::{Output, check, print, requested, write};
use crate::devices::DeviceList;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct DevicesArgs {
    /// Also list the devices of the execution provider in this library, which ONNX Runtime loads as a plugin; can be
    /// repeated
    #[arg(long, value_name = "FILE")]
    provider_library: Vec<PathBuf>,

    /// Write the list as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl DevicesArgs {
    fn files(&self) -> impl Iterator<Item = Output<'_>> {
        requested([("--json", &self.json)])
    }

    pub(super) fn run(&self) -> Result<()> {
        check(self.files())?;
        let libraries = self.provider_library.iter().map(|path| {
            ProviderLibrary::open(path)
                .with_context(|| format!("--provider-library {}", path.display()))
        });
        let libraries = libraries.collect::<Result<Vec<_>>>()?;
        let runtime = Runtime::load()?;
        let list = DeviceList::new(&runtime, &libraries);
        let path = runtime.path().display();
        let mut text = wrap(
            &format!("ONNX Runtime {}, {path}", runtime.version()),
            TERMINAL_WIDTH,
            2,
        );
        text.push('\n');
        for entry in &list.providers {
            let lines = entry.lines();
            let lines = lines
                .iter()
                .map(|line| wrap(line, TERMINAL_WIDTH, 4) + "\n");
            text += &format!("\n{}", lines.collect::<String>());
        }
        print(&text, self.files())?;
        if let Some(path) = &self.json {
            let json = serde_json::to_string_pretty(&list).context("cannot write the list")?;
            write(path, &(json + "\n"))?;
        }
        Ok(())
    }
}
