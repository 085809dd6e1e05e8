use std::env;
use std::ffi::{CString, c_char, c_int};
use std::net::IpAddr;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tch::{Device, Kind, TchError, Tensor};
use topk_libtorch::call::check;
use torch_sys::C_tensor;

use crate::error::{DistributedError, message};
use crate::join::{Joined, Rendezvous, grace, join};
use crate::nccl::Nccl;
use crate::store::{RawStore, Store, milliseconds};
use crate::watch::{Report, Setting, Watcher};

/// A process group of libtorch.
#[repr(C)]
pub(crate) struct RawGroup([u8; 0]);

/// An operation of libtorch that has started.
#[repr(C)]
struct RawWork([u8; 0]);

unsafe extern "C" {
    fn topk_group_connect(
        store: *mut RawStore,
        rank: c_int,
        size: c_int,
        interface: *const c_char,
        address: *const c_char,
        timeout_ms: i64,
        result: *mut *mut RawGroup,
    ) -> *mut c_char;
    fn topk_group_free(group: *mut RawGroup);
    fn topk_all_reduce(
        group: *mut RawGroup,
        tensors: *const *mut C_tensor,
        count: usize,
        max: bool,
    ) -> *mut c_char;
    fn topk_all_reduce_start(
        group: *mut RawGroup,
        tensor: *const C_tensor,
        max: bool,
        result: *mut *mut RawWork,
    ) -> *mut c_char;
    fn topk_work_finish(work: *mut RawWork) -> *mut c_char;
    fn topk_work_free(work: *mut RawWork);
    fn topk_broadcast(
        group: *mut RawGroup,
        tensors: *const *mut C_tensor,
        count: usize,
        root: c_int,
    ) -> *mut c_char;
    fn topk_all_gather(
        group: *mut RawGroup,
        tensor: *const C_tensor,
        results: *const *mut C_tensor,
        count: usize,
    ) -> *mut c_char;
    fn topk_barrier(group: *mut RawGroup) -> *mut c_char;
}

/// How values of ranks are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Their sum.
    Sum,
    /// Their maximum.
    Max,
}

/// The ranks of a run, connected to each other. Clones are the same group.
///
/// All ranks must call the same operations in the same order, with tensors of the same shape and type, and from one thread
/// at a time. An operation waits for the other ranks for at most the time-out of the [`Rendezvous`].
#[derive(Clone, Debug)]
pub struct Group {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    group: *mut RawGroup,
    /// Operations start one after the other.
    order: Mutex<()>,
    /// How many this rank has started.
    operations: Arc<AtomicU64>,
    rank: usize,
    world_size: usize,
    timeout: Duration,
    is_server: bool,
    /// `None` for one rank.
    watcher: Option<Watcher>,
    // Last, since the group uses it.
    store: Store,
}

// SAFETY: libtorch's process groups may be used by any thread; those that start operations hold `order`, which libtorch
// does not lock by itself.
unsafe impl Send for Inner {}
// SAFETY: as above.
unsafe impl Sync for Inner {}

impl Drop for Inner {
    fn drop(&mut self) {
        // SAFETY: made by `topk_group_connect`, and owned by this.
        unsafe { topk_group_free(self.group) }
    }
}

impl Group {
    /// Joins the other ranks. Tensors on the CPU use Gloo; those on GPUs NCCL, if `device` is one.
    ///
    /// # Errors
    /// If a rank is missing when the time-out ends, does not fit the others, or cannot be connected to.
    pub fn connect(rendezvous: &Rendezvous, device: Device) -> Result<Self, DistributedError> {
        let Rendezvous {
            rank,
            world_size,
            timeout,
            ..
        } = *rendezvous;
        if rank >= world_size {
            return Err(DistributedError::Refused(format!(
                "rank {rank} is not one of {world_size} ranks, which are counted from 0"
            )));
        }
        // Before joining, since the others need not wait for a rank that cannot take part.
        let nccl = match device {
            Device::Cuda(index) => Some((index, Nccl::load(index)?)),
            _ => None,
        };
        let Joined {
            store,
            address,
            launcher,
        } = join(rendezvous)?;
        let grace = grace(timeout);
        let group = connect_gloo(&store, rendezvous, address, timeout - grace)?;
        let operations = Arc::new(AtomicU64::new(0));
        // From here on, dropping the group frees it.
        let mut inner = Inner {
            group,
            order: Mutex::new(()),
            operations: Arc::clone(&operations),
            rank,
            world_size,
            timeout,
            is_server: rendezvous.is_server,
            watcher: None,
            store,
        };
        if world_size > 1 {
            let setting = Setting {
                rank,
                world_size,
                is_server: rendezvous.is_server,
                address: rendezvous.address(),
                store_host: if launcher { "the launcher" } else { "rank 0" },
                grace,
            };
            let store = rendezvous.connect_again()?;
            inner.watcher = Some(Watcher::start(store, setting, operations));
        }
        let group = Self {
            inner: Arc::new(inner),
        };
        if let Some((index, nccl)) = nccl {
            let Inner {
                group: raw, store, ..
            } = &*group.inner;
            let added = nccl.add(*raw, store.as_ptr(), rank, world_size, index, 2 * timeout);
            added.inspect_err(|error| group.report_failure(&error.to_string()))?;
        }
        Ok(group)
    }

    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        self.inner.rank
    }

    /// The number of ranks.
    pub fn world_size(&self) -> usize {
        self.inner.world_size
    }

    /// How long an operation waits for other ranks.
    pub fn timeout(&self) -> Duration {
        self.inner.timeout
    }

    /// Replaces each tensor by its sum or maximum over all ranks. Histories of gradients are left as they are.
    ///
    /// # Errors
    /// If another rank does not take part.
    pub fn all_reduce(&self, tensors: &[&Tensor], op: Op) -> Result<(), DistributedError> {
        let pointers = pointers(tensors);
        self.run("all-reduce", |group| {
            // SAFETY: the group and this many tensors are live; the C++ side catches exceptions.
            unsafe {
                check(topk_all_reduce(
                    group,
                    pointers.as_ptr(),
                    pointers.len(),
                    op == Op::Max,
                ))
            }
        })
    }

    /// Starts [`all_reduce`](Self::all_reduce) of one tensor, which must not be used before [`Work::wait`].
    ///
    /// # Errors
    /// If libtorch cannot start it.
    pub fn all_reduce_async(&self, tensor: &Tensor, op: Op) -> Result<Work, DistributedError> {
        let mut work = ptr::null_mut();
        self.run("all-reduce", |group| {
            // SAFETY: the group and the tensor are live; libtorch keeps a reference to the tensor's memory. The C++ side
            // catches exceptions.
            unsafe {
                check(topk_all_reduce_start(
                    group,
                    tensor.as_ptr(),
                    op == Op::Max,
                    &mut work,
                ))
            }
        })?;
        Ok(Work {
            work,
            group: self.clone(),
        })
    }

    /// Replaces the tensors by those of rank `root`, many in one message.
    ///
    /// # Errors
    /// If another rank does not take part.
    pub fn broadcast(&self, tensors: &[&Tensor], root: usize) -> Result<(), DistributedError> {
        if tensors.is_empty() {
            return Ok(());
        }
        let pointers = pointers(tensors);
        self.run("broadcast", |group| {
            // SAFETY: the group and this many tensors are live; the C++ side catches exceptions.
            unsafe {
                check(topk_broadcast(
                    group,
                    pointers.as_ptr(),
                    pointers.len(),
                    root as c_int,
                ))
            }
        })
    }

    /// The bytes of every rank, in the order of the ranks.
    ///
    /// # Errors
    /// If another rank does not take part.
    pub fn gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, DistributedError> {
        let own = Tensor::from_slice(&[bytes.len() as i64]);
        let lengths: Vec<i64> = self
            .all_gather(&own)?
            .iter()
            .map(|length| length.int64_value(&[0]))
            .collect();
        // Collectives take tensors of one shape.
        let longest = lengths.iter().copied().max().unwrap_or(0).max(1);
        let padded = Tensor::zeros([longest], (Kind::Uint8, Device::Cpu));
        if !bytes.is_empty() {
            let mut start = padded.narrow(0, 0, bytes.len() as i64);
            start.copy_(&Tensor::from_slice(bytes));
        }
        let all = self.all_gather(&padded)?;
        let all = all.iter().zip(lengths);
        all.map(|(tensor, length)| Ok(Vec::try_from(&tensor.narrow(0, 0, length))?))
            .collect()
    }

    /// The bytes of rank `root`, on all ranks. Other ranks' are ignored.
    ///
    /// # Errors
    /// If another rank does not take part.
    pub fn broadcast_bytes(
        &self,
        bytes: Vec<u8>,
        root: usize,
    ) -> Result<Vec<u8>, DistributedError> {
        let length = Tensor::from_slice(&[bytes.len() as i64]);
        self.broadcast(&[&length], root)?;
        let length = length.int64_value(&[0]);
        if length == 0 {
            return Ok(vec![]);
        }
        let tensor = if self.rank() == root {
            Tensor::from_slice(&bytes)
        } else {
            Tensor::zeros([length], (Kind::Uint8, Device::Cpu))
        };
        self.broadcast(&[&tensor], root)?;
        Ok(Vec::try_from(&tensor)?)
    }

    /// Waits until all ranks have called this.
    ///
    /// # Errors
    /// If another rank does not.
    pub fn barrier(&self) -> Result<(), DistributedError> {
        self.run("barrier", |group| {
            // SAFETY: the group is live; the C++ side catches exceptions.
            unsafe { check(topk_barrier(group)) }
        })
    }

    /// After a failed operation: finds out which rank is at fault, and tells all others. Takes up to a fifth of the
    /// time-out (at most five seconds), which operations leave for it. Other errors are returned as they are.
    ///
    /// The group cannot be used afterwards.
    pub fn diagnose(&self, error: &DistributedError) -> DistributedError {
        match (error, &self.inner.watcher) {
            (
                DistributedError::Collective {
                    operation, reason, ..
                },
                Some(watcher),
            ) => watcher.diagnose(&Report::Operation {
                operation: (*operation).to_owned(),
                reason: reason.clone(),
            }),
            _ => error.clone(),
        }
    }

    /// Tells the other ranks that this one fails, and why; their [`diagnose`](Self::diagnose) names it. The caller should
    /// end the process soon after, which makes their operations fail.
    pub fn report_failure(&self, reason: &str) {
        if let Some(watcher) = &self.inner.watcher {
            watcher.diagnose(&Report::Own {
                reason: reason.to_owned(),
            });
        }
    }

    /// What other ranks have reported so far, without waiting: `Some` if this run cannot continue.
    pub fn failure(&self) -> Option<DistributedError> {
        self.inner.watcher.as_ref()?.diagnosis()
    }

    /// Waits until all ranks have finished, so that none leaves while others still need it.
    ///
    /// # Errors
    /// If another rank does not.
    pub fn finish(&self) -> Result<(), DistributedError> {
        self.barrier()?;
        // The store must outlive the other ranks' barriers.
        let inner = &*self.inner;
        if inner.world_size > 1 && inner.store.add("left", 1).is_ok() && inner.is_server {
            let deadline = Instant::now() + grace(inner.timeout);
            while Instant::now() < deadline
                && inner
                    .store
                    .add("left", 0)
                    .is_ok_and(|left| left < inner.world_size as i64)
            {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    /// Runs an operation, and says which one failed.
    pub(crate) fn run(
        &self,
        operation: &'static str,
        run: impl FnOnce(*mut RawGroup) -> Result<(), TchError>,
    ) -> Result<(), DistributedError> {
        let inner = &*self.inner;
        let _order = inner.order.lock().unwrap_or_else(PoisonError::into_inner);
        inner.operations.fetch_add(1, Ordering::Relaxed);
        run(inner.group).map_err(|error| self.failed(operation, &error))
    }

    pub(crate) fn failed(&self, operation: &'static str, error: &TchError) -> DistributedError {
        DistributedError::Collective {
            operation,
            rank: self.inner.rank,
            reason: message(error),
        }
    }

    /// The tensor of every rank; all have the same shape.
    fn all_gather(&self, tensor: &Tensor) -> Result<Vec<Tensor>, DistributedError> {
        let results: Vec<Tensor> = (0..self.world_size())
            .map(|_| tensor.zeros_like())
            .collect();
        let pointers: Vec<_> = results
            .iter()
            .map(|result| result.as_ptr().cast_mut())
            .collect();
        self.run("all-gather", |group| {
            // SAFETY: the group, the tensor and this many results are live; the C++ side catches exceptions.
            unsafe {
                check(topk_all_gather(
                    group,
                    tensor.as_ptr(),
                    pointers.as_ptr(),
                    pointers.len(),
                ))
            }
        })?;
        Ok(results)
    }
}

fn pointers(tensors: &[&Tensor]) -> Vec<*mut C_tensor> {
    tensors
        .iter()
        .map(|tensor| tensor.as_ptr().cast_mut())
        .collect()
}

/// Connects to all ranks, on the interface that reaches the store, unless the user names one, as for PyTorch.
fn connect_gloo(
    store: &Store,
    rendezvous: &Rendezvous,
    address: Option<IpAddr>,
    timeout: Duration,
) -> Result<*mut RawGroup, DistributedError> {
    let connect_error = |reason: String| DistributedError::Connect {
        rank: rendezvous.rank,
        reason,
    };
    let interface = match env::var("GLOO_SOCKET_IFNAME") {
        Ok(name) if !name.is_empty() => Some(name),
        _ => None,
    };
    let c_string =
        |text: String| CString::new(text).map_err(|error| connect_error(error.to_string()));
    let interface = interface.map(c_string).transpose()?;
    let address = address
        .map(|address| c_string(address.to_string()))
        .transpose()?;
    let pointer = |text: &Option<CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    let mut group = ptr::null_mut();
    // SAFETY: the store, the strings (or null) and the result outlive the call, which catches exceptions.
    unsafe {
        check(topk_group_connect(
            store.as_ptr(),
            rendezvous.rank as c_int,
            rendezvous.world_size as c_int,
            pointer(&interface),
            pointer(&address),
            milliseconds(timeout),
            &mut group,
        ))
    }
    .map_err(|error| connect_error(message(&error)))?;
    Ok(group)
}

/// An operation that has started; see [`Group::all_reduce_async`].
#[derive(Debug)]
pub struct Work {
    work: *mut RawWork,
    group: Group,
}

// SAFETY: an operation of libtorch may be waited for by another thread than the one that started it.
unsafe impl Send for Work {}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: made by `topk_all_reduce_start`, and owned by this.
        unsafe { topk_work_free(self.work) }
    }
}

impl Work {
    /// Waits until the tensor has its new value.
    ///
    /// # Errors
    /// If another rank does not take part.
    pub fn wait(self) -> Result<(), DistributedError> {
        // SAFETY: the work is live; the C++ side catches exceptions.
        unsafe { check(topk_work_finish(self.work)) }
            .map_err(|error| self.group.failed("all-reduce", &error))
    }
}
