use std::io::{self, Write};

/// Standard output, which may close early, as with `| head`.
///
/// Writing to a closed pipe succeeds without an effect, so that a program goes on to write its files and ends
/// quietly.
#[derive(Debug)]
pub struct Stdout(io::Stdout);

/// Standard output for text that people read.
pub fn stdout() -> Stdout {
    Stdout(io::stdout())
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unless_closed(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_closed(self.0.flush(), ())
    }
}

fn unless_closed<T>(result: io::Result<T>, closed: T) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(closed),
        result => result,
    }
}
