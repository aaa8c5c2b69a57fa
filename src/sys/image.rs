//! The image that holds this crate: its code, its identity, its constructors. It is the program's executable, or a shared
//! object that the program has loaded, such as an extension of an interpreter.

#![allow(unsafe_code)]

use super::proc;
use super::raw::{self, Published};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

type Header = libc::Elf64_Phdr;

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

/// A constructor, as the C runtime calls it.
pub(crate) type Constructor = unsafe extern "C" fn(c_int, *const *const u8, *const *const u8);

/// An image as it lies in memory.
#[derive(Debug)]
pub(crate) struct Image {
    /// The number that the loader added to every address.
    pub(crate) base: usize,
    pub(super) code: Vec<Range<usize>>,
    /// The loader that it asks for: an executable that is not static does.
    pub(crate) loader: Option<String>,
    /// A hash that is equal in two processes only if they run the same image.
    pub(crate) identity: u64,
    /// It is a shared object; the file that it comes from is [`shared_object`](super::shared_object)'s.
    pub(crate) is_object: bool,
    /// Its code may be read.
    pub(super) is_readable: bool,
    /// The notes have an identity that the linker made of all of the image (`--build-id`).
    pub(super) has_build_id: bool,
    /// Where a shared object has its array of constructors.
    constructors: Option<Range<usize>>,
}

/// The image that holds this crate; read once.
#[inline]
pub(crate) fn image() -> &'static Image {
    static IMAGE: Published<Image> = Published::new();
    match IMAGE.get() {
        Some(image) => image,
        None => IMAGE.publish(None, read()),
    }
}

/// The executable of this process, which holds this crate or has loaded the object that does.
pub(super) fn executable() -> Image {
    read_executable()
}

impl Image {
    /// True for an address in the image's own code, not in another object's.
    pub(crate) fn has_code(&self, address: usize) -> bool {
        self.code.iter().any(|code| code.contains(&address))
    }

    /// True if these bytes lie there. It is an address of the image's code, with as many bytes behind it.
    pub(super) fn has_bytes(&self, address: usize, bytes: &[u8]) -> bool {
        assert!(self.is_readable);
        assert!(self.code.iter().any(|code| code.contains(&address) && bytes.len() <= code.end - address));
        // SAFETY: code of this image, as just asserted, which is loaded for reading and which nothing writes.
        bytes == unsafe { std::slice::from_raw_parts(address as *const u8, bytes.len()) }
    }

    /// A number for a place in this image, by which no copy of the crate in another image takes it for its own.
    pub(crate) fn mark(&self, offset: u64) -> u64 {
        let mut hash = Fnv(self.identity);
        hash.add(&offset.to_ne_bytes());
        hash.0
    }
}

/// An address of the code of this crate.
pub(super) fn own_code() -> usize {
    read as fn() -> Image as usize
}

fn read() -> Image {
    let executable = read_executable();
    if executable.has_code(own_code()) { executable } else { read_object() }
}

/// Reads the shared object that holds this code: its header lies where the linker says. (To ask the loader would take its
/// lock, as below.) Where there is no header, no code is the image's.
fn read_object() -> Image {
    let start = weak_address!("__ehdr_start");
    let mut image = Image::new(0);
    image.is_object = true;
    if start == 0 {
        return image;
    }
    // SAFETY: the linker puts the symbol at the first byte of the file's header, in a segment that is loaded for reading.
    let header = unsafe { &*(start as *const libc::Elf64_Ehdr) };
    // A tool may have moved the table to the file's end, which need not be loaded.
    let size = usize::from(header.e_phnum) * size_of::<Header>();
    if (header.e_phoff as usize).checked_add(size).is_none_or(|end| end > SMALLEST_PAGE) {
        return image;
    }
    let table = start + header.e_phoff as usize;
    // SAFETY: the table lies in the file's first page, as its header does, which is loaded as a whole.
    let headers = unsafe { std::slice::from_raw_parts(table as *const Header, usize::from(header.e_phnum)) };
    let first = headers.iter().find(|header| header.p_type == libc::PT_LOAD && header.p_offset == 0);
    image.base = first.map_or(0, |first| start.wrapping_sub(first.p_vaddr as usize));
    // SAFETY: the bytes of the file's header, as above.
    let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, size_of::<libc::Elf64_Ehdr>()) };
    image.read_headers(headers, bytes);
    let dynamic = headers.iter().find(|header| header.p_type == libc::PT_DYNAMIC);
    image.constructors = dynamic.and_then(|dynamic| {
        let count = dynamic.p_memsz as usize / size_of::<[u64; 2]>();
        // SAFETY: pairs of a tag and a value, in a segment that is loaded for reading.
        let pairs = unsafe { std::slice::from_raw_parts(image.at(dynamic) as *const [u64; 2], count) };
        let value = |tag| pairs.iter().find(|pair| pair[0] == tag).map(|pair| pair[1] as usize);
        let start = image.base.wrapping_add(value(DT_INIT_ARRAY)?);
        Some(start..start + value(DT_INIT_ARRAYSZ)?)
    });
    image
}

/// Pages are at least this large.
const SMALLEST_PAGE: usize = 4096;

/// Of elf(5): where the array of constructors lies, and how many bytes it has.
const DT_INIT_ARRAY: u64 = 25;
const DT_INIT_ARRAYSZ: u64 = 27;

/// Reads the program headers of the executable, where the auxiliary vector says that they are. (dl_iterate_phdr(3) would take
/// the loader's lock, which another thread may hold when this process is forked, and which the child then waits for.)
fn read_executable() -> Image {
    // SAFETY: reads the auxiliary vector, which is never written.
    let (table, count) = unsafe { (libc::getauxval(libc::AT_PHDR) as usize, libc::getauxval(libc::AT_PHNUM) as usize) };
    let headers: &[Header] = match table {
        0 => &[],
        // SAFETY: the kernel, or a loader that was started with this program's name, gives the address of as many
        // headers, in a segment that is mapped for reading as long as the program runs.
        _ => unsafe { std::slice::from_raw_parts(table as *const Header, count) },
    };
    let mut image = Image::new(base(table, headers));
    image.read_headers(headers, &[]);
    image
}

impl Image {
    fn new(base: usize) -> Self {
        Image {
            base,
            code: Vec::new(),
            loader: None,
            identity: 0,
            is_object: false,
            is_readable: true,
            has_build_id: false,
            constructors: None,
        }
    }

    /// Where a segment begins.
    fn at(&self, header: &Header) -> usize {
        self.base.wrapping_add(header.p_vaddr as usize)
    }

    /// Reads what the headers describe, for an image that is loaded at its base and whose file begins with `first`, as far as
    /// that counts.
    fn read_headers(&mut self, headers: &[Header], first: &[u8]) {
        let mut identity = Identity::new(first);
        for header in headers {
            let start = self.at(header);
            if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_X != 0 {
                self.code.push(start..start + header.p_memsz as usize);
                self.is_readable &= header.p_flags & libc::PF_R != 0;
            }
            if Identity::needs_bytes_of(header, headers) {
                // SAFETY: it lies in a segment that is loaded for reading.
                let bytes = unsafe { std::slice::from_raw_parts(start as *const u8, header.p_filesz as usize) };
                identity.add_bytes(header, bytes);
                if header.p_type == libc::PT_INTERP {
                    self.loader = Some(String::from_utf8_lossy(bytes).trim_end_matches('\0').to_string());
                }
            }
            identity.add(header);
        }
        (self.identity, self.has_build_id) = (identity.hash.0, identity.has_build_id);
    }
}

/// What makes an image the same as another one: the numbers of its headers, its notes, and its loader. In memory and in the
/// file they are equal.
pub(super) struct Identity {
    hash: Fnv,
    has_build_id: bool,
}

impl Identity {
    /// `first`: what the file begins with, where that counts.
    pub(super) fn new(first: &[u8]) -> Self {
        let mut hash = Fnv::new();
        hash.add(first);
        Identity { hash, has_build_id: false }
    }

    /// True if [`add_bytes`](Self::add_bytes) must come before [`add`](Self::add): it is one of these headers, and what it describes is loaded
    /// for reading. (The build id is a note.)
    pub(super) fn needs_bytes_of(header: &Header, headers: &[Header]) -> bool {
        let holds = |segment: &&Header| {
            let within = header.p_vaddr.checked_sub(segment.p_vaddr);
            let left = within.and_then(|within| segment.p_filesz.checked_sub(within));
            segment.p_type == libc::PT_LOAD
                && segment.p_flags & libc::PF_R != 0
                && left.is_some_and(|left| header.p_filesz <= left)
        };
        matches!(header.p_type, libc::PT_NOTE | libc::PT_INTERP) && headers.iter().any(|segment| holds(&segment))
    }

    pub(super) fn add_bytes(&mut self, header: &Header, bytes: &[u8]) {
        self.hash.add(bytes);
        self.has_build_id |= header.p_type == libc::PT_NOTE && has_build_id(bytes);
    }

    pub(super) fn add(&mut self, header: &Header) {
        for number in [u64::from(header.p_type), header.p_offset, header.p_vaddr, header.p_filesz, header.p_memsz] {
            self.hash.add(&number.to_ne_bytes());
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash.0
    }
}

/// True if there is a build id among these notes: each has the lengths of its name and of its text, its kind, and both, each
/// of these filled up to words of 4 bytes.
fn has_build_id(mut notes: &[u8]) -> bool {
    const NT_GNU_BUILD_ID: u32 = 3;
    while let Some((head, rest)) = notes.split_first_chunk::<12>() {
        let word = |index: usize| u32::from_ne_bytes([head[index], head[index + 1], head[index + 2], head[index + 3]]);
        let (name, text) = (word(0) as usize, word(4) as usize);
        if word(8) == NT_GNU_BUILD_ID && rest.starts_with(b"GNU\0") {
            return true;
        }
        match rest.get(name.next_multiple_of(4) + text.next_multiple_of(4)..) {
            Some(next) => notes = next,
            None => return false,
        }
    }
    false
}

/// When this process came to the crate's constructor, by the clock that /proc tells a process's start by; 0: not yet.
static LOADED_NS: AtomicU64 = AtomicU64::new(0);

/// Called by the crate's constructor in every program: neither takes a lock nor allocates.
pub(crate) fn note_loaded() {
    // Relaxed: there is one thread.
    LOADED_NS.store(raw::boot_time_ns(), Relaxed);
}

/// How long this process took from its start to the crate's constructor: to load. `None` where /proc cannot tell, in
/// a child that was forked after that, since it started later, and in a shared object, which may have been loaded at any time.
pub(crate) fn load_ns() -> Option<u64> {
    if image().is_object {
        return None;
    }
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

/// Where the array of constructors of this image begins and ends. In a shared object the linker's symbols are missing (GNU ld),
/// or are the object's own (lld): there its dynamic section tells.
fn constructor_bounds() -> (*const Constructor, *const Constructor) {
    let image = image();
    if image.is_object {
        let bounds = image.constructors.clone().unwrap_or_default();
        return (bounds.start as *const Constructor, bounds.end as *const Constructor);
    }
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
        // SAFETY: a function of this program lives as long as it. (A shared object that has a pool is never unloaded.)
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

/// The constructors that stand after `own` in the array of this image; `None` if `own` is not in it.
pub(crate) fn constructors_after(own: Constructor) -> Option<Vec<Constructor>> {
    let (start, end) = constructor_bounds();
    if start.is_null() || end.is_null() || end < start {
        return None;
    }
    // SAFETY: the linker defines both as the bounds of one array.
    let length = unsafe { end.offset_from(start) } as usize;
    // SAFETY: as above; the loader relocates the entries before it calls any of them, and does not write
    // them later.
    let array = unsafe { std::slice::from_raw_parts(start.cast::<usize>(), length) };
    let position = array.iter().position(|&entry| entry == own as usize)?;
    let after = array[position + 1..].iter().filter(|&&entry| entry != 0 && entry != usize::MAX);
    // SAFETY: each remaining entry is a constructor that the loader itself would call.
    Some(after.map(|&entry| unsafe { std::mem::transmute::<usize, Constructor>(entry) }).collect())
}

/// True if there is such a variable; the answer of getenv(3), which other threads may keep from being true.
pub(crate) fn has_variable(name: &CStr) -> bool {
    // SAFETY: the name ends in NUL.
    !unsafe { libc::getenv(name.as_ptr()) }.is_null()
}

/// True if this shared object stands before the loader in its list, so was preloaded, or is linked to the executable: then no code
/// of the program has run, but that of libraries. For an object that the program loads later it is false. Called by the crate's
/// constructor, in the thread that loads it.
pub(crate) fn is_preloaded() -> bool {
    #[derive(Default)]
    struct Order {
        own: Option<usize>,
        loader: Option<usize>,
        count: usize,
    }
    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: libc::size_t, data: *mut c_void) -> c_int {
        // SAFETY: the loader passes a valid description, and the caller its own `Order`.
        let (info, order) = unsafe { (&*info, &mut *data.cast::<Order>()) };
        // SAFETY: the headers of an object that is loaded.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let has = |address: usize| {
            headers.iter().filter(|header| header.p_type == libc::PT_LOAD).any(|header| {
                let start = (info.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
                (start..start + header.p_memsz as usize).contains(&address)
            })
        };
        if has(own_code()) {
            order.own.get_or_insert(order.count);
        }
        // SAFETY: reads the auxiliary vector, which is never written.
        if has(unsafe { libc::getauxval(libc::AT_BASE) } as usize) {
            order.loader.get_or_insert(order.count);
        }
        order.count += 1;
        0
    }
    let mut order = Order::default();
    // SAFETY: the callback has the type that is asked for, and `order` outlives the call. The loader's lock is this thread's
    // while it runs constructors, and may be taken again by it. (musl's is not held then.)
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut order).cast()) };
    matches!((order.own, order.loader), (Some(own), Some(loader)) if own < loader)
}

/// Has the loader keep the shared object that holds this crate until the process ends. musl's never unloads one.
pub(super) fn keep_loaded() -> Result<(), String> {
    if cfg!(target_env = "musl") {
        return Ok(());
    }
    // SAFETY: a valid value of the type, which the next call writes.
    let mut info: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: reads what the loader knows of the object, which is loaded while this code runs.
    if unsafe { libc::dladdr(own_code() as *const c_void, &mut info) } == 0 {
        return Err("it does not know it".to_string());
    }
    // By the name that the loader knows it by, it is found among those that are loaded, wherever its file is by now.
    // SAFETY: the name is the loader's. Nothing is loaded, so no constructor runs; that it is kept changes nothing for others.
    let kept = unsafe { libc::dlopen(info.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
    if !kept.is_null() {
        return Ok(());
    }
    // SAFETY: null, or a text that is this thread's until its next such call.
    let reason = unsafe { libc::dlerror().as_ref().map(|text| CStr::from_ptr(text)) };
    Err(reason.map_or_else(|| "it does not say why".to_string(), |text| text.to_string_lossy().into_owned()))
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
    fn a_build_id_is_found_among_other_notes() {
        let note = |name: &[u8], kind: u32, text: &[u8]| {
            let filled = |bytes: &[u8]| [bytes, &[0; 4][..bytes.len().next_multiple_of(4) - bytes.len()]].concat();
            let head = [name.len() as u32, text.len() as u32, kind].map(u32::to_ne_bytes).concat();
            [head, filled(name), filled(text)].concat()
        };
        let (id, property, other) =
            (note(b"GNU\0", 3, &[7; 20]), note(b"GNU\0", 5, &[1; 7]), note(b"stapsdt\0", 3, b"x"));
        for (notes, expected) in
            [(vec![&id], true), (vec![&property, &other, &id], true), (vec![&property, &other], false), (vec![], false)]
        {
            assert_eq!(has_build_id(&notes.into_iter().flatten().copied().collect::<Vec<u8>>()), expected);
        }
        // Lengths that go beyond the end.
        assert!(!has_build_id(&note(b"GNU\0", 5, &[1; 8])[..16]) && !has_build_id(&[0xff; 24]));
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
