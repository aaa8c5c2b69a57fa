//! The file of the image that holds this crate, for reading: that of the executable, or of the shared object. Or any other, by its descriptor.

use super::image::image;
use super::{executable, shared_object};
use crate::sys::descriptors::Descriptor;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;

/// Reads a file. The descriptor shares its position in the file with its duplicates, so this has its own.
#[derive(Debug)]
pub(crate) struct Reader<F = Descriptor> {
    fd: F,
    position: u64,
}

impl Reader {
    /// The file of the image that holds this crate. `None` where that is not known.
    pub(crate) fn open() -> Option<Self> {
        let fd = match image().is_object {
            true => shared_object::own_file()?,
            false => executable::open(0).ok()?.fd,
        };
        Some(Reader { fd, position: 0 })
    }
}

#[cfg(feature = "status")]
impl<F: AsFd> Reader<F> {
    pub(super) fn of(fd: F) -> Self {
        Reader { fd, position: 0 }
    }
}

impl<F: AsFd> Read for Reader<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = rustix::io::pread(&self.fd, buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<F: AsFd> Seek for Reader<F> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => (rustix::fs::fstat(&self.fd)?.st_size as u64).checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_reads_from_its_own_position() {
        let (mut one, mut other) = (Reader::open().unwrap(), Reader::open().unwrap());
        let mut head = [0; 4];
        for _ in 0..2 {
            one.seek(SeekFrom::Start(0)).unwrap();
            one.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"\x7fELF");
            other.seek(SeekFrom::Current(100)).unwrap();
        }
        let end = other.seek(SeekFrom::End(0)).unwrap();
        assert_eq!(end, std::fs::metadata("/proc/self/exe").unwrap().len());
        assert_eq!(other.read(&mut head).unwrap(), 0);
        assert_eq!(other.seek(SeekFrom::Current(-1)).unwrap(), end - 1);
        other.seek(SeekFrom::End(i64::MIN)).unwrap_err();
    }
}
