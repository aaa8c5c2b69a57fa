//! Sockets by which workers find the runner: abstract addresses that nobody can guess, and that end with their process.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;

/// Listens at a new address, and gives its name. That number may connect before one is let in.
pub fn listen(connections: usize) -> io::Result<(Vec<u8>, OwnedFd)> {
    let listener = socket(SocketFlags::CLOEXEC)?;
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    let name = format!("multicore-run-{}-{:032x}", std::process::id(), u128::from_ne_bytes(random)).into_bytes();
    net::bind(&listener, &SocketAddrUnix::new_abstract_name(&name)?)?;
    net::listen(&listener, i32::try_from(connections).unwrap_or(i32::MAX))?;
    Ok((name, listener))
}

/// Ends an address at once: a child that another thread forks has a copy of the listener until it executes something.
pub fn end(listener: OwnedFd) {
    let _ = net::shutdown(&listener, net::Shutdown::Both);
}

/// Connects to an address of this user's.
pub fn connect(name: &[u8]) -> io::Result<OwnedFd> {
    let socket = socket(SocketFlags::CLOEXEC)?;
    net::connect(&socket, &SocketAddrUnix::new_abstract_name(name)?)?;
    let peer = net::sockopt::socket_peercred(&socket)?;
    if peer.uid != rustix::process::geteuid() {
        return Err(io::Error::other(format!("the runner's address is held by user {}", peer.uid.as_raw())));
    }
    Ok(socket)
}

/// True while somebody listens at this address.
pub fn is_listened_at(name: &[u8]) -> bool {
    let connected = socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        .and_then(|socket| net::connect(&socket, &SocketAddrUnix::new_abstract_name(name)?));
    connected != Err(Errno::CONNREFUSED)
}

/// Each message arrives whole.
fn socket(flags: SocketFlags) -> Result<OwnedFd, Errno> {
    net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

#[cfg(test)]
mod tests {
    use super::{connect, end, is_listened_at, listen};

    #[test]
    fn an_address_ends_with_its_listener() {
        let (name, listener) = listen(2).unwrap();
        // More than may wait.
        assert!((0..20).all(|_| is_listened_at(&name)));
        end(listener);
        assert!(!is_listened_at(&name));
        assert!(connect(&name).is_err());
        assert_ne!(listen(1).unwrap().0, name);
    }
}
