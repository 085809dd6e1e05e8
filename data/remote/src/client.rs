use std::collections::HashMap;
use std::env;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::blocks::Blocks;
use crate::buffers::Buffers;
use crate::disk::Disk;
use crate::list::Tree;
use crate::location::{Location, Provider};
use crate::object::{Object, Version};
use crate::retry::{Failure, Retries, Tries, failure};
use crate::statistics::Statistics;
use crate::stores::{Stores, Variables};
use crate::{Counts, RemoteError};

/// How remote data is read.
#[derive(Clone)]
pub struct Options {
    /// Environment variables with credentials and addresses of servers.
    pub variables: HashMap<String, String>,
    /// Folder in which blocks of data, downloads and lists of images are kept.
    pub cache: Option<PathBuf>,
    /// Most bytes of blocks in that folder.
    pub cache_size: u64,
    /// Folder of downloads and lists of images without `cache`.
    pub home: Option<PathBuf>,
    /// Most bytes of received blocks in memory. Those being received come on top: at most an eighth more, and one
    /// block per thread that waits for one.
    pub memory: usize,
    /// Bytes of a block, which is received with one request.
    pub block: usize,
    /// How long a request may take.
    pub timeout: Duration,
    /// When to give up after failures.
    pub retries: Retries,
}

impl Default for Options {
    /// No cache, 1 GiB of memory, blocks of 4 MiB and 30 seconds, without variables.
    fn default() -> Self {
        Self {
            variables: HashMap::new(),
            cache: None,
            cache_size: 50_000_000_000,
            home: None,
            memory: 1 << 30,
            block: 4 << 20,
            timeout: Duration::from_secs(30),
            retries: Retries::default(),
        }
    }
}

impl Options {
    /// The defaults with the environment's variables, and the user's cache folder for downloads and lists.
    pub fn from_env() -> Self {
        let variables = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| {
                let prefixes = ["AWS_", "GOOGLE_", "AZURE_", "HF_"];
                prefixes.iter().any(|prefix| name.starts_with(prefix)) || name == "SERVICE_ACCOUNT"
            });
        let absolute = |name: &str| {
            let path = env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let home = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Self {
            variables: variables.collect(),
            home: home.map(|home| home.join("topk")),
            ..Self::default()
        }
    }
}

impl std::fmt::Debug for Options {
    /// Without the variables, which have credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("cache", &self.cache)
            .field("cache_size", &self.cache_size)
            .field("home", &self.home)
            .field("memory", &self.memory)
            .field("block", &self.block)
            .field("timeout", &self.timeout)
            .field("retries", &self.retries)
            .finish_non_exhaustive()
    }
}

/// Reads remote data, from any number of threads.
#[derive(Debug)]
pub struct Client {
    pub(crate) options: Options,
    pub(crate) threads: Threads,
    pub(crate) stores: Stores,
    pub(crate) statistics: Arc<Statistics>,
    pub(crate) blocks: Blocks,
    pub(crate) buffers: Buffers,
    pub(crate) disk: Option<Disk>,
    pub(crate) trees: Mutex<Vec<(Location, Arc<Tree>)>>,
    objects: Mutex<HashMap<Location, Arc<Object>>>,
}

/// The threads that transfer data. They end without being waited for: the last use of a client may be on one of them,
/// where waiting is not allowed.
#[derive(Debug)]
pub(crate) struct Threads(Option<Runtime>);

impl Threads {
    pub fn handle(&self) -> &Handle {
        let runtime = self.0.as_ref();
        runtime.expect("it is there until it is dropped").handle()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

static SHARED: OnceLock<Arc<Client>> = OnceLock::new();

impl Client {
    /// A client of its own.
    ///
    /// # Errors
    /// If the cache folder cannot be used, or threads cannot be started.
    pub fn new(options: Options) -> Result<Arc<Self>, RemoteError> {
        let statistics = Arc::new(Statistics::default());
        let disk = options.cache.as_ref();
        let disk = disk
            .map(|folder| Disk::open(folder, options.cache_size))
            .transpose()?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.clamp(1, 4))
            .thread_name("topk-remote")
            .enable_all()
            .build();
        let runtime = runtime.map_err(|error| RemoteError::Permanent {
            location: "remote data".to_owned(),
            reason: error.to_string(),
        })?;
        let variables: Variables = options.variables.clone();
        let blocks = Blocks::new(options.memory, options.block);
        Ok(Arc::new(Self {
            stores: Stores::new(variables, options.timeout, Arc::clone(&statistics)),
            buffers: Buffers::new(options.block, blocks.parallel, &statistics),
            blocks,
            statistics,
            options,
            threads: Threads(Some(runtime)),
            disk,
            trees: Mutex::default(),
            objects: Mutex::default(),
        }))
    }

    /// The client of this process, made with [`Options::from_env`] at its first use unless [`configure`](Self::configure)
    /// came first.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn shared() -> Result<Arc<Self>, RemoteError> {
        if let Some(client) = SHARED.get() {
            return Ok(Arc::clone(client));
        }
        let client = Self::new(Options::from_env())?;
        Ok(Arc::clone(SHARED.get_or_init(|| client)))
    }

    /// Makes the client of this process. Call it before the first use; later calls change nothing.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn configure(options: Options) -> Result<(), RemoteError> {
        let client = Self::new(options)?;
        SHARED.get_or_init(|| client);
        Ok(())
    }

    /// What this process has transferred; `None` if there was no remote data.
    pub fn transferred() -> Option<Counts> {
        let counts = SHARED.get()?.counts();
        (counts.requests > 0 || counts.from_cache > 0).then_some(counts)
    }

    /// What was transferred so far.
    pub fn counts(&self) -> Counts {
        self.statistics.counts()
    }

    /// The folder of downloads and lists of images.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.options
            .cache
            .as_deref()
            .or(self.options.home.as_deref())
    }

    /// Opens an object. An object that was opened before must not have changed since.
    ///
    /// # Errors
    /// If it does not exist or cannot be read.
    pub fn open(self: &Arc<Self>, path: &Path) -> Result<Arc<Object>, RemoteError> {
        let location = Location::parse(path)?;
        let objects = || self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(object) = objects().get(&location) {
            return Ok(Arc::clone(object));
        }
        // There may be millions of listed objects, whose versions are known for as long as the process runs.
        if let Some(version) = self.listed(&location) {
            return Ok(Arc::new(Object::new(self, location, version)?));
        }
        let version = self.block_on(self.version(&location))?;
        let object = Arc::new(Object::new(self, location.clone(), version)?);
        // Another thread may have been faster; both must then use the same version.
        let object = Arc::clone(objects().entry(location).or_insert(object));
        Ok(object)
    }

    /// Version and size of an object.
    async fn version(&self, location: &Location) -> Result<Version, RemoteError> {
        // Signatures of addresses may hold for GET only, so this reads a byte there.
        let head = !matches!(location.provider, Provider::Web | Provider::Hub);
        let (store, key) = self.stores.of(location)?;
        let mut tries = Tries::new(self.options.retries, &self.statistics, location);
        loop {
            let options = GetOptions {
                head,
                range: (!head).then_some(GetRange::Bounded(0..1)),
                ..GetOptions::default()
            };
            match store.get_opts(&key, options).await {
                Ok(found) => return Ok(Version::of(&found.meta)),
                Err(error) => tries.again(failure(&error, location, &self.stores)).await?,
            }
        }
    }

    /// Receives a range of an object in a buffer, whose contents it replaces.
    pub(crate) async fn receive(
        &self,
        object: &Object,
        range: std::ops::Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), RemoteError> {
        let location = &object.location;
        let mut tries = Tries::new(self.options.retries, &self.statistics, location);
        loop {
            match self.receive_once(object, range.clone(), buffer).await {
                Ok(()) => {
                    self.statistics.received(buffer.len());
                    return Ok(());
                }
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    async fn receive_once(
        &self,
        object: &Object,
        range: std::ops::Range<u64>,
        buffer: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let location = &object.location;
        let failed = |error| failure(&error, location, &self.stores);
        let length = range.end - range.start;
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let answer = object
            .store
            .get_opts(&object.key, options)
            .await
            .map_err(failed)?;
        object.check(&answer.meta).map_err(Failure::Final)?;
        let mut received = 0;
        buffer.clear();
        let mut parts = answer.into_stream();
        while let Some(part) = parts.try_next().await.map_err(failed)? {
            received += part.len() as u64;
            if received > length {
                break;
            }
            buffer.extend_from_slice(&part);
        }
        if received != length {
            return Err(Failure::Passing {
                cause: "connection broken".to_owned(),
                reason: format!("{received} bytes instead of {length}"),
                wait: None,
            });
        }
        Ok(())
    }

    /// Runs a future to its end, from a thread outside the runtime.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.threads.handle().block_on(future)
    }

    pub(crate) fn store(
        &self,
        location: &Location,
    ) -> Result<(Arc<dyn ObjectStore>, object_store::path::Path), RemoteError> {
        self.stores.of(location)
    }
}

impl Version {
    pub(crate) fn of(meta: &ObjectMeta) -> Self {
        Self {
            tag: meta.e_tag.clone().unwrap_or_else(|| {
                // Servers without tags may have a time.
                match meta.last_modified.timestamp() {
                    0 => String::new(),
                    seconds => format!("modified {seconds}"),
                }
            }),
            size: meta.size,
        }
    }
}
