//! What jobs have printed, on its way from a worker to the runner.
//!
//! ```text
//! runner: Counter::open (listens at an abstract address) ──► worker: Sender::connect, when its first job has printed something
//! worker: Sender::send, one message for each job that has printed ──► runner: Counter::take, once the piece's report names the parcel
//! ```
//!
//! A message is the parcel's number and the two lengths, and behind them what was printed if that is short. Longer output does not
//! travel: the message carries the descriptors of the unlinked files in which it lies. So gigabytes cost disk and no memory, and
//! nothing has a name that a killed program could leave behind.
//!
//! | who dies                          | what happens                                                                |
//! |-----------------------------------|------------------------------------------------------------------------------|
//! | the worker, before it has sent    | its piece is lost, no report names a parcel, and the kernel frees the files   |
//! | the worker, after it has sent     | the message waits in the socket, and is taken                                 |
//! | the runner                        | the fork server kills each worker and its jobs; the address ends with the runner |
//!
//! Invariant: a parcel is in the socket before the report that names it is. So `take` never waits for a job.

use crate::address;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::{self, SocketFlags};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Up to here output travels in the message itself.
const INLINE_BYTES: u64 = 16 * 1024;
const HEADER_BYTES: usize = 24;

/// A worker that has connected is let in within this time.
const PATIENCE: Duration = Duration::from_secs(5);
const SHORTAGE: Duration = Duration::from_millis(10);

/// What a job has printed.
#[derive(Debug)]
pub enum Printed {
    Short { stdout: Vec<u8>, stderr: Vec<u8> },
    Long { stdout: File, stderr: File },
}

impl Default for Printed {
    fn default() -> Self {
        Printed::Short { stdout: Vec::new(), stderr: Vec::new() }
    }
}

/// The socket of each worker that has connected, by its process. A thread lets them in.
type Workers = Arc<(Mutex<HashMap<u32, Arc<OwnedFd>>>, Condvar)>;

/// The runner's end.
#[derive(Debug)]
pub struct Counter {
    name: Vec<u8>,
    workers: Workers,
    /// Parcels that came before their reports were read.
    waiting: HashMap<u64, Printed>,
    buffer: Vec<u8>,
}

impl Counter {
    /// `workers` may connect before one is let in.
    pub fn open(workers: usize) -> io::Result<Counter> {
        let (name, listener) = address::listen(workers)?;
        let workers = Workers::default();
        let entered = Arc::clone(&workers);
        std::thread::Builder::new()
            .name("multicore-parcels".to_string())
            .spawn(move || let_in_all(&listener, &entered))?;
        let buffer = vec![0; HEADER_BYTES + INLINE_BYTES as usize];
        Ok(Counter { name, workers, waiting: HashMap::new(), buffer })
    }

    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// What a report names. An error if the worker's messages cannot be read, or do not have it.
    pub fn take(&mut self, parcel: u64) -> io::Result<Printed> {
        let process = process_of(parcel);
        while !self.waiting.contains_key(&parcel) {
            let socket = self.socket(process)?;
            let (number, printed) = self.receive(process, &socket)?;
            self.waiting.insert(number, printed);
        }
        Ok(self.waiting.remove(&parcel).unwrap_or_default())
    }

    /// Forgets what workers have sent that are gone, and whose reports never came.
    pub fn forget_lost(&mut self) {
        lock(&self.workers.0).retain(|_, socket| !has_ended(socket));
    }

    /// A worker has connected before its report came, and is let in soon.
    fn socket(&self, process: u32) -> io::Result<Arc<OwnedFd>> {
        let (workers, has_entered) = &*self.workers;
        let workers = lock(workers);
        let waited = has_entered.wait_timeout_while(workers, PATIENCE, |workers| !workers.contains_key(&process));
        let (workers, _) = waited.unwrap_or_else(PoisonError::into_inner);
        workers.get(&process).cloned().ok_or_else(|| io::Error::other("its worker has not connected"))
    }

    fn receive(&mut self, process: u32, socket: &OwnedFd) -> io::Result<(u64, Printed)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = net::RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let flags = net::RecvFlags::DONTWAIT | net::RecvFlags::CMSG_CLOEXEC;
        let length = net::recvmsg(socket, &mut parts, &mut ancillary, flags)?.bytes;
        if length == 0 {
            lock(&self.workers.0).remove(&process);
            return Err(io::Error::other("its worker has ended"));
        }
        let mut files = ancillary.drain().flat_map(|message| match message {
            net::RecvAncillaryMessage::ScmRights(files) => files.map(File::from).collect(),
            _ => Vec::new(),
        });
        read_message(&self.buffer[..length], files.next(), files.next())
            .ok_or_else(|| io::Error::other(format!("its worker sent {length} bytes that are no parcel")))
    }
}

fn read_message(message: &[u8], stdout: Option<File>, stderr: Option<File>) -> Option<(u64, Printed)> {
    let (header, body) = message.split_first_chunk::<HEADER_BYTES>()?;
    let word = |index: usize| header.as_chunks::<8>().0.get(index).map(|bytes| u64::from_le_bytes(*bytes));
    let (parcel, stdout_bytes) = (word(0)?, usize::try_from(word(1)?).ok()?);
    let printed = match (stdout, stderr) {
        (Some(stdout), Some(stderr)) => Printed::Long { stdout, stderr },
        _ => {
            let (stdout, stderr) = body.split_at_checked(stdout_bytes)?;
            Printed::Short { stdout: stdout.to_vec(), stderr: stderr.to_vec() }
        }
    };
    Some((parcel, printed))
}

/// A worker's end.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
    sent: u32,
}

impl Sender {
    /// Connects to the runner whose counter has that name.
    pub fn connect(name: &[u8]) -> io::Result<Sender> {
        Ok(Sender { socket: address::connect(name)?, sent: 0 })
    }

    /// The number of the parcel that is sent next.
    pub fn next_parcel(&self) -> u64 {
        u64::from(std::process::id()) << 32 | u64::from(self.sent.wrapping_add(1))
    }

    /// Sends what lies in the files, and gives the parcel's number. True if the files went with it: then they are the
    /// runner's, and must not be written again.
    pub fn send(&mut self, files: [&File; 2], bytes: [u64; 2]) -> io::Result<(u64, bool)> {
        let parcel = self.next_parcel();
        self.sent = self.sent.wrapping_add(1);
        let mut message = Vec::with_capacity(HEADER_BYTES);
        message.extend([parcel, bytes[0], bytes[1]].iter().flat_map(|word| word.to_le_bytes()));
        let is_long = bytes[0].saturating_add(bytes[1]) > INLINE_BYTES;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = net::SendAncillaryBuffer::new(&mut space);
        let descriptors = files.map(AsFd::as_fd);
        if is_long {
            ancillary.push(net::SendAncillaryMessage::ScmRights(&descriptors));
        } else {
            for (file, bytes) in files.into_iter().zip(bytes) {
                let start = message.len();
                message.resize(start + bytes as usize, 0);
                file.read_exact_at(&mut message[start..], 0)?;
            }
        }
        net::sendmsg(&self.socket, &[IoSlice::new(&message)], &mut ancillary, net::SendFlags::NOSIGNAL)?;
        Ok((parcel, is_long))
    }
}

fn process_of(parcel: u64) -> u32 {
    (parcel >> 32) as u32
}

/// Lets workers in, for as long as the process lives.
fn let_in_all(listener: &OwnedFd, workers: &Workers) {
    loop {
        match let_in(listener) {
            Ok(Some((process, socket))) => {
                lock(&workers.0).insert(process, Arc::new(socket));
                workers.1.notify_all();
            }
            Ok(None) => {}
            // Descriptors are short for a while, or the one who connected is gone.
            Err(_) => std::thread::sleep(SHORTAGE),
        }
    }
}

/// The address is seen by all of this machine: other users are turned away at once, or they would fill the queue in which
/// workers wait.
fn let_in(listener: &OwnedFd) -> io::Result<Option<(u32, OwnedFd)>> {
    let socket = net::accept_with(listener, SocketFlags::CLOEXEC)?;
    let peer = net::sockopt::socket_peercred(&socket)?;
    let process = peer.pid.as_raw_nonzero().get().cast_unsigned();
    Ok((peer.uid == rustix::process::geteuid()).then_some((process, socket)))
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// True if the other end is closed and all that it sent is read.
fn has_ended(socket: &OwnedFd) -> bool {
    let flags = net::RecvFlags::DONTWAIT | net::RecvFlags::PEEK;
    net::recv(socket, &mut [0_u8; 1], flags).is_ok_and(|(length, _)| length == 0)
}

#[cfg(test)]
mod tests;
