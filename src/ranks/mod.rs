//! The other processes of a run: which part of each batch belongs to this one, and what all of them do together.
//!
//! Each process is a rank. A process on its own is the only one, and nothing here communicates then.
//!
//! All ranks call the functions of [`Ranks`] in the same order: each is a collective operation, which waits for the
//! others. So whatever may differ between ranks (a signal, the time, an image that cannot be read) is made known to all
//! before anything depends on it, by [`Ranks::together`], [`Ranks::exchange`] or [`Ranks::any`].

mod agreement;
mod placement;
mod report;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::{Device, Kind, Tensor};
use topk_cli::launch::Launch;
use topk_distributed::{DistributedError, Group, Op, Rendezvous, Work};

use crate::TrainError;
use crate::batching::Part;
use crate::config::Config;

pub(crate) use agreement::{AgreementError, Card};
pub(crate) use placement::{Placement, Threads, start_on_devices};
pub use report::report;

/// All ranks of a run, as one of them sees them.
#[derive(Debug)]
pub(crate) struct Ranks {
    rank: usize,
    world_size: usize,
    /// `None` if there is one rank.
    group: Option<Group>,
    /// The signals that are on their way, and where they arrive.
    exchanged: Option<(Work, Tensor)>,
    /// Threads of a rank that shares its machine.
    threads: Option<Threads>,
}

/// What a rank tells the others after each step.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Signals {
    /// The run is to stop.
    pub(crate) stop: bool,
    /// The state is to be saved.
    pub(crate) save: bool,
    /// The rank cannot continue.
    pub(crate) failed: bool,
}

impl Signals {
    fn to_array(self) -> [f32; 3] {
        [self.stop, self.save, self.failed].map(|signal| f32::from(u8::from(signal)))
    }

    fn from_tensor(tensor: &Tensor) -> Self {
        let [stop, save, failed] = [0, 1, 2].map(|index| tensor.double_value(&[index]) > 0.0);
        Self { stop, save, failed }
    }
}

impl Ranks {
    /// A process on its own.
    pub(crate) fn alone() -> Self {
        Self {
            rank: 0,
            world_size: 1,
            group: None,
            exchanged: None,
            threads: None,
        }
    }

    /// Joins the other processes of a launch. A rank that does not answer for so long fails the run.
    ///
    /// # Errors
    /// If a rank is missing or cannot be reached.
    pub(crate) fn join(
        launch: &Launch,
        device: Device,
        threads: Option<Threads>,
        timeout: Duration,
    ) -> Result<Self, DistributedError> {
        let &Launch {
            rank, world_size, ..
        } = launch;
        if world_size == 1 {
            return Ok(Self::alone());
        }
        let rendezvous = Rendezvous {
            host: launch.master_addr.clone(),
            port: launch.master_port,
            rank,
            world_size,
            is_server: !launch.agent_store && rank == 0,
            // Keeps the attempts of a launcher apart that restarts the processes and keeps its store.
            prefix: format!("/worker/attempt_{}", launch.restart_count),
            timeout,
        };
        Ok(Self {
            rank,
            world_size,
            group: Some(Group::connect(&rendezvous, device)?),
            exchanged: None,
            threads,
        })
    }

    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    pub(crate) fn world_size(&self) -> usize {
        self.world_size
    }

    /// Whether there are other ranks.
    pub(crate) fn are_several(&self) -> bool {
        self.world_size > 1
    }

    /// Whether this is the rank that prints and writes.
    pub(crate) fn is_first(&self) -> bool {
        self.rank == 0
    }

    /// The ranks' connections; `None` if there is one rank.
    pub(crate) fn group(&self) -> Option<&Group> {
        self.group.as_ref()
    }

    /// The part of each batch that belongs to this rank; no rank gets fewer images than `least`, except none.
    pub(crate) fn part(&self, least: usize) -> Part {
        Part {
            rank: self.rank,
            world_size: self.world_size,
            least,
        }
    }

    /// The result of all ranks: this one's own, or the error of the first rank that failed.
    pub(crate) fn together<T>(&self, result: Result<T, TrainError>) -> Result<T, TrainError> {
        // The other ranks learn of a lost connection from their own.
        if let Err(TrainError::Ranks(_)) = result {
            return result;
        }
        let failure = result.as_ref().err().map(ToString::to_string);
        let failures = self.gather(&failure)?;
        let failed = failures.into_iter().enumerate();
        let mut failed = failed.filter_map(|(rank, failure)| Some((rank, failure?)));
        match (failed.next(), result) {
            (Some((rank, message)), Ok(_)) => Err(TrainError::OtherRank { rank, message }),
            (_, result) => result,
        }
    }

    /// Calls a function on rank 0; an error there is one of all ranks. `None` on the others.
    pub(crate) fn on_first<T>(
        &self,
        run: impl FnOnce() -> Result<T, TrainError>,
    ) -> Result<Option<T>, TrainError> {
        self.together(match self.is_first() {
            true => run().map(Some),
            false => Ok(None),
        })
    }

    /// The values of all ranks, in their order.
    pub(crate) fn gather<T: Clone + Serialize + DeserializeOwned>(
        &self,
        value: &T,
    ) -> Result<Vec<T>, TrainError> {
        let Some(group) = &self.group else {
            return Ok(vec![value.clone()]);
        };
        let bytes = serde_json::to_vec(value).expect("what ranks exchange is serialisable");
        let all = group.gather_bytes(&bytes)?;
        let values = all.iter().zip(0..);
        values
            .map(|(bytes, rank)| {
                serde_json::from_slice(bytes).map_err(|_| AgreementError::Version { rank }.into())
            })
            .collect()
    }

    /// The value of rank 0; the other ranks give none.
    pub(crate) fn of_first<T: Clone + Serialize + DeserializeOwned>(
        &self,
        value: Option<T>,
    ) -> Result<T, TrainError> {
        // One or none; an option of an option would lose a level in JSON.
        let given: Vec<T> = value.into_iter().collect();
        let given = self.gather(&given)?.concat();
        let first = given.into_iter().next();
        Ok(first.expect("rank 0 gives a value"))
    }

    /// Whether it is so on any rank.
    pub(crate) fn any(&self, is_so: bool) -> Result<bool, TrainError> {
        let Some(group) = &self.group else {
            return Ok(is_so);
        };
        let flag = Tensor::from(f32::from(u8::from(is_so)));
        group.all_reduce(&[&flag], Op::Max)?;
        Ok(flag.double_value(&[]) > 0.0)
    }

    /// Tells the other ranks these signals, and returns those that any rank told at the call before, so that nobody has
    /// to wait. A process on its own gets its own at once.
    pub(crate) fn exchange(&mut self, signals: Signals) -> Result<Signals, TrainError> {
        let Some(group) = &self.group else {
            return Ok(signals);
        };
        let arrived = match self.exchanged.take() {
            Some((work, arrived)) => {
                work.wait()?;
                Signals::from_tensor(&arrived)
            }
            None => Signals::default(),
        };
        let told = Tensor::from_slice(&signals.to_array());
        let work = group.all_reduce_async(&told, Op::Max)?;
        self.exchanged = Some((work, told));
        Ok(arrived)
    }

    /// Waits until all ranks have finished what they do together, so that each may end.
    pub(crate) fn finish(&mut self) -> Result<(), TrainError> {
        if let Some((work, _)) = self.exchanged.take() {
            work.wait()?;
        }
        match &self.group {
            Some(group) => Ok(group.finish()?),
            None => Ok(()),
        }
    }

    /// The sums of counts over all ranks.
    pub(crate) fn sum<const N: usize>(&self, counts: [usize; N]) -> Result<[usize; N], TrainError> {
        self.start_sum(counts)?.wait()
    }

    /// Starts to add up counts of all ranks.
    pub(crate) fn start_sum<const N: usize>(
        &self,
        counts: [usize; N],
    ) -> Result<Sum<N>, TrainError> {
        let Some(group) = &self.group else {
            return Ok(Sum::Own(counts));
        };
        let sums = Tensor::from_slice(&counts.map(|count| count as i64));
        let work = group.all_reduce_async(&sums, Op::Sum)?;
        Ok(Sum::OfAll(work, sums))
    }

    /// Replaces counts by their sums over all ranks.
    pub(crate) fn sum_all(&self, counts: &mut [usize]) -> Result<(), TrainError> {
        let Some(group) = &self.group else {
            return Ok(());
        };
        let own: Vec<i64> = counts.iter().map(|&count| count as i64).collect();
        let sums = Tensor::from_slice(&own);
        group.all_reduce(&[&sums], Op::Sum)?;
        let sums: Vec<i64> = Vec::try_from(sums).expect("a flat i64 tensor is a vector of i64");
        for (count, sum) in counts.iter_mut().zip(sums) {
            *count = sum as usize;
        }
        Ok(())
    }

    /// The sum of a number over all ranks.
    pub(crate) fn sum_of_losses(&self, sum: f64) -> Result<f64, TrainError> {
        let Some(group) = &self.group else {
            return Ok(sum);
        };
        let total = Tensor::from(sum);
        group.all_reduce(&[&total], Op::Sum)?;
        Ok(total.double_value(&[]))
    }

    /// Moves sums into rank 0, which gets those of all ranks; the others get zeros.
    pub(crate) fn move_sums_to_first(&self, sums: [f64; 3]) -> Result<[f64; 3], TrainError> {
        let Some(group) = &self.group else {
            return Ok(sums);
        };
        let total = Tensor::from_slice(&sums);
        group.all_reduce(&[&total], Op::Sum)?;
        Ok(match self.is_first() {
            true => [0, 1, 2].map(|index| total.double_value(&[index])),
            false => [0.0; 3],
        })
    }

    /// Copies the tensors of rank 0 to the other ranks.
    pub(crate) fn broadcast(&self, tensors: &[Tensor]) -> Result<(), TrainError> {
        if let Some(group) = &self.group {
            let tensors: Vec<&Tensor> = tensors.iter().collect();
            group.broadcast(&tensors, 0)?;
        }
        Ok(())
    }

    /// Names the rank that is to blame for an error, if a connection is lost; otherwise tells the other ranks of it.
    pub(crate) fn explained(&self, error: TrainError) -> TrainError {
        match (&self.group, error) {
            (Some(group), TrainError::Ranks(error)) => group.diagnose(&error).into(),
            (Some(_), error @ (TrainError::OtherRank { .. } | TrainError::Agreement(_))) => error,
            (Some(group), error) => {
                group.report_failure(&error.to_string());
                error
            }
            (None, error) => error,
        }
    }

    /// What follows from the number of ranks for a run, as lines.
    pub(crate) fn decisions(&self, config: &Config, has_batch_norm: bool) -> Vec<String> {
        if !self.are_several() {
            let unused = config
                .sync_bn
                .then(|| "--sync-bn has no effect with one rank".to_owned());
            return unused.into_iter().collect();
        }
        let (ranks, total) = (self.world_size, config.batch_size);
        let each = match total % ranks {
            0 => format!("{}", total / ranks),
            _ => format!("{} or {}", total / ranks, total / ranks + 1),
        };
        let mut lines = vec![format!(
            "{ranks} ranks: {each} images of each batch on each rank, {total} in total; --lr {} is for the total",
            config.peak_lr()
        )];
        if has_batch_norm {
            lines.push(match config.sync_bn {
                true => "batch normalisation computes with the images of all ranks (--sync-bn)".to_owned(),
                false => format!(
                    "batch normalisation computes with the {each} images of each rank; --sync-bn takes those of all"
                ),
            });
        }
        let threads = self.threads.filter(|_| config.workers.is_none());
        lines.extend(threads.map(Threads::decision));
        lines
    }

    /// Threads of this rank, unless --workers gives their number.
    pub(crate) fn threads(&self) -> Option<Threads> {
        self.threads
    }
}

/// Counts that are being added up over all ranks.
pub(crate) enum Sum<const N: usize> {
    /// Of a process on its own.
    Own([usize; N]),
    OfAll(Work, Tensor),
}

impl<const N: usize> Sum<N> {
    pub(crate) fn wait(self) -> Result<[usize; N], TrainError> {
        match self {
            Self::Own(counts) => Ok(counts),
            Self::OfAll(work, sums) => {
                work.wait()?;
                Ok(std::array::from_fn(|index| {
                    sums.int64_value(&[index as i64]) as usize
                }))
            }
        }
    }
}

/// The unit of losses that are added up, 2⁻²⁴: `f64` adds its multiples without rounding as long as the total is below
/// 2²⁹. So sums do not depend on the order in which losses are added, nor on the ranks that they are divided among.
pub(crate) const LOSS_UNIT: f64 = 1.0 / (1 << 24) as f64;

/// A sum of losses as a multiple of [`LOSS_UNIT`].
pub(crate) fn exact(sum: &Tensor) -> Tensor {
    (sum.to_kind(Kind::Double) / LOSS_UNIT).round() * LOSS_UNIT
}
