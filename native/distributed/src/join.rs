//! How ranks find each other, and refuse those that do not fit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use tch::TchError;

use crate::error::{DistributedError, message};
use crate::store::Store;

/// What ranks say to each other through the store. Whoever changes the keys, their values or their order changes this
/// number.
const PROTOCOL: u32 = 1;

/// The outcome of joining: [`ACCEPTED`], or why all ranks must stop.
const VERDICT: &str = "verdict";
const ACCEPTED: &str = "accepted";

/// Where and as what a rank joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendezvous {
    /// The host of the store; `MASTER_ADDR`.
    pub host: String,
    /// Its port; `MASTER_PORT`.
    pub port: u16,
    /// This rank, from 0; `RANK`.
    pub rank: usize,
    /// The number of ranks; `WORLD_SIZE`.
    pub world_size: usize,
    /// Whether this rank hosts the store: rank 0, unless the launcher does.
    pub is_server: bool,
    /// Where keys of this attempt are in the store. Restarted ranks need another one if the launcher keeps its store.
    pub prefix: String,
    /// How long to wait for other ranks, when joining and in each operation.
    pub timeout: Duration,
}

impl Rendezvous {
    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Another connection to the store, as a client.
    pub(crate) fn connect_again(&self) -> Result<Store, DistributedError> {
        Store::connect(&self.host, self.port, false, &self.prefix, self.timeout)
            .map_err(|error| self.cannot_connect(&error))
    }

    fn cannot_connect(&self, error: &TchError) -> DistributedError {
        let reason = message(error);
        if self.is_server && reason.contains("EADDRINUSE") {
            return DistributedError::PortTaken { port: self.port };
        }
        self.unreachable(&reason)
    }

    fn unreachable(&self, reason: &str) -> DistributedError {
        DistributedError::Unreachable {
            rank: self.rank,
            address: self.address(),
            timeout: self.timeout,
            reason: reason.to_owned(),
        }
    }
}

/// A rank as it presents itself to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    protocol: String,
    libtorch: String,
    world_size: String,
    process: String,
}

impl Record {
    fn own(rendezvous: &Rendezvous) -> Self {
        Self {
            protocol: PROTOCOL.to_string(),
            libtorch: topk_native::torch::VERSION.to_owned(),
            world_size: rendezvous.world_size.to_string(),
            process: format!("process {} on {}", std::process::id(), host_name()),
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let Self {
            protocol,
            libtorch,
            world_size,
            process,
        } = self;
        format!("{protocol}\n{libtorch}\n{world_size}\n{process}").into_bytes()
    }

    /// Whatever was written there; missing fields are empty.
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut fields = text.split('\n').map(str::to_owned);
        let mut next = || fields.next().unwrap_or_default();
        Self {
            protocol: next(),
            libtorch: next(),
            world_size: next(),
            process: next(),
        }
    }

    /// Why a rank with this record cannot join the one with the other, which is rank 0.
    fn refusal(&self, rank: usize, zero: &Self) -> Option<String> {
        if self.protocol != zero.protocol {
            return Some(format!(
                "rank {rank} ({}) speaks version {} of the protocol between ranks, rank 0 ({}) version {}: start the \
                 same version of the program on all ranks",
                self.process, self.protocol, zero.process, zero.protocol
            ));
        }
        if self.world_size != zero.world_size {
            return Some(format!(
                "rank {rank} ({}) was started with WORLD_SIZE={}, rank 0 ({}) with WORLD_SIZE={}: give all ranks the \
                 same number",
                self.process, self.world_size, zero.process, zero.world_size
            ));
        }
        (self.libtorch != zero.libtorch).then(|| {
            format!(
                "rank {rank} ({}) has libtorch {}, rank 0 ({}) has {}: start the same version of the program on all \
                 ranks",
                self.process, self.libtorch, zero.process, zero.libtorch
            )
        })
    }
}

/// The name of this machine, or `localhost`.
fn host_name() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the buffer has this many bytes; `gethostname` writes at most as many.
    let found = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len()) } == 0;
    let end = name.iter().position(|&byte| byte == 0);
    match end {
        Some(end) if found => String::from_utf8_lossy(&name[..end]).into_owned(),
        _ => "localhost".to_owned(),
    }
}

/// A rank that all others have accepted.
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) store: Store,
    /// The address of this machine that the others reach; `None` if it is not known.
    pub(crate) address: Option<IpAddr>,
    /// Whether the launcher hosts the store, rather than rank 0.
    pub(crate) launcher: bool,
}

/// Joins on a thread of its own: libtorch waits without a limit for a server that accepts connections and does not answer.
pub(crate) fn join(rendezvous: &Rendezvous) -> Result<Joined, DistributedError> {
    let (sender, receiver) = mpsc::channel();
    let own = rendezvous.clone();
    thread::spawn(move || sender.send(sign_in(&own)));
    let limit = rendezvous.timeout + grace(rendezvous.timeout);
    receiver.recv_timeout(limit).unwrap_or_else(|_| {
        Err(rendezvous.unreachable("it accepts connections, but does not answer"))
    })
}

/// Signs in at the store, and waits until all ranks have.
fn sign_in(rendezvous: &Rendezvous) -> Result<Joined, DistributedError> {
    let deadline = Instant::now() + rendezvous.timeout;
    let store = Store::connect(
        &rendezvous.host,
        rendezvous.port,
        rendezvous.is_server,
        &rendezvous.prefix,
        rendezvous.timeout,
    )
    .map_err(|error| rendezvous.cannot_connect(&error))?;
    let lost = |error: TchError| rendezvous.cannot_connect(&error);
    store.add(ARRIVED, 1).map_err(lost)?;
    if let Err(error) = agree(&store, rendezvous, deadline) {
        depart(&store, rendezvous);
        return Err(error);
    }
    let address = own_address(rendezvous);
    // Kubeflow and others tell rank 0 that its own address is `localhost`, where other machines do not reach it.
    let remote = store.has(REMOTE).map_err(lost)?;
    let launcher = !store.has(HOSTED).map_err(lost)?;
    Ok(Joined {
        store,
        address: address.filter(|address| !(remote && address.is_loopback())),
        launcher,
    })
}

/// Presents this rank, and waits for the verdict.
fn agree(
    store: &Store,
    rendezvous: &Rendezvous,
    deadline: Instant,
) -> Result<(), DistributedError> {
    let Rendezvous {
        rank, world_size, ..
    } = *rendezvous;
    let lost = |error: TchError| rendezvous.cannot_connect(&error);
    let refuse = |refusal: String| {
        store.set_first(VERDICT, refusal.as_bytes()).map_err(lost)?;
        Err(DistributedError::Refused(refusal))
    };
    let record = Record::own(rendezvous);
    if rendezvous.is_server {
        store.set(HOSTED, b"").map_err(lost)?;
    }
    if own_address(rendezvous).is_some_and(|address| !address.is_loopback()) {
        store.set(REMOTE, b"").map_err(lost)?;
    }
    if store.add(&format!("starts/{rank}"), 1).map_err(lost)? > 1 {
        let other = match store.text(&rank_key(rank)).map_err(lost)? {
            Some(text) => Record::parse(text.as_bytes()).process,
            None => "another process".to_owned(),
        };
        return refuse(format!(
            "rank {rank} was started twice, as {other} and as {}: give each process its own RANK",
            record.process
        ));
    }
    store
        .set(&rank_key(rank), &record.to_bytes())
        .map_err(lost)?;
    if rank > 0 {
        wait_for(store, &rank_key(0), deadline, rendezvous)?;
        let zero = Record::parse(&store.get(&rank_key(0)).map_err(lost)?);
        if let Some(refusal) = record.refusal(rank, &zero) {
            return refuse(refusal);
        }
    }
    if store.add("joined", 1).map_err(lost)? == world_size as i64 {
        store
            .set_first(VERDICT, ACCEPTED.as_bytes())
            .map_err(lost)?;
    }
    wait_for(store, VERDICT, deadline, rendezvous)?;
    let verdict = store.get(VERDICT).map_err(lost)?;
    if verdict == ACCEPTED.as_bytes() {
        return Ok(());
    }
    let refusal = String::from_utf8_lossy(&verdict).into_owned();
    Err(DistributedError::Refused(refusal))
}

/// The store must outlive the verdict, which other ranks still have to read.
fn depart(store: &Store, rendezvous: &Rendezvous) {
    let deadline = Instant::now() + grace(rendezvous.timeout);
    let _ = store.add(DEPARTED, 1);
    while rendezvous.is_server && Instant::now() < deadline {
        match (store.add(ARRIVED, 0), store.add(DEPARTED, 0)) {
            (Ok(arrived), Ok(departed)) if departed < arrived => thread::sleep(POLL),
            _ => return,
        }
    }
}

/// How many processes came, and how many have left because they cannot join.
const ARRIVED: &str = "arrived";
const DEPARTED: &str = "departed";
/// How often the host of the store looks whether the others have left.
const POLL: Duration = Duration::from_millis(20);

/// The part of a time-out that is kept for finding out which rank is at fault.
pub(crate) fn grace(timeout: Duration) -> Duration {
    (timeout / 5).min(Duration::from_secs(5))
}

/// Set by ranks that reach the store through a network.
const REMOTE: &str = "remote";

/// Set by rank 0 if it hosts the store.
const HOSTED: &str = "hosted";

fn rank_key(rank: usize) -> String {
    format!("rank/{rank}")
}

/// Waits for a key; at the deadline, names the ranks that are missing, to all ranks.
fn wait_for(
    store: &Store,
    key: &str,
    deadline: Instant,
    rendezvous: &Rendezvous,
) -> Result<(), DistributedError> {
    let remaining = deadline.saturating_duration_since(Instant::now());
    let Err(error) = store.wait(key, remaining) else {
        return Ok(());
    };
    let lost = |_| rendezvous.cannot_connect(&error);
    let mut missing = vec![];
    for rank in 0..rendezvous.world_size {
        if !store.has(&rank_key(rank)).map_err(lost)? {
            missing.push(rank);
        }
    }
    if missing.is_empty() {
        return Err(rendezvous.cannot_connect(&error));
    }
    let error = DistributedError::Missing {
        joined: rendezvous.world_size - missing.len(),
        missing,
        world_size: rendezvous.world_size,
        address: rendezvous.address(),
        timeout: rendezvous.timeout,
    };
    store
        .set_first(VERDICT, error.to_string().as_bytes())
        .map_err(lost)?;
    Err(error)
}

/// The address from which this machine reaches the store.
fn own_address(rendezvous: &Rendezvous) -> Option<IpAddr> {
    let target = (rendezvous.host.as_str(), rendezvous.port)
        .to_socket_addrs()
        .ok()?
        .next()?;
    let any = match target.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    // Connecting a UDP socket sends nothing; it chooses the interface.
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(target).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(protocol: &str, libtorch: &str, world_size: &str) -> Record {
        Record {
            protocol: protocol.to_owned(),
            libtorch: libtorch.to_owned(),
            world_size: world_size.to_owned(),
            process: "process 7 on a".to_owned(),
        }
    }

    #[test]
    fn records_can_be_read_back() {
        let own = record("1", "2.11.0", "4");
        assert_eq!(Record::parse(&own.to_bytes()), own);
        assert_eq!(Record::parse(b"2").protocol, "2");
    }

    #[test]
    fn ranks_that_do_not_fit_are_refused_by_name() {
        let zero = record("1", "2.11.0", "4");
        assert_eq!(zero.refusal(1, &zero), None);
        for (other, expected) in [
            (
                record("2", "2.11.0", "4"),
                "rank 3 (process 7 on a) speaks version 2",
            ),
            (
                record("1", "2.11.0", "5"),
                "rank 3 (process 7 on a) was started with WORLD_SIZE=5",
            ),
            (
                record("1", "2.12.0", "4"),
                "rank 3 (process 7 on a) has libtorch 2.12.0",
            ),
        ] {
            let refusal = other.refusal(3, &zero).unwrap();
            assert!(refusal.starts_with(expected), "{refusal}");
        }
    }
}
