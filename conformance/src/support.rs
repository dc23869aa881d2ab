//! `docs/SUPPORT.md`: what is served and how, from the tables that the code itself uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use ringer_abi::{EnterFlags, Features, Opcode, SetupFlags};
use ringer_engine::{ENTER_FLAGS, FEATURES, SETUP_FLAGS};
use ringer_ops::table::rows;
use ringer_ops::{Row, Way};

use crate::differential::known;
use crate::random;

/// The page's own text, before what is generated.
const HEAD: &str = "\
# Support

The target is the interface of Linux 6.18. This page is written by `cargo run -p ringer-conformance --bin support`, from the tables
that the engine itself uses and from the list of known differences. A test fails when it is not up to date. The probe
(`IORING_REGISTER_PROBE`) and the feature bits come from the same tables.

How a request is served:

| way | what it means |
|---|---|
| inline | by a system call of the thread that submits it, within `enter` |
| aio | handed to the device by Linux AIO, for files that are open with `O_DIRECT` |
| poll | tried again when its file reports that it is ready |
| worker | by a thread that may wait: one of the engine, or the one that waits for it in `enter` |
| engine | by the engine itself, on its own state |

A polling thread (`IORING_SETUP_SQPOLL`) takes the place of the thread that submits.
";

/// What is there to say about one opcode.
fn notes(row: &Row) -> String {
    let traits = row.traits;
    let notes = [
        (traits.needs_file, "fixed file"),
        (traits.fixed_buffer, "fixed buffer"),
        (traits.buffer_select, "buffer select"),
        (traits.ioprio, "`ioprio`"),
        (traits.iopoll, "IOPOLL rings"),
    ];
    notes.into_iter().filter(|(holds, _)| *holds).map(|(_, note)| note).collect::<Vec<_>>().join(", ")
}

const fn way(way: Way) -> &'static str {
    match way {
        Way::Inline => "inline",
        Way::Poll => "poll",
        Way::Worker => "worker",
        Way::Aio => "aio",
        Way::Engine => "engine",
    }
}

/// One line of flag names, and one of those that the interface has and that are not honoured.
fn flags<'a>(page: &mut String, title: &str, all: impl Iterator<Item = (&'a str, bool)>) {
    let (served, missing): (Vec<_>, Vec<_>) = all.partition(|(_, served)| *served);
    let list = |names: Vec<(&str, bool)>| {
        names.into_iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    let _ = writeln!(page, "- **{title}**: {}.", list(served));
    if !missing.is_empty() {
        let _ = writeln!(page, "  Not honoured, and refused or not reported: {}.", list(missing));
    }
}

/// The whole page. `differences` is the text of `differences.toml`, `random` that of `random-differences.toml`.
///
/// # Errors
/// A message when a list of differences is not as it should be.
pub fn page(differences: &str, random: &str) -> Result<String, String> {
    let mut page = HEAD.to_owned();
    let mut rows: Vec<_> = rows().iter().collect();
    rows.sort_by_key(|row| row.opcode.number());
    let _ = write!(
        page,
        "\n## Opcodes\n\n{} of {} are served.\n\n| opcode | since Linux | served | may be used with |\n|---|---|---|---|\n",
        rows.len(),
        Opcode::ALL.len()
    );
    for row in &rows {
        let ways: Vec<_> = row.ways.iter().map(|one| way(*one)).collect();
        let (major, minor) = row.since;
        let _ = writeln!(
            page,
            "| {} | {major}.{minor} | {} | {} |",
            row.opcode.name(),
            ways.join(", "),
            notes(row)
        );
    }
    let missing: Vec<_> = Opcode::ALL
        .iter()
        .filter(|opcode| rows.iter().all(|row| row.opcode != **opcode))
        .map(|opcode| opcode.name())
        .collect();
    if !missing.is_empty() {
        let _ = writeln!(page, "\nNot served, `EINVAL`: {}.", missing.join(", "));
    }
    page.push_str("\n## Flags\n\n");
    flags(
        &mut page,
        "setup",
        SetupFlags::all().iter_names().map(|(name, flag)| (name, SETUP_FLAGS.contains(flag))),
    );
    flags(
        &mut page,
        "features",
        Features::all().iter_names().map(|(name, flag)| (name, FEATURES.contains(flag))),
    );
    flags(
        &mut page,
        "enter",
        EnterFlags::all().iter_names().map(|(name, flag)| (name, ENTER_FLAGS.contains(flag))),
    );

    page.push_str("\n## Known differences to Linux 6.18\n\nEach is a case of the differential tests that differs, for this reason:\n\n");
    let mut by_reason: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (case, reason) in known::parse(differences)? {
        by_reason.entry(reason).or_default().push(format!("`{case}`"));
    }
    for (reason, cases) in by_reason {
        let _ = writeln!(page, "- {}: {}", cases.join(", "), reason);
    }
    page.push_str(
        "\nRandom sequences of requests (`conformance/random-differences.toml`) meet these besides:\n\n",
    );
    let reasons: BTreeSet<String> =
        random::known::parse(random)?.into_iter().map(|known| known.reason).collect();
    for reason in reasons {
        let _ = writeln!(page, "- {reason}");
    }
    page.push_str(OUT_OF_REACH);
    Ok(page)
}

/// What no case shows.
const OUT_OF_REACH: &str = "
Linux gives some requests to a worker without being asked (FSYNC, FALLOCATE, FTRUNCATE, STATX, extended attributes, names, opens that create,
SPLICE, TEE, writes to ext4), and with them what follows in their chain. Here most of these run at once, and what follows does not run on a worker; not those that
end on the device (FSYNC, writes with `O_DSYNC`).
Where that shows, random sequences are not drawn:

- Linux does not arm the LINK_TIMEOUT of such a request, nor of a multishot one with `IOSQE_ASYNC`; here it is armed. A write that
  is done at once here is done before a LINK_TIMEOUT without any time.
- Cancelling a SPLICE or TEE that waits answers EALREADY in Linux, and with `IORING_ASYNC_CANCEL_ALL` does not count it; here it answers and counts as for
  any request that waits. Its own end is the same.
- A multishot READ of an inotify instance without `O_NONBLOCK` has no result in Linux; here it has those of reads one after the other.
- Behind such a request, Linux takes a buffer of a buffer ring before it waits, all that was asked for of an incremental one; a multishot receive waits for
  data before it looks for a buffer; EPOLL_WAIT, what asks to poll first (ACCEPT, receives, sends), and ACCEPT of a listener with `O_NONBLOCK` answer EAGAIN
  instead of waiting; `IORING_ACCEPT_DONTWAIT`, and `RWF_NOWAIT` of a file, say nothing; a write of more than a stream takes goes on until all is written.
  Here these behave as at the head of a chain.

What a system call of the process cannot do is out of reach:

- A request that a worker of an embedder waits for in a call cannot be interrupted before the embedder asks for handlers
  (`System::handle_faults`): cancelling it answers `EALREADY`, and it goes on. In unmodified programs it ends with `EINTR`, as in Linux.
- Requests that wait for one file by different descriptors, or some by a registered file, may have their turn in another order than
  in Linux. ACCEPTs of one listener have the latest first then, and not the first.
- A request belongs to the process that submitted it. Another process that has inherited the ring can reap its completion, but neither
  find nor cancel it.
- A thread that waits in `enter` for nothing but reads that are not cached, or for one write that ends on the device, makes them itself: it
  hears of a signal after 16 of them at most, and of the end of its time after the one that it is at.
- Registered buffers are not pinned. Unmapped, they make later requests fail with `EFAULT`.
- `/proc/PID/fdinfo` of a ring shows an eventfd. The ring's descriptor is an eventfd to `fstat` and `/proc/PID/fd`, too.
- A ring passed to another program over a socket, or kept open across `exec`, is an eventfd there.
- Workers have the credentials of the thread whose requests they do, but the working directory and the namespaces (`unshare.2`) and the rules of Landlock
  (`landlock.7`) of the thread that started them. So has the [helper](ARCHITECTURE.md#the-helper), which stays for a tenth of a second after its last run: what its thread denies itself meanwhile by `unshare.2`, Landlock or
  a seccomp filter for that thread alone does not hold for what the helper makes. The user that counts for files is the effective one (`setfsuid.2` is not seen).
- The limits of `IORING_REGISTER_IOWQ_MAX_WORKERS` hold for the process, not for each thread. Unless they are set there are up to 128 workers of either kind. What waits for a name (an open of
  a FIFO) is unbounded work here.
- Whether the size of files is limited (`RLIMIT_FSIZE`) is looked at when a ring is made. If it is limited later, a write beyond the limit may
  raise SIGXFSZ.
- A file that is opened, accepted or made as a registered file only has the lowest free number for a moment, until it is moved away. Where a
  worker opens it, one must be free.
- What a program closes by a system call of its own, not by the C library, stays open for up to 40 ms if a request has waited for it: the other end hears of it that
  much later.
- A receive with one result does not say that there is more (`IORING_CQE_F_SOCK_NONEMPTY`) where less is left than the socket's `SO_RCVLOWAT`.
- Zero-copy sends copy. Their notifications come as documented.
- Cached reads that are copied from a mapping of their file are not told to those who watch for accesses (`IN_ACCESS` of inotify). Direct transfers
  (`O_DIRECT`) by Linux AIO are not told to those who watch for accesses or changes: AIO does not tell of them.
- Passing commands through to devices (`URING_CMD` on NVMe, block devices, FUSE) and zero-copy receive are refused as Linux refuses
  them without such a device.
";
