//! Operations with the credentials of another user: by a registered personality, and by a thread that has become somebody else.
//!
//! Only root can become somebody else: with other users these cases are skipped.

use std::os::fd::RawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringer_abi::{Opcode, RegisterOpcode, Sqe, SqeFlags, uapi};
use ringer_sys::call;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::net::sockopt;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::differential::{Case, Ring, Session, prep};

const REGISTER: u32 = RegisterOpcode::Personality.number();
const NOBODY: u32 = 65534;

/// Who somebody becomes.
#[derive(Clone, Copy, Debug)]
enum Who {
    /// Nobody to files, still root in its real and saved ids.
    Effective,
    /// Nobody in all of them.
    Nobody,
    /// The same, in the group of some files.
    InGroup,
    /// Root without a capability.
    Powerless,
    /// Nobody, who may do what root may with files.
    Powerful,
}

const EVERYBODY: [Who; 5] = [Who::Effective, Who::Nobody, Who::InGroup, Who::Powerless, Who::Powerful];

/// Whether the calling thread may become all of them.
fn may_become_others() -> bool {
    let needed = CapabilitySet::SETUID
        | CapabilitySet::SETGID
        | CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID;
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(needed))
}

/// The group of some files.
const GROUP: u32 = 4242;

impl Who {
    /// Makes the calling thread this one, for good.
    fn become_it(self) {
        use rustix::process::{Gid, Uid};
        use rustix::thread::{
            set_capabilities, set_keep_capabilities, set_thread_groups, set_thread_res_gid,
            set_thread_res_uid,
        };
        const MAY: &str = "root may become anybody";
        let no_power = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        let files = CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER | CapabilitySet::FSETID;
        if let Self::Powerless = self {
            return set_capabilities(None, no_power).expect(MAY);
        }
        let groups = [Gid::from_raw(GROUP)];
        set_thread_groups(if let Self::InGroup = self { &groups } else { &[] }).expect(MAY);
        set_keep_capabilities(matches!(self, Self::Powerful)).expect(MAY);
        let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        if let Self::Effective = self {
            set_thread_res_gid(None, group, None).expect(MAY);
            set_thread_res_uid(None, user, None).expect(MAY);
        } else {
            set_thread_res_gid(group, group, group).expect(MAY);
            set_thread_res_uid(user, user, user).expect(MAY);
        }
        if let Self::Powerful = self {
            set_capabilities(None, CapabilitySets { effective: files, permitted: files, ..no_power })
                .expect(MAY);
        }
    }

    /// Has a thread that has become this one do something.
    fn act<T: Send>(self, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                self.become_it();
                act()
            });
            thread.join().expect("it does not panic")
        })
    }
}

/// Files of root, some of which others may use.
struct Stage<'a> {
    session: &'a Session,
    directory: PathBuf,
    fd: RawFd,
}

impl<'a> Stage<'a> {
    fn new(session: &'a Session) -> Self {
        const MADE: &str = "a fixture of the case";
        let directory = session.new_path();
        let set_mode = |name: &str, mode| {
            std::fs::set_permissions(directory.join(name), std::fs::Permissions::from_mode(mode))
                .expect(MADE);
        };
        std::fs::create_dir(&directory).expect(MADE);
        set_mode("", 0o755);
        for (name, mode) in [("open", 0o777), ("sticky", 0o1777), ("closed", 0o700)] {
            std::fs::create_dir(directory.join(name)).expect(MADE);
            std::fs::write(directory.join(name).join("inner"), b"inner").expect(MADE);
            set_mode(name, mode);
        }
        for (name, mode) in [
            ("secret", 0o600),
            ("readable", 0o644),
            ("writable", 0o666),
            ("special", 0o4777),
            ("shared", 0o660),
        ] {
            std::fs::write(directory.join(name), b"content").expect(MADE);
            set_mode(name, mode);
        }
        if may_become_others() {
            std::os::unix::fs::chown(directory.join("shared"), None, Some(GROUP)).expect(MADE);
        }
        mknodat(CWD, directory.join("socket"), FileType::Socket, Mode::RUSR | Mode::WUSR, 0).expect(MADE);
        let fd = session.keep(std::fs::File::open(&directory).expect(MADE));
        Self { session, directory, fd }
    }

    fn name(&self, name: &str) -> u64 {
        self.session.path(name).addr()
    }

    /// A name that others may follow, where the directory of the case is not theirs.
    fn long_name(&self, name: &str) -> String {
        format!("/proc/self/fd/{}/{name}", self.fd)
    }

    fn open(&self, name: &str) -> RawFd {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(self.directory.join(name));
        self.session.keep(file.expect("this one may"))
    }

    /// What there is under a name, as far as it depends on who made or changed it.
    fn look(&self, name: &str) -> String {
        match self.directory.join(name).symlink_metadata() {
            Err(error) => format!("{name}: {}", error.kind()),
            Ok(found) => format!("{name}: {}:{} {:o}", found.uid(), found.gid(), found.mode()),
        }
    }
}

/// The owner of a file that was just made, which is closed.
fn look_at_descriptor(fd: i32) -> String {
    let owner = std::fs::metadata(format!("/proc/self/fd/{fd}")).map(|found| (found.uid(), found.gid()));
    // It was just made.
    let _ = call::close(fd);
    match owner {
        Ok((user, group)) => format!("of {user}:{group}"),
        Err(error) => error.kind().to_string(),
    }
}

/// What tells who did an operation.
enum Look {
    Nothing,
    /// The descriptor that it returned.
    Descriptor,
    /// What there is under this name.
    Name(&'static str),
}

impl Look {
    fn see(&self, stage: &Stage<'_>, result: i32) -> String {
        match self {
            Self::Descriptor if result >= 0 => look_at_descriptor(result),
            Self::Nothing | Self::Descriptor => String::new(),
            Self::Name(name) => stage.look(name),
        }
    }
}

/// An operation, and what it did.
struct Operation {
    name: &'static str,
    opcode: Opcode,
    make: fn(&Stage<'_>) -> Sqe,
    look: Look,
}

fn open(stage: &Stage<'_>, name: &str, flags: u32) -> Sqe {
    let sqe = prep::op(Opcode::Openat, stage.fd).with_addr(stage.name(name));
    sqe.with_op_flags(flags).with_len(0o666)
}

fn at(stage: &Stage<'_>, opcode: Opcode, name: &str) -> Sqe {
    prep::op(opcode, stage.fd).with_addr(stage.name(name))
}

/// An extended attribute of a name, or of `fd`.
fn attribute(stage: &Stage<'_>, opcode: Opcode, file: Result<RawFd, &str>) -> Sqe {
    let key = stage.session.memory_of(b"user.key\0");
    let value = stage.session.memory_of(b"value");
    let sqe = prep::op(opcode, file.unwrap_or(0)).with_addr(key.addr()).with_off(value.addr()).with_len(5);
    match file {
        Ok(_) => sqe,
        Err(name) => sqe.with_addr3(stage.name(&stage.long_name(name))),
    }
}

/// A socket option by URING_CMD.
fn set_option(stage: &Stage<'_>, name: u32, value: i32) -> Sqe {
    const SOL_SOCKET: u64 = 1;
    let set = uapi::io_uring_socket_op::SOCKET_URING_OP_SETSOCKOPT as u64;
    let sqe = prep::op(Opcode::UringCmd, stage.session.tcp_socket()).with_off(set);
    let sqe = sqe.with_addr(SOL_SOCKET | u64::from(name) << 32);
    sqe.with_addr3(stage.session.ints(&[value]).addr()).with_file_index(4)
}

/// A new Unix socket, and the name of another one.
fn unix_socket(stage: &Stage<'_>, opcode: Opcode, name: &str) -> Sqe {
    use rustix::net::{AddressFamily, SocketType, socket};
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a fixture of the case");
    let mut address = vec![1, 0];
    address.extend(stage.long_name(name).bytes());
    address.push(0);
    let sqe = prep::op(opcode, stage.session.keep(socket)).with_off(address.len() as u64);
    sqe.with_addr(stage.session.memory_of(&address).addr())
}

fn operations() -> Vec<Operation> {
    const O_RDWR: u32 = 0o2;
    const O_CREAT_EXCL: u32 = 0o300;
    const O_TMPFILE: u32 = 0o20_200_000;
    let operation = |name, opcode, make, look| Operation { name, opcode, make, look };
    vec![
        operation("open-secret", Opcode::Openat, |stage| open(stage, "secret", 0), Look::Descriptor),
        operation("open-readable", Opcode::Openat, |stage| open(stage, "readable", 0), Look::Descriptor),
        operation("open-to-write", Opcode::Openat, |stage| open(stage, "readable", O_RDWR), Look::Descriptor),
        operation("open-of-group", Opcode::Openat, |stage| open(stage, "shared", O_RDWR), Look::Descriptor),
        operation("open-inner", Opcode::Openat, |stage| open(stage, "closed/inner", 0), Look::Descriptor),
        operation(
            "create",
            Opcode::Openat,
            |stage| open(stage, "open/new", O_CREAT_EXCL | 1),
            Look::Descriptor,
        ),
        operation(
            "create-above",
            Opcode::Openat,
            |stage| open(stage, "new", O_CREAT_EXCL | 1),
            Look::Descriptor,
        ),
        operation(
            "create-without-name",
            Opcode::Openat,
            |stage| open(stage, "open", O_TMPFILE | 1),
            Look::Descriptor,
        ),
        operation(
            "openat2",
            Opcode::Openat2,
            |stage| {
                let how = stage.session.words(&[u64::from(O_RDWR), 0, 0]);
                at(stage, Opcode::Openat2, "secret").with_off(how.addr()).with_len(24)
            },
            Look::Descriptor,
        ),
        operation(
            "mkdir",
            Opcode::Mkdirat,
            |stage| at(stage, Opcode::Mkdirat, "open/made").with_len(0o755),
            Look::Name("open/made"),
        ),
        operation(
            "mkdir-above",
            Opcode::Mkdirat,
            |stage| at(stage, Opcode::Mkdirat, "made").with_len(0o755),
            Look::Name("made"),
        ),
        operation(
            "symlink",
            Opcode::Symlinkat,
            |stage| at(stage, Opcode::Symlinkat, "target").with_off(stage.name("open/link")),
            Look::Name("open/link"),
        ),
        operation(
            "link",
            Opcode::Linkat,
            |stage| {
                let sqe = at(stage, Opcode::Linkat, "secret").with_len(stage.fd as u32);
                sqe.with_off(stage.name("open/hard"))
            },
            Look::Name("open/hard"),
        ),
        operation(
            "unlink",
            Opcode::Unlinkat,
            |stage| at(stage, Opcode::Unlinkat, "open/inner"),
            Look::Name("open/inner"),
        ),
        operation(
            "unlink-sticky",
            Opcode::Unlinkat,
            |stage| at(stage, Opcode::Unlinkat, "sticky/inner"),
            Look::Name("sticky/inner"),
        ),
        operation(
            "rename",
            Opcode::Renameat,
            |stage| {
                let sqe = at(stage, Opcode::Renameat, "sticky/inner").with_len(stage.fd as u32);
                sqe.with_off(stage.name("open/inner"))
            },
            Look::Name("sticky/inner"),
        ),
        operation(
            "statx",
            Opcode::Statx,
            |stage| {
                let sqe = at(stage, Opcode::Statx, "closed/inner").with_len(0x7ff);
                sqe.with_off(stage.session.memory(256).addr())
            },
            Look::Nothing,
        ),
        operation(
            "setxattr",
            Opcode::Setxattr,
            |stage| attribute(stage, Opcode::Setxattr, Err("readable")),
            Look::Nothing,
        ),
        operation(
            "getxattr",
            Opcode::Getxattr,
            |stage| attribute(stage, Opcode::Getxattr, Err("secret")),
            Look::Nothing,
        ),
        operation(
            "fsetxattr",
            Opcode::Fsetxattr,
            |stage| attribute(stage, Opcode::Fsetxattr, Ok(stage.open("secret"))),
            Look::Nothing,
        ),
        operation(
            "fgetxattr",
            Opcode::Fgetxattr,
            |stage| attribute(stage, Opcode::Fgetxattr, Ok(stage.open("secret"))),
            Look::Nothing,
        ),
        operation(
            "write-special",
            Opcode::Write,
            |stage| prep::write(stage.open("special"), stage.session.memory_of(b"more").addr(), 4, 0),
            Look::Name("special"),
        ),
        operation(
            "truncate-special",
            Opcode::Ftruncate,
            |stage| prep::op(Opcode::Ftruncate, stage.open("special")).with_off(2),
            Look::Name("special"),
        ),
        operation(
            "allocate-special",
            Opcode::Fallocate,
            |stage| prep::op(Opcode::Fallocate, stage.open("special")).with_addr(4096),
            Look::Name("special"),
        ),
        operation("socket", Opcode::Socket, |_| prep::op(Opcode::Socket, 2).with_off(1), Look::Descriptor),
        operation(
            "raw-socket",
            Opcode::Socket,
            |_| prep::op(Opcode::Socket, 2).with_off(3).with_len(1),
            Look::Nothing,
        ),
        operation("priority", Opcode::UringCmd, |stage| set_option(stage, 12, 7), Look::Nothing),
        operation("large-buffer", Opcode::UringCmd, |stage| set_option(stage, 33, 1 << 20), Look::Nothing),
        operation(
            "pipe",
            Opcode::Pipe,
            |stage| prep::op(Opcode::Pipe, 0).with_addr(stage.session.ints(&[-1, -1]).addr()),
            Look::Nothing,
        ),
        operation(
            "accept",
            Opcode::Accept,
            |stage| {
                let (listener, port) = stage.session.listener();
                stage.session.client(port);
                prep::accept(listener, 0)
            },
            Look::Descriptor,
        ),
        operation(
            "bind-name",
            Opcode::Bind,
            |stage| unix_socket(stage, Opcode::Bind, "open/bound"),
            Look::Name("open/bound"),
        ),
        operation(
            "bind-name-above",
            Opcode::Bind,
            |stage| unix_socket(stage, Opcode::Bind, "bound"),
            Look::Name("bound"),
        ),
        operation(
            "connect-to-secret",
            Opcode::Connect,
            |stage| unix_socket(stage, Opcode::Connect, "socket"),
            Look::Nothing,
        ),
        operation(
            "install",
            Opcode::FixedFdInstall,
            |_| prep::op(Opcode::FixedFdInstall, 0).with_flags(SqeFlags::FIXED_FILE),
            Look::Nothing,
        ),
        operation("nop", Opcode::Nop, |_| prep::nop(), Look::Nothing),
    ]
}

/// A ring with a registered file.
fn ring_with_file(stage: &Stage<'_>) -> Ring {
    let ring = stage.session.ring(8);
    let table = stage.session.ints(&[stage.open("readable")]);
    ring.register(RegisterOpcode::Files.number(), table.addr(), 1).expect("the file is good");
    ring
}

fn record(stage: &Stage<'_>, operation: &Operation, label: &str, ring: &Ring) {
    let cqes = ring.collect(1);
    let results: Vec<i32> = cqes.iter().map(|cqe| cqe.res).collect();
    let result = results.first().copied().unwrap_or(0);
    // The number of a descriptor is nothing to compare.
    let told = if result > 0 && operation.opcode != Opcode::Write {
        "a descriptor".into()
    } else {
        format!("{results:?}")
    };
    stage.session.record(label, format!("{told} {}", operation.look.see(stage, result)));
}

/// Plays for everybody whom this thread may become, on the submitter and on a worker.
fn for_everybody(session: &mut Session, play: impl Fn(&Session, Who, SqeFlags)) {
    if !may_become_others() {
        return session.skip("only root can become somebody else");
    }
    for who in EVERYBODY {
        for more in [SqeFlags::empty(), SqeFlags::ASYNC] {
            session.fresh();
            play(session, who, more);
        }
    }
}

/// By a personality that a thread has registered which has become somebody else.
fn by_personality(session: &Session, operation: &Operation, who: Who, more: SqeFlags) {
    let stage = Stage::new(session);
    let ring = ring_with_file(&stage);
    let id = who.act(|| ring.register(REGISTER, 0, 0)).expect("a personality");
    let sqe = (operation.make)(&stage);
    ring.push(sqe.with_flags(sqe.flags() | more).with_personality(id as u16).with_user_data(1));
    let submitted = ring.submit();
    record(&stage, operation, &format!("{who:?}, {more:?}, {submitted:?}"), &ring);
}

/// By a thread that has become somebody else.
fn by_thread(session: &Session, operation: &Operation, who: Who, more: SqeFlags) {
    let stage = Stage::new(session);
    let ring = ring_with_file(&stage);
    let sqe = (operation.make)(&stage);
    ring.push(sqe.with_flags(sqe.flags() | more).with_user_data(1));
    let submitted = who.act(|| {
        let submitted = ring.submit();
        // What a thread has submitted ends with it.
        let end = Instant::now() + Duration::from_secs(1);
        while ring.ready() == 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        submitted
    });
    record(&stage, operation, &format!("{who:?}, {more:?}, {submitted:?}"), &ring);
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for operation in operations() {
        let name = format!("personality/{}", operation.name);
        cases.push(Case::new(name, operation.opcode, move |session| {
            for_everybody(session, |session, who, more| by_personality(session, &operation, who, more));
        }));
    }
    for operation in operations() {
        let name = format!("thread-of-another-user/{}", operation.name);
        cases.push(Case::new(name, operation.opcode, move |session| {
            for_everybody(session, |session, who, more| by_thread(session, &operation, who, more));
        }));
    }
    cases.push(Case::new("personality/who-sends", Opcode::Sendmsg, |session| {
        for_everybody(session, who_sends)
    }));
    cases
}

/// Whose credentials come with a message of a Unix socket, and with a connection.
fn who_sends(session: &Session, who: Who, more: SqeFlags) {
    let ring = session.ring(8);
    let id = who.act(|| ring.register(REGISTER, 0, 0)).expect("a personality") as u16;
    let (left, right) = session.pair();
    session.with_kept(right, |fd| sockopt::set_socket_passcred(fd, true)).expect("a Unix socket");
    let text = session.memory_of(b"text");
    let vectors = session.vectors(&[(text.addr(), 4)]);
    let message = session.message((0, 0), (vectors.addr(), 1), (0, 0));
    let sendmsg = prep::op(Opcode::Sendmsg, left).with_addr(message.addr()).with_len(1);
    for (label, sqe) in [("SEND", prep::send(left, text.addr(), 4, 0)), ("SENDMSG", sendmsg)] {
        session.one_recorded(
            format!("{who:?}, {more:?}: {label}"),
            &ring,
            sqe.with_personality(id).with_flags(more),
        );
        let control = session.memory(64);
        let room = session.memory(16);
        let vectors = session.vectors(&[(room.addr(), 16)]);
        let message = session.message((0, 0), (vectors.addr(), 1), (control.addr(), 64));
        session.one(&ring, prep::op(Opcode::Recvmsg, right).with_addr(message.addr()).with_len(1));
        // A `struct cmsghdr`, the process, the user and the group.
        let bytes = control.bytes();
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        session.record(format!("{who:?}, {more:?}: {label} by"), format!("{} {}", word(20), word(24)));
    }
}
