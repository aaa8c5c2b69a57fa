//! A process that is looked at: this one, and what it has arranged for its looker.

use super::*;
use std::os::unix::fs::symlink;
use std::process::Command;

#[test]
fn a_function_of_this_process_is_named_from_outside() {
    fn named() {}
    let seen = Process::open(std::process::id()).unwrap();
    let address = named as fn() as usize as u64;
    let place = seen.place_of(address).unwrap();
    let expected = format!("{}::a_function_of_this_process_is_named_from_outside::named", module_path!());
    assert_eq!(place.names_at(&[0, i64::MAX]).unwrap(), [Some(expected), None]);
    assert!(seen.memory_of(std::process::id()).unwrap() > 0);
    assert!(seen.place_of(0).is_none());
}

#[test]
fn what_is_no_process_is_told() {
    for number in [0, u32::MAX, i32::MAX as u32] {
        assert!(matches!(Process::open(number), Err(NotSeen::Missing)), "{number}");
    }
    let mut child = Command::new("true").spawn().unwrap();
    let seen = Process::open(child.id());
    child.wait().unwrap();
    assert!(!seen.is_ok_and(|seen| !seen.has_ended()), "it has ended");
}

/// A child that has its own namespace of processes may have its parent's number there.
#[test]
fn the_same_number_in_another_namespace_is_another_process() {
    let seen = Process::open(std::process::id()).unwrap();
    let (number, namespace) = (std::process::id(), process::namespace_of("self"));
    assert!(namespace > 0 && seen.namespace == namespace);
    for (number, namespace, expected) in [
        (number, namespace, true),
        (number, 0, true),
        (number, namespace + 1, false),
        (number + 1, namespace, false),
        (number + 1, 0, false),
    ] {
        assert_eq!(seen.is(number, namespace), expected, "{number} in {namespace}");
    }
}

/// A looker once waited for ever for a writer of a FIFO that lay where a mapped file had been, and opened any device that had a memfd's name.
#[test]
fn only_a_regular_file_in_memory_without_a_name_counts_as_a_memfd() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let plain = folder.path().join("plain");
    fs::write(&plain, "text").unwrap();
    let shared = Path::new("/dev/shm").join(format!("observed-{}", std::process::id()));
    fs::write(&shared, "text").unwrap();
    for (path, regular) in [
        (fifo.as_path(), false),
        (Path::new("/dev/null"), false),
        (folder.path(), false),
        (&plain, true),
        (&shared, true),
        (Path::new("/proc/self/exe"), true),
    ] {
        let (file, told) = place(CWD, path, None).unwrap();
        assert_eq!((is_regular(&told), is_memfd(&file, &told)), (regular, false), "{}", path.display());
    }
    fs::remove_file(&shared).unwrap();
    let memfd = crate::sys::memory::file_of("multicore-observed-test", b"text").unwrap();
    let mut seen = Vec::new();
    let own = Process::open(std::process::id()).unwrap();
    own.each_memfd("multicore-observed-test", |inode, open| {
        seen.push((inode, crate::sys::memory::read_file(&open().unwrap()).unwrap()));
        Ok(())
    })
    .unwrap();
    assert_eq!(seen, [(rustix::fs::fstat(&memfd).unwrap().st_ino, b"text".to_vec())]);
}

/// An absolute link below /proc/PID/root once led to a file of the looker's own root.
#[test]
fn links_of_the_process_lead_to_its_own_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("own"), "").unwrap();
    for (link, target) in [("absolute", "/own"), ("upward", "../../../../../../own"), ("outside", "/proc/self/exe")] {
        symlink(target, folder.path().join(link)).unwrap();
    }
    let inode = place(CWD, &folder.path().join("own"), None).unwrap().1.st_ino;
    let in_root = |name: &str| {
        let root = fs::File::open(folder.path()).unwrap();
        place(root, Path::new(name), Some(ResolveFlags::IN_ROOT)).map(|(_, told)| told.st_ino)
    };
    for name in ["/own", "/absolute", "/upward"] {
        assert_eq!(in_root(name), Ok(inode), "{name}");
    }
    assert_eq!(in_root("/outside"), Err(Errno::NOENT));
}
