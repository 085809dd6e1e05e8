//! The program that runs the kernels on the CPU. `ops/cuda/emulation/program.cpp` describes what it reads and writes.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use topk_testing::Emulation;

/// One launch of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    pub kernel: String,
    pub blocks: i32,
    pub threads: i32,
    /// Bytes of dynamic shared memory.
    pub shared: u64,
}

/// The numbers in `Arguments`; the pointers are the program's.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    pub samples: i64,
    pub scores_stride: i64,
    pub gradient_stride: i64,
    pub upstream_stride: i64,
    pub ignore_index: Option<i64>,
    pub tau: f64,
    pub alpha: f64,
    pub classes: i32,
    pub k: i32,
    pub score_type: i32,
    pub reduction: i32,
    pub skip_if_one: bool,
    pub loss: i32,
}

impl Numbers {
    /// `Arguments` as in `kernels/arguments.h`, with null pointers.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 8 * 8];
        let mut append = |number: &[u8]| bytes.extend_from_slice(number);
        for long in [
            self.samples,
            self.scores_stride,
            self.gradient_stride,
            self.upstream_stride,
            self.ignore_index.unwrap_or(0),
        ] {
            append(&long.to_ne_bytes());
        }
        append(&self.tau.to_ne_bytes());
        append(&self.alpha.to_ne_bytes());
        let per_score = (1.0 / f64::from(self.k) / self.tau).min(f64::MAX);
        append(&per_score.to_ne_bytes());
        for int in [
            self.classes,
            self.k,
            self.score_type,
            self.reduction,
            self.ignore_index.is_some().into(),
            self.skip_if_one.into(),
            self.loss,
            // Padding, since pointers have 8 bytes.
            0,
        ] {
            append(&int.to_ne_bytes());
        }
        bytes
    }
}

/// The arrays in `Arguments`; `None` for null.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Arrays {
    pub scores: Option<Vec<u8>>,
    /// Bytes before the first score, and before the first derivative.
    pub before: [u64; 2],
    pub labels: Option<Vec<u8>>,
    pub class_weights: Option<Vec<u8>>,
    pub upstream: Option<Vec<u8>>,
    pub outputs: Outputs,
}

/// The arrays that kernels write to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    pub gradient: Option<Vec<u8>>,
    pub values: Option<Vec<u8>>,
    pub weights: Option<Vec<u8>>,
    pub result: Option<Vec<u8>>,
}

/// The running program.
pub struct Program {
    child: Child,
    stdin: Option<BufWriter<ChildStdin>>,
    stdout: BufReader<ChildStdout>,
    messages: tempfile::NamedTempFile,
}

impl Program {
    /// `None` if the test should be skipped.
    pub fn start() -> Option<Self> {
        Some(Self::run_file(&Emulation::Program.build()?))
    }

    fn run_file(program: &Path) -> Self {
        let messages = tempfile::NamedTempFile::new().unwrap();
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(messages.path()).unwrap())
            .spawn()
            .unwrap();
        Self {
            stdin: child.stdin.take().map(BufWriter::new),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            messages,
        }
    }

    /// Runs launches one after the other, with several orders of the threads that must agree. The error is what the
    /// emulation found wrong.
    ///
    /// # Panics
    ///
    /// With the sanitizers' message, if the program ends.
    pub fn run(
        &mut self,
        launches: &[Launch],
        orders: u32,
        numbers: &Numbers,
        arrays: &Arrays,
    ) -> Result<Outputs, String> {
        let result = self.exchange(launches, orders, numbers, arrays);
        result.unwrap_or_else(|error| {
            let _ = self.child.wait();
            let messages = std::fs::read(&self.messages).unwrap();
            panic!(
                "{launches:?} with {numbers:?}: {error}\n{}",
                String::from_utf8_lossy(&messages)
            );
        })
    }

    fn exchange(
        &mut self,
        launches: &[Launch],
        orders: u32,
        numbers: &Numbers,
        arrays: &Arrays,
    ) -> io::Result<Result<Outputs, String>> {
        let to = self.stdin.as_mut().unwrap();
        to.write_all(&(launches.len() as u32).to_ne_bytes())?;
        for launch in launches {
            to.write_all(&(launch.kernel.len() as u32).to_ne_bytes())?;
            to.write_all(launch.kernel.as_bytes())?;
            to.write_all(&launch.blocks.to_ne_bytes())?;
            to.write_all(&launch.threads.to_ne_bytes())?;
            to.write_all(&launch.shared.to_ne_bytes())?;
        }
        to.write_all(&orders.to_ne_bytes())?;
        for before in arrays.before {
            to.write_all(&before.to_ne_bytes())?;
        }
        to.write_all(&numbers.bytes())?;
        let outputs = &arrays.outputs;
        for array in [
            &arrays.scores,
            &arrays.labels,
            &arrays.class_weights,
            &arrays.upstream,
            &outputs.gradient,
            &outputs.values,
            &outputs.weights,
            &outputs.result,
        ] {
            let length = array.as_ref().map_or(-1, |bytes| bytes.len() as i64);
            to.write_all(&length.to_ne_bytes())?;
            to.write_all(array.as_deref().unwrap_or_default())?;
        }
        to.flush()?;

        if self.read_u32()? == 0 {
            let length = self.read_u32()? as usize;
            let message = self.read_bytes(length)?;
            return Ok(Err(String::from_utf8_lossy(&message).into_owned()));
        }
        let mut next = || -> io::Result<Option<Vec<u8>>> {
            let mut length = [0; 8];
            self.stdout.read_exact(&mut length)?;
            match usize::try_from(i64::from_ne_bytes(length)) {
                Ok(length) => Ok(Some(self.read_bytes(length)?)),
                Err(_) => Ok(None),
            }
        };
        Ok(Ok(Outputs {
            gradient: next()?,
            values: next()?,
            weights: next()?,
            result: next()?,
        }))
    }

    fn read_u32(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.stdout.read_exact(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    fn read_bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stdout.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The end of its input ends it.
        self.stdin = None;
        let _ = self.child.wait();
    }
}
