//! Names of errnos, so that a difference reads `-ECANCELED` and not `-125`.

use linux_raw_sys::errno as nr;
use ringer_sys::Errno;

macro_rules! names {
    ($($name:ident)*) => { &[$((nr::$name as i64, stringify!($name)),)*] };
}

const NAMES: &[(i64, &str)] = names! {
    EPERM ENOENT EINTR EIO ENXIO E2BIG EBADF EAGAIN ENOMEM EACCES EFAULT EBUSY EEXIST EXDEV ENODEV
    ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM ERANGE
    EDEADLK ENAMETOOLONG ENOSYS ENOTEMPTY ELOOP ENODATA ETIME EOVERFLOW EBADFD EUSERS ENOTSOCK
    EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP
    EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ECONNABORTED ECONNRESET
    ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETIMEDOUT ECONNREFUSED EALREADY EINPROGRESS ECANCELED EOWNERDEAD
};

/// A result as a system call gives it: a number, or a negative errno by name.
pub fn result_name(result: i64) -> String {
    match NAMES.iter().find(|(number, _)| *number == -result) {
        Some((_, name)) => format!("-{name}"),
        None => result.to_string(),
    }
}

/// The same for the results of this library's calls.
pub fn outcome_name<T: Into<i64>>(outcome: Result<T, Errno>) -> String {
    match outcome {
        Ok(value) => value.into().to_string(),
        Err(errno) => result_name(-i64::from(errno.raw_os_error())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_read_as_a_person_would_write_them() {
        assert_eq!(result_name(7), "7");
        assert_eq!(result_name(0), "0");
        assert_eq!(result_name(-125), "-ECANCELED");
        assert_eq!(result_name(-4000), "-4000");
        assert_eq!(outcome_name::<i32>(Err(Errno::BADF)), "-EBADF");
    }
}
