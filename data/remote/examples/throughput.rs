//! Throughput of reading and decoding images from a server on loopback, compared with files: `cargo run --release
//! --example throughput -p topk-remote photo.jpg`. Runs alternate; images are read by threads, in an order that is
//! shuffled by shard. Without a photograph, bytes are added up instead, which shows the cost of the transfer alone.
//!
//! The server runs in the same process: the CPUs' time of "server" is that of reader, decoder and server together.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use topk_remote::{Client, Options};
use topk_testing::ObjectServer;

/// Bytes of an image without a photograph, as of ImageNet's on average.
const IMAGE: usize = 110_000;
const IMAGES: usize = 120;
const SHARDS: usize = 8;
const THREADS: usize = 2;
const RUNS: usize = 7;
/// Images read ahead.
const AHEAD: usize = 256;

/// Shard and number of each image: the shards take turns, within a small shuffle.
fn order() -> Vec<(usize, usize)> {
    let mut order: Vec<(usize, usize)> = (0..SHARDS * IMAGES)
        .map(|position| (position % SHARDS, position / SHARDS))
        .collect();
    for window in order.chunks_mut(256) {
        let length = window.len();
        for i in 0..length {
            window.swap(i, (i * 7919 + 13) % length);
        }
    }
    order
}

/// What is done with an image, so that no byte is left unread.
fn used(bytes: &[u8], is_photograph: bool) -> u64 {
    if is_photograph {
        let image = libjpeg_turbo_rs::decompress(bytes).expect("the photograph is a JPEG");
        return image
            .data
            .iter()
            .step_by(997)
            .map(|&value| u64::from(value))
            .sum();
    }
    bytes
        .chunks_exact(8)
        .map(|chunk| u64::from_le_bytes(chunk.try_into().expect("eight bytes")))
        .fold(0, u64::wrapping_add)
}

/// Bytes per second, by the clock and of all CPUs' time.
struct Speed {
    wall: f64,
    cpu: f64,
}

/// The CPUs' time of all threads of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Reads all images with some threads.
fn measure(
    order: &[(usize, usize)],
    size: usize,
    is_photograph: bool,
    read: impl Fn(usize, &mut [u8]) + Sync,
) -> Speed {
    let (next, total) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (begin, cpu) = (Instant::now(), cpu_time());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut buffer = vec![0; size];
                loop {
                    let position = next.fetch_add(1, Ordering::Relaxed);
                    if position >= order.len() {
                        break;
                    }
                    read(position, &mut buffer);
                    total.fetch_add(used(&buffer, is_photograph) as usize, Ordering::Relaxed);
                }
            });
        }
    });
    let bytes = (order.len() * size) as f64;
    Speed {
        wall: bytes / begin.elapsed().as_secs_f64(),
        cpu: bytes / (cpu_time() - cpu).as_secs_f64(),
    }
}

fn main() {
    let photograph = std::env::args().nth(1);
    let photograph =
        photograph.map(|path| std::fs::read(path).expect("the photograph can be read"));
    let (size, is_photograph) = (
        photograph.as_ref().map_or(IMAGE, Vec::len),
        photograph.is_some(),
    );
    let folder = std::env::temp_dir().join(format!("topk-throughput-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder for shards can be made");
    let server = ObjectServer::start();
    for shard in 0..SHARDS {
        let contents: Vec<u8> = match &photograph {
            Some(photograph) => photograph.repeat(IMAGES),
            None => (0..IMAGES * size)
                .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect(),
        };
        std::fs::write(folder.join(format!("{shard}.tar")), &contents)
            .expect("shards can be written");
        server.put(&format!("bucket/{shard}.tar"), contents);
    }
    let order = order();
    let (mut local, mut remote) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        // As the data sets of files: opened for each image.
        let files = measure(&order, size, is_photograph, |position, buffer| {
            let (shard, number) = order[position];
            let file = File::open(folder.join(format!("{shard}.tar"))).expect("the shard is there");
            file.read_exact_at(buffer, (number * size) as u64)
                .expect("the shard is complete");
        });
        // Of its own, so that nothing is in memory.
        let client = Client::new(Options::default()).expect("a client");
        let objects: Vec<_> = (0..SHARDS)
            .map(|shard| {
                let address = format!("{}/bucket/{shard}.tar", server.endpoint());
                client
                    .open(Path::new(&address))
                    .expect("the shard is there")
            })
            .collect();
        let range = |position: usize| {
            let (shard, number) = order[position];
            (shard, (number * size) as u64..((number + 1) * size) as u64)
        };
        let streamed = measure(&order, size, is_photograph, |position, buffer| {
            // In the loader, once per batch.
            if position % 32 == 0 {
                for ahead in position..(position + AHEAD).min(order.len()) {
                    let (shard, range) = range(ahead);
                    objects[shard].read_ahead(std::iter::once(range));
                }
            }
            let (shard, range) = range(position);
            objects[shard]
                .read_exact_at(buffer, range.start)
                .expect("the server answers");
        });
        println!(
            "run {run}: files {:.0} MB/s, server {:.0} MB/s; {}",
            files.wall / 1e6,
            streamed.wall / 1e6,
            client.counts()
        );
        local.push(files);
        remote.push(streamed);
    }
    for (name, value) in [
        ("by the clock", (|speed| speed.wall) as fn(&Speed) -> f64),
        ("of the CPUs' time", |speed| speed.cpu),
    ] {
        let median = |speeds: &[Speed]| {
            let mut values: Vec<f64> = speeds.iter().map(value).collect();
            values.sort_unstable_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (local, remote) = (median(&local), median(&remote));
        println!(
            "medians {name}: files {:.0} MB/s, server {:.0} MB/s, ratio {:.2}",
            local / 1e6,
            remote / 1e6,
            remote / local
        );
    }
    let _ = std::fs::remove_dir_all(&folder);
}
