//! Speed of streaming images from a server on loopback, compared with reading the same WebDataset shards from disk:
//! `cargo run --release -p topk-loader --example streaming -- imagenet-sample/*/*.JPEG`. Images are read in an order that
//! is shuffled across shards, and decoded, resized and cropped by all threads, as for training and evaluation. Without
//! photographs, bytes are added up instead, which shows the cost of the transfer alone.
//!
//! The two readers and the server are processes of their own, and the readers take turns. The shards are in the page
//! cache of the system, and are larger than the memory for blocks, so that every block is received. The first turns fill
//! that memory, which is new to the process: the system clears it page by page. Later turns use it again, as a long run
//! does. Listing the data set is not measured. This takes 1.3 GB of disk and 4 GB of memory.
//!
//! "CPU time of the reader" includes its decoders: it tells what streaming costs where the server is another machine. On
//! loopback, the kernel's work for both ends of a connection is charged to whichever process is running. What the
//! reader costs is therefore at most what the figures with the server say.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Lines, Write, stdin};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;
use topk_data::{Image, ImageSet, Options, remote};
use topk_image::{Limits, Preprocessor};
use topk_loader::{Workers, crops, process};
use topk_preprocessing::Preprocessing;
use topk_testing::{ObjectServer, archive};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Bytes of an image without photographs, as of ImageNet's on average.
const IMAGE: usize = 110_000;
const SHARDS: usize = 8;
/// Memory for blocks, by default.
const MEMORY: usize = 1 << 30;
/// Bytes of all shards, about.
const BYTES: usize = 5 << 28;
/// Turns of each reader after those that fill the memory.
const TURNS: usize = 15;
/// Images that are read in a turn.
const TURN: usize = 2048;
const BATCH: usize = 64;
/// Batches that are prepared at the same time.
const BATCHES: NonZeroUsize = NonZeroUsize::new(2).unwrap();
/// Images after a batch that are read ahead.
const AHEAD: usize = 1024;
/// Side of the crop, and bytes of its pixels.
const SIDE: u32 = 224;
const PIXELS: usize = 3 * SIDE as usize * SIDE as usize;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", folder] => serve(Path::new(folder)),
        ["read", shards, work] => read(Path::new(shards), work == "decode"),
        _ => compare(&arguments),
    }
}

/// What a turn took.
struct Turn {
    wall: Duration,
    /// CPU time of the reader, and of the server during its turn.
    reader: Duration,
    server: Duration,
}

type Time = fn(&Turn) -> Duration;

/// Compares reading from the disk with streaming.
fn compare(photographs: &[&str]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut images = Vec::new();
    for path in photographs {
        images.push(fs::read(path).map_err(|error| format!("{path}: {error}"))?);
    }
    if images.is_empty() {
        images.push((0..IMAGE).map(|i| ((i * 40_503) >> 7) as u8).collect());
    }
    let bytes = images.iter().map(Vec::len).sum::<usize>() / images.len();
    write_shards(&images, BYTES / bytes / SHARDS, folder.path())?;

    let shown = folder.path().display().to_string();
    let mut server = Peer::start(["serve", &shown], &folder)?;
    let endpoint = server.line()?;
    let shards = format!("{{0..{}}}.tar", SHARDS - 1);
    let reader = |place: &str| {
        let work = if photographs.is_empty() {
            "add"
        } else {
            "decode"
        };
        let mut reader = Peer::start(["read", &format!("{place}/{shards}"), work], &folder)?;
        // It is ready.
        reader.line()?;
        Ok::<_, Box<dyn Error + Send + Sync>>(reader)
    };
    let bucket = format!("{endpoint}/bucket");
    // Lists the data set, which reads all blocks, and records the list.
    reader(&bucket)?.end()?;
    let (mut files, mut stream) = (reader(&shown)?, reader(&bucket)?);
    let filling = MEMORY.div_ceil(TURN * bytes);
    let (mut of_files, mut of_stream) = (Vec::new(), Vec::new());
    for _ in 0..filling + TURNS {
        for (reader, turns) in [(&mut files, &mut of_files), (&mut stream, &mut of_stream)] {
            let before = server.time()?;
            let line = reader.ask()?;
            let (wall, cpu) = line.split_once(' ').ok_or("two times")?;
            turns.push(Turn {
                wall: Duration::from_nanos(wall.parse()?),
                reader: Duration::from_nanos(cpu.parse()?),
                server: server.time()? - before,
            });
        }
    }

    println!(
        "{TURN} images of {:.0} kB per turn, medians:",
        bytes as f64 / 1e3
    );
    let unit = match photographs.is_empty() {
        true => ((TURN * bytes) as f64 / 1e6, "MB/s"),
        false => (TURN as f64, "images/s"),
    };
    println!("the first {filling} turns, in new memory");
    report(&of_files[..filling], &of_stream[..filling], unit);
    println!("{TURNS} later turns");
    report(&of_files[filling..], &of_stream[filling..], unit);
    println!("{}", stream.end()?);
    files.end()?;
    server.end()?;
    Ok(())
}

/// Prints the speeds of turns, each of a certain amount.
fn report(of_files: &[Turn], of_stream: &[Turn], (amount, unit): (f64, &str)) {
    let times: [(&str, Time); 3] = [
        ("by the clock", |turn| turn.wall),
        ("CPU time of the reader", |turn| turn.reader),
        ("CPU time with the server", |turn| turn.reader + turn.server),
    ];
    for (name, time) in times {
        let speed = |turn: &Turn| amount / time(turn).as_secs_f64();
        let pairs = of_files.iter().zip(of_stream);
        println!(
            "  {name:24}  files {:6.0} {unit}, stream {:6.0} {unit}, ratio {:.3}",
            median(of_files.iter().map(speed)),
            median(of_stream.iter().map(speed)),
            median(pairs.map(|(files, stream)| speed(stream) / speed(files))),
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Writes the images, which take turns, in shards of this many.
fn write_shards(images: &[Vec<u8>], per_shard: usize, folder: &Path) -> Result<()> {
    for shard in 0..SHARDS {
        let numbers = shard * per_shard..(shard + 1) * per_shard;
        let names: Vec<[String; 2]> = numbers
            .clone()
            .map(|number| ["jpg", "cls"].map(|suffix| format!("{number:06}.{suffix}")))
            .collect();
        let members = names.iter().zip(numbers).flat_map(|([jpg, cls], number)| {
            let image = &images[number % images.len()];
            [(jpg.as_str(), &image[..]), (cls.as_str(), b"0")]
        });
        fs::write(folder.join(format!("{shard}.tar")), archive(members))?;
    }
    Ok(())
}

/// Another process of this program, which answers lines with lines.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts a process that keeps lists of images in a folder.
    fn start<'a>(arguments: impl IntoIterator<Item = &'a str>, folder: &TempDir) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .env("XDG_CACHE_HOME", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            child,
            input: input.ok_or("no input")?,
            output: BufReader::new(output.ok_or("no output")?).lines(),
        })
    }

    fn line(&mut self) -> Result<String> {
        Ok(self.output.next().ok_or("a process has failed")??)
    }

    fn ask(&mut self) -> Result<String> {
        writeln!(self.input)?;
        self.line()
    }

    /// Its CPU time.
    fn time(&mut self) -> Result<Duration> {
        Ok(Duration::from_nanos(self.ask()?.parse()?))
    }

    /// Lets it end, and returns what else it printed.
    fn end(mut self) -> Result<String> {
        drop(self.input);
        let rest = self.output.collect::<std::io::Result<Vec<_>>>()?;
        self.child.wait()?;
        Ok(rest.join("\n"))
    }
}

/// The CPU time of all threads of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Serves the shards, and answers each line with the CPU time so far.
fn serve(folder: &Path) -> Result<()> {
    let server = ObjectServer::start();
    server.put_folder("bucket", folder);
    println!("{}", server.endpoint());
    for line in stdin().lines() {
        line?;
        println!("{}", cpu_time().as_nanos());
    }
    Ok(())
}

/// Reads the next images for each line.
fn read(shards: &Path, decode: bool) -> Result<()> {
    let set = ImageSet::open(shards, &Options::default())?;
    let order = order(set.len());
    let preprocessing = Preprocessing::torchvision(256, SIDE);
    let workers = Workers::new(|| Preprocessor::new(preprocessing, Limits::default()))?;
    println!("ready");
    let mut next = order.iter().copied().cycle();
    for line in stdin().lines() {
        line?;
        let part: Vec<usize> = next.by_ref().take(TURN).collect();
        let (begin, cpu) = (Instant::now(), cpu_time());
        turn(&set, &part, decode.then_some(&workers))?;
        let (wall, cpu) = (begin.elapsed(), cpu_time() - cpu);
        println!("{} {}", wall.as_nanos(), cpu.as_nanos());
    }
    if let Some(transferred) = remote::transferred() {
        println!("{transferred}");
    }
    Ok(())
}

/// The images in an order in which the shards take turns, within a small shuffle.
fn order(images: usize) -> Vec<usize> {
    let per_shard = images / SHARDS;
    let mut order: Vec<usize> = (0..images)
        .map(|position| position % SHARDS * per_shard + position / SHARDS)
        .collect();
    for window in order.chunks_mut(256) {
        let length = window.len();
        for i in 0..length {
            window.swap(i, (i * 7919 + 13) % length);
        }
    }
    order
}

/// Prepares batches of images: their crops, or the sums of their bytes.
fn turn(set: &ImageSet, order: &[usize], decoders: Option<&Workers<Preprocessor>>) -> Result<()> {
    let batches = order.chunks(BATCH).enumerate().map(|(number, batch)| {
        let soon = &order[number * BATCH..];
        set.read_ahead(soon.iter().take(BATCH + AHEAD).copied());
        batch
    });
    let prepare = |indices: &[usize], batch: &mut Vec<u8>| {
        batch.resize(indices.len() * PIXELS, 0);
        let images = batch.par_chunks_mut(PIXELS).zip(indices);
        images.try_for_each(|(out, &index)| prepare_image(&set.read(index)?, decoders, out))
    };
    let consumer = |_: &Vec<u8>| Ok(());
    let stop = AtomicBool::new(false);
    process(batches, prepare, BATCHES, &stop, vec![consumer], |()| ())
}

/// Prepares an image.
fn prepare_image(
    image: &Image,
    decoders: Option<&Workers<Preprocessor>>,
    out: &mut [u8],
) -> Result<()> {
    match (decoders, image) {
        (Some(decoders), image) => decoders.with(|preprocessor| {
            out.copy_from_slice(crops(preprocessor, image)?.pixels());
            Ok(())
        }),
        (None, Image::Encoded(bytes) | Image::Pixels { pixels: bytes, .. }) => {
            let (words, _) = bytes.as_chunks::<8>();
            let words = words.iter().map(|&word| u64::from_le_bytes(word));
            let sum = words.fold(0, u64::wrapping_add);
            out[..8].copy_from_slice(&sum.to_le_bytes());
            Ok(())
        }
    }
}
