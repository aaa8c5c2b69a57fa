//! Random numbers of the kernel's.

/// A random number. Sleeps only if the kernel has not gathered any randomness since it was booted.
pub(crate) fn number() -> rustix::io::Result<u64> {
    super::may_sleep::assert_may_sleep();
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}
