//! The structures' layout, compared field by field with the uapi header's.

#[cfg(test)]
mod tests {
    use crate::{CqRingOffsets, GetEventsArg, Params, SqRingOffsets, Sqe, uapi};
    use core::mem::{offset_of, size_of};

    macro_rules! same_layout {
        ($ours:ty, $theirs:ty: $($field:ident),*) => {
            assert_eq!(size_of::<$ours>(), size_of::<$theirs>());
            $(assert_eq!(offset_of!($ours, $field), offset_of!($theirs, $field), stringify!($field));)*
        };
    }

    #[test]
    fn params_and_offsets_match_the_header() {
        same_layout!(SqRingOffsets, uapi::io_sqring_offsets: head, tail, ring_mask, ring_entries, flags, dropped, array, resv1, user_addr);
        same_layout!(CqRingOffsets, uapi::io_cqring_offsets: head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1, user_addr);
        same_layout!(Params, uapi::io_uring_params: sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, resv, sq_off, cq_off);
        same_layout!(GetEventsArg, uapi::io_uring_getevents_arg: sigmask, sigmask_sz, min_wait_usec, ts);
    }

    #[test]
    fn sqe_accessors_read_the_bytes_of_the_header_fields() {
        assert_eq!(size_of::<Sqe>(), size_of::<uapi::io_uring_sqe>());
        // Each byte holds its own position, so every accessor names the bytes it reads.
        let mut words = [0_u64; 8];
        for (index, word) in words.iter_mut().enumerate() {
            *word = u64::from_le_bytes(core::array::from_fn(|byte| (index * 8 + byte) as u8));
        }
        let sqe = Sqe::from_words(words);
        let at32 = |offset: usize| u32::from_le_bytes(core::array::from_fn(|byte| (offset + byte) as u8));
        let at16 = |offset: usize| u16::from_le_bytes(core::array::from_fn(|byte| (offset + byte) as u8));
        type Header = uapi::io_uring_sqe;
        assert_eq!(usize::from(sqe.opcode()), offset_of!(Header, opcode));
        assert_eq!(usize::from(sqe.flags().bits()), offset_of!(Header, flags));
        assert_eq!(sqe.ioprio(), at16(offset_of!(Header, ioprio)));
        assert_eq!(sqe.fd(), at32(offset_of!(Header, fd)) as i32);
        assert_eq!(sqe.off(), words[offset_of!(Header, __bindgen_anon_1) / 8]);
        assert_eq!(sqe.addr(), words[offset_of!(Header, __bindgen_anon_2) / 8]);
        assert_eq!(sqe.len(), at32(offset_of!(Header, len)));
        assert_eq!(sqe.op_flags(), at32(offset_of!(Header, __bindgen_anon_3)));
        assert_eq!(sqe.user_data(), words[offset_of!(Header, user_data) / 8]);
        assert_eq!(sqe.buf_index(), at16(offset_of!(Header, __bindgen_anon_4)));
        assert_eq!(sqe.personality(), at16(offset_of!(Header, personality)));
        assert_eq!(sqe.file_index(), at32(offset_of!(Header, __bindgen_anon_5)));
        assert_eq!(sqe.addr3(), words[offset_of!(Header, __bindgen_anon_6) / 8]);
    }

    #[test]
    fn every_setter_writes_what_its_accessor_reads() {
        let flags = crate::SqeFlags::IO_LINK | crate::SqeFlags::ASYNC;
        let sqe = Sqe::default()
            .with_opcode(62)
            .with_flags(flags)
            .with_ioprio(3)
            .with_fd(-4)
            .with_off(5)
            .with_addr(6)
            .with_len(7)
            .with_op_flags(8)
            .with_user_data(9)
            .with_buf_index(10)
            .with_personality(11)
            .with_file_index(12)
            .with_addr3(13)
            .with_pad2(14);
        assert_eq!((sqe.opcode(), sqe.flags(), sqe.ioprio(), sqe.fd()), (62, flags, 3, -4));
        assert_eq!((sqe.off(), sqe.addr(), sqe.len(), sqe.op_flags()), (5, 6, 7, 8));
        assert_eq!((sqe.user_data(), sqe.buf_index(), sqe.personality()), (9, 10, 11));
        assert_eq!((sqe.file_index(), sqe.addr3(), sqe.pad2()), (12, 13, 14));
    }

    #[test]
    fn there_are_63_opcodes_in_order() {
        let numbers: Vec<u8> = crate::Opcode::ALL.iter().map(|opcode| opcode.number()).collect();
        assert_eq!(numbers, (0..63).collect::<Vec<u8>>());
    }
}
