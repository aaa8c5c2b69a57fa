//! What a journal's bytes lie on: a file, or in tests a disk that loses them.
//!
//! Invariant: bytes that were written before a [`sync`](Storage::sync) that succeeded are still there after a power cut. What was
//! written since may be there, in part, in any order, or not at all.

use std::io;

/// What is read.
pub(super) trait Source {
    fn length(&self) -> io::Result<u64>;

    /// Reads from this place on, up to the end; gives how much was read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// What is read and written.
pub(super) trait Storage: Source {
    /// Writes all of it at this place, the end. After an error any part of it may have been written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    fn truncate(&mut self, length: u64) -> io::Result<()>;

    fn sync(&mut self) -> io::Result<()>;

    /// An error if the path leads to another file by now, or to none: what is written would be lost.
    fn check_place(&self) -> io::Result<()>;
}

/// Reads all of a buffer, or fails.
pub(super) fn read_exact_at(storage: &impl Source, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        match storage.read_at(offset, buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                offset += read as u64;
                buffer = &mut buffer[read..];
            }
        }
    }
    Ok(())
}

impl Source for Box<dyn Storage + Send> {
    fn length(&self) -> io::Result<u64> {
        (**self).length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buffer)
    }
}

impl Storage for Box<dyn Storage + Send> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        (**self).write_at(offset, bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        (**self).truncate(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        (**self).sync()
    }

    fn check_place(&self) -> io::Result<()> {
        (**self).check_place()
    }
}

impl<S: Source> Source for &S {
    fn length(&self) -> io::Result<u64> {
        S::length(self)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        S::read_at(self, offset, buffer)
    }
}
