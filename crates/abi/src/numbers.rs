//! Opcode numbers, register call numbers and mapping offsets.

pub use linux_raw_sys::io_uring as uapi;

macro_rules! numbered {
    ($(#[$meta:meta])* $name:ident: $repr:ty { $($variant:ident = $value:expr,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[repr($repr)]
        #[expect(missing_docs, reason = "the names are the uapi's own")]
        pub enum $name { $($variant = $value,)* }

        impl $name {
            /// Every value, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The value with this number, if the interface of Linux 6.18 has one.
            pub const fn from_number(number: $repr) -> Option<Self> {
                match number {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The number in the interface.
            pub const fn number(self) -> $repr {
                self as $repr
            }
        }
    };
}

impl Opcode {
    /// The name in the header, without `IORING_OP_`: `READ_FIXED`.
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
        }
        name
    }
}

numbered! {
    /// `IORING_OP_` numbers. Source: `io_uring_enter.2`.
    Opcode: u8 {
        Nop = 0,
        Readv = 1,
        Writev = 2,
        Fsync = 3,
        ReadFixed = 4,
        WriteFixed = 5,
        PollAdd = 6,
        PollRemove = 7,
        SyncFileRange = 8,
        Sendmsg = 9,
        Recvmsg = 10,
        Timeout = 11,
        TimeoutRemove = 12,
        Accept = 13,
        AsyncCancel = 14,
        LinkTimeout = 15,
        Connect = 16,
        Fallocate = 17,
        Openat = 18,
        Close = 19,
        FilesUpdate = 20,
        Statx = 21,
        Read = 22,
        Write = 23,
        Fadvise = 24,
        Madvise = 25,
        Send = 26,
        Recv = 27,
        Openat2 = 28,
        EpollCtl = 29,
        Splice = 30,
        ProvideBuffers = 31,
        RemoveBuffers = 32,
        Tee = 33,
        Shutdown = 34,
        Renameat = 35,
        Unlinkat = 36,
        Mkdirat = 37,
        Symlinkat = 38,
        Linkat = 39,
        MsgRing = 40,
        Fsetxattr = 41,
        Setxattr = 42,
        Fgetxattr = 43,
        Getxattr = 44,
        Socket = 45,
        UringCmd = 46,
        SendZc = 47,
        SendmsgZc = 48,
        ReadMultishot = 49,
        Waitid = 50,
        FutexWait = 51,
        FutexWake = 52,
        FutexWaitv = 53,
        FixedFdInstall = 54,
        Ftruncate = 55,
        Bind = 56,
        Listen = 57,
        RecvZc = 58,
        EpollWait = 59,
        ReadvFixed = 60,
        WritevFixed = 61,
        Pipe = 62,
    }
}

numbered! {
    /// `IORING_REGISTER_` numbers. Source: `io_uring_register.2`.
    RegisterOpcode: u32 {
        Buffers = 0,
        UnregisterBuffers = 1,
        Files = 2,
        UnregisterFiles = 3,
        Eventfd = 4,
        UnregisterEventfd = 5,
        FilesUpdate = 6,
        EventfdAsync = 7,
        Probe = 8,
        Personality = 9,
        UnregisterPersonality = 10,
        Restrictions = 11,
        EnableRings = 12,
        Files2 = 13,
        FilesUpdate2 = 14,
        Buffers2 = 15,
        BuffersUpdate = 16,
        IowqAff = 17,
        UnregisterIowqAff = 18,
        IowqMaxWorkers = 19,
        RingFds = 20,
        UnregisterRingFds = 21,
        PbufRing = 22,
        UnregisterPbufRing = 23,
        SyncCancel = 24,
        FileAllocRange = 25,
        PbufStatus = 26,
        Napi = 27,
        UnregisterNapi = 28,
        Clock = 29,
        CloneBuffers = 30,
        SendMsgRing = 31,
        ZcrxIfq = 32,
        ResizeRings = 33,
        MemRegion = 34,
        Query = 35,
    }
}

/// `IORING_OFF_SQ_RING`: mmap offset of the SQ ring (and, with `SINGLE_MMAP`, of the CQ ring).
pub const OFF_SQ_RING: u64 = 0;
/// `IORING_OFF_CQ_RING`: mmap offset of the CQ ring.
pub const OFF_CQ_RING: u64 = 0x0800_0000;
/// `IORING_OFF_SQES`: mmap offset of the SQE array.
pub const OFF_SQES: u64 = 0x1000_0000;
/// `IORING_OFF_PBUF_RING`: mmap offset of provided-buffer rings.
pub const OFF_PBUF_RING: u64 = 0x8000_0000;

/// `IORING_MAX_ENTRIES`: the largest SQ.
pub const MAX_SQ_ENTRIES: u32 = 32768;
/// The largest CQ.
pub const MAX_CQ_ENTRIES: u32 = 2 * MAX_SQ_ENTRIES;

#[cfg(test)]
mod tests {
    use super::Opcode;

    #[test]
    fn names_are_the_uapis() {
        assert_eq!(
            [Opcode::Nop, Opcode::ReadFixed, Opcode::Openat2, Opcode::SendmsgZc].map(Opcode::name),
            ["NOP", "READ_FIXED", "OPENAT2", "SENDMSG_ZC"]
        );
    }
}
