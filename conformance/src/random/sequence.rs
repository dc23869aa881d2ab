//! What a sequence is made of: steps, and the requests among them.

use ringer_abi::{Opcode, SetupFlags, SqeFlags};

use super::registration::Registration;

/// A sequence: the rings it is played on, and its steps.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The flags of the setup of each ring.
    pub setups: Vec<SetupFlags>,
    /// What the pair of each lane is.
    pub pairs: [Pair; LANES],
    /// For how many completions of a submission the CQ has room; without it, for all.
    pub room: Option<u32>,
    /// Whether an eventfd hears of the completions of the first ring.
    pub has_eventfd: bool,
    /// Whether another thread waits for completions, where it may and the one that submits need not do anything for them.
    pub waits_elsewhere: bool,
    /// The steps that are played, each with its number among all that were drawn.
    pub steps: Vec<(usize, Step)>,
}

/// One step of a sequence.
#[derive(Clone, Debug)]
pub enum Step {
    /// A request is written to the ring.
    Push(Request),
    /// What was written is submitted, and what can complete does so. `wait`: in the same call.
    Submit {
        /// Whether the call also waits for one completion.
        wait: bool,
    },
    /// The program itself writes to what a request may wait for.
    Feed {
        /// Whose object.
        lane: usize,
        /// The object that becomes readable.
        object: Object,
        /// How many bytes.
        bytes: usize,
    },
    /// The program closes the other end of a pipe or a pair.
    HangUp {
        /// Whose object.
        lane: usize,
        /// The object that is left alone.
        object: Object,
    },
    /// The program closes one of its descriptors, and puts another file there. What waits goes on waiting for the old one.
    Replace {
        /// Whose object.
        lane: usize,
        /// The object.
        object: Object,
    },
    /// The program registers something, or asks for it.
    Register(Registration),
}

/// A request as it was drawn. What its fields become is decided by [`prepare`](super::prepare).
#[derive(Clone, Debug)]
pub struct Request {
    /// The operation.
    pub opcode: Opcode,
    /// The ring it is pushed to.
    pub ring: usize,
    /// Whose objects it works on.
    pub lane: usize,
    /// The object that it works on.
    pub object: Object,
    /// The flags of the SQE, without `FIXED_FILE` and `BUFFER_SELECT`.
    pub flags: SqeFlags,
    /// Whether it names the object by its registered file.
    pub fixed: bool,
    /// Whether it takes a provided buffer.
    pub select: bool,
    /// Numbers to derive fields from.
    pub draws: [u32; 4],
    /// What is wrong with it.
    pub fault: Option<Fault>,
    /// How many steps before it its target was pushed, for what cancels or updates.
    pub back: usize,
}

impl Request {
    /// Whether it may take any free slot of the registered files: which one depends on what others did.
    pub fn may_allocate(&self) -> bool {
        match self.opcode {
            Opcode::Socket => self.draws[2].is_multiple_of(3),
            Opcode::Pipe => self.draws[0].is_multiple_of(2),
            Opcode::Accept => self.draws[2] % 4 == 1,
            Opcode::MsgRing => self.sends_file() && self.draws[2] % 3 == 2,
            _ => false,
        }
    }

    /// Whether a MSG_RING sends a registered file, and no message only.
    pub fn sends_file(&self) -> bool {
        self.opcode == Opcode::MsgRing && self.draws[0] % 3 == 2
    }

    /// Whether it writes, and does nothing else.
    pub fn writes(&self) -> bool {
        matches!(self.opcode, Opcode::Write | Opcode::Writev | Opcode::WriteFixed | Opcode::WritevFixed)
    }

    /// Whether its file is a ring. Of a message that ring is the address only.
    pub fn looks_at_ring(&self) -> bool {
        self.opcode != Opcode::MsgRing && self.object.is_ring()
    }

    /// Whether it polls a ring.
    pub fn polls_ring(&self) -> bool {
        self.opcode == Opcode::PollAdd && self.object.is_ring()
    }

    /// How many parts of memory a message has.
    pub fn vectors(&self) -> u32 {
        self.draws[2] % 3
    }

    /// Whether a POLL_ADD has several results.
    pub fn polls_again(&self) -> bool {
        self.opcode == Opcode::PollAdd && self.draws[1] / 2 % 5 == 4
    }

    /// The flags of a TIMEOUT: none, `IORING_TIMEOUT_ETIME_SUCCESS`, `IORING_TIMEOUT_MULTISHOT`.
    pub fn timeout_flags(&self) -> u32 {
        [0, 0, 0, 0x20, TIMEOUT_MULTISHOT][self.draws[3] as usize % 5]
    }

    /// Whether it has results until it is cancelled, or often.
    pub fn repeats(&self) -> bool {
        let times_out_again = self.opcode == Opcode::Timeout && self.timeout_flags() == TIMEOUT_MULTISHOT;
        self.is_multishot() || self.polls_again() || times_out_again
    }

    /// The flags of a RECV: none, `MSG_PEEK`, `MSG_DONTWAIT`, `MSG_WAITALL`.
    pub fn receive_flags(&self) -> u32 {
        [0, 0, 0, 0x2, 0x40, MSG_WAITALL][self.draws[1] as usize % 6]
    }

    /// Whether it may wait for more after the program gave it something.
    pub fn goes_on_waiting(&self) -> bool {
        self.is_multishot() || self.opcode == Opcode::Recv && self.receive_flags() == MSG_WAITALL
    }

    /// The group of its provided buffers: one of the lane's three.
    pub fn group(&self) -> u16 {
        self.lane as u16 + [0, 0, RING_GROUPS, INCREMENTAL_GROUPS][self.draws[3] as usize % 4]
    }
}

const MSG_WAITALL: u32 = 0x100;
/// `IORING_TIMEOUT_MULTISHOT`.
pub const TIMEOUT_MULTISHOT: u32 = 0x40;
/// The lanes' groups that are buffer rings.
pub const RING_GROUPS: u16 = 10;
/// And those whose buffers are used up bit by bit.
pub const INCREMENTAL_GROUPS: u16 = 20;

/// Two files that are connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pair {
    /// Sockets: a Unix stream.
    Stream,
    /// Sockets: a TCP connection.
    Tcp,
    /// Sockets: a Unix connection that keeps packets apart.
    Packets,
    /// Sockets: Unix datagrams.
    Datagrams,
    /// Sockets: UDP.
    Udp,
    /// A terminal, behind what controls it.
    Terminal,
}

impl Pair {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Stream, Self::Tcp, Self::Packets, Self::Datagrams, Self::Udp, Self::Terminal];
}

/// The objects of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Object {
    /// A regular file.
    File,
    /// The read end of a pipe.
    PipeRead,
    /// The write end of that pipe.
    PipeWrite,
    /// The read end of a second pipe.
    OtherRead,
    /// The write end of the second pipe.
    OtherWrite,
    /// One end of the lane's [`Pair`].
    Left,
    /// The other end.
    Right,
    /// An eventfd.
    Event,
    /// An epoll instance.
    Epoll,
    /// A directory.
    Directory,
    /// A TCP socket that is neither bound nor connected.
    Tcp,
    /// A TCP socket that listens on loopback.
    Listener,
    /// A second descriptor of the file, which a request may close.
    Spare,
    /// A number that is not open.
    Closed,
    /// The ring that the request is pushed to.
    OwnRing,
    /// The other ring of the sequence.
    OtherRing,
}

impl Object {
    /// Every object, in the order of the registered files of a lane.
    pub const ALL: [Self; 16] = [
        Self::File,
        Self::PipeRead,
        Self::PipeWrite,
        Self::OtherRead,
        Self::OtherWrite,
        Self::Left,
        Self::Right,
        Self::Event,
        Self::Epoll,
        Self::Directory,
        Self::Tcp,
        Self::Listener,
        Self::Spare,
        Self::Closed,
        Self::OwnRing,
        Self::OtherRing,
    ];

    /// Its place in [`ALL`](Self::ALL).
    pub fn index(self) -> usize {
        self as usize
    }

    /// What is written to for this one to become readable.
    pub fn other_end(self) -> Self {
        match self {
            Self::PipeRead => Self::PipeWrite,
            Self::OtherRead => Self::OtherWrite,
            Self::Left => Self::Right,
            Self::Right => Self::Left,
            alone => alone,
        }
    }

    /// Whether it is a ring, which no lane has for itself.
    pub fn is_ring(self) -> bool {
        matches!(self, Self::OwnRing | Self::OtherRing)
    }

    /// The one of `rings` that it is, for who works on the ring with the number `own`. `None`: it is no ring.
    pub fn among<T>(self, rings: &[T], own: usize) -> Option<&T> {
        match self {
            Self::OwnRing => rings.get(own),
            Self::OtherRing => rings.get(rings.len() - 1 - own),
            _ => None,
        }
    }

    /// Whether reading from it can wait for the program.
    pub fn can_wait(self) -> bool {
        use Object::*;
        matches!(self, PipeRead | OtherRead | Left | Right | Event | Epoll)
    }
}

/// What can be wrong with a request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// A pointer to memory that cannot be touched.
    BadAddress,
    /// `ioprio` is this.
    Ioprio(u16),
    /// A bit of the operation's flags is turned over.
    OpFlag(u32),
    /// `buf_index` is this.
    BufIndex(u16),
    /// A personality that is not registered.
    Personality,
    /// `file_index` is this.
    FileIndex(u32),
    /// The last word is not zero.
    LastWord,
    /// A flag that does not exist.
    UnknownFlag,
    /// An opcode that does not exist.
    UnknownOpcode,
    /// `len` is this.
    Len(u32),
    /// `off` is this.
    Off(u64),
}

/// Lanes of a sequence: sets of objects that have nothing to do with each other.
pub const LANES: usize = 3;
