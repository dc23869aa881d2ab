//! What goes along into every program that this one executes: the preload, and Ringer's own variables.
//!
//! The seccomp filter stays across `exec`, the handler does not: a program that is started without the library would die of its
//! first io_uring call. So the environment handed on is completed, whatever the program made of it.

use std::ffi::{CStr, CString, c_char};
use std::ptr::null_mut;
use std::sync::OnceLock;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

type Strings = *const *const c_char;

const PRELOAD: &CStr = c"LD_PRELOAD";
const OURS: &[u8] = b"RINGER_";

/// What is carried. Made once, by the constructor, and never changed.
struct Carried {
    /// The library's own path.
    path: CString,
    /// `LD_PRELOAD=` and the path.
    preload: CString,
    /// `RINGER_…=…`
    variables: Vec<CString>,
}

static CARRIED: OnceLock<Carried> = OnceLock::new();

unsafe extern "C" {
    static mut environ: Strings;
}

/// The program's environment.
pub fn current() -> Strings {
    // SAFETY: a word that the C library keeps; the program may change it, which makes no word invalid.
    unsafe { (&raw const environ).read_volatile() }
}

/// The entries of an environment. Null is an empty one, as for `execve.2`.
fn entries(environment: Strings) -> impl Iterator<Item = *const c_char> {
    (0..).map_while(move |index| {
        if environment.is_null() {
            return None;
        }
        // SAFETY: what a program hands to the C library is an array of pointers up to a null, where this ends.
        let entry = unsafe { *environment.add(index) };
        (!entry.is_null()).then_some(entry)
    })
}

/// The value in `entry` if it is that of the variable `name`.
fn value_in(entry: *const c_char, name: &CStr) -> Option<&'static CStr> {
    // SAFETY: entries are NUL-terminated strings that live as long as they are looked at here: for one call.
    let entry = unsafe { CStr::from_ptr(entry) };
    let rest = entry.to_bytes_with_nul().strip_prefix(name.to_bytes())?.strip_prefix(b"=")?;
    CStr::from_bytes_with_nul(rest).ok()
}

/// A variable of the program's environment. The string is the program's; use it at once.
pub fn value(name: &CStr) -> Option<&'static CStr> {
    entries(current()).find_map(|entry| value_in(entry, name))
}

/// Remembers the library's path and Ringer's variables.
pub fn remember(path: CString) {
    if path.is_empty() {
        return;
    }
    let variables = entries(current())
        // SAFETY: as in `value_in`.
        .map(|entry| unsafe { CStr::from_ptr(entry) })
        .filter(|entry| entry.to_bytes().starts_with(OURS))
        .map(CStr::to_owned)
        .collect();
    let preload = [PRELOAD.to_bytes(), b"=", path.to_bytes()].concat();
    // A path out of the dynamic linker has no NUL inside.
    if let Ok(preload) = CString::new(preload) {
        let _ = CARRIED.set(Carried { path, preload, variables });
    }
}

/// Whether one of the paths in an `LD_PRELOAD` is ours.
fn names_us(value: &CStr, path: &CStr) -> bool {
    value.to_bytes().split(|byte| matches!(byte, b':' | b' ')).any(|one| one == path.to_bytes())
}

fn name_of(variable: &CStr) -> &[u8] {
    variable.to_bytes().split(|byte| *byte == b'=').next().unwrap_or_default()
}

fn has(environment: Strings, variable: &CStr) -> bool {
    let name = name_of(variable);
    entries(environment).any(|entry| {
        // SAFETY: as in `value_in`.
        let entry = unsafe { CStr::from_ptr(entry) };
        name_of(entry) == name
    })
}

/// Runs `body` with an environment that has what is carried, besides what the given one has.
///
/// It may run in the child of `vfork`, in the parent's memory: it uses the stack, and a mapping
/// where the stack would not do.
pub fn completed<R>(environment: Strings, body: impl FnOnce(Strings) -> R) -> R {
    let Some(carried) = CARRIED.get() else { return body(environment) };
    let count = entries(environment).count();
    let preload = entries(environment).find_map(|entry| value_in(entry, PRELOAD));
    let preloaded = preload.is_some_and(|value| names_us(value, &carried.path));
    if preloaded && carried.variables.iter().all(|variable| has(environment, variable)) {
        return body(environment);
    }

    let mut list = Scratch::<*const c_char>::new(count + carried.variables.len() + 2);
    let mut text = Scratch::<u8>::new(0);
    for entry in entries(environment) {
        if preloaded || value_in(entry, PRELOAD).is_none() {
            list.push(entry);
        }
    }
    if !preloaded {
        match preload {
            Some(theirs) if !theirs.is_empty() => {
                let parts = [carried.preload.to_bytes(), b":", theirs.to_bytes_with_nul()];
                text = Scratch::new(parts.iter().map(|part| part.len()).sum());
                parts.iter().flat_map(|part| part.iter()).for_each(|byte| text.push(*byte));
                list.push(text.as_ptr().cast());
            }
            _ => list.push(carried.preload.as_ptr()),
        }
    }
    for variable in carried.variables.iter().filter(|variable| !has(environment, variable)) {
        list.push(variable.as_ptr());
    }
    list.push(std::ptr::null());
    let result = body(list.as_ptr());
    drop(text);
    result
}

/// Puts what is carried into the program's own environment, for functions of the C library that hand that on.
pub fn repair() {
    let Some(carried) = CARRIED.get() else { return };
    match value(PRELOAD) {
        Some(theirs) if names_us(theirs, &carried.path) => {}
        // SAFETY: as for a program that calls `putenv`; the string lives as long as the process.
        _ => drop(unsafe { libc::putenv(carried.preload.as_ptr().cast_mut()) }),
    }
    for variable in carried.variables.iter().filter(|variable| !has(current(), variable)) {
        // SAFETY: as above.
        unsafe { libc::putenv(variable.as_ptr().cast_mut()) };
    }
}

/// A list of fixed capacity that does not use the heap.
pub struct Scratch<T: Copy> {
    inline: [std::mem::MaybeUninit<T>; INLINE],
    mapped: *mut T,
    capacity: usize,
    length: usize,
}

const INLINE: usize = 512;

impl<T: Copy> Scratch<T> {
    /// A list of this capacity. Where no memory can be mapped the process has no future, and ends.
    pub fn new(capacity: usize) -> Self {
        let mut mapped = null_mut();
        if capacity > INLINE {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            // SAFETY: a new mapping at an address of the kernel's choice.
            let memory =
                unsafe { mmap_anonymous(null_mut(), capacity * size_of::<T>(), access, MapFlags::PRIVATE) };
            match memory {
                Ok(memory) => mapped = memory.cast(),
                Err(_) => std::process::abort(),
            }
        }
        Self {
            inline: [std::mem::MaybeUninit::uninit(); INLINE],
            mapped,
            capacity: capacity.max(INLINE),
            length: 0,
        }
    }

    /// Appends a value. The caller has asked for enough room.
    pub fn push(&mut self, value: T) {
        assert!(self.length < self.capacity, "the capacity was counted before");
        if self.mapped.is_null() {
            self.inline[self.length].write(value);
        } else {
            // SAFETY: the mapping holds `capacity` values.
            unsafe { self.mapped.add(self.length).write(value) };
        }
        self.length += 1;
    }

    /// The values. The list must not move while the address is in use.
    pub fn as_ptr(&self) -> *const T {
        if self.mapped.is_null() { self.inline.as_ptr().cast() } else { self.mapped }
    }
}

impl<T: Copy> Drop for Scratch<T> {
    fn drop(&mut self) {
        if !self.mapped.is_null() {
            // SAFETY: the mapping of `new`, of this size, used by nobody else. It cannot fail.
            let _ = unsafe { munmap(self.mapped.cast(), self.capacity * size_of::<T>()) };
        }
    }
}
