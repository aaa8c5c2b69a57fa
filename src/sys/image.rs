//! The running program's own image: its code, its identity, its constructors.

#![allow(unsafe_code)]

use super::proc;
use super::raw::{self, Published};
use std::ffi::{CStr, CString, c_char, c_int};
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

type Header = libc::Elf64_Phdr;

/// A constructor, as the C runtime calls it.
pub(crate) type Constructor = unsafe extern "C" fn(c_int, *const *const u8, *const *const u8);

/// The executable as it lies in memory.
#[derive(Debug)]
pub(crate) struct Image {
    /// The number that the loader added to every address.
    pub(crate) base: usize,
    code: Vec<Range<usize>>,
    /// The loader that the executable asks for; `None` if it is static.
    pub(crate) loader: Option<String>,
    /// A hash that is equal in two processes only if they run the same image.
    pub(crate) identity: u64,
}

/// The executable of this process; read once.
pub(crate) fn image() -> &'static Image {
    static IMAGE: Published<Image> = Published::new();
    match IMAGE.get() {
        Some(image) => image,
        None => IMAGE.publish(None, read()),
    }
}

impl Image {
    /// True for an address in the executable's own code, not in a shared library's.
    pub(crate) fn has_code(&self, address: usize) -> bool {
        self.code.iter().any(|code| code.contains(&address))
    }
}

/// Reads the program headers, where the auxiliary vector says that they are. (dl_iterate_phdr(3) would take the
/// loader's lock, which another thread may hold when this process is forked, and which the child then waits for.)
fn read() -> Image {
    // SAFETY: reads the auxiliary vector, which is never written.
    let (table, count) = unsafe { (libc::getauxval(libc::AT_PHDR) as usize, libc::getauxval(libc::AT_PHNUM) as usize) };
    let headers: &[Header] = match table {
        0 => &[],
        // SAFETY: the kernel, or a loader that was started with this program's name, gives the address of as many
        // headers, in a segment that is mapped for reading as long as the program runs.
        _ => unsafe { std::slice::from_raw_parts(table as *const Header, count) },
    };
    let base = base(table, headers);
    let mut image = Image { base, code: Vec::new(), loader: None, identity: 0 };
    let mut hash = Fnv::new();
    for header in headers {
        let start = base.wrapping_add(header.p_vaddr as usize);
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
            image.code.push(start..start + header.p_memsz as usize);
        }
        if matches!(header.p_type, libc::PT_NOTE | libc::PT_INTERP) {
            // SAFETY: such a segment (the build id is a note) lies in a segment that is loaded for reading.
            let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, header.p_memsz as usize) };
            hash.add(bytes);
            if header.p_type == libc::PT_INTERP {
                image.loader = Some(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_string());
            }
        }
        for number in [u64::from(header.p_type), header.p_offset, header.p_vaddr, header.p_memsz] {
            hash.add(&number.to_ne_bytes());
        }
    }
    image.identity = hash.0;
    image
}

/// When this process came to the crate's constructor, by the clock that /proc tells a process's start by; 0: not yet.
static LOADED_NS: AtomicU64 = AtomicU64::new(0);

/// Called by the crate's constructor in every program: neither takes a lock nor allocates.
pub(crate) fn note_loaded() {
    // Relaxed: there is one thread.
    LOADED_NS.store(raw::boot_time_ns(), Relaxed);
}

/// How long this process took from its start to the crate's constructor: to load. `None` where /proc cannot tell, and in
/// a child that was forked after that: it started later.
pub(crate) fn load_ns() -> Option<u64> {
    let loaded_ns = LOADED_NS.load(Relaxed);
    loaded_ns.checked_sub(proc::start_ns()?)
}

/// What was added to every address of an image whose program headers lie at `table`.
fn base(table: usize, headers: &[Header]) -> usize {
    if let Some(own) = headers.iter().find(|header| header.p_type == libc::PT_PHDR) {
        return table.wrapping_sub(own.p_vaddr as usize);
    }
    // A static program may have no header for the table itself: there the table follows the file's own header.
    let first = headers.iter().find(|header| header.p_type == libc::PT_LOAD && header.p_offset == 0);
    first.map_or(0, |first| table.wrapping_sub(size_of::<libc::Elf64_Ehdr>()).wrapping_sub(first.p_vaddr as usize))
}

/// The hash FNV-1a: equal in every process and every run, which std's hash does not promise.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// The address of a symbol of this image, 0 if it is not there. The reference is weak and goes through the GOT: otherwise an
/// image without the symbol would not be linked, or not load.
macro_rules! weak_address {
    ($symbol:literal) => {{
        let address: usize;
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a load from the GOT, which the loader has filled; nothing else is read or written.
        unsafe {
            std::arch::asm!(
                concat!(".weak ", $symbol),
                concat!("mov {address}, qword ptr [rip + ", $symbol, "@GOTPCREL]"),
                address = out(reg) address,
                options(nostack, preserves_flags, readonly)
            );
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a load from the GOT, which the loader has filled; nothing else is read or written.
        unsafe {
            std::arch::asm!(
                concat!(".weak ", $symbol),
                concat!("adrp {address}, :got:", $symbol),
                concat!("ldr {address}, [{address}, :got_lo12:", $symbol, "]"),
                address = out(reg) address,
                options(nostack, preserves_flags, readonly)
            );
        }
        address
    }};
}

/// Where the array of constructors of this image begins and ends; both are null in a shared object that
/// GNU ld made.
fn constructor_bounds() -> (*const Constructor, *const Constructor) {
    let (start, end) = (weak_address!("__init_array_start"), weak_address!("__init_array_end"));
    (start as *const Constructor, end as *const Constructor)
}

/// A function of a tool's runtime without arguments, if it is linked. Its result is not looked at.
fn tool(address: usize) -> Option<extern "C" fn()> {
    // SAFETY: 0, which is `None`, or the address of a C function without arguments, which is all that this file asks for.
    unsafe { std::mem::transmute::<usize, Option<extern "C" fn()>>(address) }
}

/// True if the program was built with a tool that counts what runs and writes its counts when the program ends: the coverage
/// of `-C instrument-coverage` and clang, or of gcc. A worker must do that itself, since it ends without `exit`.
pub(crate) fn writes_counts() -> bool {
    weak_address!("__llvm_profile_write_file") != 0 || gcov_writer() != 0
}

/// What writes gcc's counts. `__gcov_dump` is linked only where the program names it, or clang counts; `__gcov_exit` is there
/// wherever gcc counts, and may be called once.
fn gcov_writer() -> usize {
    match weak_address!("__gcov_dump") {
        0 => weak_address!("__gcov_exit"),
        dump => dump,
    }
}

/// Calls a function when the program ends in order, after `main` or by exit(3), if it [`writes_counts`].
pub(crate) fn call_before_last_counts(function: extern "C" fn()) {
    if writes_counts() {
        // SAFETY: a function of this program lives as long as it. (In a shared object there is no pool, which would call this.)
        unsafe { libc::atexit(function) };
    }
}

/// In a process that was just forked: its counts begin at 0, since its parent writes what it has counted so far; and the
/// name of its file gets this process's number where it has one. (Where gcc counts and the program does not name
/// `__gcov_reset`, it is not linked: then each worker counts once more what its parent has.)
pub(crate) fn start_counts() {
    // In this mode the file itself is mapped, and holds the counts of all processes.
    if weak_address!("__llvm_profile_is_continuous_mode_enabled") != 0 && is_continuous() {
        return;
    }
    if let Some(reset) = tool(weak_address!("__llvm_profile_reset_counters")) {
        reset();
        rename_counts();
    }
    if let Some(reset) = tool(weak_address!("__gcov_reset")) {
        reset();
    }
}

fn is_continuous() -> bool {
    let address = weak_address!("__llvm_profile_is_continuous_mode_enabled");
    // SAFETY: the caller has seen that it is there; it is a C function of this type.
    let is_enabled = unsafe { std::mem::transmute::<usize, extern "C" fn() -> c_int>(address) };
    is_enabled() != 0
}

/// The runtime puts the number of the process into the name when it gets the pattern, and ignores one that it has already. So
/// it gets another spelling of the same path.
fn rename_counts() {
    let address = weak_address!("__llvm_profile_set_filename");
    let Some(name) = counts_name().filter(|_| address != 0) else { return };
    let prefix = if name.starts_with(b"/") { "/" } else { "./" };
    let Ok(name) = CString::new([prefix.as_bytes(), &name].concat()) else { return };
    // SAFETY: the address of a C function of this type, by its name.
    let set = unsafe { std::mem::transmute::<usize, extern "C" fn(*const c_char)>(address) };
    set(name.as_ptr());
    // The runtime may keep the pointer.
    std::mem::forget(name);
}

/// The pattern of the file's name by the environment, or its name by the compiler, if the process's number is in it.
fn counts_name() -> Option<Vec<u8>> {
    match std::env::var_os("LLVM_PROFILE_FILE").map(|pattern| pattern.into_vec()) {
        Some(pattern) if !pattern.is_empty() => pattern.windows(2).any(|pair| pair == b"%p").then_some(pattern),
        _ => counts_name_by_compiler(),
    }
}

/// The name by the compiler, as it is for this process: what it gave stands in a variable of each module, which therefore cannot be referred to
/// weakly from one of them. So this takes the name that the runtime made of it in this process's parent.
fn counts_name_by_compiler() -> Option<Vec<u8>> {
    const ENDING: &str = ".profraw";
    let address = weak_address!("__llvm_profile_get_filename");
    if address == 0 {
        return None;
    }
    // SAFETY: the address of a C function of this type, by its name.
    let get = unsafe { std::mem::transmute::<usize, extern "C" fn() -> *const c_char>(address) };
    let name = get();
    if name.is_null() {
        return None;
    }
    // SAFETY: not null, so it is a string, which is this caller's; it is never freed.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    let parent = rustix::process::getppid()?;
    let before = name.strip_suffix(format!("_{}{ENDING}", parent.as_raw_nonzero()).as_bytes())?;
    Some([before, format!("_{}{ENDING}", std::process::id()).as_bytes()].concat())
}

/// Writes the counts of this process to their file, at its end.
pub(crate) fn write_counts() {
    super::may_sleep::assert_may_sleep();
    for address in [weak_address!("__llvm_profile_write_file"), gcov_writer()] {
        if let Some(write) = tool(address) {
            write();
        }
    }
}

/// The constructors that stand after `own` in the executable's array; `None` where this code is in
/// a shared object, or `own` is not in the array.
pub(crate) fn constructors_after(own: Constructor) -> Option<Vec<Constructor>> {
    let (start, end) = constructor_bounds();
    if start.is_null() || end.is_null() || end < start {
        return None;
    }
    // SAFETY: the linker defines both symbols as the bounds of one array.
    let length = unsafe { end.offset_from(start) } as usize;
    // SAFETY: as above; the loader relocates the entries before it calls any of them, and does not write
    // them later.
    let array = unsafe { std::slice::from_raw_parts(start.cast::<usize>(), length) };
    let position = array.iter().position(|&entry| entry == own as usize)?;
    let after = array[position + 1..].iter().filter(|&&entry| entry != 0 && entry != usize::MAX);
    // SAFETY: each remaining entry is a constructor that the loader itself would call.
    Some(after.map(|&entry| unsafe { std::mem::transmute::<usize, Constructor>(entry) }).collect())
}

/// True if the program has more rights than the user that started it.
pub(crate) fn is_privileged() -> bool {
    // SAFETY: reads the auxiliary vector, which is never written.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loader's own answer, for the first object: the executable.
    #[test]
    fn the_base_is_the_loaders() {
        unsafe extern "C" fn first(
            info: *mut libc::dl_phdr_info,
            _: libc::size_t,
            data: *mut std::ffi::c_void,
        ) -> c_int {
            // SAFETY: the loader passes a valid description, and the test its own number.
            unsafe { *data.cast::<usize>() = (*info).dlpi_addr as usize };
            1
        }
        let mut expected = 0_usize;
        // SAFETY: the callback has the type that is asked for, and the number outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(first), (&raw mut expected).cast()) };
        assert_eq!(image().base, expected);
        assert!(image().has_code(first as *const () as usize) && !image().has_code(libc::getpid as *const () as usize));
        assert!(image().loader.as_deref().is_none_or(|loader| std::path::Path::new(loader).exists()));
    }

    #[test]
    fn this_process_was_loaded_after_its_start() {
        // The start is told in ticks, so it lies up to one of them before the true one.
        assert!(load_ns().is_some_and(|load_ns| load_ns < raw::boot_time_ns()));
    }

    #[test]
    fn the_base_follows_from_the_table_with_and_without_a_header_of_its_own() {
        let header = |p_type, p_offset, p_vaddr| Header {
            p_type,
            p_offset,
            p_vaddr,
            p_flags: libc::PF_R,
            p_paddr: 0,
            p_filesz: 0x1000,
            p_memsz: 0x1000,
            p_align: 0x1000,
        };
        let (own, first) = (header(libc::PT_PHDR, 64, 64), header(libc::PT_LOAD, 0, 0));
        let (late, fixed) = (header(libc::PT_LOAD, 0x2000, 0x3000), header(libc::PT_LOAD, 0, 0x40_0000));
        assert_eq!(base(0x5000_0040, &[own, first]), 0x5000_0000);
        assert_eq!(base(0x5000_0040, &[late, first]), 0x5000_0000);
        assert_eq!(base(0x40_0040, &[fixed, late]), 0);
    }
}
