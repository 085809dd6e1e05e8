//! Several processes that evaluate together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use topk_cli::launch::Launch;
use topk_results::Shard;

use super::execution::seconds;
use crate::ranks::Ranks;

#[derive(Clone, Debug, clap::Args)]
#[command(
    next_help_heading = "Ranks [started by torchrun --no-python, or with RANK and WORLD_SIZE]"
)]
pub(super) struct RankArgs {
    /// Folder that all ranks see, in which they leave their results for rank 0 [default: beside the first output
    /// file; without one, a temporary folder if all run on this machine]
    #[arg(long, value_name = "DIR")]
    rendezvous_dir: Option<PathBuf>,

    /// Seconds without a sign of life after which a rank counts as dead, and the others end
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    dist_timeout: Duration,
}

impl RankArgs {
    /// How a launcher started this process; none if it is on its own.
    ///
    /// # Errors
    /// If the variables of the launcher contradict each other, or a shard is requested too.
    pub(super) fn launch(&self, shard: Option<Shard>) -> Result<Option<Launch>> {
        let launch = Launch::from_env()?.filter(|launch| launch.world_size > 1);
        if let (Some(launch), Some(Shard { index, count })) = (&launch, shard) {
            bail!(
                "--shard {index}/{count} cannot be combined with RANK={} and WORLD_SIZE={}, which divide the data too: \
                 omit --shard, or unset the variables",
                launch.rank,
                launch.world_size
            );
        }
        Ok(launch)
    }

    /// Meets the other ranks, perhaps beside this output file.
    ///
    /// # Errors
    /// If they have no folder in common.
    pub(super) fn join(&self, launch: &Launch, output: Option<&Path>) -> Result<Ranks> {
        let folder = self.rendezvous_dir.as_deref();
        let ranks = Ranks::join(launch, folder, output, self.dist_timeout);
        Ok(ranks?)
    }
}
