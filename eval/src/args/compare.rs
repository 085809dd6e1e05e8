//! Two results side by side.

use anyhow::Result;

#[derive(Clone, Debug, clap::Args)]
pub(super) struct CompareArgs {}

impl CompareArgs {
    pub(super) fn run(&self) -> Result<()> {
        Ok(())
    }
}
