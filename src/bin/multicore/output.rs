//! What jobs have printed, on its way to the runner's own streams: grouped by job, and in order with `-k`.
//!
//! Invariant: what waits for its turn lies in memory up to `MAX_WAITING_BYTES` and `MAX_WAITING_FILES`; all else waits in one
//! unlinked file.

use crate::parcels::Printed;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;

const MAX_WAITING_BYTES: usize = 1 << 20;
const MAX_WAITING_FILES: usize = 16;

#[derive(Debug, Default)]
pub struct Options {
    pub keep_order: bool,
    pub tag: bool,
    pub only_failed: bool,
}

/// What one job has printed, and how much of that it had when it ended.
#[derive(Debug, Default)]
pub struct Output {
    pub input: Vec<u8>,
    pub printed: Printed,
    pub bytes: [u64; 2],
    pub is_failure: bool,
}

#[derive(Debug)]
pub struct Printer {
    options: Options,
    streams: [File; 2],
    /// The job whose output comes next.
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    waiting_bytes: usize,
    waiting_files: usize,
    /// Where output waits that is too much for memory; made when it is needed.
    spool: Option<File>,
    temporary: PathBuf,
}

#[derive(Debug)]
enum Waiting {
    Nothing,
    Printed(Output),
    /// From this offset of the spool.
    Spooled {
        output: Output,
        offset: u64,
    },
}

impl Printer {
    pub fn new(options: Options, temporary: PathBuf) -> io::Result<Printer> {
        let streams =
            [io::stdout().as_fd().try_clone_to_owned()?.into(), io::stderr().as_fd().try_clone_to_owned()?.into()];
        Ok(Printer {
            options,
            streams,
            next: 1,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            waiting_files: 0,
            spool: None,
            temporary,
        })
    }

    /// A job has ended, or will print nothing.
    pub fn ended(&mut self, number: u64, output: Option<Output>) -> io::Result<()> {
        let output = output.filter(|output| output.bytes != [0, 0] && (output.is_failure || !self.options.only_failed));
        if !self.options.keep_order {
            return output.map_or(Ok(()), |output| self.write(output));
        }
        if number != self.next {
            return self.wait(number, output);
        }
        self.next += 1;
        if let Some(output) = output {
            self.write(output)?;
        }
        while let Some(waiting) = self.waiting.remove(&self.next) {
            self.next += 1;
            self.write_waiting(waiting)?;
        }
        self.empty_spool()
    }

    /// Writes what still waits, where jobs before it never ended.
    pub fn finish(&mut self) -> io::Result<()> {
        while let Some((_, waiting)) = self.waiting.pop_first() {
            self.write_waiting(waiting)?;
        }
        Ok(())
    }

    fn wait(&mut self, number: u64, output: Option<Output>) -> io::Result<()> {
        let Some(output) = output else {
            self.waiting.insert(number, Waiting::Nothing);
            return Ok(());
        };
        let (bytes, files) = weight(&output.printed);
        let fits = self.waiting_bytes + bytes <= MAX_WAITING_BYTES && self.waiting_files + files <= MAX_WAITING_FILES;
        let waiting = if fits {
            self.waiting_bytes += bytes;
            self.waiting_files += files;
            Waiting::Printed(output)
        } else {
            self.spool(output)?
        };
        self.waiting.insert(number, waiting);
        Ok(())
    }

    fn spool(&mut self, mut output: Output) -> io::Result<Waiting> {
        let spool = match &mut self.spool {
            Some(spool) => spool,
            none => none.insert(tempfile::tempfile_in(&self.temporary)?),
        };
        let offset = spool.seek(SeekFrom::End(0))?;
        for index in 0..2 {
            let length = copy(&mut output, index, spool)?;
            output.bytes[index] = length;
        }
        output.printed = Printed::default();
        Ok(Waiting::Spooled { output, offset })
    }

    fn write_waiting(&mut self, waiting: Waiting) -> io::Result<()> {
        match waiting {
            Waiting::Nothing => Ok(()),
            Waiting::Printed(output) => {
                let (bytes, files) = weight(&output.printed);
                self.waiting_bytes -= bytes;
                self.waiting_files -= files;
                self.write(output)
            }
            Waiting::Spooled { output, offset } => {
                let Some(spool) = self.spool.take() else { return Ok(()) };
                let mut reader = &spool;
                let mut start = offset;
                for (stream, bytes) in self.streams.iter_mut().zip(output.bytes) {
                    reader.seek(SeekFrom::Start(start))?;
                    write_stream(reader.take(bytes), stream, tag(&self.options, &output))?;
                    start += bytes;
                }
                self.spool = Some(spool);
                Ok(())
            }
        }
    }

    /// Gives the disk back once nothing waits.
    fn empty_spool(&mut self) -> io::Result<()> {
        match &self.spool {
            Some(spool) if self.waiting.is_empty() => spool.set_len(0),
            _ => Ok(()),
        }
    }

    fn write(&mut self, mut output: Output) -> io::Result<()> {
        for index in 0..2 {
            if output.bytes[index] == 0 {
                continue;
            }
            let tag = self.options.tag.then(|| output.input.clone());
            if tag.is_some() || !waits(&self.streams[index]) {
                let reader = output.reader(index)?;
                write_stream(reader, &mut self.streams[index], tag.as_deref())?;
            } else {
                copy(&mut output, index, &mut self.streams[index])?;
            }
        }
        Ok(())
    }
}

impl Output {
    /// What it has in stdout (0) or stderr (1).
    fn reader(&mut self, index: usize) -> io::Result<Box<dyn Read + '_>> {
        Ok(match &mut self.printed {
            Printed::Short { stdout, stderr } => {
                Box::new(if index == 0 { stdout.as_slice() } else { stderr.as_slice() })
            }
            Printed::Long { stdout, stderr } => {
                let file = if index == 0 { stdout } else { stderr };
                file.rewind()?;
                Box::new(file.take(self.bytes[index]))
            }
        })
    }
}

fn tag<'a>(options: &Options, output: &'a Output) -> Option<&'a [u8]> {
    options.tag.then_some(&output.input)
}

/// Copies one stream into a file, inside the kernel where it can. Gives the bytes.
fn copy(output: &mut Output, index: usize, target: &mut File) -> io::Result<u64> {
    match &mut output.printed {
        Printed::Short { stdout, stderr } => {
            let text = if index == 0 { stdout } else { stderr };
            target.write_all(text)?;
            Ok(text.len() as u64)
        }
        Printed::Long { stdout, stderr } => {
            let file = if index == 0 { stdout } else { stderr };
            file.rewind()?;
            io::copy(&mut file.take(output.bytes[index]), target)
        }
    }
}

fn weight(printed: &Printed) -> (usize, usize) {
    match printed {
        Printed::Short { stdout, stderr } => (stdout.len() + stderr.len(), 0),
        Printed::Long { .. } => (0, 2),
    }
}

/// False if a write may be refused while the reader is slow: another process that shares the stream has set `O_NONBLOCK`.
fn waits(stream: &File) -> bool {
    fcntl_getfl(stream).is_ok_and(|flags| !flags.contains(OFlags::NONBLOCK))
}

/// Waits for the reader itself where the stream does not.
struct Patient<'a>(&'a mut File);

impl Write for Patient<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(text) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(self.0, PollFlags::OUT)], None)?;
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes a stream with the tag before each line. A line may be longer than memory.
fn write_stream(reader: impl Read, target: &mut File, tag: Option<&[u8]>) -> io::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut target = BufWriter::new(Patient(target));
    let Some(tag) = tag else { return io::copy(&mut reader, &mut target).and_then(|_| target.flush()) };
    let mut is_start = true;
    loop {
        let part = reader.fill_buf()?;
        if part.is_empty() {
            return target.flush();
        }
        if is_start {
            target.write_all(tag)?;
            target.write_all(b"\t")?;
        }
        let end = part.iter().position(|&byte| byte == b'\n');
        let length = end.map_or(part.len(), |end| end + 1);
        target.write_all(&part[..length])?;
        is_start = end.is_some();
        reader.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_WAITING_BYTES, Options, Output, Printer, write_stream};
    use crate::parcels::Printed;
    use std::io::{Read, Seek};

    #[test]
    fn what_waits_for_its_turn_takes_little_memory() {
        let options = Options { keep_order: true, ..Options::default() };
        let mut printer = Printer::new(options, std::env::temp_dir()).unwrap();
        // The first job never ends, so nothing is printed.
        for number in 2..200 {
            let printed = Printed::Short { stdout: vec![b'x'; 10_000], stderr: Vec::new() };
            let output = Output { printed, bytes: [10_000, 0], ..Output::default() };
            printer.ended(number, Some(output)).unwrap();
        }
        assert!(printer.waiting_bytes <= MAX_WAITING_BYTES);
        let spooled = printer.spool.unwrap().metadata().unwrap().len();
        assert_eq!(printer.waiting_bytes as u64 + spooled, 198 * 10_000);
    }

    #[test]
    fn each_line_has_its_tag() {
        for (text, expected) in [
            ("", ""),
            ("a\nb\n", "t\ta\nt\tb\n"),
            ("a", "t\ta"),
            ("\n\n", "t\t\nt\t\n"),
            (&"x".repeat(100_000), &format!("t\t{}", "x".repeat(100_000))),
        ] {
            let mut target = tempfile::tempfile().unwrap();
            write_stream(text.as_bytes(), &mut target, Some(b"t")).unwrap();
            let mut found = String::new();
            target.rewind().unwrap();
            target.read_to_string(&mut found).unwrap();
            assert_eq!(found, expected);
        }
    }
}
