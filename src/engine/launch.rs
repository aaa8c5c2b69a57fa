//! How a fork server is started, the first and every later one, and how its workers are prepared. In steps: what
//! can sleep is done without the scheduler's lock.
//!
//! 1. [`Launcher::prepare`]: a socket with the first message in it.
//! 2. The scheduler's `connect`, and orders for the first workers: they wait in the socket, so that the fork
//!    server need not wait for this process, which may not run before that sleeps.
//! 3. [`Launcher::execute`]: the image starts.
//! 4. [`Launcher::watch`]: both epolls tell of what it says, and of its death.

use super::child::entry;
use super::core::seat::Prepared;
use super::core::{Epolls, number};
use super::wire::marker::Marker;
use super::wire::message::{self, Hello, Known};
use super::wire::pair::Pair;
use crate::error::{Error, ErrorKind};
use crate::failpoint::failpoint;
use crate::sys::descriptors::Descriptor;
use crate::sys::early_output::EarlyOutput;
use crate::sys::event::Epoll;
use crate::sys::executable::{self, NotProven};
use crate::sys::image::image;
use crate::sys::launch::{self, Launch};
use crate::sys::raw::{self, StandardStream};
use crate::sys::shared_object::{NOT_FOUND, NotPreloadable, SharedObject};
use crate::sys::{process, random, socket};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// Workers that are ordered before the fork server is there to read it: their messages fit into the socket.
pub(crate) const ORDERED_AHEAD: usize = 8;

/// A fork server, as its parent holds it; the socket lies in the scheduler.
#[derive(Debug)]
pub(crate) struct ForkServerHandle {
    number: u32,
    pub(crate) pidfd: Descriptor,
    /// What it prints while it loads; `None` once that is known to be over.
    pub(super) output: Option<EarlyOutput>,
}

impl ForkServerHandle {
    /// Kills it, since it hangs: it may be the program itself, whose `main` runs, with what that has started. False if that is refused.
    pub(super) fn kill_hanging(&self) -> bool {
        process::kill_with_group(self.number, &self.pidfd).is_ok()
    }

    /// It has not come to this crate's constructor.
    pub(super) fn has_not_loaded(&self) -> bool {
        self.output.as_ref().is_some_and(|output| !output.is_taken())
    }

    /// What it printed, if it ended while it loaded.
    pub(super) fn printed(&self) -> Option<String> {
        self.output.as_ref()?.printed()
    }
}

/// Starts fork servers that are all alike.
#[derive(Debug)]
pub(crate) struct Launcher {
    pub(super) launch: Launch,
    pub(super) settings: Descriptor,
    pub(super) epolls: Epolls,
    /// How long this process took to load, as far as that is known.
    pub(super) load_ns: Option<u64>,
}

/// A fork server that is about to be started.
#[derive(Debug)]
pub(crate) struct Connection {
    /// For the scheduler.
    pub(crate) ours: Descriptor,
    pub(crate) theirs: Theirs,
}

/// What the fork server gets.
#[derive(Debug)]
pub(crate) struct Theirs {
    socket: Descriptor,
    nonce: u64,
    output: EarlyOutput,
}

impl Launcher {
    /// Makes the socket, with the first message in it.
    pub(crate) fn prepare(&self) -> Result<Connection, Error> {
        let failed = |what: &'static str| move |error: rustix::io::Errno| Error::system(what, error);
        let (ours, theirs) = socket::pair().map_err(failed("cannot make the socket to the fork server"))?;
        let theirs = self.launch.beyond_passed(theirs).map_err(failed("cannot make the socket to the fork server"))?;
        let nonce = random::number().map_err(failed("cannot get random numbers"))?;
        let parent = process::own_pidfd()
            .map_err(failed("cannot open a pidfd of this process (pidfd_open, in Linux 5.3 or later)"))?;
        let output = EarlyOutput::new(self.launch.first_beyond_passed())
            .map_err(failed("cannot make shared memory (memfd_create)"))?;
        let errors = raw::standard_stream(StandardStream::Error);
        let hello = Hello::Server {
            known: Known { nonce, identity: image().identity },
            has_errors: errors.is_some(),
            preload: self.launch.preload().map(SharedObject::told),
        };
        let fds: Vec<_> = [parent.as_fd(), self.settings.as_fd()].into_iter().chain(errors).collect();
        message::send(&ours, &hello, &fds).map_err(|error| Error::system("cannot write to the fork server", error))?;
        Ok(Connection { ours, theirs: Theirs { socket: theirs, nonce, output } })
    }

    /// Starts this program's image once more.
    pub(crate) fn execute(&self, theirs: Theirs) -> Result<ForkServerHandle, Error> {
        failpoint!("parent-orders-ahead");
        if process::would_be_distrusted() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "no pool can run here: the effective user or group of this thread is not its real one, and a program that is \
                 started with both runs its main function, as setuid programs do",
            ));
        }
        let Theirs { socket, nonce, output } = theirs;
        let marker = Marker { entry: entry::mark(), nonce, socket: socket.as_raw_fd(), parent: std::process::id() };
        let program = executable::open(self.launch.first_beyond_passed()).map_err(not_proven)?;
        if program.would_gain_rights(process::user_and_group()) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "no pool can run here: the program's file gives rights to who starts it (setuid, setgid or file capabilities) that \
                 this process does not have any more; a program that is started with them runs its main function",
            ));
        }
        let preload = self.launch.preload().map(SharedObject::prove).transpose().map_err(not_preloadable)?;
        let files = (&program, preload.as_ref());
        let (number, pidfd) = launch::start_image(&self.launch, files, marker.to_variable(), socket.as_fd(), &output)
            .map_err(|error| cannot_start(error, self.launch.preload().map(SharedObject::path)))?;
        failpoint!("parent-server-started");
        Ok(ForkServerHandle { number, pidfd, output: Some(output) })
    }

    /// Lets both epolls tell of it.
    pub(crate) fn watch(&self, socket: &Descriptor, server: &ForkServerHandle) -> Result<(), Error> {
        let add = |epoll: &Epoll| {
            epoll.add(socket, number::of(number::SERVER_SOCKET, 0, 0))?;
            epoll.add(&server.pidfd, number::of(number::SERVER_DEATH, 0, 0))
        };
        add(&self.epolls.callers)
            .and(add(&self.epolls.supervisor))
            .map_err(|error| Error::system("cannot watch the fork server", error))
    }
}

/// Says why the kernel did not start this program once more.
fn cannot_start(error: io::Error, object: Option<&Path>) -> Error {
    if let Some(object) = object.filter(|_| error.raw_os_error() == Some(NOT_FOUND.raw_os_error())) {
        return Error::new(
            ErrorKind::Unsupported,
            format!(
                "no pool can run here: a worker would not find the shared object {}, which holds the crate, by /proc/self/fd: is \
                 /proc not there, or is this another root directory than at the object's start?",
                object.display()
            ),
        );
    }
    let what = "cannot start this program once more as fork server";
    match (executable::loader(), error.kind()) {
        // The file itself is held by a descriptor, so only its loader can be missing.
        (Some(loader), io::ErrorKind::NotFound) => Error::new(
            ErrorKind::System,
            format!("{what}: its loader {loader} is not there: is this another root directory than at its start?"),
        ),
        _ => Error::system(what, error),
    }
}

/// Says why this program must not be started once more.
pub(super) fn not_proven(why: NotProven) -> Error {
    let unsupported = |why: &str| Error::new(ErrorKind::Unsupported, format!("no pool can run here: {why}"));
    match why {
        NotProven::Another(path) => unsupported(&format!(
            "this program did not start as itself: the kernel runs {}, which loaded it; start the program directly, so \
             that it can be started once more as fork server",
            path.display()
        ))
        .for_good(),
        NotProven::Unknown(Errno::NOENT) => unsupported(
            "there is no /proc, which alone tells for certain which file this program is; mount it, or make the first \
             pool while it is there",
        ),
        NotProven::Unknown(error) => Error::system("cannot open this program's own file by /proc", error),
    }
}

/// Says why the shared object that holds this crate must not be preloaded.
pub(super) fn not_preloadable(why: NotPreloadable) -> Error {
    let object = |path: &Path, why: &str| format!("the crate lies in the shared object {}, {why}", path.display());
    let unsupported = |why: &str| Error::new(ErrorKind::Unsupported, format!("no pool can run here: {why}"));
    match why {
        NotPreloadable::Deleted(path) => unsupported(&object(
            if path.as_os_str().is_empty() { Path::new("without a name") } else { &path },
            "whose file was deleted or replaced since it was loaded, so that it cannot be loaded by a worker; start the \
             program again, and make the first pool before the file changes",
        )),
        NotPreloadable::Replaced(path) => unsupported(&object(
            &path,
            "and that file is another one now, so that a worker would not have the same code; start the program again",
        )),
        NotPreloadable::NotOpened(path, error) => {
            unsupported(&object(&path, &format!("which cannot be opened for a worker: {error}")))
        }
        NotPreloadable::NotPinned(path, reason) => {
            unsupported(&object(&path, &format!("and the loader cannot keep it loaded: {reason}")))
        }
        NotPreloadable::Unknown(error) => {
            unsupported(&format!("the kernel does not tell which shared object holds the crate: {error}"))
        }
        NotPreloadable::StaticHost => unsupported(
            "the crate lies in a shared object, and the program that loaded it is static, so that nothing can be preloaded",
        )
        .for_good(),
        NotPreloadable::NotDescribed => unsupported(
            "the crate lies in a shared object whose linker did not say where it begins (the symbol __ehdr_start)",
        )
        .for_good(),
    }
}

/// Says that a fork server was to have this shared object preloaded, and did not come to its constructor. If it printed something, or ran on,
/// its `main` may have run, so this is not tried again. (Else it may have been killed as any process.)
pub(super) fn left_out(object: &Path, end: &str, printed: Option<String>) -> Error {
    let for_good = printed.is_some() || end != ENDED;
    let printed = printed.map_or(String::new(), |printed| format!("; it printed: {}", printed.trim_end_matches('.')));
    let message = format!(
        "no pool can run here: this program was started once more, with the shared object {} preloaded, and {end} before that was \
         loaded{printed}. The object may need symbols that only this process provides, as by a dlopen with RTLD_GLOBAL, or the loader \
         left it out and ran the program's main function",
        object.display()
    );
    let error = Error::new(ErrorKind::Unsupported, message);
    if for_good { error.for_good() } else { error }
}

/// How a fork server ended, for [`left_out`].
pub(super) const ENDED: &str = "ended";

/// Makes what one further worker needs before it can be ordered.
pub(super) fn prepare_worker() -> io::Result<Prepared> {
    failpoint!("parent-makes-pair", return Err(rustix::io::Errno::NOMEM.into()));
    Prepared::create(Pair::create()?)
}

/// Makes what `count` further workers need: as many as can be made, and the error of the first one that cannot.
pub(super) fn prepare_workers(count: usize) -> (Vec<Prepared>, io::Result<()>) {
    let mut prepared = Vec::with_capacity(count);
    for _ in 0..count {
        match prepare_worker() {
            Ok(one) => prepared.push(one),
            Err(error) => return (prepared, Err(error)),
        }
    }
    (prepared, Ok(()))
}
