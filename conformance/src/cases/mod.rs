//! The cases, one file per opcode, family or call.

use ringer_abi::Opcode;

use crate::differential::Case;

mod adjacent;
mod buffer_ring_shots;
mod buffer_ring_use;
mod buffer_rings;
mod buffer_selection;
mod bundle_use;
mod bundles;
mod cancel;
mod cancelled;
mod clone_buffers;
mod descriptors;
mod drain;
mod enter;
mod epoll;
mod file_ranges;
mod files_update;
mod futex;
mod lent;
mod link_failures;
mod link_timeout;
mod links;
mod mem_region;
mod messages;
mod more_to_read;
mod msg_ring;
mod names;
mod nop;
mod nop_completions;
mod not_ready;
mod not_ready_chains;
mod not_ready_files;
mod on_a_worker;
mod open_close;
mod overflow;
mod paths;
mod personalities;
mod personality;
mod poll;
mod provided_buffers;
mod register_buffers;
mod register_clone;
mod register_eventfd;
mod register_files;
mod register_misc;
mod register_query;
mod register_resize;
mod register_restrictions;
mod register_settings;
mod register_waits;
mod resize_rings;
mod ring_files;
mod rw;
mod rw_fixed;
mod rw_fixed_vectored;
mod rw_flags;
mod rw_vectored;
mod send_recv;
mod setup;
mod socket;
mod socket_command;
mod socket_flags;
mod special_rings;
mod splice;
mod statx;
mod synchronous_writes;
mod threads;
mod timeout;
mod waitid;
mod waiting_order;
mod watched;
mod worker_waits;
mod writes_to_one_file;
mod xattr;
mod zero_copy;

/// The opcodes of the first milestone, each of which has cases.
pub const ISSUE_2: [Opcode; 33] = [
    Opcode::Nop,
    Opcode::Readv,
    Opcode::Writev,
    Opcode::Read,
    Opcode::Write,
    Opcode::ReadFixed,
    Opcode::WriteFixed,
    Opcode::Fsync,
    Opcode::SyncFileRange,
    Opcode::PollAdd,
    Opcode::PollRemove,
    Opcode::Timeout,
    Opcode::TimeoutRemove,
    Opcode::LinkTimeout,
    Opcode::AsyncCancel,
    Opcode::Close,
    Opcode::Openat,
    Opcode::Openat2,
    Opcode::Statx,
    Opcode::Fallocate,
    Opcode::Fadvise,
    Opcode::Madvise,
    Opcode::FilesUpdate,
    Opcode::Accept,
    Opcode::Connect,
    Opcode::Send,
    Opcode::Recv,
    Opcode::Sendmsg,
    Opcode::Recvmsg,
    Opcode::Shutdown,
    Opcode::Socket,
    Opcode::Splice,
    Opcode::Tee,
];

/// Every case.
pub fn all() -> Vec<Case> {
    let mut all = Vec::new();
    for family in [
        setup::cases,
        enter::cases,
        overflow::cases,
        links::cases,
        drain::cases,
        register_files::cases,
        register_buffers::cases,
        register_eventfd::cases,
        register_misc::cases,
        register_settings::cases,
        clone_buffers::cases,
        mem_region::cases,
        resize_rings::cases,
        special_rings::cases,
        register_clone::cases,
        register_query::cases,
        register_resize::cases,
        register_restrictions::cases,
        register_waits::cases,
        nop::cases,
        nop_completions::cases,
        rw::cases,
        adjacent::cases,
        rw_vectored::cases,
        rw_fixed::cases,
        file_ranges::cases,
        poll::cases,
        threads::cases,
        timeout::cases,
        lent::cases,
        link_failures::cases,
        link_timeout::cases,
        cancel::cases,
        cancelled::cases,
        on_a_worker::cases,
        not_ready::cases,
        not_ready_chains::cases,
        open_close::cases,
        names::cases,
        statx::cases,
        files_update::cases,
        futex::cases,
        socket::cases,
        socket_flags::cases,
        more_to_read::cases,
        send_recv::cases,
        messages::cases,
        msg_ring::cases,
        splice::cases,
        rw_fixed_vectored::cases,
        paths::cases,
        synchronous_writes::cases,
        writes_to_one_file::cases,
        xattr::cases,
        epoll::cases,
        ring_files::cases,
        provided_buffers::cases,
        buffer_rings::cases,
        buffer_selection::cases,
        bundles::cases,
        buffer_ring_use::cases,
        bundle_use::cases,
        descriptors::cases,
        zero_copy::cases,
        waitid::cases,
        rw_flags::cases,
        waiting_order::cases,
        watched::cases,
        worker_waits::cases,
        personalities::cases,
        personality::cases,
        socket_command::cases,
    ] {
        all.extend(family());
    }
    all
}
