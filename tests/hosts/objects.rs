//! Pools in shared objects that link the crate: plug-ins, extensions of interpreters, a proc macro in the compiler. Each host's
//! `main` and its constructors run once, whatever becomes of the pool.

use crate::run::{Outcome, build, command, program, run, skipped};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

fn object(kind: &str) -> PathBuf {
    let name = format!("multicore_cdylib_{kind}");
    build(&["-p", &name]).remove(&name).expect("just built")
}

/// A folder with a host in C that does not know of pools.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { folder };
        place.compile("host.c", "host", &[]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn compile(&self, source: &str, name: &str, arguments: &[&str]) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/plugged").join(source);
        let file = self.path(name);
        let compiled =
            Command::new("cc").arg(source).arg("-o").arg(&file).args(arguments).args(["-ldl", "-pthread"]).status();
        assert!(compiled.unwrap().success());
        file
    }

    /// A copy of a shared object.
    fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let file = self.path(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::copy(from, &file).unwrap();
        file
    }

    /// The host in a situation, with these paths.
    fn host(&self, situation: &str, paths: &[&Path]) -> Command {
        let mut host = command(&self.path("host"), &[situation]);
        host.args(paths);
        host
    }
}

const BEGUN: &str = "constructor\nmain\n";
const WELL: &str = "constructor\nmain\nchecked: 0\n";

#[test]
fn a_pool_runs_in_a_shared_object_that_a_program_with_pools_loads() {
    for linker in ["bfd", "lld"] {
        let object = object(linker);
        let mut plugged = command(&program("host"), &["load"]);
        plugged.arg(&object);
        run(plugged).assert_said("before: Ok\nplug-in: 0\nafter: Ok\n");
        // The object's constructors run before the program's. They must not intercept the program's child process.
        let mut preloaded = command(&program("answers"), &[]);
        preloaded.env("LD_PRELOAD", &object);
        let outcome = run(preloaded);
        assert!(outcome.status.success() && outcome.stdout.starts_with("task: Ok\n"), "{outcome:?}");
    }
}

/// The host is the compiler itself, which loads many libraries.
#[test]
fn a_pool_runs_in_a_proc_macro() {
    let program = build(&["-p", "multicore_macro_user"]).remove("multicore_macro_user").expect("just built");
    run(command(&program, &[])).assert_said("in the compiler: Ok(true)\nin the program: Ok\n");
}

#[test]
fn a_pool_runs_in_a_host_that_knows_of_none() {
    let place = Place::new();
    for kind in ["bfd", "lld"] {
        let object = object(kind);
        run(place.host("plain", &[&object])).assert_said(WELL);
        run(place.host("again", &[&object])).assert_said(&format!("{WELL}checked: 0\n"));
    }
}

/// What separates names in `LD_PRELOAD`, and what the loader replaces there.
#[test]
fn a_pool_runs_whatever_the_objects_path_is_called() {
    let (place, object) = (Place::new(), object("bfd"));
    for name in ["a b:c$d/x.so", "x y.so", "x:y.so", "a$b.so", "x\ty.so", "é/ü.so"] {
        let copy = place.copy(&object, name);
        let outcome = run(place.host("plain", &[&copy]));
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), (WELL, ""), "{name:?}");
    }
}

/// The path that the loader has is relative to a folder that the host has left.
#[test]
fn a_pool_runs_in_an_object_with_a_relative_path() {
    let (place, object) = (Place::new(), object("bfd"));
    place.copy(&object, "x.so");
    let mut host = place.host("elsewhere", &[Path::new("./x.so")]);
    host.current_dir(place.folder.path());
    run(host).assert_said(WELL);
}

#[test]
fn what_lies_beside_the_object_is_found_for_workers_too() {
    let (place, object) = (Place::new(), object("beside"));
    let copy = place.copy(&object, "x.so");
    place.compile("needed.c", "libneeded.so", &["-shared", "-fPIC"]);
    run(place.host("plain", &[&copy])).assert_said(WELL);
}

/// The host takes the address of a function of the C library in code that is not position-independent, or has preloaded the C
/// library itself: then neither tells where the object stands in the loader's list.
#[test]
fn a_pool_runs_in_a_host_that_changes_where_the_c_library_lies() {
    let (place, object) = (Place::new(), object("bfd"));
    place.compile("host.c", "host", &["-no-pie", "-fno-pic", "-DTAKES_AN_ADDRESS"]);
    run(place.host("plain", &[&object])).assert_said(WELL);
    let mut host = place.host("plain", &[&object]);
    host.env("LD_PRELOAD", "libc.so.6");
    run(host).assert_said(WELL);
}

/// A preload of the user's own stays, and comes first. One whose constructor would come later never runs it in a worker.
#[test]
fn other_preloads_stay() {
    let (place, object) = (Place::new(), object("bfd"));
    let needed = place.compile("needed.c", "needed.so", &["-shared", "-fPIC"]);
    let threads = place.compile("thread.c", "thread.so", &["-shared", "-fPIC"]);
    for preload in [needed.clone().into_os_string(), threads.clone().into_os_string(), {
        let mut both = needed.into_os_string();
        both.push(":");
        both.push(threads);
        both
    }] {
        let mut host = place.host("fork", &[&object]);
        host.env("LD_PRELOAD", &preload);
        let outcome = run(host);
        let mut lines: Vec<&str> = outcome.stdout.lines().collect();
        lines.sort_unstable();
        let expected = ["checked: 0", "checked: 0", "checked: 0", "child: 0", "constructor", "main"];
        assert!(lines == expected && outcome.stderr.is_empty(), "{preload:?}: {outcome:?}");
    }
}

/// Then a forked worker would not be whole: each worker is started by exec, with the object preloaded.
#[test]
fn a_pool_runs_in_a_host_whose_library_makes_threads() {
    let (place, object) = (Place::new(), object("bfd"));
    let threads = place.compile("thread.c", "libthread.so", &["-shared", "-fPIC"]);
    let path = format!("-Wl,-rpath,{}", place.folder.path().display());
    place.compile("host.c", "host", &["-Wl,--no-as-needed", threads.to_str().unwrap(), &path]);
    run(place.host("plain", &[&object])).assert_said(WELL);
}

#[test]
fn two_objects_in_one_host_have_pools_of_their_own() {
    let place = Place::new();
    run(place.host("other", &[&object("bfd"), &object("lld")])).assert_said(&format!("{WELL}checked: 0\n"));
}

/// The host's own allocator, or a tool that counts its memory.
#[test]
fn a_pool_runs_beside_a_sanitizer() {
    let (place, object) = (Place::new(), object("bfd"));
    let found = Command::new("cc").arg("-print-file-name=libasan.so").output().unwrap();
    let library = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim());
    if !library.is_absolute() {
        return skipped("shared objects beside a sanitizer", "the compiler has none");
    }
    let mut host = place.host("plain", &[&object]);
    host.env("LD_PRELOAD", fs::canonicalize(library).unwrap()).env("ASAN_OPTIONS", "detect_leaks=0");
    run(host).assert_said(WELL);
}

#[track_caller]
fn check_refused(outcome: &Outcome, reasons: &[&str]) {
    let Outcome { stdout, stderr, status } = outcome;
    let said = stdout.strip_prefix(BEGUN).unwrap_or_else(|| panic!("{outcome:?}"));
    assert!(said.starts_with("1: Unsupported: no pool can run here: ") && said.ends_with("\nchecked: 1\n"), "{said}");
    assert_eq!((said.lines().count(), stderr.as_str(), status.code()), (2, "", Some(0)), "{outcome:?}");
    for reason in reasons {
        assert!(said.contains(reason), "{reason:?} is missing: {said}");
    }
}

#[test]
fn a_file_that_is_not_what_was_loaded_is_refused_before_anything_starts() {
    let place = Place::new();
    let name = |path: &Path| path.to_str().unwrap().to_string();
    let copy = place.copy(&object("bfd"), "x.so");
    let outcome = run(place.host("deleted", &[&copy]));
    check_refused(&outcome, &[&name(&copy), "deleted or replaced since it was loaded"]);
    // The kernel tells of a file that was replaced by its former name, as deleted.
    let (copy, other) = (place.copy(&object("bfd"), "y.so"), place.copy(&object("lld"), "z.so"));
    let outcome = run(place.host("replaced", &[&copy, &other]));
    check_refused(&outcome, &[&name(&copy), "deleted or replaced since it was loaded"]);
}

/// A later fork server would have other code than the host, or none.
#[test]
fn a_file_that_is_replaced_while_a_pool_runs_is_not_preloaded() {
    let place = Place::new();
    let later = |name: &str, kind: &str, other: &Path| {
        let copy = place.copy(&object(kind), name);
        let Outcome { stdout, stderr, status } = run(place.host("later", &[&copy, other]));
        assert_eq!((stderr.as_str(), status.code()), ("", Some(0)), "{stdout}");
        let said = stdout.strip_prefix(BEGUN).unwrap().to_string();
        (said, copy)
    };
    let refused = |(said, copy): (String, PathBuf)| {
        let reason =
            format!("the crate lies in the shared object {}, and that file is another one now", copy.display());
        assert!(said.starts_with("System: ") && said.contains(&reason), "{said}");
    };
    // The same file, written anew, is the same object.
    for kind in ["bfd", "lld"] {
        let same = place.copy(&object(kind), "same.so");
        assert_eq!(later("x.so", kind, &same).0, "another fork server\n");
    }
    refused(later("y.so", "bfd", &place.copy(&object("lld"), "other.so")));
    let text = place.path("text");
    fs::write(&text, "no object").unwrap();
    refused(later("z.so", "bfd", &text));
    // An upgrade that is under way.
    let bytes = fs::read(object("bfd")).unwrap();
    let half = place.path("half");
    fs::write(&half, &bytes[..bytes.len() / 2]).unwrap();
    refused(later("v.so", "bfd", &half));
    // Without a build id the code decides: the last byte of it is another one.
    let mut bytes = fs::read(object("lld")).unwrap();
    let end = end_of_code(&bytes);
    bytes[end - 1] ^= 0xff;
    let changed = place.path("changed");
    fs::write(&changed, bytes).unwrap();
    refused(later("w.so", "lld", &changed));
}

/// The loader of a later fork server would look for the object in a /proc that is not there, or that anybody has made.
#[test]
fn in_another_root_nothing_more_is_started() {
    if !rustix::process::geteuid().is_root() {
        return skipped("an object in another root", "this test needs root");
    }
    let place = Place::new();
    let copy = place.copy(&object("bfd"), "x.so");
    let mut host = place.host("later", &[&copy, Path::new("root")]);
    host.current_dir(place.folder.path());
    let Outcome { stdout, stderr, status } = run(host);
    assert_eq!((stderr.as_str(), status.code()), ("", Some(0)), "{stdout}");
    let said = stdout.strip_prefix(BEGUN).unwrap();
    let reason = format!("a worker would not find the shared object {}", copy.display());
    assert!(said.starts_with("System: ") && said.contains(&reason), "{said}");
}

/// A fresh copy of it would get rights that the host has given up, and be told to distrust its environment: the loader would leave
/// the preload out.
#[test]
fn a_host_whose_file_gives_rights_that_it_has_given_up_is_not_started_again() {
    if !rustix::process::geteuid().is_root() {
        return skipped("hosts with setuid or capabilities", "this test needs root");
    }
    let (place, object) = (Place::new(), object("bfd"));
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = place.copy(&object, "x.so");
    let host = place.path("host");
    run(place.host("dropped", &[&copy])).assert_said(WELL);
    for mode in [0o4755, 0o2755] {
        fs::set_permissions(&host, fs::Permissions::from_mode(mode)).unwrap();
        check_refused(&run(place.host("dropped", &[&copy])), &["setuid, setgid or file capabilities"]);
        // It has these rights still.
        run(place.host("plain", &[&copy])).assert_said(WELL);
    }
    fs::set_permissions(&host, fs::Permissions::from_mode(0o755)).unwrap();
    // Version 2, effective: to bind low ports.
    let capabilities = [0x0200_0001_u32, 1 << 10, 0, 0, 0].map(u32::to_le_bytes).concat();
    let name = "security.capability";
    if let Err(error) = rustix::fs::setxattr(&host, name, &capabilities, rustix::fs::XattrFlags::empty()) {
        return skipped("hosts with file capabilities", &error.to_string());
    }
    check_refused(&run(place.host("dropped", &[&copy])), &["setuid, setgid or file capabilities"]);
    run(place.host("plain", &[&copy])).assert_said(WELL);
}

/// Tools that change a linked file may move its headers to the end, where they are not loaded.
#[test]
fn an_object_whose_headers_are_not_loaded_has_no_pool() {
    let place = Place::new();
    let mut bytes = fs::read(object("bfd")).unwrap();
    let (table, count) = (u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize, usize::from(bytes[56]));
    let headers = bytes[table..table + count * 56].to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let end = bytes.len() as u64;
    bytes[32..40].copy_from_slice(&end.to_le_bytes());
    bytes.extend(headers);
    let moved = place.path("moved.so");
    fs::write(&moved, bytes).unwrap();
    let said = "1: Unsupported: no pool can run here: the crate lies in a shared object whose linker did not say where it begins";
    let outcome = run(place.host("plain", &[&moved]));
    assert!(outcome.status.success() && outcome.stdout.contains(said), "{outcome:?}");
}

/// Where the code of a shared object ends in its file.
fn end_of_code(file: &[u8]) -> usize {
    let number = |place: usize| u64::from_le_bytes(file[place..place + 8].try_into().unwrap()) as usize;
    let (table, count) = (number(32), usize::from(file[56]));
    let headers = (0..count).map(|index| table + index * 56);
    let is_code = |header: &usize| file[*header] == 1 && file[*header + 4] & 1 != 0;
    headers.filter(is_code).map(|header| number(header + 8) + number(header + 32)).max().unwrap()
}

/// The loader of a fresh copy of the host cannot load the object alone.
#[test]
fn an_object_that_needs_its_host_is_refused_by_name() {
    let place = Place::new();
    let needed = place.compile("needed.c", "needed.so", &["-shared", "-fPIC"]);
    let copy = place.copy(&object("needy"), "x.so");
    let outcome = run(place.host("global", &[&copy, &needed]));
    check_refused(&outcome, &[copy.to_str().unwrap(), "undefined symbol: only_the_host_has", "RTLD_GLOBAL"]);
}

/// The host has a right that ends at exec: to read the object. So the loader leaves it out, and runs `main`, which ends with a
/// word on its usage.
#[test]
fn a_preload_that_is_left_out_ends_in_a_usage_error() {
    if !rustix::process::geteuid().is_root() {
        return skipped("a preload that the loader leaves out", "this test needs root");
    }
    let (place, object) = (Place::new(), object("bfd"));
    let copy = place.copy(&object, "x.so");
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o400)).unwrap();
    let reasons = [copy.to_str().unwrap(), "cannot be preloaded", "usage: host SITUATION OBJECT [OTHER]"];
    // Nor does it read what its user types.
    let input = place.path("input");
    fs::write(&input, "for the first").unwrap();
    let mut host = place.host("rights", &[&copy]);
    host.stdin(fs::File::open(&input).unwrap());
    check_refused(&without_the_second(run(host), ""), &reasons);
    // If its `main` does its work all the same, and loads the object then, that neither serves nor starts another one.
    let readable = place.copy(&object, "y.so");
    let mut host = place.host("rights", &[&copy]);
    host.env("ONCE_MORE", &readable);
    let said = "1: Unsupported: no pool can run here: this process was started as a fork server and not stopped before its main \
                function\nchecked: 1\n";
    check_refused(&without_the_second(run(host), said), &reasons);
}

/// An outcome without what a second host has printed to the same output.
#[track_caller]
fn without_the_second(outcome: Outcome, said: &str) -> Outcome {
    let both = format!("{BEGUN}{BEGUN}{said}");
    assert!(outcome.stdout.starts_with(&both), "{outcome:?}");
    Outcome { stdout: outcome.stdout.replacen(&both, BEGUN, 1), ..outcome }
}
