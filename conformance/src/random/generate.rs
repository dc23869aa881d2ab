//! Draws a sequence from a seed and an index. The same two always give the same sequence.

use fastrand::Rng;
use ringer_abi::{Opcode, SetupFlags, SqeFlags};

use super::admit::admit;
use super::mask::Mask;
use super::registration::Registration;
use super::sequence::{Fault, LANES, Object, Pair, Request, Sequence, Step};
use super::wish::Wish;

/// The operations, and how often each is drawn.
const WEIGHTS: &[(Opcode, u32)] = &[
    (Opcode::Nop, 6),
    (Opcode::Read, 8),
    (Opcode::Write, 8),
    (Opcode::Readv, 4),
    (Opcode::Writev, 4),
    (Opcode::ReadFixed, 3),
    (Opcode::WriteFixed, 3),
    (Opcode::ReadvFixed, 2),
    (Opcode::WritevFixed, 2),
    (Opcode::ReadMultishot, 2),
    (Opcode::Fsync, 2),
    (Opcode::SyncFileRange, 1),
    (Opcode::PollAdd, 5),
    (Opcode::PollRemove, 4),
    (Opcode::Timeout, 4),
    (Opcode::TimeoutRemove, 3),
    (Opcode::LinkTimeout, 6),
    (Opcode::AsyncCancel, 5),
    (Opcode::Openat, 3),
    (Opcode::Close, 3),
    (Opcode::Statx, 1),
    (Opcode::Fallocate, 1),
    (Opcode::Ftruncate, 2),
    (Opcode::Fadvise, 1),
    (Opcode::Madvise, 1),
    (Opcode::Send, 4),
    (Opcode::Recv, 5),
    (Opcode::Sendmsg, 3),
    (Opcode::Recvmsg, 3),
    (Opcode::SendZc, 2),
    (Opcode::Shutdown, 1),
    (Opcode::Socket, 1),
    (Opcode::Bind, 1),
    (Opcode::Listen, 1),
    (Opcode::Splice, 3),
    (Opcode::Tee, 2),
    (Opcode::ProvideBuffers, 3),
    (Opcode::RemoveBuffers, 2),
    (Opcode::EpollCtl, 2),
    (Opcode::EpollWait, 2),
    (Opcode::FilesUpdate, 2),
    (Opcode::MsgRing, 4),
    (Opcode::Setxattr, 1),
    (Opcode::Fsetxattr, 1),
    (Opcode::Getxattr, 1),
    (Opcode::Fgetxattr, 1),
    (Opcode::Renameat, 1),
    (Opcode::Unlinkat, 1),
    (Opcode::Mkdirat, 1),
    (Opcode::Symlinkat, 1),
    (Opcode::Linkat, 1),
    (Opcode::Pipe, 1),
    (Opcode::FixedFdInstall, 2),
    (Opcode::Openat2, 2),
    (Opcode::SendmsgZc, 1),
    (Opcode::FutexWait, 2),
    (Opcode::FutexWake, 2),
    (Opcode::Waitid, 1),
    (Opcode::UringCmd, 2),
    (Opcode::Accept, 4),
    (Opcode::Connect, 3),
];

/// One in so many rings has a CQ that is full or nearly so.
const CROWDED: u32 = 6;
/// One in so many sequences has two rings.
const PAIRED: u32 = 3;
/// One in so many requests has a fault.
const FAULTY: u32 = 24;
/// One in so many requests works on an object that does not suit it.
const UNSUITED: u32 = 30;

/// The sequence with this index, as far as `mask` keeps its steps.
pub fn sequence(seed: u64, index: u64, wish: &Wish, mask: &Mask) -> Sequence {
    // A good generator gives neighbouring seeds unrelated streams only after it is stirred.
    let mut rng = Rng::with_seed(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    rng.u64(..);
    let drawn = setup(&mut rng);
    let first = wish.setup.unwrap_or(drawn);
    let drawn = (rng.u32(..PAIRED) == 0).then(|| setup(&mut rng));
    let setups: Vec<SetupFlags> = [Some(first), wish.second.or(drawn)].into_iter().flatten().collect();
    let drawn = (rng.u32(..CROWDED) == 0).then(|| rng.u32(..4));
    let room = wish.room.or(drawn);
    // The usual ones, or any.
    let pairs = match rng.u32(..2) {
        0 => [Pair::Stream, Pair::Tcp, Pair::Packets],
        _ => std::array::from_fn(|_| pick(&mut rng, &Pair::ALL)),
    };
    // What fills the CQ is told, too.
    let has_eventfd = rng.u32(..4) == 0 && room.is_none();
    let waits_elsewhere = rng.u32(..4) == 0;
    let count = rng.usize(4..28);
    let drawn: Vec<Step> = (0..count).map(|_| step(&mut rng, wish, setups.len())).collect();
    let kept = drawn.into_iter().enumerate().filter(|(number, _)| mask.keeps(*number)).collect();
    Sequence {
        setups,
        pairs,
        room,
        has_eventfd,
        waits_elsewhere,
        steps: admit(kept, room, has_eventfd, pairs),
    }
}

fn setup(rng: &mut Rng) -> SetupFlags {
    let none = SetupFlags::empty();
    let deferred = SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN;
    let choices = [
        none,
        none,
        none,
        deferred,
        deferred | SetupFlags::SUBMIT_ALL,
        SetupFlags::COOP_TASKRUN,
        SetupFlags::SUBMIT_ALL,
        SetupFlags::NO_SQARRAY,
        SetupFlags::SQE128,
        SetupFlags::CQE32,
        SetupFlags::SQPOLL,
        SetupFlags::IOPOLL,
    ];
    choices[rng.usize(..choices.len())]
}

fn step(rng: &mut Rng, wish: &Wish, rings: usize) -> Step {
    match rng.u32(..40) {
        0..=7 => Step::Submit { wait: rng.u32(..4) == 0 },
        8..=11 => {
            let objects = [
                Object::PipeRead,
                Object::PipeRead,
                Object::OtherRead,
                Object::Left,
                Object::Right,
                Object::Event,
                Object::Listener,
            ];
            Step::Feed { lane: rng.usize(..LANES), object: pick(rng, &objects), bytes: rng.usize(1..24) }
        }
        12 => {
            let objects = [Object::PipeRead, Object::OtherRead, Object::Left, Object::Right];
            Step::HangUp { lane: rng.usize(..LANES), object: pick(rng, &objects) }
        }
        13 if rng.u32(..3) == 0 => {
            let objects = [
                Object::PipeRead,
                Object::OtherRead,
                Object::Left,
                Object::Right,
                Object::Event,
                Object::File,
            ];
            Step::Replace { lane: rng.usize(..LANES), object: pick(rng, &objects) }
        }
        13 => Step::Register(Registration::draw(rng, rings)),
        _ => Step::Push(request(rng, wish, rings)),
    }
}

fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())]
}

fn request(rng: &mut Rng, wish: &Wish, rings: usize) -> Request {
    let opcode = opcode(rng, wish);
    let suited = objects(opcode);
    let drawn = match rng.u32(..UNSUITED) {
        0 => pick(rng, &Object::ALL),
        _ => pick(rng, suited),
    };
    let object = if drawn == Object::OtherRing && rings == 1 { Object::OwnRing } else { drawn };
    let mut flags = SqeFlags::empty();
    match rng.u32(..16) {
        0..=4 => flags |= SqeFlags::IO_LINK,
        5 => flags |= SqeFlags::IO_HARDLINK,
        6 => flags |= SqeFlags::IO_LINK | SqeFlags::IO_HARDLINK,
        _ => {}
    }
    for (flag, one_in) in [(SqeFlags::ASYNC, 10), (SqeFlags::IO_DRAIN, 25), (SqeFlags::CQE_SKIP_SUCCESS, 20)]
    {
        if rng.u32(..one_in) == 0 {
            flags |= flag;
        }
    }
    Request {
        opcode,
        ring: rng.usize(..rings),
        lane: rng.usize(..LANES),
        object,
        flags,
        fixed: rng.u32(..4) == 0,
        select: opcode == Opcode::ReadMultishot || (takes_buffer(opcode) && rng.u32(..4) == 0),
        draws: std::array::from_fn(|_| rng.u32(..)),
        fault: (rng.u32(..FAULTY) == 0).then(|| fault(rng)),
        back: rng.usize(1..8),
    }
}

fn opcode(rng: &mut Rng, wish: &Wish) -> Opcode {
    let allowed = |opcode: &Opcode| wish.only.is_empty() || wish.only.contains(opcode);
    let total: u32 = WEIGHTS.iter().filter(|(opcode, _)| allowed(opcode)).map(|(_, weight)| weight).sum();
    let mut left = rng.u32(..total.max(1));
    for (opcode, weight) in WEIGHTS.iter().filter(|(opcode, _)| allowed(opcode)) {
        if left < *weight {
            return *opcode;
        }
        left -= weight;
    }
    Opcode::Nop
}

/// The objects that suit an operation, the usual ones several times.
fn objects(opcode: Opcode) -> &'static [Object] {
    use Object::*;
    match opcode {
        Opcode::Read | Opcode::Readv | Opcode::ReadFixed | Opcode::ReadvFixed => {
            &[File, File, File, PipeRead, PipeRead, Right, Left, Event]
        }
        Opcode::ReadMultishot => &[PipeRead, Left, Right],
        Opcode::Write | Opcode::Writev | Opcode::WriteFixed | Opcode::WritevFixed => {
            &[File, File, File, PipeWrite, PipeWrite, Left, Right, Event]
        }
        Opcode::PollAdd => {
            &[PipeRead, PipeRead, PipeWrite, Left, Right, Event, Epoll, File, Listener, OwnRing, OtherRing]
        }
        Opcode::Send
        | Opcode::Sendmsg
        | Opcode::SendZc
        | Opcode::SendmsgZc
        | Opcode::Recv
        | Opcode::Recvmsg => &[Left, Right],
        Opcode::Shutdown | Opcode::UringCmd => &[Left, Right],
        Opcode::Bind | Opcode::Listen | Opcode::Connect => &[Tcp],
        Opcode::Accept => &[Listener],
        Opcode::Splice => &[File, PipeRead, PipeRead, Left],
        Opcode::Tee => &[PipeRead],
        Opcode::EpollCtl => &[PipeRead, Left, Event, OtherRead, OtherRing],
        Opcode::EpollWait => &[Epoll],
        Opcode::Close => &[Spare, Closed],
        Opcode::MsgRing => &[OwnRing, OtherRing, OtherRing],
        Opcode::Openat
        | Opcode::Openat2
        | Opcode::Statx
        | Opcode::Renameat
        | Opcode::Unlinkat
        | Opcode::Mkdirat
        | Opcode::Symlinkat
        | Opcode::Linkat => &[Directory],
        _ => &[File],
    }
}

/// Whether an operation can take a provided buffer.
fn takes_buffer(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::Read | Opcode::Readv | Opcode::Recv | Opcode::Recvmsg | Opcode::Send)
}

fn fault(rng: &mut Rng) -> Fault {
    match rng.u32(..12) {
        0 | 1 => Fault::BadAddress,
        2 => Fault::Ioprio(1 << rng.u32(..16)),
        3 => Fault::OpFlag(1 << rng.u32(..32)),
        4 => Fault::BufIndex(pick(rng, &[1, 7, u16::MAX])),
        5 => Fault::Personality,
        6 => Fault::FileIndex(pick(rng, &[1, 40, 1000, u32::MAX])),
        7 => Fault::LastWord,
        8 => Fault::UnknownFlag,
        9 => Fault::UnknownOpcode,
        10 => Fault::Len(pick(rng, &[0, 1, 1 << 31, u32::MAX])),
        _ => Fault::Off(pick(rng, &[0, 1, u64::MAX, u64::MAX - 1, 1 << 63, (1 << 63) - 1])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_an_index_decide_everything() {
        let all = Mask::all();
        let text = |index| format!("{:?}", sequence(7, index, &Wish::default(), &all));
        assert_eq!(text(3), text(3));
        assert_ne!(text(3), text(4));
    }
}
