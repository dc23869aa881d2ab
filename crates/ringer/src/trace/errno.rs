//! Names of error numbers.

macro_rules! names {
    ($($name:ident)*) => {
        /// The name of a negative result, `ENOENT` for -2. `None`: it is no error, or none that requests end with.
        pub fn name(result: i32) -> Option<&'static str> {
            match u32::try_from(result.checked_neg()?).ok()? {
                $(linux_raw_sys::errno::$name => Some(stringify!($name)),)*
                _ => None,
            }
        }

        /// The number of a name, 2 for `ENOENT`.
        pub fn number(name: &str) -> Option<i32> {
            match name {
                $(stringify!($name) => Some(linux_raw_sys::errno::$name as i32),)*
                _ => None,
            }
        }
    };
}

names! {
    EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD
    EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST EXDEV ENODEV ENOTDIR
    EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS
    EMLINK EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP
    ENODATA ETIME EOVERFLOW EBADFD EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE EPROTOTYPE ENOPROTOOPT
    EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET
    ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH
    EALREADY EINPROGRESS ESTALE EDQUOT ECANCELED EOWNERDEAD ENOTRECOVERABLE EHWPOISON EPROTO EBADMSG
    ENOTUNIQ EREMOTEIO EKEYEXPIRED ENOKEY
}

#[cfg(test)]
mod tests {
    use super::{name, number};

    #[test]
    fn errors_have_names() {
        assert_eq!([-2, -125, -22].map(name), [Some("ENOENT"), Some("ECANCELED"), Some("EINVAL")]);
        assert_eq!(["ENOENT", "ECANCELED", "EFOO"].map(number), [Some(2), Some(125), None]);
        assert_eq!([0, 2, i32::MIN, -4000].map(name), [None; 4]);
    }
}
