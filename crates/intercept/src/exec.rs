//! Interposed functions that execute programs: each hands on an environment that has the library in it.

use std::ffi::{c_char, c_int, c_void};

use libc::pid_t;
use ringer_sys::UserAddress;

use crate::descriptors::{is_in_engine_half, is_in_ring_half};
use crate::environment::{self, Scratch, completed, current};
use crate::{guest, next, process};

type Strings = *const *const c_char;

/// Calls the function behind, or fails where there is none.
macro_rules! pass_on {
    ($name:ident($($argument:expr),*)) => {
        match next::$name.find() {
            // SAFETY: the program's call, with an environment that is its own and more.
            Some(next) => unsafe { next($($argument),*) },
            None => {
                guest::set_errno(libc::ENOSYS);
                -1
            }
        }
    };
}

/// `execve.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execve(path: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    process::about_to_execute(Some(UserAddress::of(path)));
    completed(environment, |environment| pass_on!(execve(path, arguments, environment)))
}

/// `execv.3`.
///
/// # Safety
/// As for the function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execv(path: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: the program's call.
    unsafe { execve(path, arguments, current()) }
}

/// `execvpe.3`.
///
/// # Safety
/// As for the function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvpe(file: *const c_char, arguments: Strings, environment: Strings) -> c_int {
    process::about_to_execute(None);
    completed(environment, |environment| pass_on!(execvpe(file, arguments, environment)))
}

/// `execvp.3`.
///
/// # Safety
/// As for the function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execvp(file: *const c_char, arguments: Strings) -> c_int {
    // SAFETY: the program's call.
    unsafe { execvpe(file, arguments, current()) }
}

/// `fexecve.3`.
///
/// # Safety
/// As for the function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fexecve(fd: c_int, arguments: Strings, environment: Strings) -> c_int {
    process::about_to_execute(None);
    completed(environment, |environment| pass_on!(fexecve(fd, arguments, environment)))
}

/// `execveat.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn execveat(
    directory: c_int,
    path: *const c_char,
    arguments: Strings,
    environment: Strings,
    flags: c_int,
) -> c_int {
    process::about_to_execute(None);
    completed(environment, |environment| pass_on!(execveat(directory, path, arguments, environment, flags)))
}

/// The functions with a list of arguments: the registers go to the stack, in order, and their address and that of the arguments
/// that came by the stack to the function named.
macro_rules! with_argument_list {
    ($($(#[$meta:meta])* $name:ident => $function:ident;)*) => { $(
        $(#[$meta])*
        ///
        /// # Safety
        /// As for the function.
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        pub unsafe extern "C" fn $name(path: *const c_char) -> c_int {
            std::arch::naked_asm!(
                "push rbp",
                "mov rbp, rsp",
                "push r9",
                "push r8",
                "push rcx",
                "push rdx",
                "push rsi",
                "mov rsi, rsp",
                "lea rdx, [rbp + 16]",
                "sub rsp, 8",
                "call {function}",
                "leave",
                "ret",
                function = sym $function,
            )
        }
    )* };
}

with_argument_list! {
    /// `execl.3`.
    execl => execl_list;
    /// `execlp.3`.
    execlp => execlp_list;
    /// `execle.3`.
    execle => execle_list;
}

/// The arguments after the first of a function with an argument list.
#[derive(Clone, Copy)]
struct ArgumentList {
    registers: Strings,
    stack: Strings,
}

impl ArgumentList {
    const REGISTERS: usize = 5;

    /// # Safety
    /// Every argument before this one is there and is not the null that ends the list, or the function has one behind it.
    unsafe fn get(self, index: usize) -> *const c_char {
        // SAFETY: passed on to the caller.
        unsafe {
            match index.checked_sub(Self::REGISTERS) {
                None => *self.registers.add(index),
                Some(index) => *self.stack.add(index),
            }
        }
    }

    /// Runs `body` with the arguments as an array, and the index of what comes after the null.
    ///
    /// # Safety
    /// The list ends in a null.
    unsafe fn with_array(self, body: impl FnOnce(Strings, usize) -> c_int) -> c_int {
        // SAFETY: the list ends in a null, and nothing behind it is looked at.
        unsafe {
            let mut count = 0;
            while !self.get(count).is_null() {
                count += 1;
            }
            let mut array = Scratch::new(count + 1);
            for index in 0..=count {
                array.push(self.get(index));
            }
            body(array.as_ptr(), count + 1)
        }
    }
}

unsafe extern "C" fn execl_list(path: *const c_char, registers: Strings, stack: Strings) -> c_int {
    let list = ArgumentList { registers, stack };
    // SAFETY: the program's call.
    unsafe { list.with_array(|arguments, _| execv(path, arguments)) }
}

unsafe extern "C" fn execlp_list(file: *const c_char, registers: Strings, stack: Strings) -> c_int {
    let list = ArgumentList { registers, stack };
    // SAFETY: the program's call.
    unsafe { list.with_array(|arguments, _| execvp(file, arguments)) }
}

unsafe extern "C" fn execle_list(path: *const c_char, registers: Strings, stack: Strings) -> c_int {
    let list = ArgumentList { registers, stack };
    // SAFETY: the program's call; the environment comes after the null.
    unsafe { list.with_array(|arguments, next| execve(path, arguments, list.get(next).cast())) }
}

macro_rules! spawns {
    ($($(#[$meta:meta])* $name:ident;)*) => { $(
        $(#[$meta])*
        ///
        /// # Safety
        /// As for the function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            pid: *mut pid_t,
            path: *const c_char,
            actions: *const c_void,
            attributes: *const c_void,
            arguments: Strings,
            environment: Strings,
        ) -> c_int {
            let Some(next) = next::$name.find() else { return libc::ENOSYS };
            completed(environment, |environment| {
                // SAFETY: the program's call, with an environment that is its own and more.
                unsafe { next(pid, path, actions, attributes, arguments, environment) }
            })
        }
    )* };
}

spawns! {
    /// `posix_spawn.3`.
    posix_spawn;
    /// `posix_spawnp.3`.
    posix_spawnp;
}

/// `posix_spawn_file_actions_addclose.3`. Descriptors in the reserved range are closed by `exec` anyway; closing one in the child,
/// where SIGSYS is blocked, would kill it.
///
/// # Safety
/// As for the function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn posix_spawn_file_actions_addclose(actions: *mut c_void, fd: c_int) -> c_int {
    if is_in_ring_half(fd) || is_in_engine_half(fd) {
        return 0;
    }
    // SAFETY: the program's call.
    next::posix_spawn_file_actions_addclose.find().map_or(libc::ENOSYS, |next| unsafe { next(actions, fd) })
}

/// `system.3`.
///
/// # Safety
/// As for the function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn system(command: *const c_char) -> c_int {
    environment::repair();
    pass_on!(system(command))
}

/// `popen.3`.
///
/// # Safety
/// As for the function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn popen(command: *const c_char, kind: *const c_char) -> *mut libc::FILE {
    environment::repair();
    // SAFETY: the program's call.
    next::popen.find().map_or(std::ptr::null_mut(), |next| unsafe { next(command, kind) })
}
