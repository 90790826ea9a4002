//! Where a command writes: a file, or standard output for as long as somebody reads it.
//!
//! Knows nothing of what is written. A reader that closes the pipe, as `head` does, has had enough:
//! that is no error, and the command is told to stop.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

use crate::error::{Fatal, Result};

/// The output of a command. Bytes may be kept back until [`Sink::finish`].
pub struct Sink {
    name: String,
    out: BufWriter<Box<dyn Write>>,
    is_closed: bool,
}

impl Sink {
    /// The file at `path`, which is made anew; standard output without one.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(path: Option<&Path>) -> Result<Sink> {
        match path {
            Some(path) => {
                let name = path.display().to_string();
                let file = File::create(path)
                    .map_err(|e| Fatal::usage(format!("cannot create {name}")).because(e))?;
                Ok(Sink::new(name, Box::new(file)))
            }
            None => Ok(Sink::new(
                "standard output".to_owned(),
                Box::new(io::stdout()),
            )),
        }
    }

    /// `name` stands in errors.
    #[must_use]
    pub fn new(name: String, out: Box<dyn Write>) -> Sink {
        Sink {
            name,
            out: BufWriter::new(out),
            is_closed: false,
        }
    }

    /// Whether the reader has had enough: what is written now is lost.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// # Errors
    /// When the bytes cannot be written, and not because the reader closed.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let written = self.out.write_all(bytes);
        self.settle(written)
    }

    /// Writes what was kept back.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub fn finish(mut self) -> Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let flushed = self.out.flush();
        self.settle(flushed)
    }

    fn settle(&mut self, written: io::Result<()>) -> Result<()> {
        match written {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            Err(error) => {
                let message = format!("cannot write to {}", self.name);
                Err(Fatal::unreachable(message).because(error))
            }
        }
    }
}

/// Standard output for what is told line by line, as soon as it is known: when nobody reads it any more,
/// the rest is lost, and the command goes on to its verdict.
pub struct Lines(Box<dyn Write>);

impl Lines {
    #[must_use]
    pub fn stdout() -> Lines {
        Lines(Box::new(io::stdout()))
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_does_not_depend_on_who_reads() {
        let mut gone = Lines(Box::new(Reader(3, ErrorKind::BrokenPipe)));
        writeln!(gone, "one line").unwrap();
        writeln!(gone, "another").unwrap();
        let mut full = Lines(Box::new(Reader(3, ErrorKind::StorageFull)));
        assert!(writeln!(full, "one line").is_err());
    }

    /// A reader that takes this many bytes, and fails in this way afterwards.
    struct Reader(usize, ErrorKind);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(self.1.into());
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn write_until_closed(reader: Reader) -> Result<usize> {
        let mut sink = Sink::new("a pipe".to_owned(), Box::new(reader));
        let mut writes = 0;
        while !sink.is_closed() {
            sink.write(&[b'x'; 1000])?;
            writes += 1;
        }
        sink.finish()?;
        Ok(writes)
    }

    #[test]
    fn a_reader_that_has_had_enough_is_no_error() {
        assert!(write_until_closed(Reader(20_000, ErrorKind::BrokenPipe)).unwrap() >= 20);
        let mut sink = Sink::new(
            "a pipe".to_owned(),
            Box::new(Reader(0, ErrorKind::BrokenPipe)),
        );
        sink.write(b"kept back until the end").unwrap();
        sink.finish().unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_output() {
        let error = write_until_closed(Reader(20_000, ErrorKind::StorageFull)).unwrap_err();
        assert!(
            error.to_string().starts_with("cannot write to a pipe"),
            "{error}"
        );
    }
}
